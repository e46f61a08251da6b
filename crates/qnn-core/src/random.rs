//! Random numbers by their place: which step, layer, purpose, row and column they are for decides what they are.
//! So no result depends on the order in which threads or slices come to them, and a checkpoint need keep no state.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

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

/// The chances of a matrix, `[rows, columns]`.
#[derive(Clone, Debug)]
pub struct Chances {
    random: ChaCha8Rng,
    columns: usize,
}

impl Chances {
    /// The chances of a matrix of `columns` columns in layer `layer` of step `step`.
    pub fn new(seed: u32, step: u32, layer: usize, purpose: Purpose, columns: usize) -> Chances {
        let mut random = initialization(seed);
        // The highest bit keeps these streams apart from those of the shuffles.
        let place = u64::from(step) << 16 | (layer as u64) << 8 | purpose as u64;
        random.set_stream(1 << 63 | place);
        Chances { random, columns }
    }

    /// The chances of a row, uniform in [0, 1).
    pub fn row(&self, row: usize) -> Vec<f32> {
        let mut random = self.random.clone();
        random.set_word_pos(row as u128 * self.columns as u128);
        let chance = || (random.next_u32() >> 8) as f32 / (1 << 24) as f32;
        std::iter::repeat_with(chance).take(self.columns).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_depend_on_their_place_alone() {
        let at = |step, layer, purpose, row| -> Vec<f32> {
            let chances = Chances::new(1, step, layer, purpose, 100);
            chances.row(row)
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
    fn chances_are_uniform() {
        let chances = Chances::new(5, 0, 0, Purpose::Activations, 1000);
        let mut tenths = [0u32; 10];
        for row in 0..100 {
            for chance in chances.row(row) {
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
