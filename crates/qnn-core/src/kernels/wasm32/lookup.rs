//! The lookup product on v128 registers, each of half the 32 rows of a tile. `i8x16.swizzle` picks; where the build has
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
    // Eight rows take 8 registers of byte sums; four take as many of pairs and upper bytes.
    run: products_with::<Register, 8, 4>,
    inner: inner_loop_with::<Register>,
};

#[derive(Clone, Copy)]
struct Register(v128);

#[inline(always)]
fn swizzle(table: v128, indices: v128) -> v128 {
    #[cfg(target_feature = "relaxed-simd")]
    return i8x16_relaxed_swizzle(table, indices);
    #[cfg(not(target_feature = "relaxed-simd"))]
    i8x16_swizzle(table, indices)
}

impl Bytes for Register {
    const ROWS: usize = 16;

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
        Register(u8x16_splat(0))
    }

    #[inline(always)]
    fn load(tile: &BitTile, row: usize) -> Self {
        let rows = &tile.0[row..row + Self::ROWS];
        // SAFETY: 16 bytes are a register.
        Register(unsafe { v128_load(rows.as_ptr().cast()) })
    }

    #[inline(always)]
    fn table(table: &Table) -> Self {
        // SAFETY: a table is as many bytes as a register.
        Register(unsafe { v128_load(table.as_ptr().cast()) })
    }

    #[inline(always)]
    fn lower(self) -> Self {
        Register(v128_and(self.0, u8x16_splat(15)))
    }

    #[inline(always)]
    fn upper(self) -> Self {
        // A shift of bytes is several instructions on x86, one of pairs is not.
        Register(v128_and(u16x8_shr(self.0, 4), u8x16_splat(15)))
    }

    #[inline(always)]
    fn pick(self, indices: Self) -> Self {
        Register(swizzle(self.0, indices.0))
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Register(u8x16_add(self.0, other.0))
    }

    #[inline(always)]
    fn add_pairs(self, other: Self) -> Self {
        Register(u16x8_add(self.0, other.0))
    }

    #[inline(always)]
    fn upper_bytes(self) -> Self {
        Register(u16x8_shr(self.0, 8))
    }

    #[inline(always)]
    fn add_to(pairs: Self, upper_bytes: Self, factor: i32, row: usize, sums: &mut TileSums) {
        let upper = upper_bytes.0;
        let lower = i16x8_sub(pairs.0, i16x8_shl(upper, 8));
        let first = i16x8_shuffle::<0, 8, 1, 9, 2, 10, 3, 11>(lower, upper);
        let last = i16x8_shuffle::<4, 12, 5, 13, 6, 14, 7, 15>(lower, upper);
        let quarters = [
            u32x4_extend_low_u16x8(first),
            u32x4_extend_high_u16x8(first),
            u32x4_extend_low_u16x8(last),
            u32x4_extend_high_u16x8(last),
        ];
        let sums = sums[row..row + Self::ROWS].as_mut_ptr().cast::<v128>();
        for (quarter, bytes) in quarters.into_iter().enumerate() {
            // SAFETY: 16 sums are four registers.
            unsafe {
                let sums = sums.add(quarter);
                let terms = i32x4_mul(bytes, i32x4_splat(factor));
                v128_store(sums, i32x4_add(v128_load(sums), terms));
            }
        }
    }
}
