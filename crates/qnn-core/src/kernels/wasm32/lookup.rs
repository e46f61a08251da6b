//! The lookup product on v128 registers, two for the 32 rows of a tile. `i8x16.swizzle` picks; where the build has
//! relaxed SIMD its relaxed form does, which is one instruction less on x86 and the same for indices up to 15.

use std::arch::wasm32::*;

use crate::bits::{BitTile, TILE_COLUMNS};
use crate::kernels::lookup::{
    Bytes, LookupKernel, Table, Tables, TileSums, inner_loop_with, products_with,
};

pub const KERNEL: LookupKernel = LookupKernel {
    name: if cfg!(target_feature = "relaxed-simd") {
        "lookup relaxed simd128"
    } else {
        "lookup simd128"
    },
    // Four rows take 8 registers of byte sums; two take as many of pairs and upper bytes.
    run: products_with::<Registers, 4, 2>,
    inner: inner_loop_with::<Registers>,
};

#[derive(Clone, Copy)]
struct Registers([v128; 2]);

impl Registers {
    #[inline(always)]
    fn both(self, other: Self, of: impl Fn(v128, v128) -> v128) -> Self {
        Registers([of(self.0[0], other.0[0]), of(self.0[1], other.0[1])])
    }
}

#[inline(always)]
fn swizzle(table: v128, indices: v128) -> v128 {
    #[cfg(target_feature = "relaxed-simd")]
    return i8x16_relaxed_swizzle(table, indices);
    #[cfg(not(target_feature = "relaxed-simd"))]
    i8x16_swizzle(table, indices)
}

impl Bytes for Registers {
    #[inline(always)]
    fn tables(integers: &[i16; TILE_COLUMNS], lift: u8) -> Tables {
        /// Picks a zero.
        const NONE: i8 = -128;
        // SAFETY: eight i16 are as many bytes as a register.
        let integers = unsafe { v128_load(integers.as_ptr().cast()) };
        let bytes = i8x16_narrow_i16x8(integers, integers);
        // Each integer, followed by its sum with the next.
        let with_next = i8x16_add(bytes, u64x2_shr(bytes, 8));
        let both = i8x16_shuffle::<0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23>(
            bytes, with_next,
        );
        let lift = i8x16_splat(lift as i8);
        let table = |first: i8| {
            let (a, b, c, d) = (first, first + 2, first + 4, first + 6);
            let lower = [NONE, a, b, a + 1];
            let upper = [NONE, c, d, c + 1];
            let indices = |of: fn(usize) -> usize, sums: [i8; 4]| {
                let at = |index| sums[of(index)];
                i8x16(
                    at(0),
                    at(1),
                    at(2),
                    at(3),
                    at(4),
                    at(5),
                    at(6),
                    at(7),
                    at(8),
                    at(9),
                    at(10),
                    at(11),
                    at(12),
                    at(13),
                    at(14),
                    at(15),
                )
            };
            let lower = i8x16_swizzle(both, indices(|index| index % 4, lower));
            let upper = i8x16_swizzle(both, indices(|index| index / 4, upper));
            let sums = i8x16_add(i8x16_add(lower, upper), lift);
            let mut table = [0; 16];
            // SAFETY: a table is as many bytes as a register.
            unsafe { v128_store(table.as_mut_ptr().cast(), sums) };
            table
        };
        Tables([table(0), table(8)])
    }

    #[inline(always)]
    fn zero() -> Self {
        Registers([u8x16_splat(0); 2])
    }

    #[inline(always)]
    fn load(tile: &BitTile) -> Self {
        let tile = tile.0.as_ptr().cast::<v128>();
        // SAFETY: a tile is as many bytes as two registers.
        unsafe { Registers([v128_load(tile), v128_load(tile.add(1))]) }
    }

    #[inline(always)]
    fn table(table: &Table) -> Self {
        // SAFETY: a table is as many bytes as a register.
        Registers([unsafe { v128_load(table.as_ptr().cast()) }; 2])
    }

    #[inline(always)]
    fn lower(self) -> Self {
        Registers(self.0.map(|bytes| v128_and(bytes, u8x16_splat(15))))
    }

    #[inline(always)]
    fn upper(self) -> Self {
        // A shift of bytes is several instructions on x86, one of pairs is not.
        Registers(
            self.0
                .map(|bytes| v128_and(u16x8_shr(bytes, 4), u8x16_splat(15))),
        )
    }

    #[inline(always)]
    fn pick(self, indices: Self) -> Self {
        self.both(indices, swizzle)
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.both(other, |a, b| u8x16_add(a, b))
    }

    #[inline(always)]
    fn add_pairs(self, other: Self) -> Self {
        self.both(other, |a, b| u16x8_add(a, b))
    }

    #[inline(always)]
    fn upper_bytes(self) -> Self {
        Registers(self.0.map(|bytes| u16x8_shr(bytes, 8)))
    }

    #[inline(always)]
    fn add_to(pairs: Self, upper_bytes: Self, factor: i32, sums: &mut TileSums) {
        let factor = i32x4_splat(factor);
        let sums = sums.as_mut_ptr().cast::<v128>();
        for half in 0..2 {
            let upper = upper_bytes.0[half];
            let lower = i16x8_sub(pairs.0[half], i16x8_shl(upper, 8));
            let first = i16x8_shuffle::<0, 8, 1, 9, 2, 10, 3, 11>(lower, upper);
            let last = i16x8_shuffle::<4, 12, 5, 13, 6, 14, 7, 15>(lower, upper);
            let quarters = [
                u32x4_extend_low_u16x8(first),
                u32x4_extend_high_u16x8(first),
                u32x4_extend_low_u16x8(last),
                u32x4_extend_high_u16x8(last),
            ];
            for (quarter, bytes) in quarters.into_iter().enumerate() {
                // SAFETY: 32 sums are eight registers, four for each half.
                unsafe {
                    let sums = sums.add(4 * half + quarter);
                    let terms = i32x4_mul(bytes, factor);
                    v128_store(sums, i32x4_add(v128_load(sums), terms));
                }
            }
        }
    }
}
