//! Layers: what they compute forward and backward on a batch. They own their parameters; the order in which
//! they run, and when, is the trainer's.

mod batch_norm;
mod dense;

pub use batch_norm::{BatchNorm, Normalized};
pub use dense::{DenseWeights, Input, dense_product, multiplies_integers};
