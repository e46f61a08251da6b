//! Which images are learned: the built-in digits, MNIST, or files of the visitor.

use web_sys::{File, HtmlInputElement, HtmlSelectElement};
use yew::prelude::*;

use crate::app::{Message, files_of};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataOption {
    Procedural,
    Mnist,
    Files,
}

impl DataOption {
    const ALL: [DataOption; 3] = [DataOption::Procedural, DataOption::Mnist, DataOption::Files];

    fn value(self) -> &'static str {
        match self {
            DataOption::Procedural => "procedural",
            DataOption::Mnist => "mnist",
            DataOption::Files => "files",
        }
    }
}

#[derive(Properties, PartialEq)]
pub struct DataChoiceProperties {
    pub chosen: DataOption,
    /// What is known of the data in use, in one line.
    pub about: AttrValue,
    /// What is being loaded, and how much of it is there, 0 to 1.
    pub loading: Option<(AttrValue, f32)>,
    pub dispatch: Callback<Message>,
}

#[component]
pub fn DataChoice(properties: &DataChoiceProperties) -> Html {
    let chooser = use_node_ref();
    let onchange = {
        let dispatch = properties.dispatch.clone();
        move |event: Event| {
            let value = event
                .target_dyn_into::<HtmlSelectElement>()
                .map(|select| select.value());
            let option = DataOption::ALL
                .into_iter()
                .find(|option| Some(option.value()) == value.as_deref());
            if let Some(option) = option {
                dispatch.emit(Message::ChooseData(option));
            }
        }
    };
    let on_files = {
        let dispatch = properties.dispatch.clone();
        move |event: Event| {
            let Some(input) = event.target_dyn_into::<HtmlInputElement>() else {
                return;
            };
            let files: Vec<File> = files_of(input.files());
            // So that the same files can be chosen again.
            input.set_value("");
            dispatch.emit(Message::ReadFiles(files));
        }
    };
    let on_choose = {
        let chooser = chooser.clone();
        move |_: MouseEvent| {
            if let Some(input) = chooser.cast::<HtmlInputElement>() {
                input.click();
            }
        }
    };
    let option = |option: DataOption, name: &'static str, disabled: bool| {
        html! {
            <option value={option.value()} selected={properties.chosen == option} {disabled}>{ name }</option>
        }
    };
    html! {
        <div class="field wide">
            <label for="data">{ "Data" }</label>
            <div class="beside">
                <select id="data" {onchange} aria-describedby="data-about">
                    { option(DataOption::Procedural, "Procedural digits", false) }
                    { option(DataOption::Mnist, "MNIST", false) }
                    { option(DataOption::Files, "Your files", properties.chosen != DataOption::Files) }
                </select>
                <button id="choose-files" type="button" onclick={on_choose} aria-describedby="data-about">
                    { "Your files…" }
                </button>
                <input ref={chooser} id="files" type="file" multiple=true hidden=true onchange={on_files} />
            </div>
            <p id="data-about" class="hint">
                if let Some((what, fraction)) = &properties.loading {
                    <progress max="1" value={fraction.to_string()} aria-label={what.clone()} />
                    { what }
                } else {
                    { &properties.about }
                }
            </p>
        </div>
    }
}
