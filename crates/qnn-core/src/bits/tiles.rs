//! `BitTiles`: a matrix of small integers whose binary digits lie as the lookup kernel reads them, tile by tile.
//! Like `BitPlanes` it knows nothing of scales.

use std::simd::cmp::SimdPartialEq;
use std::simd::i16x8;

use super::Encoding;
use crate::threads;

/// Rows of a tile: a byte each.
pub const TILE_ROWS: usize = 32;
/// Columns of a tile: a bit each.
pub const TILE_COLUMNS: usize = 8;
/// A digit of 32 rows by 8 columns; byte r holds row r, its lowest bit the first column.
/// Aligned so that no register's worth crosses a line of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(align(32))]
pub struct BitTile(pub [u8; TILE_ROWS]);

impl BitTile {
    /// All bits 0.
    pub const ZERO: BitTile = BitTile([0; TILE_ROWS]);
}

/// A matrix of small integers, `[rows, columns]`, as tiles of bits. Padded on both sides with zero bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BitTiles {
    encoding: Encoding,
    rows: usize,
    columns: usize,
    /// `[bands, digits, groups]`: bands of 32 rows, groups of 8 columns.
    tiles: Vec<BitTile>,
}

impl BitTiles {
    /// A matrix of zero bits.
    fn zeros(encoding: Encoding, rows: usize, columns: usize) -> BitTiles {
        let count = rows.div_ceil(TILE_ROWS) * encoding.digits() * columns.div_ceil(TILE_COLUMNS);
        BitTiles::of_tiles(encoding, rows, columns, vec![BitTile::ZERO; count])
    }

    /// The matrix of `tiles`, `[bands, digits, groups]`.
    pub(crate) fn of_tiles(
        encoding: Encoding,
        rows: usize,
        columns: usize,
        tiles: Vec<BitTile>,
    ) -> BitTiles {
        let count = rows.div_ceil(TILE_ROWS) * encoding.digits() * columns.div_ceil(TILE_COLUMNS);
        assert_eq!(tiles.len(), count);
        BitTiles {
            encoding,
            rows,
            columns,
            tiles,
        }
    }

    /// Packs integers that `fill` gives row by row.
    pub fn pack(
        encoding: Encoding,
        rows: usize,
        columns: usize,
        fill: impl Fn(usize, &mut [i16]) + Sync,
    ) -> BitTiles {
        let mut packed = BitTiles::zeros(encoding, rows, columns);
        threads::for_each(packed.bands_mut(), |band, tiles| {
            let first = band * TILE_ROWS;
            let mut integers = vec![0; columns];
            for row in first..rows.min(first + TILE_ROWS) {
                fill(row, &mut integers);
                pack_row(encoding, row - first, &integers, tiles);
            }
        });
        packed
    }

    /// The transpose of `integers`, `[columns, rows]`.
    pub fn pack_transposed(encoding: Encoding, rows: usize, integers: &[i16]) -> BitTiles {
        let columns = integers.len() / rows.max(1);
        let mut packed = BitTiles::zeros(encoding, rows, columns);
        let groups = packed.groups();
        threads::for_each(packed.bands_mut(), |band, tiles| {
            let first = band * TILE_ROWS;
            let width = TILE_ROWS.min(rows - first);
            for (digit, tiles) in tiles.chunks_exact_mut(groups.max(1)).enumerate() {
                for (bit, column) in integers.chunks_exact(rows).enumerate() {
                    let tile = &mut tiles[bit / TILE_COLUMNS].0[..width];
                    for (byte, integer) in tile.iter_mut().zip(&column[first..first + width]) {
                        *byte |= encoding.digit(*integer, digit) << (bit % TILE_COLUMNS);
                    }
                }
            }
        });
        packed
    }

    /// How digits make integers.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Bands of 32 rows.
    pub fn bands(&self) -> usize {
        self.rows.div_ceil(TILE_ROWS)
    }

    /// Groups of 8 columns.
    pub fn groups(&self) -> usize {
        self.columns.div_ceil(TILE_COLUMNS)
    }

    /// The integer at `row`, `column`.
    pub fn get(&self, row: usize, column: usize) -> i32 {
        assert!(row < self.rows && column < self.columns);
        (0..self.encoding.digits()).fold(self.encoding.offset(), |sum, digit| {
            let tile = self.digit(row / TILE_ROWS, digit)[column / TILE_COLUMNS];
            let bit = tile.0[row % TILE_ROWS] >> (column % TILE_COLUMNS) & 1;
            sum + self.encoding.coefficient(digit) * i32::from(bit)
        })
    }

    /// The integers, `[rows, columns]`.
    pub(crate) fn unpack(&self) -> Vec<i16> {
        let columns = self.columns;
        let mut integers = vec![self.encoding.offset() as i16; self.rows * columns];
        threads::for_each_row(&mut integers, columns, |row, integers| {
            for digit in 0..self.encoding.digits() {
                let coefficient = self.encoding.coefficient(digit) as i16;
                let tiles = self.digit(row / TILE_ROWS, digit);
                for (integers, tile) in integers.chunks_mut(TILE_COLUMNS).zip(tiles) {
                    let bits = tile.0[row % TILE_ROWS];
                    for (bit, integer) in integers.iter_mut().enumerate() {
                        *integer += coefficient * i16::from(bits >> bit & 1);
                    }
                }
            }
        });
        integers
    }

