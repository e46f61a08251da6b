//! What is called by the same name in several places of the page: choices of a spec, and data.

use qnn_protocol::spec::{Levels, Loss, Optimizer, Rounding};
use yew::AttrValue;

use crate::language::text;

pub fn levels(levels: Levels) -> AttrValue {
    match levels {
        Levels::Linear => text!("option.linear"),
        Levels::Logarithmic => text!("option.logarithmic"),
    }
}

pub fn rounding(rounding: Rounding) -> AttrValue {
    match rounding {
        Rounding::Deterministic => text!("option.deterministic"),
        Rounding::Stochastic => text!("option.stochastic"),
    }
}

pub fn loss(loss: Loss) -> AttrValue {
    match loss {
        Loss::SquaredHinge => text!("option.squared_hinge"),
        Loss::CrossEntropy => text!("option.cross_entropy"),
    }
}

/// Most are names of their inventors' making.
pub fn optimizer(optimizer: Optimizer) -> AttrValue {
    match optimizer {
        Optimizer::Adam => "Adam".into(),
        Optimizer::AdaMax => "AdaMax".into(),
        Optimizer::ShiftAdaMax => text!("option.shift_adamax"),
        Optimizer::Sgd { .. } => "SGD".into(),
    }
}

/// What data is called, by the name that the engine gives; names of data sets are the same in every language.
pub fn data(name: &str) -> AttrValue {
    match name {
        "procedural digits" => text!("data.procedural"),
        "your files" => text!("data.yours"),
        "your drawings" => text!("data.drawings"),
        name => AttrValue::from(name.to_string()),
    }
}
