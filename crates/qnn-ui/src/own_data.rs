//! The visitor's own images: the worker that reads the files, and the dialog that shows what is in them before they are used,
//! or says what is wrong. It reads no file itself.

use std::rc::Rc;

use gloo_events::EventListener;
use js_sys::{Array, Object, Reflect};
use qnn_protocol::{ClassPreview, FromImporter, Preview};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{HtmlDialogElement, MessageEvent, Worker};
use yew::prelude::*;

use crate::app::Message;
use crate::engine::{field, reason, spawn};
use crate::files::Offered;
use crate::format;
use crate::language::{text, translated};
use crate::names;
use crate::pixels::Pixels;
use crate::source::Own;

/// Files on their way into the playground.
#[derive(Clone, Debug, PartialEq)]
pub enum Import {
    /// They are being read: how much is done, 0 to 1.
    Reading(f32),
    /// What is in them, and the images themselves.
    Read(Rc<Preview>, Rc<Own>),
    /// Why they cannot be used.
    Refused(AttrValue),
}

/// The worker that reads files. Dropping it ends the worker, and with it the reading.
pub struct Importer {
    worker: Worker,
    _listeners: [EventListener; 3],
}

impl Importer {
    /// Starts to read files; `report` hears how it goes.
    pub fn start(files: Vec<Offered>, report: Callback<Import>) -> Result<Importer, String> {
        let begin = || -> Result<Worker, JsValue> {
            let worker = spawn("import.js")?;
            let list = Array::new();
            for Offered { path, file } in files {
                let offered = Object::new();
                Reflect::set(&offered, &"path".into(), &path.into())?;
                Reflect::set(&offered, &"file".into(), &file)?;
                list.push(&offered);
            }
            worker.post_message(&list)?;
            Ok(worker)
        };
        let worker = begin().map_err(|error| format!("{error:?}"))?;
        let on_message = {
            let report = report.clone();
            EventListener::new(&worker, "message", move |event| {
                if let Some(event) = event.dyn_ref::<MessageEvent>() {
                    report.emit(received(event.data()));
                }
            })
        };
        let on_message_error = {
            let report = report.clone();
            EventListener::new(&worker, "messageerror", move |_| {
                let reason = text!("engine.damaged");
                report.emit(Import::Refused(text!("own.failed", reason = reason)));
            })
        };
        let on_error = EventListener::new(&worker, "error", move |event| {
            let reason = reason(event).unwrap_or_else(|| text!("own.not_loaded").to_string());
            report.emit(Import::Refused(text!("own.failed", reason = reason)));
        });
        Ok(Importer {
            worker,
            _listeners: [on_message, on_message_error, on_error],
        })
    }
}

impl Drop for Importer {
    fn drop(&mut self) {
        self.worker.terminate();
    }
}

fn received(message: JsValue) -> Import {
    // The images are handed on as they are: only what is said of them is for the page.
    let read = field(&message, "Read");
    if read.is_object() {
        let preview = serde_wasm_bindgen::from_value::<Preview>(field(&read, "preview"));
        let own = Own::new(field(&read, "images"));
        return match (preview, own) {
            (Ok(preview), Ok(own)) => Import::Read(preview.into(), own.into()),
            (Err(error), _) => Import::Refused(text!("own.failed", reason = error)),
            (_, Err(error)) => Import::Refused(text!("own.failed", reason = format!("{error:?}"))),
        };
    }
    match serde_wasm_bindgen::from_value(message) {
        Ok(FromImporter::Progress { fraction }) => Import::Reading(fraction),
        Ok(FromImporter::Refused { message }) => Import::Refused(translated(&message)),
        Ok(FromImporter::Unreadable { name }) => {
            Import::Refused(text!("data.unreadable", name = name))
        }
        Ok(FromImporter::Read { .. }) => unreachable!("it was taken above"),
        Err(error) => Import::Refused(text!("own.failed", reason = error)),
    }
}

#[derive(Properties, PartialEq)]
pub struct OwnDataProperties {
    /// `None`: the dialog is closed.
    pub import: Option<Import>,
    pub dispatch: Callback<Message>,
}

