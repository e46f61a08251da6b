//! Where the images come from that the page wants to be learned, as it tells an engine. The visitor's own images stay outside
//! this program's memory: they may be a hundred megabytes, and the page only ever hands them on.

use std::rc::Rc;

use js_sys::{Object, Reflect};
use qnn_protocol::{DataSource, ToEngine};
use serde::Serialize;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{Blob, Url};

use crate::controls::DataOption;

/// The sets of a visitor's images.
pub const SETS: [&str; 2] = ["train", "test"];

#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    Procedural,
    Mnist,
    Drawings,
    Own(Rc<Own>),
}

/// A visitor's own images.
#[derive(Debug, PartialEq)]
pub struct Own {
    /// `qnn_protocol::OwnImages`, with a blob of each set's pixels.
    pub images: JsValue,
    /// Where engines fetch the pixels of each set from.
    addresses: [String; 2],
}

impl Own {
    /// Takes images as the importer gives them.
    pub fn new(images: JsValue) -> Result<Own, JsValue> {
        let address = |set: &str| {
            let pixels = Reflect::get(&Reflect::get(&images, &set.into())?, &"pixels".into())?;
            Url::create_object_url_with_blob(&pixels.dyn_into::<Blob>()?)
        };
        let addresses = [address(SETS[0])?, address(SETS[1])?];
        Ok(Own { images, addresses })
    }

    /// The images with the addresses of the pixels instead of the pixels.
    fn addressed(&self) -> Result<JsValue, JsValue> {
        let images = Object::assign(&Object::new(), self.images.unchecked_ref());
        for (set, address) in SETS.into_iter().zip(&self.addresses) {
            let whole = Reflect::get(&self.images, &set.into())?;
            let part = Object::assign(&Object::new(), whole.unchecked_ref());
            Reflect::set(
                &part,
                &"pixels".into(),
                &object("Address", &address.into())?,
            )?;
            Reflect::set(&images, &set.into(), &part)?;
        }
        Ok(images.into())
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        for address in &self.addresses {
            // Nobody fetches from it any more.
            let _ = Url::revoke_object_url(address);
        }
    }
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
            Source::Own(own) => {
                let own = object("Own", &own.addressed()?)?;
                return object("UseData", &object("source", &own)?);
            }
        };
        let serializer = serde_wasm_bindgen::Serializer::new();
        Ok(ToEngine::UseData { source }.serialize(&serializer)?)
    }
}

fn object(key: &str, value: &JsValue) -> Result<JsValue, JsValue> {
    let object = Object::new();
    Reflect::set(&object, &key.into(), value)?;
    Ok(object.into())
}
