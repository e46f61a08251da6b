//! The product of small integers a by bits w through tables: the cost of a pass over the bits does not grow with the
//! integers' own bits (the idea of table lookup products, as in T-MAC, Wei et al. 2024).
//!
//! 1. Four integers have 16 sums of some of them. A table of 16 bytes holds them, lifted so that none is negative.
//! 2. Four bits of a row of w say which of the four are added: half a byte that picks from the table. One instruction
//!    picks for 16 rows of w at once, so tiles of 32 rows by 8 columns take two tables and two picks.
//! 3. Picked bytes are added up in bytes for as long as they fit, then in 16 bits, lower and upper byte apart, for up
//!    to [`BLOCK`] terms, then in 32 bits.
//! 4. w = o + sum_i c_i w_i has a pass for each of its digits i, and a . w = o A + sum_i c_i (a . w_i), A the sum of a.
//!
//! Sums of four of |a| <= 31 fit a byte: one table, also for 6-bit gradients. Wider integers, as 8-bit pixels, are
//! 16 h + l with a table for h and one for l: two lines, as if they were rows of their own.
//!
//! A table serves all rows of w, a tile [`BLOCK_ROWS`] lines of a, so that most is read from the first-level cache.
//! Where all of them are blank, as most of an image's paper is, a tile is passed over.

use std::cell::Cell;
use std::ops::Range;
use std::simd::i16x8;

use super::BEST_LOOKUP;
use crate::bits::{BitTile, BitTiles, Encoding, TILE_COLUMNS, TILE_ROWS};

/// Terms at a time: 128 picks of at most 255 add up in 16 bits, and the tables of [`BLOCK_ROWS`] rows take half of the
/// first-level cache.
const BLOCK: usize = 512;
/// Rows of a at a time: a tile that comes from afar serves them all.
pub const BLOCK_ROWS: usize = 8;
/// The largest byte.
const BYTE: i32 = 255;

/// The sums of any of four integers, for two groups of four; aligned so that no register's worth crosses a cache line.
#[derive(Clone, Copy)]
#[repr(align(32))]
pub(super) struct Tables(pub [Table; 2]);
pub(super) type Table = [u8; 16];
/// Sums of a row of a with the 32 rows of w in a tile.
pub type TileSums = [i32; TILE_ROWS];

/// Small integers, `[rows, terms]`.
#[derive(Clone, Copy, Debug)]
pub struct Integers<'a> {
    pub values: &'a [i16],
    pub terms: usize,
    /// One that holds all the values.
    pub encoding: Encoding,
}

impl<'a> Integers<'a> {
    /// The integers of a row.
    pub fn row(&self, row: usize) -> &'a [i16] {
        &self.values[row * self.terms..][..self.terms]
    }

    /// The integers of some rows, one after another.
    pub fn rows(&self, rows: Range<usize>) -> &'a [i16] {
        &self.values[rows.start * self.terms..rows.end * self.terms]
    }
}

