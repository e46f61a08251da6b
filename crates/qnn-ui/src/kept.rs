//! A race as it is kept between two visits: its address, what was measured, and each network's checkpoint. Where it is kept is
//! `keep`'s.

use std::rc::Rc;

use js_sys::{Array, Date, JSON, JsString, Object, Reflect, Uint8Array};
use qnn_protocol::Drawing;
use serde::{Deserialize, Serialize};
use wasm_bindgen::{JsCast, JsValue};
use yew::AttrValue;

use crate::address::Address;
use crate::engine::Checkpoint;
use crate::history::History;
use crate::keep;
use crate::race::{Race, name};
use crate::source::{Own, SETS};

/// The name of what is known of the race; the checkpoints have names of their own.
const RACE: &str = "race";

/// The name of what is known of a visitor's own images; their pixels and labels have names of their own.
const IMAGES: &str = "images";

/// A race that is kept.
pub struct Kept {
    known: Known,
    /// The visitor's own images, where it trained on them.
    own: Option<Rc<Own>>,
    /// Of each network, where there is one.
    checkpoints: Vec<Option<Checkpoint>>,
}

#[derive(Serialize, Deserialize)]
struct Known {
    address: String,
    /// When it was kept, in milliseconds since 1970.
    at: f64,
    /// Of each network, with the steps it had trained.
    histories: Vec<History>,
    steps: Vec<u32>,
    /// What the visitor had taught.
    #[serde(default)]
    drawings: Vec<Drawing>,
    /// Whether it trained on the visitor's own images.
    #[serde(default)]
    is_own: bool,
}

impl Kept {
    pub fn of(
        race: &Race,
        address: &Address,
        drawings: &[Drawing],
        own: Option<Rc<Own>>,
        at: f64,
    ) -> Kept {
        let all = || race.all().iter();
        Kept {
            known: Known {
                address: address.write(),
                at,
                histories: all().map(|one| one.history.borrow().clone()).collect(),
                steps: all().map(|one| one.run.step).collect(),
                drawings: drawings.to_vec(),
                is_own: own.is_some(),
            },
            own,
            checkpoints: all().map(|one| one.checkpoint.clone()).collect(),
        }
    }

    /// Keeps it in place of what was kept before; or says in what is no sentence yet why it cannot be.
    pub async fn save(self) -> Result<(), AttrValue> {
        self.try_save().await.map_err(said)
    }

    async fn try_save(self) -> Result<(), JsValue> {
        for (place, checkpoint) in self.checkpoints.iter().enumerate() {
            let name = checkpoint_name(place);
            match checkpoint {
                Some(checkpoint) => keep::save(&name, &checkpoint.0).await?,
                None => keep::forget(&name).await?,
            }
        }
        let known = serde_wasm_bindgen::to_value(&self.known)?;
        let text = String::from(JSON::stringify(&known)?);
        keep::save(RACE, &Uint8Array::from(text.as_bytes())).await
    }

    /// The steps of the network that had trained the most.
    pub fn step(&self) -> u32 {
        self.known.steps.iter().copied().max().unwrap_or(0)
    }

    /// When it was kept, as a person of this language says it.
    pub fn when(&self, language: &str) -> String {
        let date = Date::new(&self.known.at.into());
        date.to_locale_string(language, &Object::new()).into()
    }

    /// What its networks are called.
    pub fn names(&self) -> String {
        let address = Address::read(&self.known.address).unwrap_or_default();
        let names: Vec<String> = address
            .specs
            .iter()
            .map(|spec| name(spec).to_string())
            .collect();
        names.join(", ")
    }

    /// The visitor's own images, where it trained on them.
    pub fn own(&self) -> Option<Rc<Own>> {
        self.own.clone()
    }

