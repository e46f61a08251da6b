//! `BitMatrix`: a dense matrix of bits, a row after the other in 64-bit words, lowest bit first.

use std::ops::Range;

use crate::threads;

/// Words of a SIMD register: rows are padded to a multiple of it.
const WORDS_PER_VECTOR: usize = 2;

/// A matrix of bits, `[rows, columns]`; rows padded with zero bits to a multiple of 128.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BitMatrix {
    rows: usize,
    columns: usize,
    words_per_row: usize,
    words: Vec<u64>,
}

/// Some consecutive rows of a [`BitMatrix`], as the kernels take them.
#[derive(Clone, Copy, Debug)]
pub struct BitRows<'a> {
    pub rows: usize,
    /// Always even: whole 128-bit vectors.
    pub words_per_row: usize,
    /// `[rows, words_per_row]`.
    pub words: &'a [u64],
}

impl<'a> BitRows<'a> {
    /// The words of one row.
    pub fn row(&self, row: usize) -> &'a [u64] {
        &self.words[row * self.words_per_row..][..self.words_per_row]
    }

    /// The rows of `range` alone.
    pub fn slice(&self, range: Range<usize>) -> BitRows<'a> {
        BitRows {
            rows: range.len(),
            words_per_row: self.words_per_row,
            words: &self.words[range.start * self.words_per_row..range.end * self.words_per_row],
        }
    }
}

impl BitMatrix {
    /// A matrix of zero bits.
    pub fn zeros(rows: usize, columns: usize) -> BitMatrix {
        let words_per_row = columns.div_ceil(64 * WORDS_PER_VECTOR) * WORDS_PER_VECTOR;
        BitMatrix {
            rows,
            columns,
            words_per_row,
            words: vec![0; rows * words_per_row],
        }
    }

    /// The signs of `values`, `[rows, columns]`: bit 1 where x >= 0 (paper eq. 1).
    pub fn from_signs(rows: usize, columns: usize, values: &[f32]) -> BitMatrix {
        assert_eq!(values.len(), rows * columns);
        let [matrix] = BitMatrix::pack(rows, columns, |row| {
            values[row * columns..][..columns]
                .iter()
                .map(|value| u8::from(*value >= 0.0))
        });
        matrix
    }

    /// Packs the `P` lowest bits of each code into a matrix each; `codes` gives the codes of a row.
    pub(super) fn pack<const P: usize, Codes: Iterator<Item = u8>>(
        rows: usize,
        columns: usize,
        codes: impl Fn(usize) -> Codes + Sync,
    ) -> [BitMatrix; P] {
        let mut planes: [BitMatrix; P] = std::array::from_fn(|_| BitMatrix::zeros(rows, columns));
        let words_per_row = planes[0].words_per_row;
        let pack_row = |row: usize, mut words: [&mut [u64]; P]| {
            let mut codes = codes(row);
            for word in 0..columns.div_ceil(64) {
                let mut packed = [0u64; P];
                for (bit, code) in codes.by_ref().take(64).enumerate() {
                    for (plane, packed) in packed.iter_mut().enumerate() {
                        *packed |= u64::from(code >> plane & 1) << bit;
                    }
                }
                for (words, packed) in words.iter_mut().zip(packed) {
                    words[word] = packed;
                }
            }
        };
        let mut chunks = planes
            .each_mut()
            .map(|plane| plane.words.chunks_exact_mut(words_per_row.max(1)));
        let rows: Vec<[&mut [u64]; P]> = (0..rows)
            .map_while(|_| {
                let mut row = Vec::with_capacity(P);
                for chunks in &mut chunks {
                    row.push(chunks.next()?);
                }
                row.try_into().ok()
            })
            .collect();
        threads::for_each(rows.into_iter(), pack_row);
        planes
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns, padding not counted.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The bit at `row`, `column`.
    pub fn get(&self, row: usize, column: usize) -> bool {
        assert!(column < self.columns, "column {column} of {}", self.columns);
        self.view().row(row)[column / 64] >> (column % 64) & 1 == 1
    }

    /// Set bits of a row.
    pub fn count_ones(&self, row: usize) -> u32 {
        self.view()
            .row(row)
            .iter()
            .map(|word| word.count_ones())
            .sum()
    }

    /// All rows, as the kernels take them.
    pub fn view(&self) -> BitRows<'_> {
        BitRows {
            rows: self.rows,
            words_per_row: self.words_per_row,
            words: &self.words,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn signs_survive_packing_and_padding_is_zero(
            (rows, columns, values) in (0usize..5, 0usize..300).prop_flat_map(|(rows, columns)| {
                (Just(rows), Just(columns), prop::collection::vec(-1.0f32..1.0, rows * columns))
            })
        ) {
            let matrix = BitMatrix::from_signs(rows, columns, &values);
            for row in 0..rows {
                for column in 0..columns {
                    prop_assert_eq!(matrix.get(row, column), values[row * columns + column] >= 0.0);
                }
                let positive = (0..columns).filter(|column| values[row * columns + column] >= 0.0).count();
                prop_assert_eq!(matrix.count_ones(row) as usize, positive);
            }
            prop_assert_eq!(matrix.view().words_per_row % 2, 0);
        }
    }

    #[test]
    fn zero_counts_as_positive() {
        assert!(BitMatrix::from_signs(1, 1, &[0.0]).get(0, 0));
    }
}