/// Writes the products of some rows of `a` with the rows of `w` in `bands`: `[rows, bands]`, 32 sums a band.
type Run = fn(a: Integers<'_>, w: &BitTiles, Range<usize>, bands: Range<usize>, &mut [TileSums]);

/// One way to compute the product.
#[derive(Clone, Copy, Debug)]
pub struct LookupKernel {
    /// For instance `lookup simd128`.
    pub name: &'static str,
    pub(super) run: Run,
    /// The inner loop, where it has one of its own.
    pub(super) inner: Option<fn(&InnerLoop) -> usize>,
}

/// Tables and tiles that stay in the first-level cache, for as many lines of 1-bit integers as a kernel takes at a time.
pub struct InnerLoop {
    tables: Vec<Tables>,
    tiles: Vec<BitTile>,
}

impl Default for InnerLoop {
    fn default() -> InnerLoop {
        let groups = BLOCK / TILE_COLUMNS;
        InnerLoop {
            tables: vec![Tables([[1; 16]; 2]); groups * BLOCK_ROWS],
            tiles: vec![BitTile([0x5a; TILE_ROWS]); groups],
        }
    }
}

impl LookupKernel {
    /// Goes once through the inner loop, and says how many multiply-accumulates that were: how long it takes is the limit
    /// of what the product can reach. `None` where the kernel has no such loop.
    pub fn inner_loop(&self, of_loop: &InnerLoop) -> Option<usize> {
        Some((self.inner?)(of_loop))
    }
}

/// [`LookupKernel::inner_loop`] with a twin's registers, `ROWS` lines at a time.
#[inline(always)]
pub(super) fn inner_loop_with<V: Bytes, const ROWS: usize>(of_loop: &InnerLoop) -> usize {
    let mut sums = [0; TILE_ROWS];
    let of_loop = std::hint::black_box(of_loop);
    let (tables, _) = of_loop.tables.as_chunks::<ROWS>();
    for tile_row in (0..TILE_ROWS).step_by(V::ROWS) {
        let tables = &tables[..of_loop.tiles.len()];
        let (pairs, upper) = picks::<V, ROWS, 15>(tables, &of_loop.tiles, tile_row);
        for row in 0..ROWS {
            V::add_to(pairs[row], upper[row], 1, tile_row, &mut sums);
        }
    }
    std::hint::black_box(sums);
    ROWS * TILE_ROWS * BLOCK
}

/// A term at a time, without tables; the reference.
pub(super) const SCALAR: LookupKernel = LookupKernel {
    name: "lookup scalar",
    run: products_scalar,
    inner: None,
};

/// The tables in plain code, on any machine.
pub(super) const PORTABLE: LookupKernel = LookupKernel {
    name: "lookup bytes",
    run: products_with::<PortableBytes, 1, 1>,
    inner: Some(inner_loop_with::<PortableBytes, 1>),
};

/// The twins of this machine, from the reference to the fastest.
pub fn lookup_kernels() -> Vec<LookupKernel> {
    [SCALAR, PORTABLE]
        .into_iter()
        .chain(super::machine::lookup_kernels())
        .collect()
}

fn products_scalar(
    a: Integers<'_>,
    w: &BitTiles,
    rows: Range<usize>,
    bands: Range<usize>,
    sums: &mut [TileSums],
) {
    for (row, sums) in rows.zip(sums.chunks_exact_mut(bands.len().max(1))) {
        for (band, sums) in bands.clone().zip(sums) {
            for (offset, sum) in sums.iter_mut().enumerate() {
                let w_row = band * TILE_ROWS + offset;
                if w_row < w.rows() {
                    let terms = (0..a.terms).zip(a.row(row));
                    *sum = terms
                        .map(|(term, a)| i32::from(*a) * w.get(w_row, term))
                        .sum();
                }
            }
        }
    }
}

/// Writes the products of `rows` of `a` with the rows of `w` in `bands`, `[rows, bands]`, with the fastest kernel, on
/// this thread.
pub fn lookup_product(
    a: Integers<'_>,
    w: &BitTiles,
    rows: Range<usize>,
    bands: Range<usize>,
    sums: &mut [TileSums],
) {
    assert_eq!(a.terms, w.columns(), "rows of different length");
    assert_eq!(sums.len(), rows.len() * bands.len());
    (BEST_LOOKUP.run)(a, w, rows, bands, sums);
}

/// The products of `rows` of `a` with all rows of `w`, `[rows, w.rows]`, with a kernel of the caller's choice.
pub fn lookup_product_with(
    kernel: LookupKernel,
    a: Integers<'_>,
    w: &BitTiles,
    rows: Range<usize>,
    out: &mut [i32],
) {
    assert_eq!(a.terms, w.columns(), "rows of different length");
    assert_eq!(out.len(), rows.len() * w.rows());
    let mut sums = vec![[0; TILE_ROWS]; rows.len() * w.bands()];
    (kernel.run)(a, w, rows, 0..w.bands(), &mut sums);
    let rows = out.chunks_exact_mut(w.rows().max(1));
    for (out, sums) in rows.zip(sums.chunks_exact(w.bands().max(1))) {
        out.copy_from_slice(&sums.as_flattened()[..out.len()]);
    }
}

/// Bytes in a register, each of a row of a tile.
pub(super) trait Bytes: Copy {
    /// Rows of a tile that a register holds: all 32 or half of them.
    const ROWS: usize;

    /// The tables of integers 0 to 3 and 4 to 7, `lift` added to every sum.
    fn tables(integers: i16x8, lift: u8) -> Tables;
    fn zero() -> Self;
    /// The rows of a tile from `row` on.
    fn load(tile: &BitTile, row: usize) -> Self;
    /// A table for [`pick`](Self::pick).
    fn table(table: &Table) -> Self;
    /// The lower half of each byte.
    fn lower(self) -> Self;
    /// The upper half of each byte.
    fn upper(self) -> Self;
    /// From a table what each of `indices`, 0 to 15, says.
    fn pick(self, indices: Self) -> Self;
    fn add(self, other: Self) -> Self;
    /// Adds pairs of bytes as 16 bits.
    fn add_pairs(self, other: Self) -> Self;
    /// The upper byte of each pair, as 16 bits.
    fn upper_bytes(self) -> Self;
    /// Adds `factor` times the sum of each byte to `sums` from `row` on, as they follow from the sums of pairs and
    /// those of their upper bytes.
    fn add_to(pairs: Self, upper_bytes: Self, factor: i32, row: usize, sums: &mut TileSums);
}

/// A part of the integers that has a table of its own.
struct Digit {
    /// What it counts: 1, or 16 for the upper half of wide integers.
    value: i32,
    /// An integer's part is shifted by so much, of these bits.
    shift: i16,
    mask: i16,
    /// What is added to the sums of a table so that none is negative.
    lift: i32,
    /// Picks that add up within a byte.
    picks: usize,
}

impl Digit {
    fn new(shift: i16, mask: i16, smallest: i32, largest: i32) -> Digit {
        Digit {
            value: 1 << shift,
            shift,
            mask,
            lift: -4 * smallest,
            picks: (BYTE / (4 * (largest - smallest))) as usize,
        }
    }

    /// The parts of the integers of an encoding.
    fn of(encoding: Encoding) -> Vec<Digit> {
        let (smallest, largest) = encoding.range();
        let (smallest, largest) = (i32::from(smallest.min(0)), i32::from(largest));
        if 4 * (largest - smallest) <= BYTE {
            vec![Digit::new(0, -1, smallest, largest)]
        } else {
            vec![
                Digit::new(0, 15, 0, 15),
                Digit::new(4, -1, smallest >> 4, largest >> 4),
            ]
        }
    }
}

/// How many tables integers of `encoding` take, and how many picks from each add up within a byte: what the cost of the
/// product follows from.
pub(crate) fn lookup_tables(encoding: Encoding) -> (usize, usize) {
    let digits = Digit::of(encoding);
    (digits.len(), fewest_picks(&digits))
}

fn fewest_picks(digits: &[Digit]) -> usize {
    digits.iter().map(|digit| digit.picks).min().unwrap_or(1)
}

/// The algorithm, for blocks of `ROWS` lines; of `WIDE_ROWS` where no two picks add up within a byte, or are no more.
#[inline(always)]
pub(super) fn products_with<V: Bytes, const ROWS: usize, const WIDE_ROWS: usize>(
    a: Integers<'_>,
    w: &BitTiles,
    rows: Range<usize>,
    bands: Range<usize>,
    sums: &mut [TileSums],
) {
    if bands.is_empty() {
        return;
    }
    let digits = Digit::of(a.encoding);
    let is_wide = fewest_picks(&digits) < 2;
    let lines: Vec<Line<'_>> = rows
        .enumerate()
        .flat_map(|(row, of_a)| {
            let integers = a.row(of_a);
            digits.iter().map(move |digit| Line {
                row,
                integers,
                digit,
            })
        })
        .collect();
    // Kept by each thread, as in `threads::with_buffer`, whose closure would not have the features of who calls this.
    thread_local! {
        static TABLES: Cell<Vec<Tables>> = const { Cell::new(Vec::new()) };
    }
    let mut tables = TABLES.take();
    for lines in lines.chunks(BLOCK_ROWS) {
        let (w, bands, tables) = (w, bands.clone(), &mut tables);
        if !is_wide && lines.len().is_multiple_of(ROWS) {
            products_of_lines::<V, ROWS>(lines, w, bands, tables, sums);
        } else if lines.len().is_multiple_of(WIDE_ROWS) {
            products_of_lines::<V, WIDE_ROWS>(lines, w, bands, tables, sums);
        } else if digits.len() == 2 {
            products_of_lines::<V, 2>(lines, w, bands, tables, sums);
        } else {
            products_of_lines::<V, 1>(lines, w, bands, tables, sums);
        }
    }
    TABLES.set(tables);
}

/// A digit of the integers of a row of a.
struct Line<'a> {
    /// Of the sums.
    row: usize,
    integers: &'a [i16],
    digit: &'a Digit,
}

