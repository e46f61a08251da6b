//! The float tile on v128 registers: 8 registers of sums, two loads and four broadcasts a term.

use std::arch::wasm32::*;

use crate::kernels::float::{FloatKernel, SQUARE, TILE_COLUMNS, TILE_ROWS, Tile};

pub const KERNEL: FloatKernel = FloatKernel {
    name: "f32 4x8 simd128",
    run: |product, out| product.run(tile, out),
};

fn tile(a: &[[f32; TILE_ROWS]], b: &[[f32; TILE_COLUMNS]], tile: &mut Tile<TILE_COLUMNS>) {
    // SAFETY: a row of the tile holds eight f32.
    let mut sums = tile.map(|row| unsafe { load(row.as_ptr()) });
    for (a, b) in a.iter().zip(b) {
        // SAFETY: `b` holds eight f32.
        let b = unsafe { load(b.as_ptr()) };
        for (sums, a) in sums.iter_mut().zip(a) {
            let a = f32x4_splat(*a);
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum = f32x4_add(*sum, f32x4_mul(a, b));
            }
        }
    }
    for (row, sums) in tile.iter_mut().zip(sums) {
        // SAFETY: a row of the tile holds eight f32.
        unsafe {
            let row = row.as_mut_ptr().cast::<v128>();
            v128_store(row, sums[0]);
            v128_store(row.add(1), sums[1]);
        }
    }
}

/// # Safety
///
/// Eight f32 must lie there.
unsafe fn load(from: *const f32) -> [v128; 2] {
    let from = from.cast::<v128>();
    // SAFETY: as the caller promises.
    unsafe { [v128_load(from), v128_load(from.add(1))] }
}

/// Lines to terms: eight shuffles, where the compiler would move number by number.
#[inline(always)]
pub fn transpose(lines: [&[f32; SQUARE]; SQUARE]) -> [[f32; SQUARE]; SQUARE] {
    // SAFETY: a line holds four f32.
    let [a, b, c, d] = lines.map(|line| unsafe { v128_load(line.as_ptr().cast()) });
    let low = |a, b| i32x4_shuffle::<0, 4, 1, 5>(a, b);
    let high = |a, b| i32x4_shuffle::<2, 6, 3, 7>(a, b);
    let halves = [(low(a, b), low(c, d)), (high(a, b), high(c, d))];
    let mut terms = [[0.0; SQUARE]; SQUARE];
    for (terms, (ab, cd)) in terms.as_chunks_mut::<2>().0.iter_mut().zip(halves) {
        // SAFETY: a term of the four lines is four f32.
        unsafe {
            v128_store(terms[0].as_mut_ptr().cast(), i64x2_shuffle::<0, 2>(ab, cd));
            v128_store(terms[1].as_mut_ptr().cast(), i64x2_shuffle::<1, 3>(ab, cd));
        }
    }
    terms
}
