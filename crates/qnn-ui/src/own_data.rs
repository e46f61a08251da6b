//! The visitor's own files: the worker that reads and writes them, and the dialog that shows what is in them, images or a
//! network, before they are used, or says what is wrong. It reads no file itself.

use std::rc::Rc;

use gloo_events::EventListener;
use js_sys::{Array, Object, Reflect};
use qnn_protocol::{
    ClassPreview, FromImporter, NetworkFormat, NetworkOrigin, NetworkPreview, Preview,
};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{HtmlDialogElement, MessageEvent, Worker};
use yew::prelude::*;

use crate::app::Message;
use crate::engine::{Checkpoint, field, reason, spawn};
use crate::files::Offered;
use crate::format;
use crate::language::{text, translated};
use crate::names;
use crate::pixels::Pixels;
use crate::race;
use crate::source::Own;

/// Files on their way into the playground, or out of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Import {
    /// They are being read: how much is done, 0 to 1.
    Reading(f32),
    /// A file is being made.
    Writing,
    /// What is in them, and the images themselves.
    Read(Rc<Preview>, Rc<Own>),
    /// A network, and what an engine goes on from.
    Network(Rc<NetworkPreview>, Checkpoint),
    /// The file that was asked for.
    Written(JsValue),
    /// Why they cannot be used.
    Refused(AttrValue),
}

/// The worker that reads or writes files. Dropping it ends the worker, and with it the work.
pub struct Importer {
    worker: Worker,
    _listeners: [EventListener; 3],
}

impl Importer {
    /// Starts to read files; `report` hears how it goes.
    pub fn read(files: Vec<Offered>, report: Callback<Import>) -> Result<Importer, String> {
        let list = files
            .into_iter()
            .map(|Offered { path, file }| object([("path", path.into()), ("file", file.into())]));
        let list = list.collect::<Result<Array, JsValue>>();
        let request = list.and_then(|list| object([("read", list.into())]));
        Importer::start(request, report)
    }

    /// Starts to make a file of a network whose classes have such names; `report` hears of it.
    pub fn write(
        checkpoint: &Checkpoint,
        format: NetworkFormat,
        classes: &[String],
        report: Callback<Import>,
    ) -> Result<Importer, String> {
        let plain = |error: serde_wasm_bindgen::Error| error.to_string();
        let format = serde_wasm_bindgen::to_value(&format).map_err(plain)?;
        let classes: Array = classes
            .iter()
            .map(|name| JsValue::from(name.as_str()))
            .collect();
        let asked = object([
            ("checkpoint", checkpoint.0.clone().into()),
            ("format", format),
            ("classes", classes.into()),
        ]);
        Importer::start(asked.and_then(|asked| object([("write", asked)])), report)
    }

    fn start(
        request: Result<JsValue, JsValue>,
        report: Callback<Import>,
    ) -> Result<Importer, String> {
        let begin = || -> Result<Worker, JsValue> {
            let worker = spawn("import.js")?;
            worker.post_message(&request?)?;
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

fn object<const N: usize>(fields: [(&str, JsValue); N]) -> Result<JsValue, JsValue> {
    let object = Object::new();
    for (name, value) in fields {
        Reflect::set(&object, &name.into(), &value)?;
    }
    Ok(object.into())
}

fn received(message: JsValue) -> Import {
    let failed = |reason: String| Import::Refused(text!("own.failed", reason = reason));
    // The images are handed on as they are: only what is said of them is for the page.
    let read = field(&message, "Read");
    if read.is_object() {
        let preview = serde_wasm_bindgen::from_value::<Preview>(field(&read, "preview"));
        let own = Own::new(field(&read, "images"));
        return match (preview, own) {
            (Ok(preview), Ok(own)) => Import::Read(preview.into(), own.into()),
            (Err(error), _) => failed(error.to_string()),
            (_, Err(error)) => failed(format!("{error:?}")),
        };
    }
    // Neither are a network's weights, nor a file.
    let network = field(&message, "Network");
    if network.is_object() {
        let preview = serde_wasm_bindgen::from_value::<NetworkPreview>(field(&network, "preview"));
        return match (preview, field(&network, "checkpoint").dyn_into()) {
            (Ok(preview), Ok(bytes)) => Import::Network(preview.into(), Checkpoint(bytes)),
            (Err(error), _) => failed(error.to_string()),
            (_, Err(_)) => failed(text!("engine.no_bytes").to_string()),
        };
    }
    let written = field(&message, "Written");
    if written.is_object() {
        return Import::Written(field(&written, "file"));
    }
    match serde_wasm_bindgen::from_value(message) {
        Ok(FromImporter::Progress { fraction }) => Import::Reading(fraction),
        Ok(FromImporter::Refused { message }) => Import::Refused(translated(&message)),
        Ok(FromImporter::Unreadable { name }) => {
            Import::Refused(text!("data.unreadable", name = name))
        }
        Ok(
            FromImporter::Read { .. } | FromImporter::Network { .. } | FromImporter::Written { .. },
        ) => {
            unreachable!("they were taken above")
        }
        Err(error) => failed(error.to_string()),
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
        Some(Import::Network(preview, _)) => text!("own.network", name = race::name(&preview.spec)),
        Some(Import::Writing) => text!("own.writing_heading"),
        _ => text!("own.heading"),
    };
    let use_it = |name: AttrValue| {
        html! {
            <button id="use-import" type="button" class="primary" onclick={dispatch.reform(|_: MouseEvent| Message::UseImport)}>{ name }</button>
        }
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
                    Import::Writing => html! {
                        <>
                            <label for="writing">{ text!("own.writing") }</label>
                            <progress id="writing" />
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
                                { use_it(text!("own.use")) }
                                { leave(text!("own.discard")) }
                            </p>
                        </>
                    },
                    Import::Network(preview, _) => html! {
                        <>
                            <p id="own-about" role="status">{ about_network(preview) }</p>
                            <p class="hint">
                                { match preview.origin {
                                    NetworkOrigin::Training { step } => text!("own.whole_network", steps = format::grouped(step.into())),
                                    NetworkOrigin::Packed => text!("own.packed_network"),
                                    NetworkOrigin::Foreign => text!("own.foreign_network"),
                                } }
                            </p>
                            <p class="buttons">
                                { use_it(text!("own.join")) }
                                { leave(text!("own.discard_network")) }
                            </p>
                        </>
                    },
                    // It is offered to be saved, not shown.
                    Import::Written(_) => html! {},
                } }
            }
        </dialog>
    }
}

fn about_network(preview: &NetworkPreview) -> AttrValue {
    let spec = &preview.spec;
    let widths = spec.hidden.iter().map(usize::to_string);
    let widths: Vec<String> = widths.chain([preview.classes.to_string()]).collect();
    text!(
        "own.about_network",
        shape = format!("{}-{}", preview.inputs, widths.join("-")),
        weights = spec.weight_bits,
        activations = spec.activation_bits
    )
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
