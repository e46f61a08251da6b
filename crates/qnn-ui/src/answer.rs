//! What the network says of the drawing: its answer, the picture it saw, a bar for each class.

use qnn_protocol::{DataSummary, DrawnAnswer};
use yew::prelude::*;

use crate::pixels::Pixels;

#[derive(Clone, Properties)]
pub struct AnswerProperties {
    pub answer: Option<DrawnAnswer>,
    pub data: Option<DataSummary>,
}

impl PartialEq for AnswerProperties {
    fn eq(&self, other: &Self) -> bool {
        let parts = |answer: &Option<DrawnAnswer>| {
            answer
                .as_ref()
                .map(|answer| (answer.shares.clone(), answer.pixels.clone()))
        };
        self.data == other.data && parts(&self.answer) == parts(&other.answer)
    }
}

#[component]
pub fn Answer(properties: &AnswerProperties) -> Html {
    let (width, height) = properties
        .data
        .as_ref()
        .map_or((28, 28), |data| (data.width, data.height));
    let answer = properties.answer.as_ref();
    let share = |class: usize| answer.and_then(|answer| answer.shares.get(class)).copied();
    let ink = answer.map(|answer| answer.pixels.to_vec());
    html! {
        <div class="answer">
            <div class="says">
                <output id="answer" for="pad" aria-live="off" aria-label="The network's answer">
                    { answer.map_or("?".into(), |answer| answer.answer.to_string()) }
                </output>
                <figure>
                    if let Some(ink) = ink {
                        <Pixels {width} {height} {ink} label="Your drawing as the network sees it" />
                    } else {
                        <div class="pixels"></div>
                    }
                    <figcaption>{ "what it sees" }</figcaption>
                </figure>
            </div>
            <ol class="shares" id="shares" aria-label="Share of each digit">
                { for (0..10).map(|class| {
                    let percent = share(class).map(|share| 100.0 * share);
                    let first = answer.is_some_and(|answer| usize::from(answer.answer) == class);
                    html! {
                        <li class={classes!(first.then_some("first"))}>
                            <span>{ class.to_string() }</span>
                            <span class="bar"><span style={format!("width:{:.1}%", percent.unwrap_or(0.0))} /></span>
                            <span>{ percent.map(|percent| format!("{percent:.0} %")).unwrap_or_default() }</span>
                        </li>
                    }
                }) }
            </ol>
        </div>
    }
}
