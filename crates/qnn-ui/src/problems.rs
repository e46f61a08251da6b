//! What is wrong with settings and with links, as the visitor is told.

use qnn_protocol::link::LinkError;
use qnn_protocol::spec::{
    MAX_BATCH_SIZE, MAX_HIDDEN_LAYERS, MAX_LEARNING_RATE, MAX_WIDTH, MIN_BATCH_SIZE, SpecField,
};
use yew::AttrValue;

use crate::language::text;

/// What a field of a spec may be, where it is something else.
pub fn of_spec(field: SpecField) -> AttrValue {
    match field {
        SpecField::Hidden => text!(
            "problem.hidden",
            layers = MAX_HIDDEN_LAYERS,
            units = MAX_WIDTH
        ),
        SpecField::GradientBits => text!("problem.gradient_bits"),
        SpecField::InputDropout | SpecField::HiddenDropout => text!("problem.dropout"),
        SpecField::Optimizer => text!("problem.momentum"),
        SpecField::LearningRate => text!("problem.learning_rate", most = MAX_LEARNING_RATE),
        SpecField::LearningRateDecay => text!("problem.learning_rate_decay"),
        SpecField::DecayEpochs => text!("problem.decay_epochs"),
        SpecField::BatchSize => text!(
            "problem.batch_size",
            least = MIN_BATCH_SIZE,
            most = MAX_BATCH_SIZE
        ),
    }
}

/// Why a link cannot be read.
pub fn of_link(error: &LinkError) -> AttrValue {
    match error {
        LinkError::Preset(name) => text!("problem.link_preset", name = name),
        LinkError::Setting(setting) => text!("problem.link_setting", setting = setting),
        LinkError::Spec(error) => text!("problem.link_spec", problem = of_spec(error.field)),
        LinkError::TooMany(most) => text!("problem.link_networks", most = most),
        LinkError::TooLong => text!("problem.link_length"),
    }
}
