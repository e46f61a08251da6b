//! `BitPlanes`: a matrix of small integers, a `BitMatrix` for each binary digit.
//! The integers' meaning as real numbers (their scale) belongs to the quantizer.

use std::ops::Range;

use qnn_infer::Encoding;

use super::{BitMatrix, BitRows};
use crate::threads;

/// A matrix of small integers, `[rows, columns]`, as one [`BitMatrix`] a binary digit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BitPlanes {
    encoding: Encoding,
    planes: Vec<BitMatrix>,
    /// For each row the sum of its integers, their offsets not counted.
    digit_sums: Vec<i32>,
}

impl BitPlanes {
    /// Packs integers given by their binary digits; `codes` gives the codes of a row, `columns` of them.
    pub fn pack<Codes: Iterator<Item = u8>>(
        encoding: Encoding,
        rows: usize,
        columns: usize,
        codes: impl Fn(usize) -> Codes + Sync,
    ) -> BitPlanes {
        macro_rules! pack {
            ($($digits:literal)*) => {
                match encoding.digits() {
                    $($digits => BitMatrix::pack::<$digits, _>(rows, columns, codes).into(),)*
                    digits => unreachable!("no encoding has {digits} digits"),
                }
            };
        }
        let planes: Vec<BitMatrix> = pack!(1 2 3 4 5 6 7 8);
        let digit_sums = (0..rows)
            .map(|row| {
                let counts = planes.iter().map(|plane| plane.count_ones(row) as i32);
                (0..)
                    .zip(counts)
                    .map(|(digit, ones)| encoding.coefficient(digit) * ones)
                    .sum()
            })
            .collect();
        BitPlanes {
            encoding,
            planes,
            digit_sums,
        }
    }

    /// How digits make integers.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.digit_sums.len()
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.planes[0].columns()
    }

    /// The integer at `row`, `column`.
    pub fn get(&self, row: usize, column: usize) -> i32 {
        (0..)
            .zip(&self.planes)
            .fold(self.encoding.offset(), |sum, (digit, plane)| {
                sum + self.encoding.coefficient(digit) * i32::from(plane.get(row, column))
            })
    }

    /// The integers, `[rows, columns]`.
    pub(crate) fn unpack(&self) -> Vec<i16> {
        let mut integers = vec![self.encoding.offset() as i16; self.rows() * self.columns()];
        let columns = self.columns();
        threads::for_each_row(&mut integers, columns, |row, integers| {
            for (digit, plane) in self.planes.iter().enumerate() {
                let coefficient = self.encoding.coefficient(digit) as i16;
                let words = plane.view().row(row);
                for (integers, word) in integers.chunks_mut(64).zip(words) {
                    for (bit, integer) in integers.iter_mut().enumerate() {
                        *integer += coefficient * (word >> bit & 1) as i16;
                    }
                }
            }
        });
        integers
    }

    /// Each digit's coefficient and the rows of `range` of its plane.
    pub(crate) fn digits(&self, range: Range<usize>) -> impl Iterator<Item = (i32, BitRows<'_>)> {
        (0..).zip(&self.planes).map(move |(digit, plane)| {
            (
                self.encoding.coefficient(digit),
                plane.view().slice(range.clone()),
            )
        })
    }

    /// For each row the sum of its integers, their offsets not counted.
    pub(crate) fn digit_sums(&self) -> &[i32] {
        &self.digit_sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_cover_their_ranges() {
        let range = |encoding: Encoding| {
            let codes = 0..1u16 << encoding.digits();
            let mut values: Vec<i32> = codes.map(|code| encoding.decode(code as u8)).collect();
            values.sort_unstable();
            values
        };
        assert_eq!(range(Encoding::Sign), [-1, 1]);
        assert_eq!(range(Encoding::TwosComplement(2)), [-2, -1, 0, 1]);
        assert_eq!(
            range(Encoding::TwosComplement(8)),
            (-128..=127).collect::<Vec<_>>()
        );
        assert_eq!(range(Encoding::Unsigned8), (0..=255).collect::<Vec<_>>());
        for encoding in [
            Encoding::Sign,
            Encoding::TwosComplement(5),
            Encoding::Unsigned8,
        ] {
            let held: Vec<i16> = (-300..300)
                .filter(|integer| encoding.holds(*integer))
                .collect();
            let same =
                |integer: &i16| encoding.decode(encoding.code(*integer)) == i32::from(*integer);
            assert!(held.len() == 1 << encoding.digits() && held.iter().all(same));
        }
    }

    #[test]
    fn integers_survive_packing() {
        let codes: Vec<u8> = (0..3 * 130).map(|index| (index * 7 % 16) as u8).collect();
        let planes = BitPlanes::pack(Encoding::TwosComplement(4), 3, 130, |row| {
            codes[row * 130..][..130].iter().copied()
        });
        for row in 0..3 {
            let mut sum = 0;
            for column in 0..130 {
                let expected = planes.encoding().decode(codes[row * 130 + column]);
                assert_eq!(planes.get(row, column), expected);
                sum += expected;
            }
            assert_eq!(planes.digit_sums()[row], sum);
            let unpacked = planes.unpack()[row * 130..][..130].to_vec();
            let expected: Vec<i16> = (0..130)
                .map(|column| planes.get(row, column) as i16)
                .collect();
            assert_eq!(unpacked, expected);
        }
    }
}