impl Line<'_> {
    /// The digits of up to eight integers from `start` on.
    #[inline(always)]
    fn digits(&self, start: usize) -> i16x8 {
        let integers = &self.integers[start..];
        let integers = match integers.first_chunk() {
            Some(whole) => i16x8::from_array(*whole),
            None => i16x8::load_or_default(integers),
        };
        (integers >> i16x8::splat(self.digit.shift)) & i16x8::splat(self.digit.mask)
    }
}

/// The products of up to [`BLOCK_ROWS`] lines, `ROWS` at a time, which are all of some rows. `tables` is room to use.
#[inline(always)]
fn products_of_lines<V: Bytes, const ROWS: usize>(
    lines: &[Line<'_>],
    w: &BitTiles,
    bands: Range<usize>,
    tables: &mut Vec<Tables>,
    sums: &mut [TileSums],
) {
    let encoding = w.encoding();
    let digits = (0..encoding.digits()).map(|digit| encoding.coefficient(digit));
    let lifts = 2 * w.groups() as i32 * digits.sum::<i32>();
    for line in lines {
        let sums = &mut sums[line.row * bands.len()..][..bands.len()];
        let lifted = lifts * line.digit.value * line.digit.lift;
        if line.digit.value == 1 {
            let sum: i32 = line.integers.iter().map(|a| i32::from(*a)).sum();
            sums.fill([encoding.offset() * sum - lifted; TILE_ROWS]);
        } else {
            for sum in sums.as_flattened_mut() {
                *sum -= lifted;
            }
        }
    }
    // What is lifted is nowhere blank.
    let has_blanks = lines.iter().all(|line| line.digit.lift == 0);
    let picks_in_byte = lines.iter().map(|line| line.digit.picks).min().unwrap_or(1);
    let terms = w.columns();
    let room = lines.len() * w.groups().min(BLOCK / TILE_COLUMNS);
    tables.resize(room, Tables([[0; 16]; 2]));
    let (tables, _) = tables.as_chunks_mut::<ROWS>();
    let mut places = [[0; BLOCK / TILE_COLUMNS]; BLOCK_ROWS];
    let mut counts = [0; BLOCK_ROWS];
    for start in (0..terms).step_by(BLOCK) {
        let groups = start / TILE_COLUMNS..terms.min(start + BLOCK).div_ceil(TILE_COLUMNS);
        for (index, lines) in lines.chunks_exact(ROWS).enumerate() {
            let tables = &mut tables[index * groups.len()..][..groups.len()];
            counts[index] = build::<V, ROWS>(lines, start, has_blanks, tables, &mut places[index]);
        }
        for (band_index, band) in bands.clone().enumerate() {
            for w_digit in 0..encoding.digits() {
                let tiles = &w.digit(band, w_digit)[groups.clone()];
                let coefficient = encoding.coefficient(w_digit);
                for (index, lines) in lines.chunks_exact(ROWS).enumerate() {
                    let (tables, places) = (&tables[index * groups.len()..], &places[index]);
                    let count = counts[index];
                    let (tables, places) = (&tables[..count], &places[..count]);
                    for tile_row in (0..TILE_ROWS).step_by(V::ROWS) {
                        let (pairs, upper) = match picks_in_byte {
                            _ if has_blanks => picks_at::<V, ROWS>(tables, places, tiles, tile_row),
                            30.. => picks::<V, ROWS, 15>(tables, tiles, tile_row),
                            8.. => picks::<V, ROWS, 4>(tables, tiles, tile_row),
                            4.. => picks::<V, ROWS, 2>(tables, tiles, tile_row),
                            2.. => picks::<V, ROWS, 1>(tables, tiles, tile_row),
                            _ => picks_wide::<V, ROWS>(tables, tiles, tile_row),
                        };
                        for (place, line) in lines.iter().enumerate() {
                            let factor = line.digit.value * coefficient;
                            let sums = &mut sums[line.row * bands.len() + band_index];
                            V::add_to(pairs[place], upper[place], factor, tile_row, sums);
                        }
                    }
                }
            }
        }
    }
}

/// Writes the tables of some groups of terms of lines, `[groups, lines]`, from term `start` on, without groups that are
/// blank in all lines where there may be such, and to `places` which groups they are. Says how many.
#[inline(always)]
fn build<V: Bytes, const ROWS: usize>(
    lines: &[Line<'_>],
    start: usize,
    has_blanks: bool,
    tables: &mut [[Tables; ROWS]],
    places: &mut [u8],
) -> usize {
    let mut count = 0;
    for group in 0..tables.len() {
        let at = start + group * TILE_COLUMNS;
        let is_blank = |line: &Line<'_>| line.digits(at) == i16x8::splat(0);
        if has_blanks && lines.iter().all(is_blank) {
            continue;
        }
        for (table, line) in tables[count].iter_mut().zip(lines) {
            *table = V::tables(line.digits(at), line.digit.lift as u8);
        }
        places[count] = group as u8;
        count += 1;
    }
    count
}

/// Sums of pairs and of upper bytes for each row of a with rows of the tiles from `tile_row` on, where the picks of
/// `GROUPS` groups add up within a byte.
#[cfg_attr(target_arch = "wasm32", inline(never))] // Fewer numbers at a time: else the sums do not stay in registers.
#[cfg_attr(not(target_arch = "wasm32"), inline(always))]
fn picks<V: Bytes, const ROWS: usize, const GROUPS: usize>(
    tables: &[[Tables; ROWS]],
    tiles: &[BitTile],
    tile_row: usize,
) -> ([V; ROWS], [V; ROWS]) {
    let mut sums = ([V::zero(); ROWS], [V::zero(); ROWS]);
    let (tables, last_tables) = tables.as_chunks::<GROUPS>();
    let (tiles, last_tiles) = tiles.as_chunks::<GROUPS>();
    for (tables, tiles) in tables.iter().zip(tiles) {
        sums = add_bytes(sums, tables, tiles, tile_row);
    }
    add_bytes(sums, last_tables, last_tiles, tile_row)
}

/// What both halves of a tile's bytes pick for a row of a.
#[inline(always)]
fn picks_of_group<V: Bytes>(tables: &Tables, [lower, upper]: [V; 2]) -> [V; 2] {
    [
        V::table(&tables.0[0]).pick(lower),
        V::table(&tables.0[1]).pick(upper),
    ]
}

/// Adds picks that add up within a byte.
#[inline(always)]
fn add_bytes<'a, V: Bytes, const ROWS: usize>(
    (mut pairs, mut upper): ([V; ROWS], [V; ROWS]),
    tables: &[[Tables; ROWS]],
    tiles: impl IntoIterator<Item = &'a BitTile>,
    tile_row: usize,
) -> ([V; ROWS], [V; ROWS]) {
    let mut bytes = [V::zero(); ROWS];
    for (tables, tile) in tables.iter().zip(tiles) {
        let tile = V::load(tile, tile_row);
        let halves = [tile.lower(), tile.upper()];
        for row in 0..ROWS {
            let [first, second] = picks_of_group(&tables[row], halves);
            bytes[row] = bytes[row].add(first).add(second);
        }
    }
    for row in 0..ROWS {
        pairs[row] = pairs[row].add_pairs(bytes[row]);
        upper[row] = upper[row].add_pairs(bytes[row].upper_bytes());
    }
    (pairs, upper)
}

/// The same of digits of 15 at most, for the tiles at `places` alone.
#[cfg_attr(target_arch = "wasm32", inline(never))]
#[cfg_attr(not(target_arch = "wasm32"), inline(always))]
fn picks_at<V: Bytes, const ROWS: usize>(
    tables: &[[Tables; ROWS]],
    places: &[u8],
    tiles: &[BitTile],
    tile_row: usize,
) -> ([V; ROWS], [V; ROWS]) {
    let mut sums = ([V::zero(); ROWS], [V::zero(); ROWS]);
    let at = |place: &u8| &tiles[usize::from(*place)];
    let (tables, last_tables) = tables.as_chunks::<2>();
    let (places, last_places) = places.as_chunks::<2>();
    for (tables, places) in tables.iter().zip(places) {
        sums = add_bytes(sums, tables, places.iter().map(at), tile_row);
    }
    add_bytes(sums, last_tables, last_places.iter().map(at), tile_row)
}

/// The same where no two picks fit a byte.
#[cfg_attr(target_arch = "wasm32", inline(never))]
#[cfg_attr(not(target_arch = "wasm32"), inline(always))]
fn picks_wide<V: Bytes, const ROWS: usize>(
    tables: &[[Tables; ROWS]],
    tiles: &[BitTile],
    tile_row: usize,
) -> ([V; ROWS], [V; ROWS]) {
    let mut pairs = [V::zero(); ROWS];
    let mut upper = [V::zero(); ROWS];
    for (tables, tile) in tables.iter().zip(tiles) {
        let tile = V::load(tile, tile_row);
        let halves = [tile.lower(), tile.upper()];
        for row in 0..ROWS {
            let [first, second] = picks_of_group(&tables[row], halves);
            pairs[row] = pairs[row].add_pairs(first).add_pairs(second);
            upper[row] = upper[row]
                .add_pairs(first.upper_bytes())
                .add_pairs(second.upper_bytes());
        }
    }
    (pairs, upper)
}

/// Bytes in plain code.
#[derive(Clone, Copy)]
pub(super) struct PortableBytes([u8; TILE_ROWS]);

impl PortableBytes {
    fn pairs(self) -> impl Iterator<Item = u16> {
        let pair = |pair: [u8; 2]| u16::from_le_bytes(pair);
        (0..TILE_ROWS / 2).map(move |index| pair([self.0[2 * index], self.0[2 * index + 1]]))
    }

    fn of_pairs(pairs: impl Iterator<Item = u16>) -> PortableBytes {
        let mut bytes = [0; TILE_ROWS];
        for (bytes, pair) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(pairs) {
            *bytes = pair.to_le_bytes();
        }
        PortableBytes(bytes)
    }
}

impl Bytes for PortableBytes {
    const ROWS: usize = TILE_ROWS;

    fn tables(integers: i16x8, lift: u8) -> Tables {
        Tables([0, 4].map(|first| {
            let mut table = [lift; 16];
            for (bit, integer) in integers.as_array()[first..first + 4].iter().enumerate() {
                for index in 0..1 << bit {
                    table[index + (1 << bit)] = table[index].wrapping_add(*integer as u8);
                }
            }
            table
        }))
    }

    fn zero() -> Self {
        PortableBytes([0; TILE_ROWS])
    }

    fn load(tile: &BitTile, _: usize) -> Self {
        PortableBytes(tile.0)
    }

    fn table(table: &Table) -> Self {
        PortableBytes(std::array::from_fn(|index| table[index % 16]))
    }

    fn lower(self) -> Self {
        PortableBytes(self.0.map(|byte| byte & 15))
    }

    fn upper(self) -> Self {
        PortableBytes(self.0.map(|byte| byte >> 4))
    }

    fn pick(self, indices: Self) -> Self {
        PortableBytes(indices.0.map(|index| self.0[usize::from(index)]))
    }

    fn add(self, other: Self) -> Self {
        PortableBytes(std::array::from_fn(|index| {
            self.0[index].wrapping_add(other.0[index])
        }))
    }

    fn add_pairs(self, other: Self) -> Self {
        let pairs = self.pairs().zip(other.pairs());
        PortableBytes::of_pairs(pairs.map(|(pair, other)| pair.wrapping_add(other)))
    }

    fn upper_bytes(self) -> Self {
        PortableBytes::of_pairs(self.pairs().map(|pair| pair >> 8))
    }

    fn add_to(pairs: Self, upper_bytes: Self, factor: i32, _: usize, sums: &mut TileSums) {
        let sums = sums.as_chunks_mut::<2>().0.iter_mut();
        for ((sums, pair), upper) in sums.zip(pairs.pairs()).zip(upper_bytes.pairs()) {
            let lower = pair.wrapping_sub(upper << 8);
            sums[0] += factor * i32::from(lower);
            sums[1] += factor * i32::from(upper);
        }
    }
}
