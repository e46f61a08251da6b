//! What the networks say of the drawing: the picture they see, every network's answer, and the chosen one's share for each
//! class.

use qnn_protocol::DrawnAnswer;
use yew::prelude::*;

use crate::language::text;
use crate::leaderboard::swatch;
use crate::pixels::Pixels;

/// A network and its answer.
#[derive(Clone)]
pub struct Answered {
    pub colour: usize,
    pub name: AttrValue,
    pub is_chosen: bool,
    pub answer: Option<DrawnAnswer>,
}

impl PartialEq for Answered {
    fn eq(&self, other: &Self) -> bool {
        let answer = |one: &Answered| {
            let answer = one.answer.as_ref();
            answer.map(|answer| (answer.shares.clone(), answer.pixels.clone()))
        };
        (self.colour, &self.name, self.is_chosen) == (other.colour, &other.name, other.is_chosen)
            && answer(self) == answer(other)
    }
}

#[derive(Clone, PartialEq, Properties)]
pub struct AnswersProperties {
    pub networks: Vec<Answered>,
    pub classes: Vec<AttrValue>,
    /// Width and height of what the networks see.
    pub size: (u32, u32),
}

#[component]
pub fn Answers(properties: &AnswersProperties) -> Html {
    let AnswersProperties {
        networks,
        classes,
        size: (width, height),
    } = properties;
    let chosen = networks.iter().find(|one| one.is_chosen);
    let answer = chosen.and_then(|one| one.answer.as_ref());
    let name = |class: u8| classes.get(usize::from(class)).cloned().unwrap_or_default();
    html! {
        // Classes of a visitor's own have longer names than digits.
        <div class={classes!("answer", classes.iter().any(|name| name.chars().count() > 2).then_some("words"))}>
            <div class="says">
                <output id="answer" for="pad" aria-live="off" aria-label={text!("pad.answer")}>
                    { answer.map_or_else(|| "?".into(), |answer| name(answer.answer)) }
                </output>
                <figure>
                    if let Some(answer) = answer {
                        <Pixels
                            width={*width}
                            height={*height}
                            ink={answer.pixels.to_vec()}
                            label={text!("pad.seen")}
                        />
                    } else {
                        <div class="pixels"></div>
                    }
                    <figcaption>{ text!("pad.sees") }</figcaption>
                </figure>
            </div>
            <ul id="answers" class="answers" aria-label={text!("pad.answers")}>
                { for networks.iter().map(|one| {
                    let share = one.answer.as_ref().and_then(|answer| {
                        answer.shares.get(usize::from(answer.answer)).copied()
                    });
                    html! {
                        <li class={classes!(one.is_chosen.then_some("chosen"))}>
                            { swatch(one.colour) }
                            <span>{ &one.name }</span>
                            <strong>{ one.answer.as_ref().map_or_else(|| "?".into(), |answer| name(answer.answer)) }</strong>
                            <span>{ share.map(percent).unwrap_or_default() }</span>
                        </li>
                    }
                }) }
            </ul>
            <ol class="shares" id="shares" aria-label={text!("pad.shares")}>
                { for classes.iter().enumerate().map(|(class, name)| {
                    let share = answer.and_then(|answer| answer.shares.get(class)).copied();
                    let first = answer.is_some_and(|answer| usize::from(answer.answer) == class);
                    html! {
                        <li class={classes!(first.then_some("first"))}>
                            <span>{ name }</span>
                            <span class="bar"><span style={format!("width:{:.1}%", 100.0 * share.unwrap_or(0.0))} /></span>
                            <span>{ share.map(percent).unwrap_or_default() }</span>
                        </li>
                    }
                }) }
            </ol>
        </div>
    }
}

fn percent(share: f32) -> String {
    format!("{:.0} %", 100.0 * share)
}
