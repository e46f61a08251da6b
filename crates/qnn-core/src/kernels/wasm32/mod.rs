//! Twins for WebAssembly's 128-bit SIMD. Chosen when compiled: a module either has SIMD or does not load at all.

mod float;
mod integer;
mod lookup;
mod popcount;

use super::float::FloatKernel;
use super::integer::IntegerKernel;
use super::lookup::LookupKernel;
use super::popcount::BinaryKernel;

pub(super) use float::transpose;

pub(super) fn binary_kernel() -> Option<BinaryKernel> {
    Some(popcount::KERNEL)
}

pub(super) fn float_kernel() -> Option<FloatKernel> {
    Some(float::KERNEL)
}

pub(super) fn integer_kernel() -> Option<IntegerKernel> {
    Some(integer::KERNEL)
}

pub(super) fn lookup_kernel() -> Option<LookupKernel> {
    Some(lookup::KERNEL)
}
