//! "This was a 7": the visitor says what a drawing is, and it joins the training images. The drawings are the app's.

use std::collections::BTreeMap;

use qnn_protocol::Drawing;
use web_sys::HtmlInputElement;
use yew::prelude::*;

use crate::app::Message;
use crate::language::text;

/// A longer name of a class would not fit where classes are shown.
const LONGEST: usize = 20;

#[derive(Properties, PartialEq)]
pub struct TeachProperties {
    pub classes: Vec<AttrValue>,
    pub drawings: Vec<Drawing>,
    /// Whether there is a drawing on the pad.
    pub is_drawn: bool,
    pub dispatch: Callback<Message>,
}

#[component]
pub fn Teach(properties: &TeachProperties) -> Html {
    let TeachProperties {
        classes,
        drawings,
        is_drawn,
        dispatch,
    } = properties;
    let typed = use_state(String::new);
    let oninput = {
        let typed = typed.clone();
        move |event: InputEvent| {
            let input = event.target_dyn_into::<HtmlInputElement>();
            typed.set(input.map(|input| input.value()).unwrap_or_default());
        }
    };
    let class = typed.trim().to_string();
    let onsubmit = {
        let (dispatch, class) = (dispatch.clone(), class.clone());
        move |event: SubmitEvent| {
            event.prevent_default();
            if !class.is_empty() {
                dispatch.emit(Message::Teach(class.clone()));
            }
        }
    };
    let is_new = !class.is_empty() && !classes.iter().any(|known| *known == class.as_str());
    let on_forget = dispatch.reform(|_: MouseEvent| Message::ForgetDrawings);
    html! {
        <form class="teach" {onsubmit}>
            <label for="class">{ text!("teach.label") }</label>
            <div class="beside">
                <input
                    id="class"
                    type="text"
                    list="known-classes"
                    maxlength={LONGEST.to_string()}
                    autocomplete="off"
                    value={(*typed).clone()}
                    {oninput}
                />
                <datalist id="known-classes">
                    { for classes.iter().map(|class| html! { <option value={class.clone()} /> }) }
                </datalist>
                <button id="teach" type="submit" disabled={!is_drawn || class.is_empty()}>{ text!("teach.button") }</button>
            </div>
            <p class="hint" role="status">
                if drawings.is_empty() {
                    { text!("teach.about") }
                } else {
                    { text!("teach.drawn", count = drawings.len(), classes = counted(drawings)) }
                }
                if is_new {
                    { " " }{ text!("teach.new_class", class = class) }
                }
            </p>
            if !drawings.is_empty() {
                <button id="forget-drawings" type="button" onclick={on_forget}>{ text!("teach.forget") }</button>
            }
        </form>
    }
}

/// How many drawings there are of each class, as in `7: 2, cat: 1`.
fn counted(drawings: &[Drawing]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for drawing in drawings {
        *counts.entry(&drawing.class).or_default() += 1;
    }
    let counts: Vec<String> = counts
        .iter()
        .map(|(class, count)| format!("{class}: {count}"))
        .collect();
    counts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawings_are_counted_by_class() {
        let drawing = |class: &str| Drawing {
            strokes: vec![],
            class: class.into(),
        };
        let all = [drawing("cat"), drawing("7"), drawing("cat")];
        assert_eq!(counted(&all), "7: 1, cat: 2");
    }
}
