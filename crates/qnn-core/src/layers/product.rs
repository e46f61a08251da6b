//! The matrix products of a fully connected layer, forward and backward: operands of small integers, in packed bits or
//! 16 bits, or of floats, in the form that the kernel takes which suits both. How numbers become levels is `quant`'s
//! business. No bias: batch normalization has one.
//!
//! Threads are set to work here, on whole rows of the result, or on bands of its columns where it has few rows. Every
//! sum is one thread's, so no result depends on the cut.

use std::cell::Cell;
use std::ops::Range;
use std::simd::num::SimdInt;
use std::simd::{Simd, SimdElement};

use super::{NotFinite, are_finite, largest};
use crate::bits::{
    BitPlanes, BitTiles, BytePanels, Encoding, IntegerPanels, PANEL_ROWS, TILE_ROWS, from_stream,
    stream_length, to_stream,
};
use crate::kernels::{
    BLOCK_ROWS, Choice, FloatView, Integers, Method, PanelSums, TileSums, bit_plane_product,
    byte_product, float_product, integer_product, lookup_product, transpose_four,
};
use crate::optim::{Group, group_of};
use crate::quant::{GradientQuantizer, PIXEL_STEP, Quantizer, whole};
use crate::random::Chances;
use crate::threads;

/// Multiply-accumulates of integers from which a product is shared among threads: some 10 microseconds.
const PARALLEL_MACS: usize = 1 << 20;
/// Pieces for each thread, so that one that is held up leaves work for the others.
const PIECES_PER_THREAD: usize = 8;
/// Sums that are computed at a time, at most, where that is more: they are taken on from the first-level cache.
const BLOCK_SUMS: usize = 4096;
/// Side of the squares in which a matrix is transposed, so that both sides of the copy stay in the cache.
const SQUARE: usize = 32;

/// The kernel of a product. Integers are exact: the largest sum there is, of 8192 pixels of 255 times logarithmic
/// weights of 128, fits 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProductKind {
    /// One of the integer kernels.
    Integer(Method),
    /// Float32.
    Float,
}

/// How the numbers of an operand lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A bit matrix for each binary digit.
    Planes,
    /// Tiles of bits.
    Tiles,
    /// 16 bits each.
    Integers,
    /// 16 bits each, in panels.
    Panels,
    /// 8 bits each, in panels.
    BytePanels,
    Floats,
}

impl ProductKind {
    /// The kernel for operands of such integers; `None` is floats.
    pub fn of(choice: Choice, a: Option<Encoding>, b: Option<Encoding>) -> ProductKind {
        match (a, b) {
            (Some(a), Some(b)) => ProductKind::Integer(choice.method(a, b)),
            _ => ProductKind::Float,
        }
    }

    /// The form of the first operand of a product.
    pub fn a(self) -> Form {
        match self {
            ProductKind::Integer(Method::Popcount) => Form::Planes,
            ProductKind::Integer(_) => Form::Integers,
            ProductKind::Float => Form::Floats,
        }
    }

    /// The form of the second.
    pub fn b(self) -> Form {
        match self {
            ProductKind::Integer(Method::Lookup) => Form::Tiles,
            ProductKind::Integer(Method::Multiply) => Form::Panels,
            ProductKind::Integer(Method::MultiplyBytes) => Form::BytePanels,
            _ => self.a(),
        }
    }
}

/// One side of a product: numbers, `[rows, columns]`, whose rows are multiplied with the other side's rows.
#[derive(Clone, Debug)]
pub struct Operand {
    rows: usize,
    columns: usize,
    numbers: Numbers,
    /// What the integers of each row are worth; floats are worth themselves.
    units: Vec<f32>,
    encoding: Option<Encoding>,
}

#[derive(Clone, Debug)]
enum Numbers {
    Planes(BitPlanes),
    Tiles(BitTiles),
    Integers(Vec<i16>),
    Panels(IntegerPanels),
    BytePanels(BytePanels),
    Floats(Vec<f32>),
    /// Floats that lie column by column.
    FloatColumns(Vec<f32>),
}

/// The products of a row with the rows of another operand: sums of integers, and what they are worth.
#[derive(Clone, Copy, Debug)]
pub struct RowProducts<'a> {
    sums: &'a [i32],
    unit: f32,
    other_units: &'a [f32],
}

impl RowProducts<'_> {
    /// A group of the products.
    #[inline(always)]
    pub fn group(&self, group: usize) -> Group {
        let sums: Group = group_of(self.sums, group).cast();
        sums * (Group::splat(self.unit) * group_of(self.other_units, group))
    }
}

/// Which inputs of a layer are left out, and what the others are multiplied with to make up for them.
#[derive(Clone, Debug)]
pub struct Dropout {
    share: f32,
    chances: Chances,
}

impl Dropout {
    /// Leaves out `share` of the inputs, in [0, 1).
    pub fn new(share: f32, chances: Chances) -> Dropout {
        Dropout { share, chances }
    }

