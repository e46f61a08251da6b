//! Random numbers by their place: which step, layer, purpose, row and column they are for decides what they are.
//! So no result depends on the order in which threads or slices come to them, and a checkpoint need keep no state.

use std::cell::Cell;
use std::ops::Range;
use std::simd::num::{SimdInt, SimdUint};
use std::simd::{f32x4, u32x4, u64x4};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::kernels::transpose_four;
use crate::threads::with_buffer;

/// What a step leaves to chance in a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Rounding the layer's weights, `[units, inputs]`.
    Weights,
    /// Rounding the layer's inputs, `[batch, inputs]`.
    Activations,
    /// Leaving out some of the layer's inputs, `[batch, inputs]`.
    Dropout,
    /// Rounding the gradients for the product with the weights, `[batch, units]`.
    GradientRows,
    /// Rounding the gradients for the product with the inputs, `[units, batch]`.
    GradientUnits,
}

/// The generator of the weights that a network begins with.
pub fn initialization(seed: u32) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(u64::from(seed))
}

/// The generator of the order of the images in epoch `epoch`.
pub fn shuffle(seed: u32, epoch: u32) -> ChaCha8Rng {
    let mut random = initialization(seed);
    // Stream 0 is the first weights'.
    random.set_stream(1 + u64::from(epoch));
    random
}

/// The chances of a matrix, `[rows, columns]`: the words of ChaCha8, in their order, as [`ChaCha8Rng`] gives them; four
/// blocks at a time, since a step takes as many as it has gradients.
#[derive(Clone, Debug)]
pub struct Chances {
    key: [u32; 8],
    stream: u64,
    /// Where the first row begins, and how far rows lie apart: more than `columns` in a part of a matrix.
    start: usize,
    stride: usize,
    columns: usize,
}

/// Layer and purpose in one number, as the lowest bits of a stream say it.
pub fn place(layer: usize, purpose: Purpose) -> u32 {
    (layer as u32) << 8 | purpose as u32
}

/// ChaCha's key.
pub fn key(seed: u32) -> [u32; 8] {
    let seed = initialization(seed).get_seed();
    std::array::from_fn(|word| {
        u32::from_le_bytes(std::array::from_fn(|byte| seed[4 * word + byte]))
    })
}

/// A word of each of four blocks.
type Words = u32x4;
const BLOCKS: usize = 4;
const WORDS_PER_BLOCK: usize = 16;

impl Chances {
    /// The chances of a matrix of `columns` columns in layer `layer` of step `step`.
    pub fn new(seed: u32, step: u32, layer: usize, purpose: Purpose, columns: usize) -> Chances {
        Chances {
            key: key(seed),
            // The highest bit keeps these streams apart from those of the shuffles.
            stream: 1 << 63 | u64::from(step) << 16 | u64::from(place(layer, purpose)),
            start: 0,
            stride: columns,
            columns,
        }
    }

    /// The chances of a part of the matrix: of some columns, from row `first_row` on, which is row 0 of the part.
    pub fn part(self, first_row: usize, columns: Range<usize>) -> Chances {
        Chances {
            start: self.start + first_row * self.stride + columns.start,
            columns: columns.len(),
            ..self
        }
    }

    /// Fills `chances` with those of a row, uniform in [0, 1).
    fn fill_row(&self, row: usize, chances: &mut Vec<f32>) {
        let position = self.start + row * self.stride;
        let skipped = position % WORDS_PER_BLOCK;
        let words = (skipped + self.columns).next_multiple_of(BLOCKS * WORDS_PER_BLOCK);
        chances.resize(words, 0.0);
        let (blocks, _) = chances.as_chunks_mut::<{ BLOCKS * WORDS_PER_BLOCK }>();
        for (index, chances) in blocks.iter_mut().enumerate() {
            let words = self.blocks((position / WORDS_PER_BLOCK + index * BLOCKS) as u64);
            for (fours, words) in words.as_chunks::<BLOCKS>().0.iter().enumerate() {
                let of_words = words.map(|word| {
                    let chance: f32x4 = (word >> 8).cast::<i32>().cast();
                    chance / f32x4::splat((1 << 24) as f32)
                });
                for (block, chance) in transpose_four(of_words).into_iter().enumerate() {
                    let place = block * WORDS_PER_BLOCK + fours * BLOCKS;
                    chance.copy_to_slice(&mut chances[place..]);
                }
            }
        }
        chances.copy_within(skipped..skipped + self.columns, 0);
        chances.truncate(self.columns);
    }

