//! The page's end of the wire to the engine: starts the worker, encodes, decodes, notices its death.
//! It keeps no opinion of what the messages mean, and it does not restart anything by itself.

use std::cell::RefCell;
use std::rc::Rc;

use gloo_events::EventListener;
use gloo_render::{AnimationFrame, request_animation_frame};
use gloo_timers::callback::Timeout;
use js_sys::{Reflect, Uint8Array};
use qnn_protocol::{FromEngine, NetworkId, ToEngine};
use serde::Serialize;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{ErrorEvent, Event, MessageEvent, Url, Worker, WorkerOptions, WorkerType};
use yew::Callback;

use crate::language::text;
use crate::source::Source;

/// Hidden tabs get no animation frames; there the messages are handed on by a timer instead.
const HIDDEN_TAB_MILLISECONDS: u32 = 500;

/// What the page hears of an engine, at most once an animation frame.
pub enum Report {
    /// Everything the engine said since the last report, in order.
    Said(Vec<Said>),
    /// The engine is gone, for the reason given.
    Died(String),
}

/// One message of the engine.
pub enum Said {
    Message(FromEngine),
    /// `FromEngine::Checkpoint`. Of several of a network in a report only the last is kept.
    Checkpoint(NetworkId, Checkpoint),
}

/// The bytes of an engine's checkpoint. They stay outside this program's memory: they may be
/// hundreds of megabytes, and the page only ever hands them back.
#[derive(Clone, Debug)]
pub struct Checkpoint(pub Uint8Array);

/// The same one, not one of the same bytes.
impl PartialEq for Checkpoint {
    fn eq(&self, other: &Checkpoint) -> bool {
        *self.0 == *other.0
    }
}

/// A running worker. Dropping it ends the worker.
pub struct Engine {
    worker: Worker,
    _listeners: [EventListener; 3],
}

#[derive(Default)]
struct Inbox {
    said: Vec<Said>,
    delivery: Option<(AnimationFrame, Timeout)>,
}

impl Engine {
    /// Starts the worker beside the page: `worker.js`, with what is asked of it after a `?`.
    pub fn start(script: &str, report: Callback<Report>) -> Result<Engine, String> {
        let worker = spawn(script).map_err(|error| format!("{error:?}"))?;
        let inbox = Rc::new(RefCell::new(Inbox::default()));
        let on_message = {
            let report = report.clone();
            EventListener::new(&worker, "message", move |event| {
                let Some(event) = event.dyn_ref::<MessageEvent>() else {
                    return;
                };
                match receive(&inbox, event.data()) {
                    Ok(()) => schedule_delivery(&inbox, &report),
                    Err(error) => {
                        let reason = text!("engine.no_message", error = error);
                        report.emit(Report::Died(reason.to_string()));
                    }
                }
            })
        };
        let on_error = {
            let report = report.clone();
            EventListener::new(&worker, "error", move |event| {
                let reason = reason(event);
                report.emit(Report::Died(
                    reason.unwrap_or_else(|| text!("engine.not_loaded").to_string()),
                ));
            })
        };
        let on_message_error = EventListener::new(&worker, "messageerror", move |_| {
            report.emit(Report::Died(text!("engine.damaged").to_string()));
        });
        Ok(Engine {
            worker,
            _listeners: [on_message, on_error, on_message_error],
        })
    }

    /// Sends `message`. An engine that is not `Ready` yet would lose it.
    pub fn send(&self, message: &ToEngine) -> Result<(), String> {
        let serializer = serde_wasm_bindgen::Serializer::new();
        let message = message
            .serialize(&serializer)
            .map_err(|error| error.to_string())?;
        self.post(&message)
    }

    /// Sends `ToEngine::Restore` with the bytes as they came.
    pub fn restore(&self, network: NetworkId, checkpoint: &Checkpoint) -> Result<(), String> {
        let (message, fields) = (js_sys::Object::new(), js_sys::Object::new());
        let set = |object: &js_sys::Object, key: &str, value: &JsValue| {
            Reflect::set(object, &key.into(), value)
        };
        set(&fields, "network", &network.into())
            .and_then(|_| set(&fields, "checkpoint", &checkpoint.0))
            .and_then(|_| set(&message, "Restore", &fields))
            .map_err(|error| format!("{error:?}"))?;
        self.post(&message)
    }

    /// Sends `ToEngine::UseData`.
    pub fn use_data(&self, source: &Source) -> Result<(), String> {
        let message = source.message().map_err(|error| format!("{error:?}"))?;
        self.post(&message)
    }

    fn post(&self, message: &JsValue) -> Result<(), String> {
        self.worker
            .post_message(message)
            .map_err(|error| format!("{error:?}"))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.worker.terminate();
    }
}

/// A worker of this script beside the page.
pub fn spawn(script: &str) -> Result<Worker, JsValue> {
    let base = gloo_utils::document().base_uri()?.unwrap_or_default();
    let address = Url::new_with_base(script, &base)?;
    let options = WorkerOptions::new();
    options.set_type(WorkerType::Module);
    Worker::new_with_options(&address.href(), &options)
}

/// What a worker's error event says; nothing where the worker could not be loaded.
pub fn reason(event: &Event) -> Option<String> {
    let message = event.dyn_ref::<ErrorEvent>().map(ErrorEvent::message);
    message.filter(|message| !message.is_empty())
}

/// A field of a message; undefined where there is none, as in a message that is only a string.
pub fn field(message: &JsValue, key: &str) -> JsValue {
    Reflect::get(message, &key.into()).unwrap_or_default()
}

fn receive(inbox: &RefCell<Inbox>, data: JsValue) -> Result<(), String> {
    let checkpoint = field(&data, "Checkpoint");
    let said = if checkpoint.is_object() {
        let bytes = field(&checkpoint, "checkpoint").dyn_into::<Uint8Array>();
        let network = field(&checkpoint, "network").as_f64().unwrap_or_default() as NetworkId;
        Said::Checkpoint(
            network,
            Checkpoint(bytes.map_err(|_| text!("engine.no_bytes").to_string())?),
        )
    } else {
        Said::Message(serde_wasm_bindgen::from_value(data).map_err(|error| error.to_string())?)
    };
    let mut inbox = inbox.borrow_mut();
    if let Said::Checkpoint(network, _) = &said {
        let is_older = |said: &Said| matches!(said, Said::Checkpoint(of, _) if of == network);
        inbox.said.retain(|said| !is_older(said));
    }
    inbox.said.push(said);
    Ok(())
}

fn schedule_delivery(inbox: &Rc<RefCell<Inbox>>, report: &Callback<Report>) {
    if inbox.borrow().delivery.is_some() {
        return;
    }
    let deliver = {
        let (inbox, report) = (inbox.clone(), report.clone());
        move || {
            let Inbox { said, delivery } = inbox.take();
            drop(delivery);
            report.emit(Report::Said(said));
        }
    };
    let by_frame = request_animation_frame({
        let deliver = deliver.clone();
        move |_| deliver()
    });
    let by_timer = Timeout::new(HIDDEN_TAB_MILLISECONDS, deliver);
    inbox.borrow_mut().delivery = Some((by_frame, by_timer));
}
