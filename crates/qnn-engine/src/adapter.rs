//! The browser's GPU as it is seen without opening it: whether there is one, and what it is called.

use js_sys::{Function, Object, Promise, Reflect};
use qnn_protocol::GpuState;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

/// Names of programs on the processor that pass for GPUs.
#[cfg(not(feature = "gpu"))]
const SOFTWARE: [&str; 4] = ["swiftshader", "llvmpipe", "lavapipe", "basic render"];

/// What the browser tells of the adapter that we would get, its maker and its kind and seldom more; or why there is none.
pub async fn find() -> Result<String, GpuState> {
    let global = js_sys::global();
    let is_secure = Reflect::get(&global, &"isSecureContext".into());
    let is_secure = is_secure.is_ok_and(|is_secure| is_secure.is_truthy());
    let navigator = Reflect::get(&global, &"navigator".into()).unwrap_or_default();
    let web_gpu = Reflect::get(&navigator, &"gpu".into()).unwrap_or_default();
    if !web_gpu.is_truthy() {
        return Err(if is_secure {
            GpuState::NoWebGpu
        } else {
            GpuState::NotSecure
        });
    }
    let adapter = request(&web_gpu).await.unwrap_or_default();
    if !adapter.is_truthy() {
        let reason = "the browser offers no adapter".into();
        return Err(GpuState::NoAdapter { reason });
    }
    Ok(name(&adapter))
}

/// Whether an adapter of this name is a program on the processor, whose speed says nothing of a GPU's. Once it is open, it says so
/// itself.
#[cfg(not(feature = "gpu"))]
pub fn is_software(name: &str) -> bool {
    let name = name.to_lowercase();
    SOFTWARE.iter().any(|software| name.contains(software))
}

async fn request(web_gpu: &JsValue) -> Result<JsValue, JsValue> {
    let options = Object::new();
    Reflect::set(
        &options,
        &"powerPreference".into(),
        &"high-performance".into(),
    )?;
    let ask: Function = Reflect::get(web_gpu, &"requestAdapter".into())?.dyn_into()?;
    let asked: Promise = ask.call1(web_gpu, &options)?.dyn_into()?;
    JsFuture::from(asked).await
}

fn name(adapter: &JsValue) -> String {
    let info = Reflect::get(adapter, &"info".into()).unwrap_or_default();
    let part = |name: &str| Reflect::get(&info, &name.into()).ok()?.as_string();
    let parts = ["vendor", "architecture", "device", "description"].into_iter();
    let parts: Vec<String> = parts
        .filter_map(part)
        .filter(|part| !part.is_empty())
        .collect();
    if parts.is_empty() {
        "an adapter without a name".into()
    } else {
        parts.join(", ")
    }
}
