//! The float32 product, for the 32-bit contender and float gradients: tiles of 4x8 outputs held in registers (4x16
//! where these are wider), over operands packed into panels, by blocks of terms that stay in the first cache.
//!
//! 1. Pack a into panels of 4 rows and b into panels of 8 columns, each term by term: `[terms][4]` and `[terms][8]`.
//! 2. Cut the outputs into chunks of rows, for the threads. In a chunk, for each block of terms, panel of b and panel
//!    of a: 4x8 sums in registers; a term adds 4 broadcasts times 8 values. A later block goes on from the sums in
//!    `out`.
//! 3. So each output is one sum, of its terms in their order. Blocks and threads cannot change a result.

use std::cell::RefCell;

use super::BEST_FLOAT;
use crate::threads;

/// A product is cut among threads when it has at least this many steps of a row of a tile.
/// Below, handing it over costs more than it saves.
const PARALLEL_STEPS: usize = 1 << 16;
/// Rows of a tile.
pub(super) const TILE_ROWS: usize = 4;
/// Columns of a tile, but for wider registers.
pub(super) const TILE_COLUMNS: usize = 8;
/// Numbers of a block of a panel of b at most: half the first cache, so that panels of a pass through the rest.
const BLOCK: usize = 4096;
/// Rows of a chunk at most: a block of its panels of a stays in the second cache from panel to panel of b.
const CHUNK_ROWS: usize = 64;
/// Chunks for each thread where there are rows enough, so that none waits long for the slowest.
const CHUNKS: usize = 2;
/// Panels packed at once, and terms of them, so that what lies term by term is read by whole cache lines.
const PANELS: usize = 8;
const BAND: usize = 8;
/// Side of the squares in which lines are transposed.
pub(super) const SQUARE: usize = 4;

/// A tile of outputs.
pub(super) type Tile<const COLUMNS: usize> = [[f32; COLUMNS]; TILE_ROWS];
/// Adds the products of all terms to a tile, in their order: `a` is `[terms][4]`, `b` is `[terms][columns]`.
pub(super) type TileProduct<const COLUMNS: usize> =
    fn(a: &[[f32; TILE_ROWS]], b: &[[f32; COLUMNS]], sums: &mut Tile<COLUMNS>);