    /// Puts `nothing` in the place of the inputs of a row that are left out.
    pub fn apply<T: Copy>(&self, row: usize, inputs: &mut [T], nothing: T) {
        self.chances.with_row(row, |chances| {
            for (input, chance) in inputs.iter_mut().zip(chances) {
                *input = if *chance < self.share {
                    nothing
                } else {
                    *input
                };
            }
        });
    }

    /// What the inputs that stay are multiplied with.
    pub fn scale(&self) -> f32 {
        1.0 / (1.0 - self.share)
    }
}

impl Operand {
    /// 8-bit pixels, `[rows, columns]`, worth 0 to 1.
    pub fn pixels(form: Form, columns: usize, pixels: &[u8], dropout: Option<&Dropout>) -> Operand {
        let rows = pixels.len() / columns;
        let unit = PIXEL_STEP * dropout.map_or(1.0, Dropout::scale);
        Operand::integers(form, Encoding::Unsigned8, rows, columns, |row, out| {
            for (integer, pixel) in out.iter_mut().zip(&pixels[row * columns..]) {
                *integer = i16::from(*pixel);
            }
            if let Some(dropout) = dropout {
                dropout.apply(row, out, 0);
            }
            unit
        })
    }

    /// Weights or activations, `[rows, columns]`, quantized; `chances` where that is stochastic.
    pub fn quantized(
        form: Form,
        quantizer: Quantizer,
        columns: usize,
        values: &[f32],
        chances: Option<&Chances>,
        dropout: Option<&Dropout>,
    ) -> Operand {
        let rows = values.len() / columns;
        let scale = dropout.map_or(1.0, Dropout::scale);
        let row_of = |row: usize| &values[row * columns..][..columns];
        match quantizer.encoding() {
            Some(encoding) => {
                let encoding = match dropout {
                    Some(_) => encoding.with_zero(),
                    None => encoding,
                };
                let unit = quantizer.step() * scale;
                let fill = |row: usize, out: &mut [i16]| {
                    with_chances(chances, row, |chances| {
                        quantizer.integers(row_of(row), chances, out);
                    });
                    if let Some(dropout) = dropout {
                        dropout.apply(row, out, 0);
                    }
                };
                Operand::filled(form, encoding, (rows, columns), unit, fill)
            }
            None => Operand::floats(rows, columns, |row, out| {
                with_chances(chances, row, |chances| {
                    quantizer.values(row_of(row), chances, out);
                });
                if let Some(dropout) = dropout {
                    out.iter_mut().for_each(|value| *value *= scale);
                    dropout.apply(row, out, 0.0);
                }
            }),
        }
    }

    /// Integers, `[rows, columns]`, that are all worth `unit`; `fill` gives those of a row.
    fn filled(
        form: Form,
        encoding: Encoding,
        (rows, columns): (usize, usize),
        unit: f32,
        fill: impl Fn(usize, &mut [i16]) + Sync,
    ) -> Operand {
        let numbers = match form {
            Form::Tiles => Numbers::Tiles(BitTiles::pack(encoding, rows, columns, fill)),
            Form::BytePanels => {
                Numbers::BytePanels(BytePanels::pack(encoding, rows, columns, fill))
            }
            _ => {
                return Operand::integers(form, encoding, rows, columns, |row, out| {
                    fill(row, out);
                    unit
                });
            }
        };
        Operand::alike(rows, columns, encoding, numbers, unit)
    }

    /// Gradients, `[rows, columns]`, quantized with a unit of its own for each row.
    pub fn gradients(
        form: Form,
        quantizer: GradientQuantizer,
        columns: usize,
        gradient: &[f32],
        chances: Option<&Chances>,
    ) -> Operand {
        let largest = |row: usize| largest(&gradient[row * columns..][..columns]);
        Operand::gradients_within(form, quantizer, columns, gradient, largest, chances)
    }

    /// The same of rows that are parts of longer ones, whose largest magnitude `largest` gives.
    pub(crate) fn gradients_within(
        form: Form,
        quantizer: GradientQuantizer,
        columns: usize,
        gradient: &[f32],
        largest: impl Fn(usize) -> f32 + Sync,
        chances: Option<&Chances>,
    ) -> Operand {
        let rows = gradient.len() / columns.max(1);
        let row_of = |row: usize| &gradient[row * columns..][..columns];
        match quantizer.encoding() {
            Some(encoding) => Operand::integers(form, encoding, rows, columns, |row, out| {
                let unit = quantizer.unit(largest(row));
                with_chances(chances, row, |chances| {
                    quantizer.levels(row_of(row), unit, chances, out, whole);
                });
                unit
            }),
            None => Operand::floats(rows, columns, |row, out| {
                let unit = quantizer.unit(largest(row));
                with_chances(chances, row, |chances| {
                    quantizer.levels(row_of(row), unit, chances, out, |level| level * unit);
                });
            }),
        }
    }

