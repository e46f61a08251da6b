//! Which images are learned: the built-in digits, MNIST, or files of the visitor.

use web_sys::HtmlInputElement;
use yew::prelude::*;

use super::choice::Choice;
use crate::app::Message;
use crate::files;
use crate::language::text;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataOption {
    Procedural,
    Mnist,
    Files,
    Drawings,
}

impl DataOption {
    const ALL: [DataOption; 4] = [
        DataOption::Procedural,
        DataOption::Mnist,
        DataOption::Files,
        DataOption::Drawings,
    ];

    /// How a link names it.
    pub fn value(self) -> &'static str {
        match self {
            DataOption::Procedural => "procedural",
            DataOption::Mnist => "mnist",
            DataOption::Files => "files",
            DataOption::Drawings => "drawings",
        }
    }

    pub fn named(value: &str) -> Option<DataOption> {
        DataOption::ALL
            .into_iter()
            .find(|option| option.value() == value)
    }

    fn name(self) -> AttrValue {
        match self {
            DataOption::Procedural => text!("data.choose_procedural"),
            DataOption::Mnist => "MNIST".into(),
            DataOption::Files => text!("data.chosen_files"),
            DataOption::Drawings => text!("data.choose_drawings"),
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
    let on_choice = {
        let dispatch = properties.dispatch.clone();
        move |value: String| {
            if let Some(option) = DataOption::named(&value) {
                dispatch.emit(Message::ChooseData(option));
            }
        }
    };
    // Files are chosen by the button; the list only shows that they are in use.
    let options: Vec<(AttrValue, AttrValue)> = DataOption::ALL
        .into_iter()
        .filter(|option| *option != DataOption::Files)
        .map(|option| (option.value().into(), option.name()))
        .collect();
    let files = properties.chosen == DataOption::Files;
    let chosen = if files { "" } else { properties.chosen.value() };
    html! {
        <div class="field wide">
            <label for="data">{ text!("data.heading") }</label>
            <div class="beside">
                <Choice
                    id="data"
                    {chosen}
                    {options}
                    otherwise={files.then(|| DataOption::Files.name())}
                    described_by="data-about"
                    {on_choice}
                />
                <Chooser id="files" label={text!("data.choose_files")} dispatch={properties.dispatch.clone()} />
                <Chooser id="folder" label={text!("data.choose_folder")} folder=true dispatch={properties.dispatch.clone()} />
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

#[derive(Properties, PartialEq)]
struct ChooserProperties {
    id: AttrValue,
    label: AttrValue,
    /// Whether a folder is chosen, with all that is in it.
    #[prop_or_default]
    folder: bool,
    dispatch: Callback<Message>,
}

/// A button in place of the browser's own chooser of files, which says little and in the browser's language.
#[component]
fn Chooser(properties: &ChooserProperties) -> Html {
    let ChooserProperties {
        id,
        label,
        folder,
        dispatch,
    } = properties;
    let chooser = use_node_ref();
    let on_files = {
        let dispatch = dispatch.clone();
        move |event: Event| {
            let Some(input) = event.target_dyn_into::<HtmlInputElement>() else {
                return;
            };
            let chosen = input.files().as_ref().map(files::chosen);
            // So that the same files can be chosen again.
            input.set_value("");
            dispatch.emit(Message::ReadFiles(chosen.unwrap_or_default()));
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
    html! {
        <>
            <button id={format!("choose-{id}")} type="button" onclick={on_choose} aria-describedby="data-about">
                { label }
            </button>
            <input ref={chooser} {id} type="file" multiple=true webkitdirectory={*folder} hidden=true onchange={on_files} />
        </>
    }
}
