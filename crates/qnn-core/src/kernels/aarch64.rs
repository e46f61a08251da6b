//! Twins for NEON, which every machine of this kind has. No fused multiply-add: it would change results.

use std::arch::aarch64::*;
use std::simd::num::SimdFloat;
use std::simd::{f32x8, i16x8};

use super::float::{FloatKernel, tile_words};
use super::integer::{self, AddProducts, ByteKernel, IntegerKernel, PanelSums, Sums};
use super::lookup::{Bytes, LookupKernel, Table, Tables, TileSums, inner_loop_with, products_with};
use super::popcount::{self, B_ROWS, BinaryKernel, xor_popcount_with};
use crate::bits::{BitTile, PanelGroup};

pub(super) use super::float::transpose_square as transpose;

/// Columns of a float tile: 16 of the 32 registers hold the sums.
const FLOAT_COLUMNS: usize = 16;

pub(super) fn binary_kernels() -> [BinaryKernel; 1] {
    [BinaryKernel {
        name: "popcount 4x4 neon",
        run: xor_popcount_with::<CountBytes, 2, 4>,
    }]
}

pub(super) fn float_kernels() -> [FloatKernel; 1] {
    [FloatKernel {
        name: "f32 4x16 neon",
        run: |product, out| product.run(tile_words::<FLOAT_COLUMNS>, out),
    }]
}

pub(super) fn integer_kernels() -> [IntegerKernel; 1] {
    [IntegerKernel {
        name: "i16 4x16 neon",
        run: integer::products_with::<PanelRegisters, i16, i16, 2, 4>,
    }]
}

/// The signs of eight numbers, 1 for a minus.
#[inline(always)]
pub(super) fn minus_bits(values: f32x8) -> u8 {
    values.is_sign_negative().to_bitmask() as u8
}

/// None: NEON's products of bytes are an extension that we do not look for.
pub(super) fn byte_kernels() -> [ByteKernel; 0] {
    []
}

pub(super) fn lookup_kernels() -> [LookupKernel; 1] {
    [LookupKernel {
        name: "lookup neon",
        // Eight rows take 8 registers of byte sums, or 16 of pairs and upper bytes.
        run: products_with::<Register, 8, 8>,
        inner: Some(inner_loop_with::<Register, 8>),
    }]
}

/// Two words, or a count for each byte.
#[derive(Clone, Copy)]
struct CountBytes(uint8x16_t);

// SAFETY of all blocks below: NEON is there.
impl popcount::Register<2> for CountBytes {
    /// At most 8 each: 31 x 8 = 248 fits a byte.
    const CAPACITY: usize = 31;

    #[inline(always)]
    fn zero() -> Self {
        // SAFETY: see above.
        CountBytes(unsafe { vdupq_n_u8(0) })
    }

    #[inline(always)]
    fn load(words: &[u64]) -> Self {
        match words.first_chunk::<2>() {
            // SAFETY: see above; two words are as many bytes as a register.
            Some(words) => CountBytes(unsafe { vld1q_u8(words.as_ptr().cast()) }),
            None => Self::zero(),
        }
    }

    #[inline(always)]
    fn add_differences(self, a: Self, b: Self) -> Self {
        // SAFETY: see above.
        CountBytes(unsafe { vaddq_u8(self.0, vcntq_u8(veorq_u8(a.0, b.0))) })
    }

    /// Widens by pairs to 32 bits, then adds by pairs until a lane holds all of a register.
    #[inline(always)]
    fn sums(counts: [Self; B_ROWS]) -> [i32; B_ROWS] {
        let mut sums = [0; B_ROWS];
        // SAFETY: see above; four sums are as many bytes as a register.
        unsafe {
            let [a, b, c, d] = counts.map(|counts| vpaddlq_u16(vpaddlq_u8(counts.0)));
            let all = vpaddq_u32(vpaddq_u32(a, b), vpaddq_u32(c, d));
            vst1q_s32(sums.as_mut_ptr(), vreinterpretq_s32_u32(all));
        }
        sums
    }
}

/// The sums of a panel.
#[derive(Clone, Copy)]
struct PanelRegisters([int32x4_t; 4]);

// SAFETY of all blocks below: NEON is there.
impl Sums for PanelRegisters {
    #[inline(always)]
    fn zero() -> Self {
        // SAFETY: see above.
        PanelRegisters([unsafe { vdupq_n_s32(0) }; 4])
    }

    #[inline(always)]
    fn store(self, sums: &mut PanelSums) {
        for (sums, register) in sums.as_chunks_mut::<4>().0.iter_mut().zip(self.0) {
            // SAFETY: see above; four sums are as many bytes as a register.
            unsafe { vst1q_s32(sums.as_mut_ptr(), register) };
        }
    }
}

impl AddProducts<i16, i16, 2> for PanelRegisters {
    #[inline(always)]
    fn add_products(self, terms: [i16; 2], pair: &PanelGroup<i16, 2>) -> Self {
        let mut sums = self.0;
        let (pairs, _) = pair.as_chunks::<8>();
        for (sums, pairs) in sums.as_chunks_mut::<2>().0.iter_mut().zip(pairs) {
            // SAFETY: see above; eight pairs are as many bytes as two registers.
            unsafe {
                let int16x8x2_t(first, second) = vld2q_s16(pairs.as_ptr().cast());
                for (side, term) in [first, second].into_iter().zip(terms) {
                    sums[0] = vmlal_n_s16(sums[0], vget_low_s16(side), term);
                    sums[1] = vmlal_high_n_s16(sums[1], side, term);
                }
            }
        }
        PanelRegisters(sums)
    }
}

