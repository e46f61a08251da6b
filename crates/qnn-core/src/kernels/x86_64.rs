//! Native twins: the portable algorithms compiled once more with AVX2 and POPCNT, where the machine has them, and
//! the 16-bit product in AVX2. No fused multiply-add: it would change results.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_setzero_si256,
    _mm256_storeu_si256,
};

use super::float::{FloatKernel, SQUARE, TILE_ROWS, Tile, tile_words};
use super::integer::{self, IntegerKernel, dot};
use super::popcount::{BinaryKernel, xor_popcount_words};
use crate::bits::BitRows;

/// Columns of a float tile: two registers.
const FLOAT_COLUMNS: usize = 16;
type FloatTile = Tile<FLOAT_COLUMNS>;

fn available() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt")
}

pub(super) fn binary_kernel() -> Option<BinaryKernel> {
    available().then_some(BinaryKernel {
        name: "popcount avx2",
        run: |a, b, scale, sums| {
            #[target_feature(enable = "avx2,popcnt")]
            fn run(a: BitRows<'_>, b: BitRows<'_>, scale: i32, sums: &mut [i32]) {
                xor_popcount_words(a, b, scale, sums);
            }
            // SAFETY: this kernel is only handed out where the features were found.
            unsafe { run(a, b, scale, sums) }
        },
    })
}

pub(super) fn float_kernel() -> Option<FloatKernel> {
    available().then_some(FloatKernel {
        name: "f32 4x16 avx2",
        run: |product, out| {
            #[target_feature(enable = "avx2")]
            fn tile(a: &[[f32; TILE_ROWS]], b: &[[f32; FLOAT_COLUMNS]], sums: &mut FloatTile) {
                tile_words(a, b, sums);
            }
            // SAFETY: this kernel is only handed out where the features were found.
            product.run(|a, b, sums| unsafe { tile(a, b, sums) }, out);
        },
    })
}

/// Lines to terms; the compiler makes shuffles of it.
#[inline(always)]
pub(super) fn transpose([a, b, c, d]: [&[f32; SQUARE]; SQUARE]) -> [[f32; SQUARE]; SQUARE] {
    std::array::from_fn(|term| [a[term], b[term], c[term], d[term]])
}

pub(super) fn integer_kernel() -> Option<IntegerKernel> {
    available().then_some(IntegerKernel {
        name: "i16 2x4 avx2",
        // SAFETY: this kernel is only handed out where the features were found.
        tile: |a, b| unsafe { integer_tile(a, b) },
    })
}

/// Sixteen multiplications and eight additions an instruction.
#[target_feature(enable = "avx2")]
fn integer_tile(
    a: [&[i16]; integer::TILE_ROWS],
    b: [&[i16]; integer::TILE_COLUMNS],
) -> integer::Tile {
    const LANES: usize = 16;
    let vectors = a[0].len() / LANES;
    let [mut sums0, mut sums1] = [[_mm256_setzero_si256(); integer::TILE_COLUMNS]; 2];
    for vector in 0..vectors {
        let load = |row: &[i16]| -> __m256i {
            // SAFETY: all rows have the same length, and `vectors` whole vectors lie within it.
            unsafe { _mm256_loadu_si256(row.as_ptr().add(vector * LANES).cast()) }
        };
        let [a0, a1] = a.map(load);
        for column in 0..integer::TILE_COLUMNS {
            let b = load(b[column]);
            sums0[column] = _mm256_add_epi32(sums0[column], _mm256_madd_epi16(a0, b));
            sums1[column] = _mm256_add_epi32(sums1[column], _mm256_madd_epi16(a1, b));
        }
    }
    let rest = vectors * LANES;
    let sum = |vector: __m256i, a: &[i16], b: &[i16]| {
        let mut lanes = [0i32; 8];
        // SAFETY: the lanes are as wide as the vector.
        unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), vector) };
        lanes.iter().sum::<i32>() + dot(&a[rest..], &b[rest..])
    };
    [
        std::array::from_fn(|column| sum(sums0[column], a[0], b[column])),
        std::array::from_fn(|column| sum(sums1[column], a[1], b[column])),
    ]
}