    /// Hands `work` the chances of a row.
    pub fn with_row<R>(&self, row: usize, work: impl FnOnce(&[f32]) -> R) -> R {
        thread_local! {
            static ROW: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
        }
        with_buffer(&ROW, |chances| {
            self.fill_row(row, chances);
            work(chances)
        })
    }

    /// Words 0 to 15 of blocks `counter` to `counter + 3` of ChaCha with eight rounds (Bernstein 2008).
    #[inline(always)]
    fn blocks(&self, counter: u64) -> [Words; WORDS_PER_BLOCK] {
        const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];
        let counters = u64x4::splat(counter) + u64x4::from_array([0, 1, 2, 3]);
        let start: [Words; WORDS_PER_BLOCK] = std::array::from_fn(|word| match word {
            0..4 => Words::splat(CONSTANTS[word]),
            4..12 => Words::splat(self.key[word - 4]),
            12 => counters.cast(),
            13 => (counters >> 32).cast(),
            14 => Words::splat(self.stream as u32),
            _ => Words::splat((self.stream >> 32) as u32),
        });
        let mut words = start;
        for _ in 0..4 {
            for column in 0..4 {
                quarter_round(&mut words, [0, 4, 8, 12].map(|row| row + column));
            }
            for column in 0..4 {
                quarter_round(
                    &mut words,
                    [0, 1, 2, 3].map(|row| 4 * row + (column + row) % 4),
                );
            }
        }
        std::array::from_fn(|word| words[word] + start[word])
    }
}

#[inline(always)]
fn quarter_round(words: &mut [Words; WORDS_PER_BLOCK], [a, b, c, d]: [usize; 4]) {
    for (to, with, rotated, by) in [(a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)] {
        words[to] += words[with];
        let mixed = words[rotated] ^ words[to];
        words[rotated] = mixed << by | mixed >> (32 - by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::rand_core::Rng;

    #[test]
    fn chances_depend_on_their_place_alone() {
        let at = |step, layer, purpose, row| -> Vec<f32> {
            let chances = Chances::new(1, step, layer, purpose, 100);
            chances.with_row(row, <[f32]>::to_vec)
        };
        let here = at(3, 1, Purpose::Weights, 7);
        assert_eq!(here, at(3, 1, Purpose::Weights, 7));
        assert!(here.iter().all(|chance| (0.0..1.0).contains(chance)));
        for other in [
            at(4, 1, Purpose::Weights, 7),
            at(3, 2, Purpose::Weights, 7),
            at(3, 1, Purpose::Dropout, 7),
            at(3, 1, Purpose::Weights, 8),
        ] {
            assert!(here.iter().zip(&other).filter(|(a, b)| a == b).count() < 3);
        }
    }

    #[test]
    fn chances_are_the_words_of_the_library() {
        for (columns, row) in [(100, 0), (100, 7), (1, 3), (65, 1_000_003)] {
            let mut random = initialization(9);
            random.set_stream(1 << 63 | 5 << 16 | 2 << 8 | Purpose::Dropout as u64);
            random.set_word_pos(row as u128 * columns as u128);
            let expected: Vec<f32> = (0..columns)
                .map(|_| (random.next_u32() >> 8) as f32 / (1 << 24) as f32)
                .collect();
            assert_eq!(
                Chances::new(9, 5, 2, Purpose::Dropout, columns).with_row(row, <[f32]>::to_vec),
                expected
            );
        }
    }

    #[test]
    fn a_part_has_the_chances_of_its_places() {
        let whole = Chances::new(3, 4, 1, Purpose::GradientUnits, 90);
        let part = whole.clone().part(5, 33..70).part(2, 10..30);
        for row in 0..4 {
            let expected = whole.with_row(row + 7, |chances| chances[43..63].to_vec());
            assert_eq!(part.with_row(row, <[f32]>::to_vec), expected);
        }
    }

    #[test]
    fn chances_are_uniform() {
        let chances = Chances::new(5, 0, 0, Purpose::Activations, 1000);
        let mut tenths = [0u32; 10];
        for row in 0..100 {
            for chance in chances.with_row(row, <[f32]>::to_vec) {
                tenths[(chance * 10.0) as usize] += 1;
            }
        }
        // 10,000 each; five standard deviations are 474.
        assert!(
            tenths.iter().all(|count| count.abs_diff(10_000) < 474),
            "{tenths:?}"
        );
    }
}
