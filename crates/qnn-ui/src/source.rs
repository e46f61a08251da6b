//! Where the images come from that the page wants to be learned, as it tells an engine. The visitor's own images stay outside
//! this program's memory: they may be a hundred megabytes, and the page only ever hands them on.

use qnn_protocol::{DataSource, ToEngine};
use serde::Serialize;
use wasm_bindgen::JsValue;

use crate::controls::DataOption;

#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    Procedural,
    Mnist,
    Drawings,
    /// `qnn_protocol::OwnImages`, as the importer gave them.
    Own(JsValue),
}

impl Source {
    /// How it is chosen.
    pub fn option(&self) -> DataOption {
        match self {
            Source::Procedural => DataOption::Procedural,
            Source::Mnist => DataOption::Mnist,
            Source::Drawings => DataOption::Drawings,
            Source::Own(_) => DataOption::Files,
        }
    }

    /// `ToEngine::UseData`.
    pub fn message(&self) -> Result<JsValue, JsValue> {
        let source = match self {
            Source::Procedural => DataSource::Procedural,
            Source::Mnist => DataSource::Mnist,
            Source::Drawings => DataSource::Drawings,
            Source::Own(images) => {
                return object("UseData", &object("source", &object("Own", images)?)?);
            }
        };
        let serializer = serde_wasm_bindgen::Serializer::new();
        Ok(ToEngine::UseData { source }.serialize(&serializer)?)
    }
}

fn object(key: &str, value: &JsValue) -> Result<JsValue, JsValue> {
    let object = js_sys::Object::new();
    js_sys::Reflect::set(&object, &key.into(), value)?;
    Ok(object.into())
}
