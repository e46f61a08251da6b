//! Native twins by the instructions they take; which of these a machine has is found at run time.

mod avx2;
mod avx512;
mod sse;

use std::arch::x86_64::_mm_movemask_ps;
use std::simd::f32x8;

use super::float::FloatKernel;
use super::integer::{ByteKernel, IntegerKernel};
use super::lookup::LookupKernel;
use super::popcount::BinaryKernel;

pub(super) use super::float::transpose_square as transpose;

pub(super) fn binary_kernels() -> impl Iterator<Item = BinaryKernel> {
    [
        sse::binary_kernel(),
        avx2::binary_kernel(),
        avx512::binary_kernel(),
    ]
    .into_iter()
    .flatten()
}

pub(super) fn float_kernels() -> Option<FloatKernel> {
    avx2::float_kernel()
}

pub(super) fn integer_kernels() -> impl Iterator<Item = IntegerKernel> {
    [avx2::integer_kernel(), avx512::integer_kernel()]
        .into_iter()
        .flatten()
}

pub(super) fn byte_kernels() -> impl Iterator<Item = ByteKernel> {
    [avx2::byte_kernel(), avx512::byte_kernel()]
        .into_iter()
        .flatten()
}

pub(super) fn lookup_kernels() -> impl Iterator<Item = LookupKernel> {
    [sse::lookup_kernel(), avx2::lookup_kernel()]
        .into_iter()
        .flatten()
}

/// The signs of eight numbers, 1 for a minus.
#[inline(always)]
pub(super) fn minus_bits(values: f32x8) -> u8 {
    let halves = [values.extract::<0, 4>(), values.extract::<4, 4>()];
    // SAFETY: every x86-64 machine has SSE.
    let [low, high] = halves.map(|half| unsafe { _mm_movemask_ps(half.into()) });
    (high << 4 | low) as u8
}