    /// The tiles of a digit in a band, one a group.
    pub fn digit(&self, band: usize, digit: usize) -> &[BitTile] {
        let groups = self.groups();
        &self.tiles[(band * self.encoding.digits() + digit) * groups..][..groups]
    }

    /// The tiles of each band, `[digits, groups]`.
    fn bands_mut(&mut self) -> std::slice::ChunksMut<'_, BitTile> {
        let length = self.encoding.digits() * self.groups();
        self.tiles.chunks_mut(length.max(1))
    }

    /// The same integers, `[columns, rows]`.
    pub fn transposed(&self) -> BitTiles {
        let mut to = BitTiles::zeros(self.encoding, self.columns, self.rows);
        let groups = to.groups();
        threads::for_each(to.bands_mut(), |band, tiles| {
            for (digit, tiles) in tiles.chunks_exact_mut(groups.max(1)).enumerate() {
                for (group, to) in tiles.iter_mut().enumerate() {
                    // Eight rows of this matrix are eight columns of the other.
                    let rows = group * TILE_COLUMNS % TILE_ROWS;
                    let from = self.digit(group * TILE_COLUMNS / TILE_ROWS, digit);
                    let from = from[band * TILE_ROWS / TILE_COLUMNS..].iter();
                    for (to, from) in to.0.as_chunks_mut::<8>().0.iter_mut().zip(from) {
                        let square: [u8; 8] = std::array::from_fn(|row| from.0[rows + row]);
                        *to = transpose_square(u64::from_le_bytes(square)).to_le_bytes();
                    }
                }
            }
        });
        to
    }
}

/// Writes the digits of a row of integers into row `row` of a band's tiles, `[digits, groups]`.
pub fn pack_row(encoding: Encoding, row: usize, integers: &[i16], tiles: &mut [BitTile]) {
    let groups = integers.len().div_ceil(TILE_COLUMNS);
    let (whole, rest) = integers.as_chunks::<TILE_COLUMNS>();
    for (digit, tiles) in tiles.chunks_exact_mut(groups.max(1)).enumerate() {
        // The sign of -1 and +1 is in the highest bit, turned round.
        let (bit, turned, padding) = match encoding {
            Encoding::Sign => (15, 0xff, -1),
            _ => (digit, 0, 0),
        };
        let bits = |integers: &[i16; TILE_COLUMNS]| {
            let set = i16x8::from_array(*integers) & i16x8::splat(1 << bit);
            set.simd_ne(i16x8::splat(0)).to_bitmask() as u8 ^ turned
        };
        for (tile, integers) in tiles.iter_mut().zip(whole) {
            tile.0[row] = bits(integers);
        }
        if let (Some(last), false) = (tiles.last_mut(), rest.is_empty()) {
            let mut padded = [padding; TILE_COLUMNS];
            padded[..rest.len()].copy_from_slice(rest);
            last.0[row] = bits(&padded);
        }
    }
}

/// Transposes 8x8 bits, a row a byte, by swapping ever larger blocks across the diagonal (Warren, Hacker's Delight 7-3).
fn transpose_square(mut bits: u64) -> u64 {
    for (shift, mask) in [
        (7, 0x00aa_00aa_00aa_00aa),
        (14, 0x0000_cccc_0000_cccc),
        (28, 0x0000_0000_f0f0_f0f0),
    ] {
        let swapped = (bits ^ (bits >> shift)) & mask;
        bits ^= swapped ^ (swapped << shift);
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn integers_survive_packing_and_transposing(
            digits in 1u8..=8, rows in 1usize..70, columns in 1usize..70, salt in any::<u32>()
        ) {
            let encoding = if digits == 1 { Encoding::Sign } else { Encoding::TwosComplement(digits) };
            let integers: Vec<i16> = (0..rows * columns)
                .map(|index| encoding.decode(((index as u32 ^ salt).wrapping_mul(2654435761) >> (32 - digits)) as u8) as i16)
                .collect();
            let packed = BitTiles::pack(encoding, rows, columns, |row, out| {
                out.copy_from_slice(&integers[row * columns..][..columns]);
            });
            for row in 0..rows {
                for column in 0..columns {
                    prop_assert_eq!(packed.get(row, column), i32::from(integers[row * columns + column]));
                }
            }
            let transposed = BitTiles::pack_transposed(encoding, columns, &integers);
            prop_assert_eq!(&packed.transposed(), &transposed);
            prop_assert_eq!(&transposed.transposed(), &packed);
            prop_assert_eq!(transposed.get(columns - 1, rows - 1), i32::from(integers[rows * columns - 1]));
        }
    }
}