    /// Small integers; `fill` gives those of a row and says what they are worth.
    pub(crate) fn integers(
        form: Form,
        encoding: Encoding,
        rows: usize,
        columns: usize,
        fill: impl Fn(usize, &mut [i16]) -> f32 + Sync,
    ) -> Operand {
        let mut units = vec![0.0; rows];
        let height = threads::rows_per_piece(columns);
        let piece = (height * columns).max(1);
        let units_of_pieces = units[..if columns == 0 { 0 } else { rows }].chunks_mut(height);
        let integers = threads::fill_pieces(
            rows * columns,
            piece,
            units_of_pieces,
            |piece, integers, units| {
                let rows = integers.chunks_mut(columns.max(1)).zip(units);
                for (row, (integers, unit)) in rows.enumerate() {
                    *unit = fill(piece * height + row, integers);
                }
            },
        );
        let row_of = |row: usize| &integers[row * columns..][..columns];
        let numbers = match form {
            Form::Planes => Numbers::Planes(BitPlanes::pack(encoding, rows, columns, |row| {
                row_of(row).iter().map(|integer| encoding.code(*integer))
            })),
            Form::Tiles => Numbers::Tiles(BitTiles::pack(encoding, rows, columns, |row, out| {
                out.copy_from_slice(row_of(row));
            })),
            Form::Integers => Numbers::Integers(integers),
            Form::Panels => {
                let transposed = transpose(rows, columns, &integers);
                Numbers::Panels(IntegerPanels::pack_transposed(rows, &transposed))
            }
            Form::BytePanels => {
                Numbers::BytePanels(BytePanels::pack(encoding, rows, columns, |row, out| {
                    out.copy_from_slice(row_of(row))
                }))
            }
            Form::Floats => Numbers::Floats(threads::fill_rows(rows, columns, |row, out| {
                for (value, integer) in out.iter_mut().zip(row_of(row)) {
                    *value = f32::from(*integer) * units[row];
                }
            })),
        };
        Operand {
            rows,
            columns,
            numbers,
            units,
            encoding: Some(encoding),
        }
    }

    fn floats(rows: usize, columns: usize, fill: impl Fn(usize, &mut [f32]) + Sync) -> Operand {
        Operand {
            rows,
            columns,
            numbers: Numbers::Floats(threads::fill_rows(rows, columns, fill)),
            units: Vec::new(),
            encoding: None,
        }
    }

    /// Tiles of bits that are all alike worth `unit`.
    pub(crate) fn tiles(tiles: BitTiles, unit: f32) -> Operand {
        let (rows, columns, encoding) = (tiles.rows(), tiles.columns(), tiles.encoding());
        Operand::alike(rows, columns, encoding, Numbers::Tiles(tiles), unit)
    }

