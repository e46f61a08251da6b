//! Machines without twins of their own.

use super::float::{FloatKernel, SQUARE};
use super::integer::IntegerKernel;
use super::lookup::LookupKernel;
use super::popcount::BinaryKernel;

pub(super) fn binary_kernel() -> Option<BinaryKernel> {
    None
}

pub(super) fn float_kernel() -> Option<FloatKernel> {
    None
}

pub(super) fn integer_kernel() -> Option<IntegerKernel> {
    None
}

pub(super) fn lookup_kernel() -> Option<LookupKernel> {
    None
}

/// Lines to terms.
pub(super) fn transpose([a, b, c, d]: [&[f32; SQUARE]; SQUARE]) -> [[f32; SQUARE]; SQUARE] {
    std::array::from_fn(|term| [a[term], b[term], c[term], d[term]])
}