/// One way to compute the float product.
#[derive(Clone, Copy, Debug)]
pub struct FloatKernel {
    /// For instance `f32 4x8 simd128`.
    pub name: &'static str,
    pub(super) run: fn(product: FloatProduct<'_>, out: &mut [f32]),
}

/// One multiplication at a time, as written; the reference.
const SCALAR: FloatKernel = FloatKernel {
    name: "f32 scalar",
    run: |product, out| product.run(tile_scalar, out),
};

/// For the compiler to vectorize as it can.
pub(super) const PORTABLE: FloatKernel = FloatKernel {
    name: "f32 4x8",
    run: |product, out| product.run(tile_portable, out),
};

/// The twins of this machine, from the reference to the fastest.
pub fn float_kernels() -> Vec<FloatKernel> {
    [SCALAR, PORTABLE]
        .into_iter()
        .chain(super::machine::float_kernels())
        .collect()
}

fn tile_scalar(a: &[[f32; TILE_ROWS]], b: &[[f32; TILE_COLUMNS]], sums: &mut Tile<TILE_COLUMNS>) {
    for (row, sums) in sums.iter_mut().enumerate() {
        for (column, sum) in sums.iter_mut().enumerate() {
            for (a, b) in a.iter().zip(b) {
                // The barrier keeps the reference what its name says.
                *sum += std::hint::black_box(a[row]) * b[column];
            }
        }
    }
}

fn tile_portable(a: &[[f32; TILE_ROWS]], b: &[[f32; TILE_COLUMNS]], sums: &mut Tile<TILE_COLUMNS>) {
    tile_words(a, b, sums);
}

/// The portable algorithm, inlined so that a twin with more CPU features can be compiled from it.
#[inline(always)]
pub(super) fn tile_words<const COLUMNS: usize>(
    a: &[[f32; TILE_ROWS]],
    b: &[[f32; COLUMNS]],
    sums: &mut Tile<COLUMNS>,
) {
    // Four arrays by name, each of one loop's width: so the compiler keeps them in registers.
    let [mut sums0, mut sums1, mut sums2, mut sums3] = *sums;
    for ([a0, a1, a2, a3], b) in a.iter().zip(b) {
        for column in 0..COLUMNS {
            sums0[column] += a0 * b[column];
            sums1[column] += a1 * b[column];
            sums2[column] += a2 * b[column];
            sums3[column] += a3 * b[column];
        }
    }
    *sums = [sums0, sums1, sums2, sums3];
}

/// How an operand lies in memory. Its lines are the rows of `a` or the columns of `b`: each has all terms.
#[derive(Clone, Copy, Debug)]
pub enum FloatView<'a> {
    /// Line after line: `[lines, terms]`.
    Lines(&'a [f32]),
    /// Term after term: `[terms, lines]`.
    Terms(&'a [f32]),
}

impl FloatView<'_> {
    fn len(&self) -> usize {
        match self {
            FloatView::Lines(values) | FloatView::Terms(values) => values.len(),
        }
    }

    /// Packs the lines from `first` for which there is room into panels, each `[terms][WIDTH]`. Where there is no
    /// such line a panel holds anything: those sums go nowhere.
    fn pack<const WIDTH: usize>(
        &self,
        lines: usize,
        terms: usize,
        first: usize,
        panels: &mut [[f32; WIDTH]],
    ) {
        let panels = panels.chunks_exact_mut(terms).enumerate();
        let panels = panels.map(|(panel, packed)| (first + panel * WIDTH, packed));
        match self {
            FloatView::Lines(values) => {
                for (first, packed) in panels {
                    let line = |line: usize| {
                        let line = (first + line).min(lines - 1);
                        &values[line * terms..][..terms]
                    };
                    transpose(std::array::from_fn(line), packed);
                }
            }
            FloatView::Terms(values) => {
                let mut panels: Vec<_> = panels.collect();
                for (band, values) in values.chunks(BAND * lines).enumerate() {
                    for (first, packed) in &mut panels {
                        let terms = packed.iter_mut().skip(band * BAND);
                        for (values, packed) in values.chunks_exact(lines).zip(terms) {
                            let values = &values[*first..];
                            match values.first_chunk() {
                                Some(values) => *packed = *values,
                                None => packed[..values.len()].copy_from_slice(values),
                            }
                        }
                    }
                }
            }
        }
    }

    /// Packs all lines, on all threads if `parallel`.
    fn pack_all<const WIDTH: usize>(
        &self,
        lines: usize,
        terms: usize,
        parallel: bool,
        panels: &mut [[f32; WIDTH]],
    ) {
        let pack = |group: usize, panels: &mut [[f32; WIDTH]]| {
            self.pack(lines, terms, group * PANELS * WIDTH, panels);
        };
        let groups = panels.chunks_mut(PANELS * terms);
        if parallel {
            threads::for_each(groups, pack);
        } else {
            groups
                .enumerate()
                .for_each(|(group, panels)| pack(group, panels));
        }
    }
}

/// Lines to terms.
fn transpose<const WIDTH: usize>(lines: [&[f32]; WIDTH], packed: &mut [[f32; WIDTH]]) {
    let squares = packed.as_chunks_mut::<SQUARE>().0;
    let whole = squares.len() * SQUARE;
    let columns = lines.map(|line| line.as_chunks().0);
    for (index, square) in squares.iter_mut().enumerate() {
        for (group, lines) in columns.as_chunks().0.iter().enumerate() {
            let terms = super::machine::transpose(lines.map(|line| &line[index]));
            for (packed, term) in square.iter_mut().zip(terms) {
                packed.as_chunks_mut().0[group] = term;
            }
        }
    }
    for (term, packed) in packed.iter_mut().enumerate().skip(whole) {
        *packed = lines.map(|line| line[term]);
    }
}

/// Lines to terms in a square, for machines where the compiler makes shuffles of it.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
#[inline(always)]
pub(super) fn transpose_square([a, b, c, d]: [&[f32; SQUARE]; SQUARE]) -> [[f32; SQUARE]; SQUARE] {
    std::array::from_fn(|term| [a[term], b[term], c[term], d[term]])
}

/// `out[row, column] = sum over terms of a[row, term] * b[term, column]`, with the fastest kernel, on all threads.
/// `out` is `[rows, columns]`.
pub fn float_product(
    terms: usize,
    columns: usize,
    a: FloatView<'_>,
    b: FloatView<'_>,
    out: &mut [f32],
) {
    float_product_with(*BEST_FLOAT, terms, columns, a, b, out);
}

/// [`float_product`] with a kernel of the caller's choice.
pub fn float_product_with(
    kernel: FloatKernel,
    terms: usize,
    columns: usize,
    a: FloatView<'_>,
    b: FloatView<'_>,
    out: &mut [f32],
) {
    if columns == 0 || out.is_empty() {
        return;
    }
    let rows = out.len() / columns;
    assert_eq!(rows * columns, out.len(), "whole rows of outputs");
    assert_eq!(a.len(), rows * terms, "numbers of a");
    assert_eq!(b.len(), terms * columns, "numbers of b");
    if terms == 0 {
        return out.fill(0.0);
    }
    let product = FloatProduct {
        rows,
        terms,
        columns,
        a,
        b,
    };
    (kernel.run)(product, out);
}

/// What is to be multiplied; nothing is empty.
pub(super) struct FloatProduct<'a> {
    rows: usize,
    terms: usize,
    columns: usize,
    a: FloatView<'a>,
    b: FloatView<'a>,
}

