//! The 16-bit product in 128-bit SIMD: eight multiplications and four additions an instruction.

use std::arch::wasm32::{
    i32x4_add, i32x4_dot_i16x8, i32x4_extract_lane, i32x4_splat, v128, v128_load,
};

use crate::kernels::integer::{IntegerKernel, TILE_COLUMNS, TILE_ROWS, Tile, dot};

const LANES: usize = 8;

pub const KERNEL: IntegerKernel = IntegerKernel {
    name: "i16 2x4 simd128",
    tile,
};

fn tile(a: [&[i16]; TILE_ROWS], b: [&[i16]; TILE_COLUMNS]) -> Tile {
    let vectors = a[0].len() / LANES;
    let [mut sums0, mut sums1] = [[i32x4_splat(0); TILE_COLUMNS]; TILE_ROWS];
    for vector in 0..vectors {
        let load = |row: &[i16]| -> v128 {
            // SAFETY: all rows have the same length, and `vectors` whole vectors lie within it.
            unsafe { v128_load(row.as_ptr().add(vector * LANES).cast()) }
        };
        let [a0, a1] = a.map(load);
        let b = b.map(load);
        for column in 0..TILE_COLUMNS {
            sums0[column] = i32x4_add(sums0[column], i32x4_dot_i16x8(a0, b[column]));
            sums1[column] = i32x4_add(sums1[column], i32x4_dot_i16x8(a1, b[column]));
        }
    }
    let rest = vectors * LANES;
    let sum = |vector: v128, a: &[i16], b: &[i16]| {
        i32x4_extract_lane::<0>(vector)
            + i32x4_extract_lane::<1>(vector)
            + i32x4_extract_lane::<2>(vector)
            + i32x4_extract_lane::<3>(vector)
            + dot(&a[rest..], &b[rest..])
    };
    [
        std::array::from_fn(|column| sum(sums0[column], a[0], b[column])),
        std::array::from_fn(|column| sum(sums1[column], a[1], b[column])),
    ]
}
