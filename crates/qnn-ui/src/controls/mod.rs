//! Everything the visitor sets. The controls hold no state of their own: what is typed lives in `Form`,
//! and what they do is told to `app` as a message.

mod bit_slider;
mod choice;
mod data_choice;
mod form;
mod run;
mod settings;

pub use bit_slider::BitSlider;
pub use choice::Choice;
pub use data_choice::{DataChoice, DataOption};
pub use form::{Field, Form, starts_anew};
pub use run::RunControls;
pub use settings::Settings;
