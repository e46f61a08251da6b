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

/// 2^64: the least number whose square is not finite.
const SQUARE_OVERFLOWS: f32 = (1u128 << 64) as f32;

/// Whether all are numbers whose squares are finite, so that no optimizer's means of them overflow.
pub fn are_finite(values: &[f32]) -> Result<(), NotFinite> {
    // The bits of magnitudes are ordered as the magnitudes are, with infinity and NaN above all. The compiler makes
    // vector code of it, so it takes no time beside a product.
    let magnitudes = values.iter().map(|x| x.to_bits() & 0x7fff_ffff);
    let largest = magnitudes.fold(0, u32::max);
    if largest < SQUARE_OVERFLOWS.to_bits() {
        Ok(())
    } else {
        Err(NotFinite)
    }
}
