//! The matrix products of a fully connected layer, forward and backward: operands of small integers in packed bits or
//! 16 bits, or of floats, and the kernel that suits both. How numbers become levels is `quant`'s business.
//! No bias: batch normalization has one.

use std::ops::Range;

use rayon::prelude::*;

use crate::bits::{BitPlanes, Encoding};
use crate::kernels::{FloatView, bit_plane_product, float_product, integer_product};
use crate::quant::{GradientQuantizer, PIXEL_STEP, Quantizer};
use crate::random::Chances;

/// Passes of the binary kernel, one for each pair of binary digits, up to which it is taken. In Chromium on an x86-64
/// server core it does 100 G multiply-accumulates a second in a pass, the 16-bit kernel 16 to 30.
const MAX_PASSES: usize = 4;
/// Numbers that a thread fills at least: fewer are less work than handing them over.
const PARALLEL_NUMBERS: usize = 1 << 14;
/// Side of the squares in which a matrix is transposed, so that both sides of the copy stay in the cache.
const SQUARE: usize = 32;

/// The kernel of a product. Integers are exact: the largest sum there is, of 8192 pixels of 255 times logarithmic
/// weights of 128, fits 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProductKind {
    /// Packed bits, XOR and population count, a pass for each pair of binary digits.
    Popcount,
    /// Integers of 16 bits.
    Integer,
    /// Float32.
    Float,
}

impl ProductKind {
    /// The kernel for operands of such integers; `None` is floats.
    pub fn of(a: Option<Encoding>, b: Option<Encoding>) -> ProductKind {
        match (a, b) {
            (Some(a), Some(b)) if a.digits() * b.digits() <= MAX_PASSES => ProductKind::Popcount,
            (Some(_), Some(_)) => ProductKind::Integer,
            _ => ProductKind::Float,
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
    Integers(Vec<i16>),
    Floats(Vec<f32>),
    /// Floats that lie column by column.
    FloatColumns(Vec<f32>),
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
        for (input, chance) in inputs.iter_mut().zip(self.chances.row(row)) {
            if chance < self.share {
                *input = nothing;
            }
        }
    }

    /// What the inputs that stay are multiplied with.
    pub fn scale(&self) -> f32 {
        1.0 / (1.0 - self.share)
    }
}

impl Operand {
    /// 8-bit pixels, `[rows, columns]`, worth 0 to 1.
    pub fn pixels(
        kind: ProductKind,
        columns: usize,
        pixels: &[u8],
        dropout: Option<&Dropout>,
    ) -> Operand {
        let rows = pixels.len() / columns;
        let unit = PIXEL_STEP * dropout.map_or(1.0, Dropout::scale);
        Operand::integers(
            kind,
            Encoding::Unsigned8,
            columns,
            vec![unit; rows],
            |row, out| {
                for (integer, pixel) in out.iter_mut().zip(&pixels[row * columns..]) {
                    *integer = i16::from(*pixel);
                }
                if let Some(dropout) = dropout {
                    dropout.apply(row, out, 0);
                }
            },
        )
    }

    /// Weights or activations, `[rows, columns]`, quantized; `chances` where that is stochastic.
    pub fn quantized(
        kind: ProductKind,
        quantizer: Quantizer,
        columns: usize,
        values: &[f32],
        chances: Option<&Chances>,
        dropout: Option<&Dropout>,
    ) -> Operand {
        let rows = values.len() / columns;
        let scale = dropout.map_or(1.0, Dropout::scale);
        let row_of = |row: usize| {
            (
                &values[row * columns..][..columns],
                chances_of(chances, row),
            )
        };
        match quantizer.encoding() {
            Some(encoding) => {
                let encoding = match dropout {
                    Some(_) => encoding.with_zero(),
                    None => encoding,
                };
                let units = vec![quantizer.step() * scale; rows];
                Operand::integers(kind, encoding, columns, units, |row, out| {
                    let (values, chances) = row_of(row);
                    quantizer.integers(values, &chances, out);
                    if let Some(dropout) = dropout {
                        dropout.apply(row, out, 0);
                    }
                })
            }
            None => Operand::floats(rows, columns, |row, out| {
                let (values, chances) = row_of(row);
                quantizer.values(values, &chances, out);
                if let Some(dropout) = dropout {
                    out.iter_mut().for_each(|value| *value *= scale);
                    dropout.apply(row, out, 0.0);
                }
            }),
        }
    }

