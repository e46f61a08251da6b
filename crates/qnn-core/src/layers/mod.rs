//! Layers: what they compute forward and backward on a batch. They own their parameters; the order in which
//! they run, and when, is the trainer's.

mod batch_norm;
mod product;

pub use batch_norm::{BatchNorm, Normalized};
pub(crate) use product::transpose;
pub use product::{Dropout, Form, Operand, ProductKind};

/// Something came out as NaN or infinity, or so large that its square is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotFinite;

/// Whether all are numbers whose squares are finite, so that no optimizer's means of them overflow.
pub fn are_finite(values: &[f32]) -> Result<(), NotFinite> {
    // The sum of zeros, or NaN: without branches it takes no time beside a product.
    let zeros: f32 = values.iter().map(|x| x * x * 0.0).sum();
    if zeros == 0.0 { Ok(()) } else { Err(NotFinite) }
}
