//! The float tile on v128 registers: 8 registers of sums, two loads and four broadcasts a term.

use std::arch::wasm32::*;

use crate::kernels::float::{FloatKernel, TILE_COLUMNS, TILE_ROWS, Tile};

pub const KERNEL: FloatKernel = FloatKernel {
    name: "f32 4x8 simd128",
    tile: tile_product,
};

fn tile_product(a: &[[f32; TILE_ROWS]], b: &[[f32; TILE_COLUMNS]]) -> Tile {
    let mut sums = [[f32x4_splat(0.0); 2]; TILE_ROWS];
    for (a, b) in a.iter().zip(b) {
        // SAFETY: `b` holds eight f32.
        let b = unsafe {
            let b = b.as_ptr().cast::<v128>();
            [v128_load(b), v128_load(b.add(1))]
        };
        for (sums, a) in sums.iter_mut().zip(a) {
            let a = f32x4_splat(*a);
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum = f32x4_add(*sum, f32x4_mul(a, b));
            }
        }
    }
    let mut tile = Tile::default();
    for (tile, sums) in tile.iter_mut().zip(sums) {
        // SAFETY: a row of the tile holds eight f32.
        unsafe {
            let row = tile.as_mut_ptr().cast::<v128>();
            v128_store(row, sums[0]);
            v128_store(row.add(1), sums[1]);
        }
    }
    tile
}
