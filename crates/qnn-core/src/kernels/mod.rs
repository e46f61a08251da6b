//! The products everything else stands on: bits by bits, small integers by small integers, floats by floats.
//! Each operation has one public function, a list of twins that compute the same, and a scalar reference that
//! a student can read. Intrinsics live in `aarch64`, `wasm32` and `x86_64` and nowhere else.
//!
//! Twins agree bit for bit. Integers do so by nature; floats because every output element is one sum, added in
//! the order of its terms, without fused multiply-adds. So no result depends on the machine or on threads.

#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod aarch64;
mod choice;
mod float;
mod integer;
mod lookup;
#[cfg(not(any(
    target_arch = "x86_64",
    all(target_arch = "aarch64", target_endian = "little"),
    all(target_arch = "wasm32", target_feature = "simd128")
)))]
mod other;
mod popcount;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm32;
#[cfg(target_arch = "x86_64")]
mod x86_64;

cfg_select! {
    target_arch = "x86_64" => { use x86_64 as machine; }
    all(target_arch = "aarch64", target_endian = "little") => { use aarch64 as machine; }
    all(target_arch = "wasm32", target_feature = "simd128") => { use wasm32 as machine; }
    _ => { use other as machine; }
}

pub use choice::{ByteCosts, Choice, Costs, Method};
pub use float::{FloatKernel, FloatView, float_kernels, float_product, float_product_with};
pub use integer::{
    ByteKernel, IntegerKernel, PanelKernel, PanelSums, byte_kernels, byte_product,
    byte_product_with, integer_kernels, integer_product, integer_product_with,
};
pub(crate) use lookup::lookup_tables;
pub use lookup::{
    BLOCK_ROWS, InnerLoop, Integers, LookupKernel, TileSums, lookup_kernels, lookup_product,
    lookup_product_with,
};
pub use popcount::{BinaryKernel, binary_kernels, binary_product_with, bit_plane_product};

use std::simd::{Simd, SimdElement, f32x8};
use std::sync::LazyLock;

/// The kernels that training uses here: the last, fastest twin of each list.
static BEST_BINARY: LazyLock<BinaryKernel> =
    LazyLock::new(|| *binary_kernels().last().unwrap_or(&popcount::SCALAR));
static BEST_FLOAT: LazyLock<FloatKernel> =
    LazyLock::new(|| *float_kernels().last().unwrap_or(&float::PORTABLE));
static BEST_LOOKUP: LazyLock<LookupKernel> =
    LazyLock::new(|| *lookup_kernels().last().unwrap_or(&lookup::PORTABLE));
static BEST_INTEGER: LazyLock<IntegerKernel> =
    LazyLock::new(|| *integer_kernels().last().unwrap_or(&integer::SCALAR));
static BEST_BYTE: LazyLock<ByteKernel> =
    LazyLock::new(|| *byte_kernels().last().unwrap_or(&integer::BYTE_SCALAR));

/// The signs of eight values, none of them NaN, the first one in the lowest bit: 1 for +1, where x >= 0 (paper eq. 1).
/// x86-64 and WebAssembly have an instruction for it, which the compiler does not find by itself.
#[inline(always)]
pub fn sign_bits(values: f32x8) -> u8 {
    // Adding zero makes a plus of a zero's minus.
    !machine::minus_bits(values + f32x8::splat(0.0))
}

/// Four lines of four to the four columns.
#[inline(always)]
pub(crate) fn transpose_four<T: SimdElement>([a, b, c, d]: [Simd<T, 4>; 4]) -> [Simd<T, 4>; 4] {
    let ((a, c), (b, d)) = (a.interleave(c), b.interleave(d));
    let ((first, second), (third, fourth)) = (a.interleave(b), c.interleave(d));
    [first, second, third, fourth]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_of_values() {
        let values = [1.0, -1.0, 0.0, -0.0, -1e-40, 1e-40, f32::MIN, f32::INFINITY];
        assert_eq!(sign_bits(f32x8::from_array(values)), 0b1010_1101);
        for salt in 0..100 {
            let values: [f32; 8] = crate::measure::values(8, salt).try_into().unwrap();
            let bits = sign_bits(f32x8::from_array(values));
            for (place, x) in values.into_iter().enumerate() {
                assert_eq!(bits >> place & 1 == 1, x >= 0.0);
            }
        }
    }
}