/// Half the rows of a tile.
#[derive(Clone, Copy)]
struct Register(uint8x16_t);

// SAFETY of all blocks below: NEON is there; the arrays that are loaded and stored are as wide as the registers.
impl Bytes for Register {
    const ROWS: usize = 16;

    #[inline(always)]
    fn tables(integers: i16x8, lift: u8) -> Tables {
        /// Picks a zero.
        const NONE: u8 = 255;
        const LOWER: Table = [NONE, 0, 2, 1, NONE, 0, 2, 1, NONE, 0, 2, 1, NONE, 0, 2, 1];
        const UPPER: Table = [NONE, NONE, NONE, NONE, 4, 4, 4, 4, 6, 6, 6, 6, 5, 5, 5, 5];
        let mut tables = Tables([[0; 16]; 2]);
        // SAFETY: see above.
        unsafe {
            let (lower, upper) = (vld1q_u8(LOWER.as_ptr()), vld1q_u8(UPPER.as_ptr()));
            let bytes = vreinterpret_u8_s8(vmovn_s16(integers.into()));
            // Each integer, followed by its sum with the next.
            let next = vreinterpret_u8_u64(vshr_n_u64::<8>(vreinterpret_u64_u8(bytes)));
            let with_next = vadd_u8(bytes, next);
            let both = vcombine_u8(vzip1_u8(bytes, with_next), vzip2_u8(bytes, with_next));
            let of_four = [both, vextq_u8::<8>(both, both)];
            for (table, both) in tables.0.iter_mut().zip(of_four) {
                let sums = vaddq_u8(vqtbl1q_u8(both, lower), vqtbl1q_u8(both, upper));
                vst1q_u8(table.as_mut_ptr(), vaddq_u8(sums, vdupq_n_u8(lift)));
            }
        }
        tables
    }

    #[inline(always)]
    fn zero() -> Self {
        // SAFETY: see above.
        Register(unsafe { vdupq_n_u8(0) })
    }

    #[inline(always)]
    fn load(tile: &BitTile, row: usize) -> Self {
        let rows = &tile.0[row..row + Self::ROWS];
        // SAFETY: see above.
        Register(unsafe { vld1q_u8(rows.as_ptr()) })
    }

    #[inline(always)]
    fn table(table: &Table) -> Self {
        // SAFETY: see above.
        Register(unsafe { vld1q_u8(table.as_ptr()) })
    }

    #[inline(always)]
    fn lower(self) -> Self {
        // SAFETY: see above.
        Register(unsafe { vandq_u8(self.0, vdupq_n_u8(15)) })
    }

    #[inline(always)]
    fn upper(self) -> Self {
        // SAFETY: see above.
        Register(unsafe { vshrq_n_u8::<4>(self.0) })
    }

    #[inline(always)]
    fn pick(self, indices: Self) -> Self {
        // SAFETY: see above.
        Register(unsafe { vqtbl1q_u8(self.0, indices.0) })
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        Register(unsafe { vaddq_u8(self.0, other.0) })
    }

    #[inline(always)]
    fn add_pairs(self, other: Self) -> Self {
        // SAFETY: see above.
        Register(unsafe {
            let sums = vaddq_u16(vreinterpretq_u16_u8(self.0), vreinterpretq_u16_u8(other.0));
            vreinterpretq_u8_u16(sums)
        })
    }

    #[inline(always)]
    fn upper_bytes(self) -> Self {
        // SAFETY: see above.
        Register(unsafe {
            let upper = vshrq_n_u16::<8>(vreinterpretq_u16_u8(self.0));
            vreinterpretq_u8_u16(upper)
        })
    }

    #[inline(always)]
    fn add_to(pairs: Self, upper_bytes: Self, factor: i32, row: usize, sums: &mut TileSums) {
        let (quarters, _) = sums[row..row + Self::ROWS].as_chunks_mut::<4>();
        // SAFETY: see above.
        unsafe {
            let upper = vreinterpretq_u16_u8(upper_bytes.0);
            let lower = vsubq_u16(vreinterpretq_u16_u8(pairs.0), vshlq_n_u16::<8>(upper));
            let (first, last) = (vzip1q_u16(lower, upper), vzip2q_u16(lower, upper));
            let bytes = [
                vmovl_u16(vget_low_u16(first)),
                vmovl_high_u16(first),
                vmovl_u16(vget_low_u16(last)),
                vmovl_high_u16(last),
            ];
            for (sums, bytes) in quarters.iter_mut().zip(bytes) {
                let terms = vmulq_n_s32(vreinterpretq_s32_u32(bytes), factor);
                let sum = vaddq_s32(vld1q_s32(sums.as_ptr()), terms);
                vst1q_s32(sums.as_mut_ptr(), sum);
            }
        }
    }
}
