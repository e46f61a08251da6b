//! A race as it is kept between two visits: its address, what was measured, and each network's checkpoint. Where it is kept is
//! `keep`'s.

use js_sys::{Date, JSON, JsString, Object, Reflect, Uint8Array};
use qnn_protocol::Drawing;
use serde::{Deserialize, Serialize};
use wasm_bindgen::{JsCast, JsValue};
use yew::AttrValue;

use crate::address::Address;
use crate::engine::Checkpoint;
use crate::history::History;
use crate::keep;
use crate::race::{Race, name};

/// The name of what is known of the race; the checkpoints have names of their own.
const RACE: &str = "race";

/// A race that is kept.
pub struct Kept {
    known: Known,
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
}

impl Kept {
    pub fn of(race: &Race, address: &Address, drawings: &[Drawing], at: f64) -> Kept {
        let all = || race.all().iter();
        Kept {
            known: Known {
                address: address.write(),
                at,
                histories: all().map(|one| one.history.borrow().clone()).collect(),
                steps: all().map(|one| one.run.step).collect(),
                drawings: drawings.to_vec(),
            },
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
    let is_there = checkpoints.iter().any(Option::is_some);
    Ok(is_there.then_some(Kept { known, checkpoints }))
}

/// Forgets it, so that no later visit is offered it.
pub async fn forget() -> Result<(), AttrValue> {
    keep::forget(RACE).await.map_err(said)
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