thread_local! {
    /// Room for packed operands, kept from product to product: fresh memory costs as much as packing does.
    static ROOM: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl FloatProduct<'_> {
    /// The product by tiles of some width.
    pub(super) fn run<const COLUMNS: usize>(self, tile: TileProduct<COLUMNS>, out: &mut [f32]) {
        let FloatProduct {
            rows,
            terms,
            columns,
            a,
            b,
        } = self;
        let threads = rayon::current_num_threads();
        // Saturating: three such sizes may not fit 32 bits.
        let steps = out.len().saturating_mul(terms) / TILE_COLUMNS;
        let parallel = threads > 1 && steps >= PARALLEL_STEPS;

        // Taken, not borrowed: while this thread waits for others it may begin another product.
        let mut room = ROOM.take();
        let a_room = rows.next_multiple_of(TILE_ROWS) * terms;
        let b_room = columns.next_multiple_of(COLUMNS) * terms;
        room.resize(room.len().max(a_room + b_room), 0.0);
        let (a_panels, b_panels) = room[..a_room + b_room].split_at_mut(a_room);
        let (a_panels, b_panels) = (a_panels.as_chunks_mut().0, b_panels.as_chunks_mut().0);
        a.pack_all(rows, terms, parallel, a_panels);
        b.pack_all(columns, terms, parallel, b_panels);
        let (a_panels, b_panels) = (&*a_panels, &*b_panels);

        let chunks = if parallel { CHUNKS * threads } else { 1 };
        let height = rows.div_ceil(chunks).next_multiple_of(TILE_ROWS);
        let height = height.min(CHUNK_ROWS);
        let chunk = |chunk: usize, out: &mut [f32]| {
            let a_panels = &a_panels[chunk * height / TILE_ROWS * terms..];
            multiply(tile, terms, columns, a_panels, b_panels, out);
        };
        let parts = out.chunks_mut(height * columns);
        if parallel {
            threads::for_each(parts, chunk);
        } else {
            parts.enumerate().for_each(|(index, out)| chunk(index, out));
        }
        ROOM.set(room);
    }
}

/// The products of the first panels of a, as many as `out` has rows for, with all panels of b.
fn multiply<const COLUMNS: usize>(
    tile: TileProduct<COLUMNS>,
    terms: usize,
    columns: usize,
    a_panels: &[[f32; TILE_ROWS]],
    b_panels: &[[f32; COLUMNS]],
    out: &mut [f32],
) {
    // Blocks of about the same length.
    let length = terms.div_ceil(terms.div_ceil(BLOCK / COLUMNS));
    for start in (0..terms).step_by(length) {
        let block = start..terms.min(start + length);
        for (panel, b) in b_panels.chunks_exact(terms).enumerate() {
            let first = panel * COLUMNS;
            let rows = out.chunks_mut(TILE_ROWS * columns);
            for (a, out) in a_panels.chunks_exact(terms).zip(rows) {
                let mut sums = [[0.0; COLUMNS]; TILE_ROWS];
                if start > 0 {
                    for (sums, out) in sums.iter_mut().zip(out.chunks_exact(columns)) {
                        let out = &out[first..];
                        match out.first_chunk() {
                            Some(out) => *sums = *out,
                            None => sums[..out.len()].copy_from_slice(out),
                        }
                    }
                }
                tile(&a[block.clone()], &b[block.clone()], &mut sums);
                for (sums, out) in sums.iter().zip(out.chunks_exact_mut(columns)) {
                    let out = &mut out[first..];
                    match out.first_chunk_mut() {
                        Some(out) => *out = *sums,
                        None => out.copy_from_slice(&sums[..out.len()]),
                    }
                }
            }
        }
    }
}
