//! The float32 product, for the 32-bit contender and float gradients: tiles of 4x8 outputs held in registers over
//! operands packed into panels. It reads its operands through functions, so that it is told how they lie.
//!
//! 1. Pack b into panels of 8 columns, a into blocks of 4 rows, each term by term: [terms][8] and [terms][4].
//! 2. For each panel and block: 4x8 sums in registers; a term adds 4 broadcasts times 8 values.
//! 3. Each output is the sum of its terms in their order. So blocks and threads cannot change a result.

use rayon::prelude::*;

use super::{BEST_FLOAT, PARALLEL_STEPS};

/// Rows of a tile.
pub(super) const TILE_ROWS: usize = 4;
/// Columns of a tile.
pub(super) const TILE_COLUMNS: usize = 8;

/// A tile of outputs.
pub(super) type Tile = [[f32; TILE_COLUMNS]; TILE_ROWS];
/// Sums of products over all terms: `a` is `[terms][4]`, `b` is `[terms][8]`.
type TileProduct = fn(a: &[[f32; TILE_ROWS]], b: &[[f32; TILE_COLUMNS]]) -> Tile;

/// One way to compute the float product.
#[derive(Clone, Copy, Debug)]
pub struct FloatKernel {
    /// For instance `f32 4x8 simd128`.
    pub name: &'static str,
    pub(super) tile: TileProduct,
}

/// One multiplication at a time, as written; the reference.
const SCALAR: FloatKernel = FloatKernel {
    name: "f32 scalar",
    tile: tile_scalar,
};

/// For the compiler to vectorize as it can.
pub(super) const PORTABLE: FloatKernel = FloatKernel {
    name: "f32 4x8",
    tile: tile_portable,
};

/// The twins of this machine, from the reference to the fastest.
pub fn float_kernels() -> Vec<FloatKernel> {
    [SCALAR, PORTABLE]
        .into_iter()
        .chain(super::machine::float_kernel())
        .collect()
}

fn tile_scalar(a: &[[f32; TILE_ROWS]], b: &[[f32; TILE_COLUMNS]]) -> Tile {
    let mut tile = Tile::default();
    for (row, sums) in tile.iter_mut().enumerate() {
        for (column, sum) in sums.iter_mut().enumerate() {
            for (a, b) in a.iter().zip(b) {
                // The barrier keeps the reference what its name says.
                *sum += std::hint::black_box(a[row]) * b[column];
            }
        }
    }
    tile
}

fn tile_portable(a: &[[f32; TILE_ROWS]], b: &[[f32; TILE_COLUMNS]]) -> Tile {
    tile_words(a, b)
}

/// The portable algorithm, inlined so that a twin with more CPU features can be compiled from it.
#[inline(always)]
pub(super) fn tile_words(a: &[[f32; TILE_ROWS]], b: &[[f32; TILE_COLUMNS]]) -> Tile {
    // Four arrays by name, each of one loop's width: so the compiler keeps them in registers.
    let [mut sums0, mut sums1, mut sums2, mut sums3] = Tile::default();
    for ([a0, a1, a2, a3], b) in a.iter().zip(b) {
        for column in 0..TILE_COLUMNS {
            sums0[column] += a0 * b[column];
            sums1[column] += a1 * b[column];
            sums2[column] += a2 * b[column];
            sums3[column] += a3 * b[column];
        }
    }
    [sums0, sums1, sums2, sums3]
}

/// `out[row, column] = sum over terms of a(row, term) * b(term, column)`, with the fastest kernel, on all threads.
/// `out` is `[rows, columns]`.
pub fn float_product(
    terms: usize,
    columns: usize,
    a: impl Fn(usize, usize) -> f32 + Sync,
    b: impl Fn(usize, usize) -> f32 + Sync,
    out: &mut [f32],
) {
    float_product_with(*BEST_FLOAT, terms, columns, a, b, out);
}

/// [`float_product`] with a kernel of the caller's choice.
pub fn float_product_with(
    kernel: FloatKernel,
    terms: usize,
    columns: usize,
    a: impl Fn(usize, usize) -> f32 + Sync,
    b: impl Fn(usize, usize) -> f32 + Sync,
    out: &mut [f32],
) {
    if columns == 0 || out.is_empty() {
        return;
    }
    assert_eq!(out.len() % columns, 0, "whole rows of outputs");
    let steps = out.len() * terms / TILE_COLUMNS;
    let parallel = steps >= PARALLEL_STEPS && rayon::current_num_threads() > 1;

    let mut panels = vec![[0.0; TILE_COLUMNS]; terms * columns.div_ceil(TILE_COLUMNS)];
    let pack = |(panel, packed): (usize, &mut [[f32; TILE_COLUMNS]])| {
        let first = panel * TILE_COLUMNS;
        let width = TILE_COLUMNS.min(columns - first);
        for (term, packed) in packed.iter_mut().enumerate() {
            for (column, packed) in packed[..width].iter_mut().enumerate() {
                *packed = b(term, first + column);
            }
        }
    };
    // With no terms there is nothing to pack, and all sums are zero.
    let panel_length = terms.max(1);
    if parallel {
        panels
            .par_chunks_mut(panel_length)
            .enumerate()
            .for_each(pack);
    } else {
        panels.chunks_mut(panel_length).enumerate().for_each(pack);
    }

    let block = |(block, out): (usize, &mut [f32])| {
        let first = block * TILE_ROWS;
        let height = out.len() / columns;
        let packed: Vec<[f32; TILE_ROWS]> = (0..terms)
            .map(|term| {
                std::array::from_fn(|row| {
                    if row < height {
                        a(first + row, term)
                    } else {
                        0.0
                    }
                })
            })
            .collect();
        for panel in 0..columns.div_ceil(TILE_COLUMNS) {
            let tile = (kernel.tile)(&packed, &panels[panel * terms..][..terms]);
            let first = panel * TILE_COLUMNS;
            let width = TILE_COLUMNS.min(columns - first);
            for (sums, out) in tile.iter().zip(out.chunks_exact_mut(columns)) {
                out[first..first + width].copy_from_slice(&sums[..width]);
            }
        }
    };
    if parallel {
        out.par_chunks_mut(TILE_ROWS * columns)
            .enumerate()
            .for_each(block);
    } else {
        out.chunks_mut(TILE_ROWS * columns)
            .enumerate()
            .for_each(block);
    }
}