    /// Integers that are all worth `unit`.
    fn alike(
        rows: usize,
        columns: usize,
        encoding: Encoding,
        numbers: Numbers,
        unit: f32,
    ) -> Operand {
        Operand {
            rows,
            columns,
            numbers,
            units: vec![unit; rows],
            encoding: Some(encoding),
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The integers that the numbers are; `None` for floats.
    pub fn encoding(&self) -> Option<Encoding> {
        self.encoding
    }

    /// What the integers of each row are worth; empty for floats.
    pub fn units(&self) -> &[f32] {
        &self.units
    }

    /// The real number at `row`, `column`.
    pub fn value(&self, row: usize, column: usize) -> f32 {
        match &self.numbers {
            Numbers::Floats(floats) => floats[row * self.columns + column],
            Numbers::FloatColumns(floats) => floats[column * self.rows + row],
            _ => {
                let integer = self.integer(row, column);
                integer.map_or(0.0, |integer| f32::from(integer) * self.units[row])
            }
        }
    }

    /// The integer at `row`, `column`; `None` where the numbers lie as floats.
    pub fn integer(&self, row: usize, column: usize) -> Option<i16> {
        match &self.numbers {
            Numbers::Planes(planes) => Some(planes.get(row, column) as i16),
            Numbers::Tiles(tiles) => Some(tiles.get(row, column) as i16),
            Numbers::Integers(integers) => Some(integers[row * self.columns + column]),
            Numbers::Panels(panels) => Some(panels.get(row, column)),
            Numbers::BytePanels(panels) => Some(panels.get(row, column)),
            Numbers::Floats(_) | Numbers::FloatColumns(_) => None,
        }
    }

    /// The same numbers, `[columns, rows]`; floats stay floats. All integers must be worth the same.
    pub fn transposed(&self, form: Form) -> Operand {
        let (rows, columns) = (self.columns, self.rows);
        let unit = self.units.first().copied().unwrap_or(1.0);
        let Some(encoding) = self.encoding.filter(|_| form != Form::Floats) else {
            let worth = |integer: &i16| f32::from(*integer) * unit;
            let floats = match &self.numbers {
                Numbers::Floats(floats) | Numbers::FloatColumns(floats) => floats.clone(),
                _ => self.to_integers().iter().map(worth).collect(),
            };
            return Operand {
                rows,
                columns,
                numbers: Numbers::FloatColumns(floats),
                units: Vec::new(),
                encoding: self.encoding,
            };
        };
        let numbers = match (&self.numbers, form) {
            (Numbers::Tiles(tiles), Form::Tiles) => Numbers::Tiles(tiles.transposed()),
            (Numbers::BytePanels(panels), Form::BytePanels) => {
                Numbers::BytePanels(panels.transposed())
            }
            (Numbers::Integers(integers), Form::Tiles) => {
                Numbers::Tiles(BitTiles::pack_transposed(encoding, rows, integers))
            }
            (Numbers::Integers(integers), Form::Panels) => {
                Numbers::Panels(IntegerPanels::pack_transposed(rows, integers))
            }
            (Numbers::Integers(integers), Form::BytePanels) => {
                Numbers::BytePanels(BytePanels::pack_transposed(encoding, rows, integers))
            }
            _ => {
                let integers = transpose(columns, rows, &self.to_integers());
                return Operand::of_integers(form, encoding, columns, integers, unit);
            }
        };
        Operand::alike(rows, columns, encoding, numbers, unit)
    }

    /// Integers, `[rows, columns]`, that are all worth `unit`.
    pub(crate) fn of_integers(
        form: Form,
        encoding: Encoding,
        columns: usize,
        integers: Vec<i16>,
        unit: f32,
    ) -> Operand {
        let rows = integers.len() / columns.max(1);
        if form == Form::Integers {
            return Operand::alike(rows, columns, encoding, Numbers::Integers(integers), unit);
        }
        Operand::integers(form, encoding, rows, columns, |row, out| {
            out.copy_from_slice(&integers[row * columns..][..columns]);
            unit
        })
    }

    /// The numbers of some rows as they travel: bits, or floats where there are no integers.
    pub(crate) fn to_bytes(&self, rows: Range<usize>) -> Vec<u8> {
        let places = rows.start * self.columns..rows.end * self.columns;
        match (&self.numbers, self.encoding) {
            (Numbers::Integers(integers), Some(encoding)) => to_stream(encoding, &integers[places]),
            (_, Some(encoding)) => to_stream(encoding, &self.to_integers()[places]),
            (_, None) => float_bytes(&self.levels()[places]),
        }
    }

    /// Rows of numbers, `[rows, columns]`, that have travelled, some from one rank after some from another: `parts` are how
    /// many rows, and their bytes. Integers are all worth `unit`.
    pub(crate) fn from_rows(
        form: Form,
        encoding: Option<Encoding>,
        columns: usize,
        parts: &[(usize, &[u8])],
        unit: f32,
    ) -> Operand {
        let rows = parts.iter().map(|(rows, _)| rows).sum();
        let Some(encoding) = encoding else {
            let floats: Vec<f32> = parts.iter().flat_map(|(_, bytes)| floats(bytes)).collect();
            return Operand::floats(rows, columns, |row, out| {
                out.copy_from_slice(&floats[row * columns..][..columns]);
            });
        };
        let mut integers = vec![0; rows * columns];
        let mut rest = integers.as_mut_slice();
        for (rows, bytes) in parts {
            let (part, others) = rest.split_at_mut(rows * columns);
            from_stream(encoding, bytes, part);
            rest = others;
        }
        Operand::filled(form, encoding, (rows, columns), unit, |row, out| {
            out.copy_from_slice(&integers[row * columns..][..columns]);
        })
    }

    /// Columns of numbers, `[rows, columns]`, that have travelled: `parts` are how many columns, and their bytes. `unit` says
    /// what the integers of each row are worth.
    pub(crate) fn from_columns(
        form: Form,
        encoding: Option<Encoding>,
        rows: usize,
        parts: &[(usize, &[u8])],
        unit: impl Fn(usize) -> f32 + Sync,
    ) -> Operand {
        fn join<T: Copy>(row: usize, parts: &[(usize, Vec<T>)], mut out: &mut [T]) {
            for (width, numbers) in parts {
                let (part, others) = out.split_at_mut(*width);
                part.copy_from_slice(&numbers[row * width..][..*width]);
                out = others;
            }
        }
        let columns = parts.iter().map(|(columns, _)| columns).sum();
        let Some(encoding) = encoding else {
            let parts = parts
                .iter()
                .map(|(width, bytes)| (*width, floats(bytes).collect()));
            let parts: Vec<(usize, Vec<f32>)> = parts.collect();
            return Operand::floats(rows, columns, |row, out| join(row, &parts, out));
        };
        let parts = parts.iter().map(|(width, bytes)| {
            let mut integers = vec![0; rows * width];
            from_stream(encoding, bytes, &mut integers);
            (*width, integers)
        });
        let parts: Vec<(usize, Vec<i16>)> = parts.collect();
        Operand::integers(form, encoding, rows, columns, |row, out| {
            join(row, &parts, out);
            unit(row)
        })
    }

    /// The integers as floats, or the floats, `[rows, columns]`.
    pub fn levels(&self) -> Vec<f32> {
        match &self.numbers {
            Numbers::Floats(floats) if self.encoding.is_none() => floats.clone(),
            Numbers::FloatColumns(floats) if self.encoding.is_none() => {
                transpose(self.columns, self.rows, floats)
            }
            _ => self.to_integers().into_iter().map(f32::from).collect(),
        }
    }

    /// The integers, `[rows, columns]`.
    fn to_integers(&self) -> Vec<i16> {
        match &self.numbers {
            Numbers::Planes(planes) => planes.unpack(),
            Numbers::Tiles(tiles) => tiles.unpack(),
            Numbers::Integers(integers) => integers.clone(),
            Numbers::Panels(panels) => self.each(|row, column| panels.get(row, column)),
            Numbers::BytePanels(panels) => self.each(|row, column| panels.get(row, column)),
            Numbers::Floats(floats) | Numbers::FloatColumns(floats) => {
                // Whole numbers but for float32's rounding.
                let unit = self.units.first().copied().unwrap_or(1.0);
                floats.iter().map(|x| (x / unit).round() as i16).collect()
            }
        }
    }

    /// The integers that `get` gives at each row and column, `[rows, columns]`.
    fn each(&self, get: impl Fn(usize, usize) -> i16) -> Vec<i16> {
        let places =
            (0..self.rows).flat_map(|row| (0..self.columns).map(move |column| (row, column)));
        places.map(|(row, column)| get(row, column)).collect()
    }

    /// The products of the rows of `range` with all rows of `other`, `[range, other.rows]`. Both operands must have
    /// the forms of one kind of product.
    pub fn product(&self, range: Range<usize>, other: &Operand, out: &mut [f32]) {
        assert_eq!(self.columns, other.columns, "rows of different length");
        if !self.float_product(range.clone(), other, out) {
            self.for_each_sum(range, other, out, |row, columns, sums, out| {
                self.scale(row, other, columns, sums, out);
            });
        }
    }

    /// The product of floats, if these are.
    fn float_product(&self, range: Range<usize>, other: &Operand, out: &mut [f32]) -> bool {
        let (terms, columns) = (self.columns, other.rows);
        match (&self.numbers, &other.numbers) {
            (Numbers::Floats(a), Numbers::Floats(b)) => {
                let a = FloatView::Lines(&a[range.start * terms..range.end * terms]);
                float_product(terms, columns, a, FloatView::Lines(b), out);
            }
            (Numbers::Floats(a), Numbers::FloatColumns(b)) => {
                let a = FloatView::Lines(&a[range.start * terms..range.end * terms]);
                float_product(terms, columns, a, FloatView::Terms(b), out);
            }
            _ => return false,
        }
        true
    }

    /// What the sums of row `row` with the rows `columns` of `other` are worth.
    fn scale(
        &self,
        row: usize,
        other: &Operand,
        columns: Range<usize>,
        sums: &[i32],
        out: &mut [f32],
    ) {
        let unit = self.units[row];
        for ((out, sum), other_unit) in out.iter_mut().zip(sums).zip(&other.units[columns]) {
            *out = *sum as f32 * (unit * other_unit);
        }
    }

    /// The product of integers, taken on while it is in the cache: `write` makes numbers of `out`,
    /// `[range, other.rows]`, of the sums of a row with some rows of `other`, on all threads.
    pub fn for_each_sum<T: Send>(
        &self,
        range: Range<usize>,
        other: &Operand,
        out: &mut [T],
        write: impl Fn(usize, Range<usize>, &[i32], &mut [T]) + Sync,
    ) {
        let (rows, columns) = (range.len(), other.rows);
        if rows * columns == 0 {
            return;
        }
        let threads = rayon::current_num_threads();
        // Saturating: three such sizes may not fit 32 bits.
        let macs = rows.saturating_mul(columns).saturating_mul(self.columns);
        if threads == 1 || macs < PARALLEL_MACS {
            self.block_sums(range, other, 0..columns, |row, at, sums| {
                write(row, 0..columns, sums, &mut out[at * columns..][..columns]);
            });
        } else if rows < threads * BLOCK_ROWS {
            let width = columns.div_ceil(threads).next_multiple_of(TILE_ROWS);
            for (row, out) in range.zip(out.chunks_exact_mut(columns)) {
                threads::for_each(out.chunks_mut(width), |piece, out| {
                    let columns = piece * width..piece * width + out.len();
                    self.block_sums(row..row + 1, other, columns.clone(), |row, _, sums| {
                        write(row, columns.clone(), sums, out);
                    });
                });
            }
        } else {
            let height = rows
                .div_ceil(threads * PIECES_PER_THREAD)
                .next_multiple_of(BLOCK_ROWS);
            threads::for_each(out.chunks_mut(height * columns), |piece, out| {
                let first = range.start + piece * height;
                let rows = first..first + out.len() / columns;
                self.block_sums(rows, other, 0..columns, |row, at, sums| {
                    write(row, 0..columns, sums, &mut out[at * columns..][..columns]);
                });
            });
        }
    }

    /// The products of the rows of `range` with all rows of `other`, of integers, on this thread: `take` is handed
    /// them row by row while they are in the cache.
    pub fn for_each_row(
        &self,
        range: Range<usize>,
        other: &Operand,
        mut take: impl FnMut(usize, RowProducts<'_>),
    ) {
        self.block_sums(range, other, 0..other.rows, |row, _, sums| {
            let (unit, other_units) = (self.units[row], other.units.as_slice());
            take(
                row,
                RowProducts {
                    sums,
                    unit,
                    other_units,
                },
            );
        });
    }

    /// Hands `take` the sums of each row of `range`, with its place in the range, with the rows `columns` of `other`.
    fn block_sums(
        &self,
        range: Range<usize>,
        other: &Operand,
        columns: Range<usize>,
        mut take: impl FnMut(usize, usize, &[i32]),
    ) {
        let width = columns.len().next_multiple_of(TILE_ROWS);
        let height = (BLOCK_SUMS / width / BLOCK_ROWS * BLOCK_ROWS)
            .max(BLOCK_ROWS)
            .min(range.len());
        thread_local! {
            static SUMS: Cell<Vec<TileSums>> = const { Cell::new(Vec::new()) };
        }
        threads::with_buffer(&SUMS, |sums| {
            sums.resize(height * width / TILE_ROWS, [0; TILE_ROWS]);
            for first in range.clone().step_by(height) {
                let rows = first..range.end.min(first + height);
                let stride = self.sums(rows.clone(), other, columns.clone(), sums);
                let sums = sums.as_flattened().chunks(stride);
                for (row, sums) in rows.zip(sums) {
                    take(row, row - range.start, &sums[..columns.len()]);
                }
            }
        });
    }

    /// The largest of what the integers of the rows are worth; 0 for floats.
    pub fn largest_unit(&self) -> f32 {
        self.units.iter().copied().fold(0.0, f32::max)
    }

    /// Whether all products with rows of `other` are numbers whose squares are finite: for integers, which are worth up to
    /// `largest_unit`, the largest there could be.
    pub fn product_is_finite(&self, largest_unit: f32, other: &Operand) -> Result<(), NotFinite> {
        let extreme = |operand: &Operand| {
            operand
                .encoding
                .map_or(1.0, |encoding| f32::from(encoding.range().1) + 1.0)
        };
        let largest = largest_unit * other.largest_unit() * extreme(self) * extreme(other);
        are_finite(&[largest * self.columns as f32])
    }

    /// Fills the beginning of `out` with sums; how far its rows lie apart.
    fn sums(
        &self,
        rows: Range<usize>,
        other: &Operand,
        columns: Range<usize>,
        out: &mut [TileSums],
    ) -> usize {
        let terms = self.columns;
        let dense = rows.len() * columns.len();
        let integers = |values| Integers {
            values,
            terms,
            encoding: self.encoding.unwrap_or(Encoding::Unsigned8),
        };
        match (&self.numbers, &other.numbers) {
            (Numbers::Integers(values), Numbers::Tiles(w)) => {
                let bands = columns.start / TILE_ROWS..columns.end.div_ceil(TILE_ROWS);
                let width = bands.len();
                let sums = &mut out[..rows.len() * width];
                lookup_product(integers(values), w, rows, bands, sums);
                return width * TILE_ROWS;
            }
            (Numbers::Integers(values), Numbers::Panels(b)) => {
                return in_panels(rows.len(), columns, out, |panels, sums| {
                    integer_product(integers(values), b, rows, panels, sums);
                });
            }
            (Numbers::Integers(values), Numbers::BytePanels(b)) => {
                return in_panels(rows.len(), columns, out, |panels, sums| {
                    byte_product(integers(values), b, rows, panels, sums);
                });
            }
            (Numbers::Planes(a), Numbers::Planes(b)) => {
                bit_plane_product(
                    a,
                    rows,
                    b,
                    columns.clone(),
                    &mut out.as_flattened_mut()[..dense],
                );
            }
            _ => panic!("operands of different kinds of product"),
        }
        columns.len()
    }
}

/// Lets `product` fill the beginning of `out` with the sums of `rows` rows with the panels that `columns` lie in; how
/// far the rows lie apart.
fn in_panels(
    rows: usize,
    columns: Range<usize>,
    out: &mut [TileSums],
    product: impl FnOnce(Range<usize>, &mut [PanelSums]),
) -> usize {
    let panels = columns.start / PANEL_ROWS..columns.end.div_ceil(PANEL_ROWS);
    let width = panels.len();
    let (sums, _) = out.as_flattened_mut().as_chunks_mut();
    product(panels, &mut sums[..rows * width]);
    width * PANEL_ROWS
}

/// Hands `work` the chances of a row, none where there are none.
fn with_chances<R>(chances: Option<&Chances>, row: usize, work: impl FnOnce(&[f32]) -> R) -> R {
    match chances {
        Some(chances) => chances.with_row(row, work),
        None => work(&[]),
    }
}

/// Floats as they travel.
pub(crate) fn float_bytes(floats: &[f32]) -> Vec<u8> {
    let bytes: Vec<[u8; 4]> = floats.iter().map(|x| x.to_le_bytes()).collect();
    bytes.into_flattened()
}

/// Floats that have travelled.
pub(crate) fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> {
    let (floats, _) = bytes.as_chunks();
    floats.iter().map(|bytes| f32::from_le_bytes(*bytes))
}

/// Bytes in which `count` numbers travel: integers, or floats where there is no encoding.
pub(crate) fn travelling_bytes(encoding: Option<Encoding>, count: usize) -> usize {
    encoding.map_or(size_of::<f32>() * count, |encoding| {
        stream_length(encoding, count)
    })
}

/// `[rows, columns]` to `[columns, rows]`, four by four where there are as many.
pub(crate) fn transpose<T: SimdElement + Default + Send + Sync>(
    rows: usize,
    columns: usize,
    from: &[T],
) -> Vec<T> {
    let piece = (SQUARE * rows).max(1);
    let beside = std::iter::repeat_n((), from.len().div_ceil(piece));
    threads::fill_pieces(from.len(), piece, beside, |square, to, ()| {
        let first = square * SQUARE;
        for start in (0..rows).step_by(SQUARE) {
            let end = rows.min(start + SQUARE);
            for (fours, to) in to.chunks_mut(4 * rows).enumerate() {
                let column = first + 4 * fours;
                let whole = if to.len() == 4 * rows {
                    (end - start) / 4
                } else {
                    0
                };
                for row in (start..start + 4 * whole).step_by(4) {
                    let lines = [0, 1, 2, 3].map(|line| {
                        Simd::<T, 4>::from_slice(&from[(row + line) * columns + column..])
                    });
                    for (line, of_line) in transpose_four(lines).into_iter().enumerate() {
                        of_line.copy_to_slice(&mut to[line * rows + row..]);
                    }
                }
                for (offset, to) in to.chunks_exact_mut(rows).enumerate() {
                    for row in start + 4 * whole..end {
                        to[row] = from[row * columns + column + offset];
                    }
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::values;
    use crate::random::Purpose;
    use crate::spec::{Bits, Levels, Rounding};
    use proptest::prelude::*;

    fn any_quantizer() -> impl Strategy<Value = Quantizer> {
        (
            prop::sample::select(Bits::ALL.to_vec()),
            any::<bool>(),
            any::<bool>(),
        )
            .prop_map(|(bits, logarithmic, stochastic)| Quantizer {
                bits,
                levels: if logarithmic {
                    Levels::Logarithmic
                } else {
                    Levels::Linear
                },
                rounding: if stochastic {
                    Rounding::Stochastic
                } else {
                    Rounding::Deterministic
                },
            })
    }

    /// The product in double precision, term by term.
    fn expect_product(a: &Operand, b: &Operand) {
        let mut out = vec![0.0; a.rows * b.rows];
        a.product(0..a.rows, b, &mut out);
        for row in 0..a.rows {
            for column in 0..b.rows {
                let terms = (0..a.columns)
                    .map(|i| f64::from(a.value(row, i)) * f64::from(b.value(column, i)));
                let expected: f64 = terms.sum();
                let found = f64::from(out[row * b.rows + column]);
                assert!((expected - found).abs() < 1e-3, "{expected} {found}");
            }
        }
    }

    proptest! {
        #[test]
        fn products_forward_and_backward_agree_with_their_terms(
            (batch, inputs, units) in (2usize..6, 1usize..150, 1usize..40),
            weights in any_quantizer(), activations in any_quantizer(),
            gradient_bits in prop::sample::select(Bits::ALL[1..].to_vec()), logarithmic in any::<bool>(),
            dropout in prop::sample::select(vec![0.0f32, 0.4]), seed in any::<u32>(),
            forced in prop::sample::select([&[None], &Method::ALL.map(Some)[..]].concat())
        ) {
            let chances = |purpose, columns| Chances::new(seed, 1, 1, purpose, columns);
            let dropout = (dropout > 0.0).then(|| Dropout::new(dropout, chances(Purpose::Dropout, inputs)));
            let gradients = GradientQuantizer {
                bits: gradient_bits,
                levels: if logarithmic { Levels::Logarithmic } else { Levels::Linear },
                rounding: Rounding::Stochastic,
            };
            let encoding = match &dropout {
                Some(_) => activations.encoding().map(Encoding::with_zero),
                None => activations.encoding(),
            };
            let choice = Choice { forced, ..Choice::default() };
            let kind = ProductKind::of(choice, encoding, weights.encoding());
            let input = Operand::quantized(
                kind.a(), activations, inputs, &values(batch * inputs, seed),
                Some(&chances(Purpose::Activations, inputs)), dropout.as_ref(),
            );
            prop_assert_eq!(input.encoding(), encoding);
            let weights = Operand::quantized(
                kind.b(), weights, inputs, &values(units * inputs, !seed), Some(&chances(Purpose::Weights, inputs)), None,
            );
            expect_product(&input, &weights);

            let gradient = values(batch * units, seed ^ 0x5555);
            let kind = ProductKind::of(choice, gradients.encoding(), weights.encoding());
            let rows = Operand::gradients(
                kind.a(), gradients, units, &gradient, Some(&chances(Purpose::GradientRows, units)),
            );
            expect_product(&rows, &weights.transposed(kind.b()));
            let kind = ProductKind::of(choice, gradients.encoding(), input.encoding());
            let columns = Operand::gradients(
                kind.a(), gradients, batch, &transpose(batch, units, &gradient),
                Some(&chances(Purpose::GradientUnits, batch)),
            );
            expect_product(&columns, &input.transposed(kind.b()));
        }

        #[test]
        fn transposing_keeps_the_numbers(rows in 1usize..80, columns in 1usize..80, quantizer in any_quantizer()) {
            let forms = [
                Form::Planes, Form::Tiles, Form::Integers, Form::Panels, Form::BytePanels, Form::Floats,
            ];
            for (form, to) in forms.into_iter().flat_map(|form| forms.map(|to| (form, to))) {
                let too_wide = quantizer.encoding().is_none_or(|encoding| encoding.digits() > 8);
                let of_bytes = |form: &Form| [Form::Planes, Form::BytePanels].contains(form);
                if too_wide && [form, to].iter().any(of_bytes) {
                    continue;
                }
                let there = Operand::quantized(form, quantizer, columns, &values(rows * columns, 9), None, None);
                let back = there.transposed(to);
                for row in 0..rows {
                    for column in 0..columns {
                        prop_assert_eq!(there.value(row, column), back.value(column, row));
                    }
                }
            }
        }
    }

    /// However the threads share the work: by rows, or by columns where there are few rows.
    #[test]
    fn products_do_not_depend_on_threads() {
        let quantizer = |bits: usize| Quantizer {
            bits: Bits::ALL[bits - 1],
            levels: Levels::Linear,
            rounding: Rounding::Deterministic,
        };
        for (rows, columns, terms) in [(101, 270, 333), (3, 1900, 301), (1, 2047, 1111)] {
            for method in Method::ALL {
                let kind = ProductKind::Integer(method);
                let a = Operand::quantized(
                    kind.a(),
                    quantizer(4),
                    terms,
                    &values(rows * terms, 1),
                    None,
                    None,
                );
                let b = Operand::quantized(
                    kind.b(),
                    quantizer(2),
                    terms,
                    &values(columns * terms, 2),
                    None,
                    None,
                );
                let product = |threads: usize, range: Range<usize>| {
                    let pool = rayon::ThreadPoolBuilder::new()
                        .num_threads(threads)
                        .build()
                        .unwrap();
                    let mut out = vec![0.0; range.len() * columns];
                    pool.install(|| a.product(range, &b, &mut out));
                    out
                };
                let alone = product(1, 0..rows);
                for threads in [2, 3] {
                    let all = product(threads, 0..rows);
                    let some = product(threads, rows / 6..rows);
                    assert!(
                        all == alone && some == alone[rows / 6 * columns..],
                        "{method:?} {rows}x{columns}x{terms}"
                    );
                }
                let expected: f32 = (0..terms)
                    .map(|term| a.value(0, term) * b.value(columns - 1, term))
                    .sum();
                assert!((alone[columns - 1] - expected).abs() < 1e-3);
            }
        }
    }

    #[test]
    fn pixels_are_taken_as_they_are() {
        let sign = Quantizer {
            bits: Bits::ONE,
            levels: Levels::Linear,
            rounding: Rounding::Deterministic,
        };
        let latent = [0.3, -0.2, 0.9, 0.1, 0.4, -1.0];
        for kind in Method::ALL.map(ProductKind::Integer) {
            let input = Operand::pixels(kind.a(), 3, &[255, 51, 0, 10, 20, 30], None);
            let weights = Operand::quantized(kind.b(), sign, 3, &latent, None, None);
            let mut sums = [0.0; 4];
            input.product(0..2, &weights, &mut sums);
            for (sum, expected) in sums.iter().zip([204.0, 306.0, 20.0, 0.0]) {
                assert!((sum * 255.0 - expected).abs() < 1e-3, "{kind:?}");
            }
        }
    }

    #[test]
    fn dropout_leaves_out_its_share_and_keeps_the_mean() {
        let dropout = Dropout::new(0.2, Chances::new(1, 1, 0, Purpose::Dropout, 1000));
        let ones = vec![1.0; 10_000];
        let sign = Quantizer {
            bits: Bits::ONE,
            levels: Levels::Linear,
            rounding: Rounding::Deterministic,
        };
        let input = Operand::quantized(Form::Planes, sign, 1000, &ones, None, Some(&dropout));
        let values = || (0..10).flat_map(|row| (0..1000).map(move |column| (row, column)));
        let sum: f32 = values().map(|(row, column)| input.value(row, column)).sum();
        assert!((sum - 10_000.0).abs() < 250.0, "{sum}");
        assert!(values().all(|(row, column)| [0.0, 1.25].contains(&input.value(row, column))));
    }
}
