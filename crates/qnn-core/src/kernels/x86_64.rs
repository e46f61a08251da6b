//! Native twins: the portable algorithms compiled once more with AVX2 and POPCNT, where the machine has them.
//! No fused multiply-add: it would change results.

use super::float::{FloatKernel, TILE_COLUMNS, TILE_ROWS, Tile, tile_words};
use super::popcount::{BinaryKernel, xor_popcount_words};
use crate::bits::BitRows;

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
        name: "f32 4x8 avx2",
        tile: |a, b| {
            #[target_feature(enable = "avx2")]
            fn tile(a: &[[f32; TILE_ROWS]], b: &[[f32; TILE_COLUMNS]]) -> Tile {
                tile_words(a, b)
            }
            // SAFETY: this kernel is only handed out where the features were found.
            unsafe { tile(a, b) }
        },
    })
}
