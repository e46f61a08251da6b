//! The worker that trains: it owns the data, the network and the thread pool, and talks to the page by messages only.
//! Built twice, with threads and without; `www/worker.js` chooses.

use wasm_bindgen::prelude::*;

#[cfg(feature = "threads")]
pub use wasm_bindgen_rayon::init_thread_pool;

/// Starts listening to the page. To be called once, when the thread pool, if there is one, is ready.
#[wasm_bindgen]
pub fn start(threads: u32) {
    let page: web_sys::DedicatedWorkerGlobalScope = js_sys::global().unchecked_into();
    let ready = qnn_protocol::FromEngine::Ready { threads };
    let ready = serde_wasm_bindgen::to_value(&ready).expect("plain numbers");
    page.post_message(&ready).expect("a plain object");
}
