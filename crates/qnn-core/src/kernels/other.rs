//! Machines without twins of their own.

use std::simd::f32x8;
use std::simd::num::SimdFloat;

use super::float::FloatKernel;
use super::integer::{ByteKernel, IntegerKernel};
use super::lookup::LookupKernel;
use super::popcount::BinaryKernel;

pub(super) use super::float::transpose_square as transpose;

pub(super) fn binary_kernels() -> [BinaryKernel; 0] {
    []
}

pub(super) fn float_kernels() -> [FloatKernel; 0] {
    []
}

pub(super) fn integer_kernels() -> [IntegerKernel; 0] {
    []
}

pub(super) fn byte_kernels() -> [ByteKernel; 0] {
    []
}

pub(super) fn lookup_kernels() -> [LookupKernel; 0] {
    []
}

/// The signs of eight numbers, 1 for a minus.
#[inline(always)]
pub(super) fn minus_bits(values: f32x8) -> u8 {
    values.is_sign_negative().to_bitmask() as u8
}