#[component]
pub fn OwnData(properties: &OwnDataProperties) -> Html {
    let OwnDataProperties { import, dispatch } = properties;
    let dialog = use_node_ref();
    use_effect_with(import.is_some(), {
        let dialog = dialog.clone();
        move |is_wanted: &bool| {
            let Some(dialog) = dialog.cast::<HtmlDialogElement>() else {
                return;
            };
            if !is_wanted {
                dialog.close();
            } else if !dialog.open() {
                // Fails only for a dialog that is open, or not in the page.
                let _ = dialog.show_modal();
            }
        }
    });
    let cancel = dispatch.reform(|_: MouseEvent| Message::CancelImport);
    let on_escape = dispatch.reform(|event: Event| {
        // It closes when the app says so.
        event.prevent_default();
        Message::CancelImport
    });
    let leave = |name: AttrValue| html! { <button id="cancel-import" type="button" onclick={cancel.clone()}>{ name }</button> };
    let heading = match import {
        // Files of a known set go by its name.
        Some(Import::Read(preview, _)) if preview.name != "your files" => {
            names::data(&preview.name)
        }
        _ => text!("own.heading"),
    };
    html! {
        <dialog ref={dialog} id="own-data" class="card" aria-labelledby="own-heading" oncancel={on_escape}>
            <h2 id="own-heading">{ heading }</h2>
            if let Some(import) = import {
                { match import {
                    Import::Reading(fraction) => html! {
                        <>
                            <label for="reading">{ text!("own.reading") }</label>
                            <progress id="reading" max="1" value={fraction.to_string()} />
                            <p class="buttons">{ leave(text!("own.cancel")) }</p>
                        </>
                    },
                    Import::Refused(why) => html! {
                        <>
                            <p id="own-problem" class="problem" role="alert">{ why }</p>
                            <p class="hint">{ text!("own.kinds") }</p>
                            <p class="buttons">{ leave(text!("own.close")) }</p>
                        </>
                    },
                    Import::Read(preview, _) => html! {
                        <>
                            { shown(preview) }
                            <p class="buttons">
                                <button id="use-import" type="button" class="primary" onclick={dispatch.reform(|_: MouseEvent| Message::UseImport)}>
                                    { text!("own.use") }
                                </button>
                                { leave(text!("own.discard")) }
                            </p>
                        </>
                    },
                } }
            }
        </dialog>
    }
}

fn shown(preview: &Preview) -> Html {
    let sum = |of: fn(&ClassPreview) -> u32| -> u64 {
        preview
            .classes
            .iter()
            .map(|class| u64::from(of(class)))
            .sum()
    };
    let (width, height) = (preview.width, preview.height);
    html! {
        <>
            <p id="own-about" role="status">
                { text!(
                    "own.about",
                    train = format::grouped(sum(|class| class.train)),
                    test = format::grouped(sum(|class| class.test)),
                    classes = preview.classes.len(),
                    width = width,
                    height = height
                ) }
            </p>
            if !preview.notes.is_empty() {
                <ul id="own-notes" class="notes">
                    { for preview.notes.iter().map(|note| html! { <li>{ translated(note) }</li> }) }
                </ul>
            }
            <div class="scrolled" tabindex="0" role="region" aria-label={text!("own.classes")}>
                <table class="own">
                    <thead>
                        <tr>
                            <th scope="col">{ text!("own.class") }</th>
                            <th scope="col">{ text!("own.train") }</th>
                            <th scope="col">{ text!("own.test") }</th>
                            <th scope="col">{ text!("own.examples") }</th>
                        </tr>
                    </thead>
                    <tbody>
                        { for preview.classes.iter().map(|class| html! {
                            <tr>
                                <th scope="row">{ &class.name }</th>
                                <td>{ format::grouped(class.train.into()) }</td>
                                <td>{ format::grouped(class.test.into()) }</td>
                                <td class="examples">
                                    { for class.examples.iter().map(|pixels| html! {
                                        <Pixels {width} {height} ink={pixels.to_vec()} label={text!("own.example", class = &class.name)} />
                                    }) }
                                </td>
                            </tr>
                        }) }
                    </tbody>
                </table>
            </div>
        </>
    }
}
