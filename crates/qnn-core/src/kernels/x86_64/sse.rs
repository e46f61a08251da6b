//! Twins for machines without AVX2: POPCNT, and the lookup product on 128-bit registers, each of half the 32 rows of a
//! tile.

use std::arch::x86_64::*;
use std::ops::Range;
use std::simd::i16x8;

use crate::bits::{BitRows, BitTile, BitTiles};
use crate::kernels::lookup::{
    Bytes, InnerLoop, Integers, LookupKernel, Table, Tables, TileSums, inner_loop_with,
    products_with,
};
use crate::kernels::popcount::{BinaryKernel, xor_popcount_words};

pub fn binary_kernel() -> Option<BinaryKernel> {
    is_x86_feature_detected!("popcnt").then_some(BinaryKernel {
        name: "popcount popcnt",
        run: |a, b, scale, sums| {
            #[target_feature(enable = "popcnt")]
            fn run(a: BitRows<'_>, b: BitRows<'_>, scale: i32, sums: &mut [i32]) {
                xor_popcount_words(a, b, scale, sums);
            }
            // SAFETY: this kernel is only handed out where the feature was found.
            unsafe { run(a, b, scale, sums) }
        },
    })
}

pub fn lookup_kernel() -> Option<LookupKernel> {
    // SSSE3 picks, SSE4.1 widens and multiplies.
    let available = is_x86_feature_detected!("ssse3") && is_x86_feature_detected!("sse4.1");
    available.then_some(LookupKernel {
        name: "lookup sse4.1",
        run: |a, w, rows, bands, sums| {
            #[target_feature(enable = "ssse3,sse4.1")]
            fn run(
                a: Integers<'_>,
                w: &BitTiles,
                rows: Range<usize>,
                bands: Range<usize>,
                sums: &mut [TileSums],
            ) {
                // Eight rows take 8 registers of byte sums; four take as many of pairs and upper bytes.
                products_with::<Register, 8, 4>(a, w, rows, bands, sums);
            }
            // SAFETY: this kernel is only handed out where the features were found.
            unsafe { run(a, w, rows, bands, sums) }
        },
        inner: Some(|of_loop| {
            #[target_feature(enable = "ssse3,sse4.1")]
            fn run(of_loop: &InnerLoop) -> usize {
                inner_loop_with::<Register, 8>(of_loop)
            }
            // SAFETY: this kernel is only handed out where the features were found.
            unsafe { run(of_loop) }
        }),
    })
}

/// Half the rows of a tile. Only code compiled with SSE4.1 may have them.
#[derive(Clone, Copy)]
struct Register(__m128i);

// SAFETY of all blocks below: they run within `lookup_kernel`, so the machine has SSSE3 and SSE4.1; the arrays that are
// loaded and stored are as wide as the registers.
impl Bytes for Register {
    const ROWS: usize = 16;

    #[inline(always)]
    fn tables(integers: i16x8, lift: u8) -> Tables {
        let mut tables = Tables([[0; 16]; 2]);
        // SAFETY: see above.
        unsafe {
            let integers = integers.into();
            let bytes = _mm_packs_epi16(integers, integers);
            // Each integer, followed by its sum with the next.
            let with_next = _mm_add_epi8(bytes, _mm_srli_epi64::<8>(bytes));
            let both = _mm_unpacklo_epi8(bytes, with_next);
            let lower = _mm_setr_epi8(-1, 0, 2, 1, -1, 0, 2, 1, -1, 0, 2, 1, -1, 0, 2, 1);
            let upper = _mm_setr_epi8(-1, -1, -1, -1, 4, 4, 4, 4, 6, 6, 6, 6, 5, 5, 5, 5);
            let of_four = [both, _mm_unpackhi_epi64(both, both)];
            for (table, both) in tables.0.iter_mut().zip(of_four) {
                let sums =
                    _mm_add_epi8(_mm_shuffle_epi8(both, lower), _mm_shuffle_epi8(both, upper));
                let sums = _mm_add_epi8(sums, _mm_set1_epi8(lift as i8));
                _mm_storeu_si128(table.as_mut_ptr().cast(), sums);
            }
        }
        tables
    }

    #[inline(always)]
    fn zero() -> Self {
        // SAFETY: see above.
        Register(unsafe { _mm_setzero_si128() })
    }

    #[inline(always)]
    fn load(tile: &BitTile, row: usize) -> Self {
        let rows = &tile.0[row..row + Self::ROWS];
        // SAFETY: see above.
        Register(unsafe { _mm_loadu_si128(rows.as_ptr().cast()) })
    }

    #[inline(always)]
    fn table(table: &Table) -> Self {
        // SAFETY: see above.
        Register(unsafe { _mm_loadu_si128(table.as_ptr().cast()) })
    }

    #[inline(always)]
    fn lower(self) -> Self {
        // SAFETY: see above.
        Register(unsafe { _mm_and_si128(self.0, _mm_set1_epi8(15)) })
    }

    #[inline(always)]
    fn upper(self) -> Self {
        // SAFETY: see above.
        Register(unsafe { _mm_and_si128(_mm_srli_epi16::<4>(self.0), _mm_set1_epi8(15)) })
    }

    #[inline(always)]
    fn pick(self, indices: Self) -> Self {
        // SAFETY: see above.
        Register(unsafe { _mm_shuffle_epi8(self.0, indices.0) })
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        Register(unsafe { _mm_add_epi8(self.0, other.0) })
    }

    #[inline(always)]
    fn add_pairs(self, other: Self) -> Self {
        // SAFETY: see above.
        Register(unsafe { _mm_add_epi16(self.0, other.0) })
    }

    #[inline(always)]
    fn upper_bytes(self) -> Self {
        // SAFETY: see above.
        Register(unsafe { _mm_srli_epi16::<8>(self.0) })
    }

    #[inline(always)]
    fn add_to(pairs: Self, upper_bytes: Self, factor: i32, row: usize, sums: &mut TileSums) {
        let sums = sums[row..row + Self::ROWS].as_mut_ptr().cast::<__m128i>();
        // SAFETY: see above; 16 sums are four registers.
        unsafe {
            let upper = upper_bytes.0;
            let lower = _mm_sub_epi16(pairs.0, _mm_slli_epi16::<8>(upper));
            let first = _mm_unpacklo_epi16(lower, upper);
            let last = _mm_unpackhi_epi16(lower, upper);
            let zero = _mm_setzero_si128();
            let quarters = [
                _mm_unpacklo_epi16(first, zero),
                _mm_unpackhi_epi16(first, zero),
                _mm_unpacklo_epi16(last, zero),
                _mm_unpackhi_epi16(last, zero),
            ];
            for (quarter, bytes) in quarters.into_iter().enumerate() {
                let sums = sums.add(quarter);
                let terms = _mm_mullo_epi32(bytes, _mm_set1_epi32(factor));
                _mm_storeu_si128(sums, _mm_add_epi32(_mm_loadu_si128(sums), terms));
            }
        }
    }
}
