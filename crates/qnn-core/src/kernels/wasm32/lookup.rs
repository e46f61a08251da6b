//! The lookup product on v128 registers, each of half the 32 rows of a tile. `i8x16.swizzle` picks; where the build has
//! relaxed SIMD its relaxed form does, which is one instruction less on x86 and the same for indices up to 15, and from 128 on.

use std::arch::wasm32::*;
use std::simd::i16x8;

use crate::bits::BitTile;
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
    inner: Some(inner_loop_with::<Register, 8>),
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

/// For each half of eight integers, where a table's summands lie among integers that are each followed by their sum with
/// the next: the one of the first two integers, by the lower two bits of the index, and of the last two.
static SUMMANDS: [[Register; 2]; 2] = {
    /// Picks a zero.
    const NONE: i8 = -1;
    const fn summands(first: i8) -> [Register; 2] {
        let (a, b, c, d) = (first, first + 2, first + 4, first + 6);
        let (l, u) = ([NONE, a, b, a + 1], [NONE, c, d, c + 1]);
        [
            Register(i8x16(
                l[0], l[1], l[2], l[3], l[0], l[1], l[2], l[3], l[0], l[1], l[2], l[3], l[0], l[1],
                l[2], l[3],
            )),
            Register(i8x16(
                u[0], u[0], u[0], u[0], u[1], u[1], u[1], u[1], u[2], u[2], u[2], u[2], u[3], u[3],
                u[3], u[3],
            )),
        ]
    }
    [summands(0), summands(8)]
};

impl Bytes for Register {
    const ROWS: usize = 16;

    #[inline(always)]
    fn tables(integers: i16x8, lift: u8) -> Tables {
        let integers = v128::from(integers);
        let bytes = i8x16_narrow_i16x8(integers, integers);
        // Each integer, followed by its sum with the next.
        let with_next = i8x16_add(bytes, u64x2_shr(bytes, 8));
        let both = i8x16_shuffle::<0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23>(
            bytes, with_next,
        );
        let lift = i8x16_splat(lift as i8);
        let table = |half: usize| {
            // SAFETY: the constants are two registers for each table. They are read, and not known, lest the compiler
            // make shuffles of two registers of them, for which browsers build constants anew each time.
            let [lower, upper] = unsafe { (&raw const SUMMANDS[half]).read_volatile() };
            let sums = i8x16_add(swizzle(both, lower.0), swizzle(both, upper.0));
            let mut table = [0; 16];
            // SAFETY: a table is as many bytes as a register.
            unsafe { v128_store(table.as_mut_ptr().cast(), i8x16_add(sums, lift)) };
            table
        };
        Tables([table(0), table(1)])
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