    /// Gradients, `[rows, columns]`, quantized with a unit of its own for each row.
    pub fn gradients(
        kind: ProductKind,
        quantizer: GradientQuantizer,
        rows: usize,
        columns: usize,
        gradient: impl Fn(usize, usize) -> f32 + Sync,
        chances: Option<&Chances>,
    ) -> Operand {
        let row_of =
            |row: usize| -> Vec<f32> { (0..columns).map(|column| gradient(row, column)).collect() };
        let unit_of = |row: usize| {
            if quantizer.bits.is_float() {
                return 1.0;
            }
            let magnitudes = (0..columns).map(|column| gradient(row, column).abs());
            quantizer.unit(magnitudes.fold(0.0, f32::max))
        };
        let units: Vec<f32> = (0..rows)
            .into_par_iter()
            .with_min_len(PARALLEL_NUMBERS.div_ceil(columns.max(1)))
            .map(unit_of)
            .collect();
        match quantizer.encoding() {
            Some(encoding) => {
                Operand::integers(kind, encoding, columns, units.clone(), |row, out| {
                    let chances = chances_of(chances, row);
                    quantizer.levels(&row_of(row), units[row], &chances, out, |level| {
                        level as i16
                    });
                })
            }
            None => Operand::floats(rows, columns, |row, out| {
                let (chances, unit) = (chances_of(chances, row), units[row]);
                quantizer.levels(&row_of(row), unit, &chances, out, |level| level * unit);
            }),
        }
    }

