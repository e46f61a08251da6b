//! Twins for WebAssembly's 128-bit SIMD. Chosen when compiled: a module either has SIMD or does not load at all.

mod float;
mod integer;
mod lookup;
mod popcount;

use std::arch::wasm32::i32x4_bitmask;
use std::simd::f32x8;

use super::float::FloatKernel;
use super::integer::{ByteKernel, IntegerKernel};
use super::lookup::LookupKernel;
use super::popcount::BinaryKernel;

pub(super) use float::transpose;

pub(super) fn binary_kernels() -> [BinaryKernel; 1] {
    [popcount::KERNEL]
}

pub(super) fn float_kernels() -> [FloatKernel; 1] {
    [float::KERNEL]
}

pub(super) fn integer_kernels() -> [IntegerKernel; 1] {
    [integer::KERNEL]
}

pub(super) fn byte_kernels() -> Option<ByteKernel> {
    #[cfg(target_feature = "relaxed-simd")]
    return Some(integer::BYTE_KERNEL);
    #[cfg(not(target_feature = "relaxed-simd"))]
    None
}

pub(super) fn lookup_kernels() -> [LookupKernel; 1] {
    [lookup::KERNEL]
}

/// The signs of eight numbers, 1 for a minus.
#[inline(always)]
pub(super) fn minus_bits(values: f32x8) -> u8 {
    let halves = [values.extract::<0, 4>(), values.extract::<4, 4>()];
    let [low, high] = halves.map(|half| i32x4_bitmask(half.into()));
    high << 4 | low
}