    /// The race itself, with its address and what the visitor had taught.
    pub fn into_race(self) -> (Address, Race, Vec<Drawing>) {
        let address = Address::read(&self.known.address).unwrap_or_default();
        let mut race = Race::of_address(&address);
        let known = self.known.histories.into_iter().zip(self.known.steps);
        let known = known.zip(self.checkpoints);
        for (one, ((history, step), checkpoint)) in race.all_mut().iter_mut().zip(known) {
            if checkpoint.is_some() {
                *one.history.borrow_mut() = history;
                one.run.step = step;
                one.checkpoint = checkpoint;
            }
        }
        (address, race, self.known.drawings)
    }
}

/// What is kept of an earlier visit, if anything is.
pub async fn find() -> Result<Option<Kept>, AttrValue> {
    try_find().await.map_err(said)
}

async fn try_find() -> Result<Option<Kept>, JsValue> {
    let Some(bytes) = keep::load(RACE).await? else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&bytes.to_vec()).into_owned();
    let known: Known = serde_wasm_bindgen::from_value(JSON::parse(&text)?)?;
    let mut checkpoints = Vec::new();
    for place in 0..known.steps.len() {
        let checkpoint = keep::load(&checkpoint_name(place)).await?;
        checkpoints.push(checkpoint.map(Checkpoint));
    }
    let own = if known.is_own {
        load_images().await?
    } else {
        None
    };
    let is_there = checkpoints.iter().any(Option::is_some) && own.is_some() == known.is_own;
    Ok(is_there.then_some(Kept {
        known,
        own: own.map(Rc::new),
        checkpoints,
    }))
}

/// Keeps a visitor's own images for the races on them.
pub async fn save_images(own: &Own) -> Result<(), AttrValue> {
    try_save_images(&own.images).await.map_err(said)
}

async fn try_save_images(images: &JsValue) -> Result<(), JsValue> {
    for set in SETS {
        let part = |name: &str| Reflect::get(&Reflect::get(images, &set.into())?, &name.into());
        keep::save_blob(&format!("{set}-pixels"), &part("pixels")?.dyn_into()?).await?;
        keep::save(&format!("{set}-labels"), &part("labels")?.dyn_into()?).await?;
    }
    // All but those.
    let known = ["name", "classes", "train", "test", "width", "height"];
    let known: Array = known.into_iter().map(JsValue::from).collect();
    let text = String::from(JSON::stringify_with_replacer(images, &known)?);
    keep::save(IMAGES, &Uint8Array::from(text.as_bytes())).await
}

async fn load_images() -> Result<Option<Own>, JsValue> {
    let Some(bytes) = keep::load(IMAGES).await? else {
        return Ok(None);
    };
    let images = JSON::parse(&String::from_utf8_lossy(&bytes.to_vec()))?;
    for set in SETS {
        let pixels = keep::load_blob(&format!("{set}-pixels")).await?;
        let labels = keep::load(&format!("{set}-labels")).await?;
        let (Some(pixels), Some(labels)) = (pixels, labels) else {
            return Ok(None);
        };
        let whole = Reflect::get(&images, &set.into())?;
        Reflect::set(&whole, &"pixels".into(), &pixels)?;
        Reflect::set(&whole, &"labels".into(), &labels)?;
    }
    Own::new(images).map(Some)
}

/// Forgets it, so that no later visit is offered it, and the visitor's own images that it was on. Those that are in use now
/// are kept anew.
pub async fn forget(in_use: Option<Rc<Own>>) -> Result<(), AttrValue> {
    try_forget().await.map_err(said)?;
    match in_use {
        Some(own) => save_images(&own).await,
        None => Ok(()),
    }
}

async fn try_forget() -> Result<(), JsValue> {
    keep::forget(RACE).await?;
    keep::forget(IMAGES).await?;
    for set in SETS {
        keep::forget(&format!("{set}-pixels")).await?;
        keep::forget(&format!("{set}-labels")).await?;
    }
    Ok(())
}

fn checkpoint_name(place: usize) -> String {
    format!("network-{place}")
}

/// What the browser says of an error.
fn said(error: JsValue) -> AttrValue {
    let message = Reflect::get(&error, &"message".into()).ok();
    let message = message.and_then(|message| message.dyn_into::<JsString>().ok());
    message.map_or_else(
        || format!("{error:?}").into(),
        |text| String::from(text).into(),
    )
}
