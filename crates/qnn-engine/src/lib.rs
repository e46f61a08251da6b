//! The worker that trains: it owns the data, the network and the thread pool, and talks to the page by messages
//! only. Built without threads, with them, and with relaxed SIMD too, all without the GPU, and with it; `www/worker.js` chooses. This file is the browser's side of it;
//! what the messages do is `session`, where data comes from is `load`.

#![cfg_attr(not(feature = "gpu"), allow(dead_code, unreachable_code))] // What is for the GPU is never done.

mod adapter;
#[cfg(feature = "gpu")]
mod comparison;
#[cfg_attr(not(feature = "gpu"), path = "no_gpu.rs")]
mod gpu;
#[cfg(all(test, feature = "gpu", not(target_arch = "wasm32")))]
mod gpu_tests;
mod load;
mod look;
mod racer;
mod session;
#[cfg(feature = "gpu")]
mod with_gpu;
#[cfg(not(feature = "gpu"))]
mod without_gpu;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use gloo_timers::future::sleep;
use js_sys::{Array, Promise, Uint8Array};
use qnn_core::measure::{Operation, kernel_names};
use qnn_core::threads;
use qnn_protocol::{Choice, FromEngine, Subject, ToEngine};
use serde::Serialize;
use session::{Pace, Request, Session};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{DedicatedWorkerGlobalScope, MessageChannel, MessageEvent};
#[cfg(feature = "gpu")]
use with_gpu::GpuWork;
#[cfg(not(feature = "gpu"))]
use without_gpu::GpuWork;

#[cfg(feature = "threads")]
pub use wasm_bindgen_rayon::init_thread_pool;

/// Starts listening to the page. To be called once, when the thread pool, if there is one, is ready.
#[wasm_bindgen]
pub fn start(threads: u32) {
    std::panic::set_hook(Box::new(|panic| {
        // Where the panic would stop at a promise, nobody would hear of it.
        report_error(&js_sys::Error::new(&panic.to_string()));
    }));
    let engine = Rc::new(Engine {
        session: RefCell::new(Session::default()),
        working: Cell::new(false),
        load: Cell::new(0),
        measured: RefCell::default(),
        gpu_work: GpuWork::default(),
    });
    let (listening, opening) = (engine.clone(), engine);
    let on_message = Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| {
        match serde_wasm_bindgen::from_value::<ToEngine>(event.data()) {
            Ok(message) => listening.clone().receive(message),
            Err(error) => post(&FromEngine::Refused {
                message: format!("The engine does not understand a message: {error}."),
            }),
        }
    });
    scope().set_onmessage(Some(on_message.as_ref().unchecked_ref()));
    on_message.forget();
    post(&FromEngine::Ready { threads });
    spawn_local(opening.open_gpu());
}

#[wasm_bindgen]
extern "C" {
    /// Tells the page of an error as if it had been thrown and not caught.
    #[wasm_bindgen(js_name = reportError)]
    fn report_error(error: &js_sys::Error);
}

/// How long to wait for the GPU before it is asked again.
const WAIT: Duration = Duration::from_millis(4);

struct Engine {
    session: RefCell<Session>,
    /// Whether a loop of slices is running.
    working: Cell<bool>,
    /// Counts the loads of data begun: an older one that is still on its way has been overtaken.
    load: Cell<u32>,
    /// What was timed.
    measured: RefCell<Vec<(Subject, Operation)>>,
    gpu_work: GpuWork,
}

impl Engine {
    fn receive(self: Rc<Self>, message: ToEngine) {
        if matches!(message, ToEngine::UseData { .. }) {
            self.load.set(self.load.get() + 1);
        }
        let request = self.session.borrow_mut().receive(message);
        self.flush();
        match request {
            Some(Request::Load(source)) => {
                let load = self.load.get();
                let engine = self.clone();
                spawn_local(async move {
                    let overtaken = || engine.load.get() != load;
                    let loaded = load::load(source, overtaken).await;
                    if !overtaken() {
                        engine.session.borrow_mut().loaded(loaded);
                        engine.flush();
                        engine.clone().work();
                    }
                });
            }
            Some(Request::ListKernels) => post(&FromEngine::Kernels {
                names: kernel_names().into_iter().map(str::to_owned).collect(),
            }),
            Some(Request::Measure(subject, milliseconds, again)) => {
                post(&self.measure(subject, milliseconds, again));
            }
            Some(Request::PrepareGpu) => spawn_local(self.clone().prepare_gpu()),
            Some(Request::CompareGpu) => self.clone().compare_gpu(),
            Some(Request::CancelComparison) => self.cancel_comparison(),
            None => {}
        }
        self.clone().move_to_gpu();
        self.work();
    }

