//! Keeps bytes in the browser's own storage, by name: the race, so that it survives a reload, and the networks of the map.
//! Nothing of it leaves the machine. Where there is no storage, nothing is kept, and that is said.

use js_sys::{Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Blob, Cache, Request, Response};

/// Hosts are shared: the page's own storage by its name.
const STORE: &str = "qnn-kept";

/// Whether there is such a storage: only pages from secure addresses have.
pub fn is_there() -> bool {
    let caches = Reflect::get(&gloo_utils::window(), &"caches".into());
    caches.is_ok_and(|caches| caches.is_truthy())
}

/// Keeps `bytes` by `name`, in place of what was kept there.
pub async fn save(name: &str, bytes: &Uint8Array) -> Result<(), JsValue> {
    let response = Response::new_with_opt_js_u8_array(Some(bytes))?;
    JsFuture::from(store().await?.put_with_request(&request(name)?, &response)).await?;
    Ok(())
}

/// The same for bytes that are not in this program's memory, and never come there.
pub async fn save_blob(name: &str, bytes: &Blob) -> Result<(), JsValue> {
    let response = Response::new_with_opt_blob(Some(bytes))?;
    JsFuture::from(store().await?.put_with_request(&request(name)?, &response)).await?;
    Ok(())
}

/// What is kept by `name`.
pub async fn load(name: &str) -> Result<Option<Uint8Array>, JsValue> {
    let Some(response) = find(name).await? else {
        return Ok(None);
    };
    let buffer = JsFuture::from(response.array_buffer()?).await?;
    Ok(Some(Uint8Array::new(&buffer)))
}

/// The same, left outside of this program's memory.
pub async fn load_blob(name: &str) -> Result<Option<Blob>, JsValue> {
    let Some(response) = find(name).await? else {
        return Ok(None);
    };
    let blob = JsFuture::from(response.blob()?).await?;
    Ok(Some(blob.unchecked_into()))
}

async fn find(name: &str) -> Result<Option<Response>, JsValue> {
    let found = JsFuture::from(store().await?.match_with_request(&request(name)?)).await?;
    Ok(found.dyn_into().ok())
}

/// Forgets what is kept by `name`, if anything is.
pub async fn forget(name: &str) -> Result<(), JsValue> {
    JsFuture::from(store().await?.delete_with_request(&request(name)?)).await?;
    Ok(())
}

async fn store() -> Result<Cache, JsValue> {
    if !is_there() {
        return Err(JsValue::from("there is no storage"));
    }
    let caches = gloo_utils::window().caches()?;
    let scope = gloo_utils::document().base_uri()?.unwrap_or_default();
    let store = JsFuture::from(caches.open(&format!("{STORE} {scope}"))).await?;
    Ok(store.unchecked_into())
}

/// Things are kept by addresses that nothing is ever fetched from.
fn request(name: &str) -> Result<Request, JsValue> {
    let base = gloo_utils::document().base_uri()?.unwrap_or_default();
    let address = web_sys::Url::new_with_base(&format!("kept/{name}"), &base)?;
    Request::new_with_str(&address.href())
}
