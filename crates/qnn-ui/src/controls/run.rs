//! Train, pause, one step, reset.

use yew::prelude::*;

use crate::app::Message;
use crate::language::text;

#[derive(Properties, PartialEq)]
pub struct RunControlsProperties {
    pub training: bool,
    pub dispatch: Callback<Message>,
}

#[component]
pub fn RunControls(properties: &RunControlsProperties) -> Html {
    let tell =
        |message: fn() -> Message| properties.dispatch.reform(move |_: MouseEvent| message());
    let training = properties.training;
    html! {
        <div class="run" role="group" aria-label={text!("run.heading")}>
            <button id="train" type="button" class="primary" onclick={tell(|| Message::ToggleTraining)}>
                <svg viewBox="0 0 16 16" aria-hidden="true">
                    <path d={if training { "M3 2h4v12H3zM9 2h4v12H9z" } else { "M3 1.5v13L14 8z" }} />
                </svg>
                { if training { text!("run.pause") } else { text!("run.train") } }
            </button>
            <button id="step" type="button" onclick={tell(|| Message::Step)}>{ text!("run.step") }</button>
            <button id="reset" type="button" onclick={tell(|| Message::Reset)}>{ text!("run.reset") }</button>
        </div>
    }
}