    /// Works in slices, with the page's messages heard between them, for as long as there is work.
    fn work(self: Rc<Self>) {
        if self.working.replace(true) {
            return;
        }
        spawn_local(async move {
            let slices = Slices::new();
            while self.session.borrow().has_work() {
                self.clone().move_to_gpu();
                let pace = {
                    let mut session = self.session.borrow_mut();
                    let session = &mut *session;
                    let pace = session.turn_to_gpu(now());
                    if pace == Pace::Busy {
                        // With all threads awake, so that not every product wakes them and waits for them.
                        threads::team(|| session.work(&now));
                    }
                    pace
                };
                self.flush();
                match pace {
                    Pace::Busy => slices.pause().await,
                    Pace::Waiting => sleep(WAIT).await,
                }
            }
            self.working.set(false);
        });
    }

    /// Times a subject. Those that are to be timed `again` are kept ready.
    fn measure(&self, subject: Subject, milliseconds: f64, again: bool) -> FromEngine {
        let mut measured = self.measured.borrow_mut();
        let known = measured.iter().position(|(ready, _)| *ready == subject);
        let ready = match known {
            Some(place) => Ok(measured.swap_remove(place).1),
            None => subject.prepare(Choice::default()),
        };
        let Ok(mut operation) = ready else {
            return FromEngine::Measured {
                milliseconds: None,
                macs: 0.0,
            };
        };
        if known.is_none() {
            threads::team(|| operation.run());
        }
        let answer = FromEngine::Measured {
            milliseconds: Some(threads::team(|| operation.time(&now, milliseconds))),
            macs: operation.macs,
        };
        if again {
            measured.push((subject, operation));
        }
        answer
    }

    fn flush(&self) {
        for message in self.session.borrow_mut().take_messages() {
            post(&message);
        }
    }
}

/// Lets other events in between two slices of a task's work, for each task its own. A message to oneself does it
/// without the delays that timers have.
struct Slices(MessageChannel);

impl Slices {
    fn new() -> Slices {
        // Every browser that runs wasm threads or SIMD has message channels.
        Slices(MessageChannel::new().expect_throw("no MessageChannel"))
    }

    async fn pause(&self) {
        let turn = Promise::new(&mut |resolve, _| {
            self.0.port2().set_onmessage(Some(&resolve));
            // Posting null cannot fail.
            let _ = self.0.port1().post_message(&JsValue::NULL);
        });
        // This promise is never rejected.
        let _ = JsFuture::from(turn).await;
    }
}

impl Drop for Slices {
    fn drop(&mut self) {
        // An open port lives as long as the worker.
        self.0.port1().close();
    }
}

/// Milliseconds. Each thread's clock starts with the thread, and slices of work go to whichever is free, so the start
/// counts too.
fn now() -> f64 {
    scope()
        .performance()
        .map_or(0.0, |clock| clock.time_origin() + clock.now())
}

fn scope() -> DedicatedWorkerGlobalScope {
    js_sys::global().unchecked_into()
}

fn post(message: &FromEngine) {
    let serialized = message.serialize(&serde_wasm_bindgen::Serializer::new());
    let posted = serialized
        .map_err(JsValue::from)
        .and_then(|object| match message {
            // A checkpoint is megabytes: moved, not copied.
            FromEngine::Checkpoint { .. } => {
                let fields = js_sys::Reflect::get(&object, &"Checkpoint".into())?;
                let bytes: Uint8Array =
                    js_sys::Reflect::get(&fields, &"checkpoint".into())?.unchecked_into();
                scope().post_message_with_transfer(&object, &Array::of1(&bytes.buffer()))
            }
            _ => scope().post_message(&object),
        });
    if let Err(error) = posted {
        web_sys::console::error_1(&error);
    }
}
