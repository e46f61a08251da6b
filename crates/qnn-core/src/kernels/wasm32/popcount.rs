//! XOR and population count on v128 registers: `i8x16.popcnt` counts in bytes.

use std::arch::wasm32::*;

use crate::kernels::popcount::{B_ROWS, BinaryKernel, Register, xor_popcount_with};

pub const KERNEL: BinaryKernel = BinaryKernel {
    name: "popcount 2x4 simd128",
    run: xor_popcount_with::<Bytes, 2, 2>,
};

#[derive(Clone, Copy)]
struct Bytes(v128);

impl Register<2> for Bytes {
    /// At most 8 each: 31 x 8 = 248 fits a byte.
    const CAPACITY: usize = 31;

    #[inline(always)]
    fn zero() -> Self {
        Bytes(i8x16_splat(0))
    }

    #[inline(always)]
    fn load(words: &[u64]) -> Self {
        match words.first_chunk::<2>() {
            // SAFETY: two words are as many bytes as a register.
            Some(words) => Bytes(unsafe { v128_load(words.as_ptr().cast()) }),
            None => Self::zero(),
        }
    }

    #[inline(always)]
    fn add_differences(self, a: Self, b: Self) -> Self {
        Bytes(i8x16_add(self.0, i8x16_popcnt(v128_xor(a.0, b.0))))
    }

    /// Widens by pairs to 32 bits, then adds lanes up while transposing four registers to one.
    #[inline(always)]
    fn sums(counts: [Self; B_ROWS]) -> [i32; B_ROWS] {
        let [a, b, c, d] =
            counts.map(|bytes| u32x4_extadd_pairwise_u16x8(u16x8_extadd_pairwise_u8x16(bytes.0)));
        let ab = i32x4_add(
            i32x4_shuffle::<0, 4, 1, 5>(a, b),
            i32x4_shuffle::<2, 6, 3, 7>(a, b),
        );
        let cd = i32x4_add(
            i32x4_shuffle::<0, 4, 1, 5>(c, d),
            i32x4_shuffle::<2, 6, 3, 7>(c, d),
        );
        let sums = i32x4_add(i64x2_shuffle::<0, 2>(ab, cd), i64x2_shuffle::<1, 3>(ab, cd));
        let mut out = [0; B_ROWS];
        // SAFETY: four i32 are as many bytes as a register.
        unsafe { v128_store(out.as_mut_ptr().cast(), sums) };
        out
    }
}
