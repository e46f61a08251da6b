//! Layers: what they compute forward and backward on a batch. They own their parameters; the order in which
//! they run, and when, is the trainer's.

mod batch_norm;
mod product;

pub use batch_norm::{BatchNorm, Normalized};
pub use product::{Dropout, Form, Operand, ProductKind};
pub(crate) use product::{float_bytes, floats, transpose, travelling_bytes};

/// Something came out as NaN or infinity, or so large that its square is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotFinite;

/// 2^64: the least number whose square is not finite.
const SQUARE_OVERFLOWS: f32 = (1u128 << 64) as f32;

/// Whether all are numbers whose squares are finite, so that no optimizer's means of them overflow.
pub fn are_finite(values: &[f32]) -> Result<(), NotFinite> {
    if largest(values) < SQUARE_OVERFLOWS {
        Ok(())
    } else {
        Err(NotFinite)
    }
}

/// The largest magnitude; NaN where there is one.
pub(crate) fn largest(values: &[f32]) -> f32 {
    // The bits of magnitudes are ordered as the magnitudes are, with infinity and NaN above all. The compiler makes
    // vector code of it, so it takes no time beside a product.
    let bits = values.iter().map(|x| x.to_bits() & 0x7fff_ffff);
    f32::from_bits(bits.fold(0, u32::max))
}
