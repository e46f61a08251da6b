//! The product of small integers of 16 bits, for operands whose pairs of binary digits would be too many passes of
//! the binary kernel. Tiles of 2x4 outputs; sums are exact in 32 bits.

use std::ops::Range;

use super::BEST_INTEGER;

/// Rows of `a` and of `b` in a tile.
pub(super) const TILE_ROWS: usize = 2;
pub(super) const TILE_COLUMNS: usize = 4;

/// The products of 2 rows of `a` with 4 of `b`, all of the same length.
type TileProduct = fn(a: [&[i16]; TILE_ROWS], b: [&[i16]; TILE_COLUMNS]) -> Tile;
pub(super) type Tile = [[i32; TILE_COLUMNS]; TILE_ROWS];

/// One way to compute the product of 16-bit integers.
#[derive(Clone, Copy, Debug)]
pub struct IntegerKernel {
    /// For instance `i16 2x4 simd128`.
    pub name: &'static str,
    pub(super) tile: TileProduct,
}

/// One multiplication at a time; the reference.
pub(super) const SCALAR: IntegerKernel = IntegerKernel {
    name: "i16 scalar",
    tile: tile_scalar,
};

/// The twins of this machine, from the reference to the fastest.
pub fn integer_kernels() -> Vec<IntegerKernel> {
    [SCALAR]
        .into_iter()
        .chain(super::machine::integer_kernel())
        .collect()
}

fn tile_scalar(a: [&[i16]; TILE_ROWS], b: [&[i16]; TILE_COLUMNS]) -> Tile {
    a.map(|a| b.map(|b| dot(a, b)))
}

/// The sum of products of two rows.
#[inline(always)]
pub(super) fn dot(a: &[i16], b: &[i16]) -> i32 {
    let terms = a.iter().zip(b);
    terms.map(|(a, b)| i32::from(*a) * i32::from(*b)).sum()
}

/// `out[row, column] = sum over terms of a[row, term] * b[column, term]`, with the fastest kernel, on this thread.
/// `a` is `[rows, terms]`, `b` is `[columns, terms]`, `out` is `[rows, columns]`. Sums must fit 32 bits.
pub fn integer_product(terms: usize, a: &[i16], b: &[i16], out: &mut [i32]) {
    integer_product_with(*BEST_INTEGER, terms, a, b, out);
}

/// [`integer_product`] with a kernel of the caller's choice.
pub fn integer_product_with(
    kernel: IntegerKernel,
    terms: usize,
    a: &[i16],
    b: &[i16],
    out: &mut [i32],
) {
    if terms == 0 || out.is_empty() {
        return out.fill(0);
    }
    assert_eq!((a.len() / terms) * (b.len() / terms), out.len());
    rows_product(kernel, terms, a, b, out);
}

/// Takes 4 rows of `b`, which stay in the cache, through all rows of `a`. At the edges a tile computes rows twice.
fn rows_product(kernel: IntegerKernel, terms: usize, a: &[i16], b: &[i16], out: &mut [i32]) {
    let (rows, columns) = (a.len() / terms, b.len() / terms);
    for first_column in (0..columns).step_by(TILE_COLUMNS) {
        let b = rows_from(b, terms, first_column);
        for first_row in (0..rows).step_by(TILE_ROWS) {
            let tile = (kernel.tile)(rows_from(a, terms, first_row), b);
            let columns_here = within(first_column, TILE_COLUMNS, columns);
            for (sums, row) in tile.iter().zip(within(first_row, TILE_ROWS, rows)) {
                out[row * columns..][columns_here.clone()]
                    .copy_from_slice(&sums[..columns_here.len()]);
            }
        }
    }
}

/// `N` rows from `first` on, the last one again where there are no more.
fn rows_from<const N: usize>(matrix: &[i16], terms: usize, first: usize) -> [&[i16]; N] {
    let last = matrix.len() / terms - 1;
    std::array::from_fn(|offset| &matrix[last.min(first + offset) * terms..][..terms])
}

fn within(first: usize, length: usize, end: usize) -> Range<usize> {
    first..end.min(first + length)
}
