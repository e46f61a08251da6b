//! Twins for WebAssembly's 128-bit SIMD. Chosen when compiled: a module either has SIMD or does not load at all.

mod float;
mod popcount;

use super::float::FloatKernel;
use super::popcount::BinaryKernel;

pub(super) fn binary_kernel() -> Option<BinaryKernel> {
    Some(popcount::KERNEL)
}

pub(super) fn float_kernel() -> Option<FloatKernel> {
    Some(float::KERNEL)
}