    /// Small integers, a row at a time.
    fn integers(
        kind: ProductKind,
        encoding: Encoding,
        columns: usize,
        units: Vec<f32>,
        fill: impl Fn(usize, &mut [i16]) + Sync,
    ) -> Operand {
        let rows = units.len();
        let integers = fill_rows(rows, columns, fill);
        let numbers = match kind {
            ProductKind::Popcount => {
                Numbers::Planes(BitPlanes::pack(encoding, rows, columns, |row| {
                    let integers = integers[row * columns..][..columns].iter();
                    integers.map(|integer| encoding.code(*integer))
                }))
            }
            ProductKind::Integer => Numbers::Integers(integers),
            ProductKind::Float => Numbers::Floats(fill_rows(rows, columns, |row, out| {
                let integers = &integers[row * columns..];
                for (value, integer) in out.iter_mut().zip(integers) {
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
            numbers: Numbers::Floats(fill_rows(rows, columns, fill)),
            units: Vec::new(),
            encoding: None,
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The integers that the numbers are; `None` for floats.
    pub fn encoding(&self) -> Option<Encoding> {
        self.encoding
    }

    /// The real number at `row`, `column`.
    pub fn value(&self, row: usize, column: usize) -> f32 {
        let index = row * self.columns + column;
        match &self.numbers {
            Numbers::Planes(planes) => planes.get(row, column) as f32 * self.units[row],
            Numbers::Integers(integers) => f32::from(integers[index]) * self.units[row],
            Numbers::Floats(floats) => floats[index],
            Numbers::FloatColumns(floats) => floats[column * self.rows + row],
        }
    }

    /// The same numbers, `[columns, rows]`, for a product of `kind`; floats stay floats. All integers must be worth
    /// the same.
    pub fn transposed(&self, kind: ProductKind) -> Operand {
        let (rows, columns) = (self.columns, self.rows);
        let unit = self.units.first().copied().unwrap_or(1.0);
        let encoding = self.encoding.filter(|_| kind != ProductKind::Float);
        let Some(encoding) = encoding else {
            let worth = |integer: &i16| f32::from(*integer) * unit;
            let floats = match &self.numbers {
                Numbers::Planes(planes) => planes.unpack().iter().map(worth).collect(),
                Numbers::Integers(integers) => integers.iter().map(worth).collect(),
                Numbers::Floats(floats) | Numbers::FloatColumns(floats) => floats.clone(),
            };
            return Operand {
                rows,
                columns,
                numbers: Numbers::FloatColumns(floats),
                units: Vec::new(),
                encoding: self.encoding,
            };
        };
        let integers = match &self.numbers {
            Numbers::Planes(planes) => transpose(self.rows, self.columns, &planes.unpack()),
            Numbers::Integers(integers) => transpose(self.rows, self.columns, integers),
            Numbers::Floats(floats) | Numbers::FloatColumns(floats) => {
                // Whole numbers but for float32's rounding.
                let whole = |x: &f32| (x / unit).round() as i16;
                let integers: Vec<i16> = floats.iter().map(whole).collect();
                transpose(self.rows, self.columns, &integers)
            }
        };
        Operand::integers(kind, encoding, columns, vec![unit; rows], |row, out| {
            out.copy_from_slice(&integers[row * columns..][..columns]);
        })
    }

    /// The products of the rows of `range` with all rows of `other`, `[range, other.rows]`. Both operands must have
    /// been made for the same kind of product.
    pub fn product(&self, range: Range<usize>, other: &Operand, out: &mut [f32]) {
        assert_eq!(self.columns, other.columns, "rows of different length");
        let (terms, columns) = (self.columns, other.rows);
        let products = match (&self.numbers, &other.numbers) {
            (Numbers::Planes(a), Numbers::Planes(b)) => bit_plane_product(a, range.clone(), b),
            (Numbers::Integers(a), Numbers::Integers(b)) => {
                let mut products = vec![0; out.len()];
                let a = &a[range.start * terms..range.end * terms];
                integer_product(terms, a, b, &mut products);
                products
            }
            (Numbers::Floats(a), Numbers::Floats(b)) => {
                let a = FloatView::Lines(&a[range.start * terms..range.end * terms]);
                return float_product(terms, columns, a, FloatView::Lines(b), out);
            }
            (Numbers::Floats(a), Numbers::FloatColumns(b)) => {
                let a = FloatView::Lines(&a[range.start * terms..range.end * terms]);
                return float_product(terms, columns, a, FloatView::Terms(b), out);
            }
            _ => panic!("operands of different kinds of product"),
        };
        let rows = out.chunks_exact_mut(columns.max(1)).zip(&self.units[range]);
        for ((out, unit), products) in rows.zip(products.chunks_exact(columns.max(1))) {
            for ((out, product), other_unit) in out.iter_mut().zip(products).zip(&other.units) {
                *out = *product as f32 * (unit * other_unit);
            }
        }
    }
}

/// The chances of a row, none where there are none.
fn chances_of(chances: Option<&Chances>, row: usize) -> Vec<f32> {
    chances.map_or(Vec::new(), |chances| chances.row(row))
}

/// A matrix, `[rows, columns]`, filled row by row, on all threads where that is worth it.
fn fill_rows<T: Copy + Default + Send>(
    rows: usize,
    columns: usize,
    fill: impl Fn(usize, &mut [T]) + Sync,
) -> Vec<T> {
    let mut numbers = vec![T::default(); rows * columns];
    let columns = columns.max(1);
    numbers
        .par_chunks_mut(columns)
        .with_min_len(PARALLEL_NUMBERS.div_ceil(columns))
        .enumerate()
        .for_each(|(row, numbers)| fill(row, numbers));
    numbers
}

/// `[rows, columns]` to `[columns, rows]`.
fn transpose<T: Copy + Default + Send + Sync>(rows: usize, columns: usize, from: &[T]) -> Vec<T> {
    let mut to = vec![T::default(); from.len()];
    to.par_chunks_mut((SQUARE * rows).max(1))
        .enumerate()
        .for_each(|(square, to)| {
            let first = square * SQUARE;
            for start in (0..rows).step_by(SQUARE) {
                for (offset, to) in to.chunks_exact_mut(rows).enumerate() {
                    for row in start..rows.min(start + SQUARE) {
                        to[row] = from[row * columns + first + offset];
                    }
                }
            }
        });
    to
}

#[cfg(test)]
mod tests {
    use super::*;
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

    fn noise(count: usize, salt: u32) -> Vec<f32> {
        (0..count as u32)
            .map(|i| {
                ((i ^ salt).wrapping_add(salt).wrapping_mul(2654435761) >> 8) as f32
                    / (1 << 23) as f32
                    - 1.0
            })
            .collect()
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
            dropout in prop::sample::select(vec![0.0f32, 0.4]), seed in any::<u32>()
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
            let kind = ProductKind::of(encoding, weights.encoding());
            let input = Operand::quantized(
                kind, activations, inputs, &noise(batch * inputs, seed),
                Some(&chances(Purpose::Activations, inputs)), dropout.as_ref(),
            );
            prop_assert_eq!(input.encoding(), encoding);
            let weights = Operand::quantized(
                kind, weights, inputs, &noise(units * inputs, !seed), Some(&chances(Purpose::Weights, inputs)), None,
            );
            expect_product(&input, &weights);

            let gradient = noise(batch * units, seed ^ 0x5555);
            let kind = ProductKind::of(gradients.encoding(), weights.encoding());
            let rows = Operand::gradients(
                kind, gradients, batch, units, |row, unit| gradient[row * units + unit],
                Some(&chances(Purpose::GradientRows, units)),
            );
            expect_product(&rows, &weights.transposed(kind));
            let kind = ProductKind::of(gradients.encoding(), input.encoding());
            let columns = Operand::gradients(
                kind, gradients, units, batch, |unit, row| gradient[row * units + unit],
                Some(&chances(Purpose::GradientUnits, batch)),
            );
            expect_product(&columns, &input.transposed(kind));
        }

        #[test]
        fn transposing_keeps_the_numbers(rows in 1usize..80, columns in 1usize..80, quantizer in any_quantizer()) {
            for kind in [ProductKind::Popcount, ProductKind::Integer, ProductKind::Float] {
                if kind == ProductKind::Popcount && quantizer.encoding().is_none_or(|encoding| encoding.digits() > 8) {
                    continue;
                }
                let there = Operand::quantized(kind, quantizer, columns, &noise(rows * columns, 9), None, None);
                let back = there.transposed(kind);
                for row in 0..rows {
                    for column in 0..columns {
                        prop_assert_eq!(there.value(row, column), back.value(column, row));
                    }
                }
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
        let kind = ProductKind::of(Some(Encoding::Unsigned8), sign.encoding());
        let input = Operand::pixels(kind, 3, &[255, 51, 0, 10, 20, 30], None);
        let latent = [0.3, -0.2, 0.9, 0.1, 0.4, -1.0];
        let weights = Operand::quantized(kind, sign, 3, &latent, None, None);
        let mut sums = [0.0; 4];
        input.product(0..2, &weights, &mut sums);
        for (sum, expected) in sums.iter().zip([204.0, 306.0, 20.0, 0.0]) {
            assert!((sum * 255.0 - expected).abs() < 1e-3);
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
        let input = Operand::quantized(
            ProductKind::Popcount,
            sign,
            1000,
            &ones,
            None,
            Some(&dropout),
        );
        let values = || (0..10).flat_map(|row| (0..1000).map(move |column| (row, column)));
        let sum: f32 = values().map(|(row, column)| input.value(row, column)).sum();
        assert!((sum - 10_000.0).abs() < 250.0, "{sum}");
        assert!(values().all(|(row, column)| [0.0, 1.25].contains(&input.value(row, column))));
    }
}
