//! Looking into a network: how its weights are spread and repeat, and what an image becomes on its way through. Plain,
//! readable functions for the page that shows it; nothing here is needed to train or to answer.

use std::collections::HashSet;

use crate::bits::BitMatrix;
use crate::packed::{Edge, PackedNetwork, Threshold};

/// How many latent weights lie where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// Weights in each of the bins, which are equally wide and cover [-1, 1].
    pub counts: Vec<u32>,
    /// How many of them are clipped: at exactly -1, and at exactly +1.
    pub clipped: [u32; 2],
}

/// Counts latent weights, which are in [-1, 1], in `bins` bins, at least one.
pub fn histogram(latent: &[f32], bins: usize) -> Histogram {
    let mut histogram = Histogram {
        counts: vec![0; bins],
        clipped: [0; 2],
    };
    for weight in latent {
        let bin = ((weight + 1.0) / 2.0 * bins as f32) as usize;
        histogram.counts[bin.min(bins - 1)] += 1;
        histogram.clipped[0] += u32::from(*weight == -1.0);
        histogram.clipped[1] += u32::from(*weight == 1.0);
    }
    histogram
}

/// How many signs differ between `before` and `after`, both `[units, inputs]`.
pub fn flips(before: &BitMatrix, after: &BitMatrix) -> usize {
    assert_same_shape(before, after);
    let words = before.view().words.iter().zip(after.view().words);
    words.map(|(a, b)| (a ^ b).count_ones() as usize).sum()
}

/// The inputs of `unit` whose weights have another sign in `after` than in `before`, both `[units, inputs]`.
pub fn flipped_inputs(before: &BitMatrix, after: &BitMatrix, unit: usize) -> Vec<usize> {
    assert_same_shape(before, after);
    let differs = |input: &usize| before.get(unit, *input) != after.get(unit, *input);
    (0..before.columns()).filter(differs).collect()
}

fn assert_same_shape(a: &BitMatrix, b: &BitMatrix) {
    let shape = |matrix: &BitMatrix| (matrix.rows(), matrix.columns());
    assert_eq!(shape(a), shape(b), "signs of different layers");
}

/// How much repeats among binary patterns. What repeats need be computed only once, and so need a pattern and its
/// inverse, as the sums differ in sign alone: of the 3 x 3 filters of the paper's CIFAR-10 network, some 42 % of a layer are
/// unique ("Exploiting Filter Repetitions").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repetition {
    /// Patterns that there are.
    pub patterns: usize,
    /// Different ones among them.
    pub distinct: usize,
    /// Different ones where a pattern and its inverse count as one.
    pub distinct_up_to_sign: usize,
}

impl Repetition {
    /// Of patterns of k bits, from how often each occurs, `[2^k]`; k is at least 1.
    pub fn of_counts(counts: &[u32]) -> Repetition {
        let inverses = counts.iter().rev();
        let pairs = counts.iter().zip(inverses).take(counts.len() / 2);
        Repetition {
            patterns: counts.iter().map(|count| *count as usize).sum(),
            distinct: counts.iter().filter(|count| **count > 0).count(),
            distinct_up_to_sign: pairs.filter(|(a, b)| **a + **b > 0).count(),
        }
    }
}

/// How much repeats among words of `bits` neighbouring weights of a unit, 1, 2, 4, 8 or 16; a rest at the end of a unit's
/// weights is left out. `signs` are `[units, inputs]`.
pub fn distinct_words(signs: &BitMatrix, bits: usize) -> Repetition {
    assert!(
        matches!(bits, 1 | 2 | 4 | 8 | 16),
        "words of {bits} weights"
    );
    let mut counts = vec![0; 1 << bits];
    for unit in 0..signs.rows() {
        let words = signs.view().row(unit);
        for first in (0..signs.columns() / bits * bits).step_by(bits) {
            let word = (words[first / 64] >> (first % 64)) as usize & (counts.len() - 1);
            counts[word] += 1;
        }
    }
    Repetition::of_counts(&counts)
}

/// How often each of the 512 patches of 3 x 3 weights occurs, `[512]`, in a first layer of `signs`, `[units, height width]`,
/// whose units see images of `width` x `height` pixels: all patches, also those that overlap. Bit 3 y + x of a patch's number
/// is set where the weight at (x, y) is +1.
pub fn patch_counts(signs: &BitMatrix, width: usize, height: usize) -> Vec<u32> {
    assert_eq!(signs.columns(), width * height, "a weight for each pixel");
    let mut counts = vec![0; 512];
    for unit in 0..signs.rows() {
        for y in 2..height {
            for x in 2..width {
                let places = (0..9).map(|bit| (x - 2 + bit % 3, y - 2 + bit / 3));
                let bits = places.map(|(x, y)| usize::from(signs.get(unit, y * width + x)));
                let patch: usize = bits.enumerate().map(|(place, bit)| bit << place).sum();
                counts[patch] += 1;
            }
        }
    }
    counts
}

/// How much repeats among whole units: those that are equal in all weights, `[units, inputs]`.
pub fn distinct_units(signs: &BitMatrix) -> Repetition {
    let rows = || (0..signs.rows()).map(|unit| signs.view().row(unit));
    // Of a unit and its inverse the one whose first weight is -1.
    let up_to_sign = rows().map(|row| {
        let inverts = row.first().is_some_and(|word| word & 1 == 1);
        let mut row = row.to_vec();
        for (index, word) in row.iter_mut().enumerate().filter(|_| inverts) {
            let used = signs.columns().saturating_sub(64 * index).min(64);
            *word ^= u64::MAX.checked_shr(64 - used as u32).unwrap_or(0);
        }
        row
    });
    Repetition {
        patterns: signs.rows(),
        distinct: rows().collect::<HashSet<_>>().len(),
        distinct_up_to_sign: up_to_sign.collect::<HashSet<_>>().len(),
    }
}

/// What a layer makes of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerActivations {
    /// What goes into the next layer, `[units]`; of the last layer the logits.
    pub outputs: Vec<f32>,
    /// The integer sums that the layer's [thresholds](Edge::Signs) are compared with, `[units]`, where it has some.
    pub sums: Option<Vec<i32>>,
}

/// How a unit whose output is a sign comes by it: the sum of inputs times weights is compared with a threshold. Where both
/// are -1 and +1, n of them, the sum is n - 2 popcount(inputs XOR weights).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitSum {
    /// `[inputs]`.
    pub inputs: Vec<i16>,
    /// `[inputs]`.
    pub weights: Vec<i16>,
    pub sum: i32,
    pub threshold: Threshold,
    /// -1 or +1.
    pub output: i16,
}

impl PackedNetwork {
    /// What each layer makes of one image, `[inputs]`. Panics where `pixels` are more or fewer.
    pub fn activations(&self, pixels: &[u8]) -> Vec<LayerActivations> {
        assert_eq!(pixels.len(), self.inputs(), "the pixels of one image");
        let (mut outputs, mut sums) = (Vec::new(), Vec::new());
        let logits = self.pass(pixels, |layer, input| {
            outputs.push((0..input.columns()).map(|i| input.value(0, i)).collect());
            sums.push(matches!(layer.edge(), Edge::Signs(_)).then(|| layer.sums(input)));
        });
        // What goes into a layer comes out of the one below.
        let outputs = outputs.into_iter().skip(1).chain([logits]);
        let layers = outputs.zip(sums);
        layers
            .map(|(outputs, sums)| LayerActivations { outputs, sums })
            .collect()
    }

    /// How unit `unit` of layer `layer` comes by its sign for one image, `[inputs]`; `None` where the layer's outputs are not
    /// signs of integer sums. Panics where there is no such unit, or where `pixels` are more or fewer.
    pub fn unit_sum(&self, layer: usize, unit: usize, pixels: &[u8]) -> Option<UnitSum> {
        assert_eq!(pixels.len(), self.inputs(), "the pixels of one image");
        let layer = &self.layers()[layer];
        let Edge::Signs(thresholds) = layer.edge() else {
            return None;
        };
        let (weights, threshold) = (layer.weights(), thresholds[unit]);
        let mut found = None;
        self.pass(pixels, |of, input| {
            if std::ptr::eq(of, layer) {
                let places = || 0..input.columns();
                let sum = layer.sums(input)[unit];
                found = Some(UnitSum {
                    inputs: places().filter_map(|i| input.integer(0, i)).collect(),
                    weights: places().filter_map(|i| weights.integer(unit, i)).collect(),
                    sum,
                    threshold,
                    output: threshold.of(sum),
                });
            }
        });
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DIGITS, DataSet};
    use crate::measure::values;
    use crate::spec::{Bits, NetworkSpec};
    use crate::train::Trainer;
    use proptest::prelude::*;

    #[test]
    fn histograms_cover_the_range_and_tell_the_clip() {
        let latent = [-1.0, -0.99, -0.5, -0.0, 0.49, 0.5, 0.999, 1.0, 1.0];
        let histogram = histogram(&latent, 4);
        assert_eq!(histogram.counts, [2, 1, 2, 4]);
        assert_eq!(histogram.clipped, [1, 2]);
    }

    /// One unit a line, # is +1.
    fn signs(units: &[&str]) -> BitMatrix {
        let value = |sign: u8| if sign == b'#' { 0.5 } else { -0.5 };
        let values: Vec<f32> = units.concat().bytes().map(value).collect();
        BitMatrix::from_signs(units.len(), units[0].len(), &values)
    }

    #[test]
    fn words_that_repeat_are_found() {
        let signs = signs(&["#..#.##.##..", "....#..###.#"]);
        // #..# .##. ##.. and .... #..# ##.#: of them #..# comes twice, and .##. is its inverse.
        let expected = Repetition {
            patterns: 6,
            distinct: 5,
            distinct_up_to_sign: 4,
        };
        assert_eq!(distinct_words(&signs, 4), expected);
        assert_eq!(distinct_words(&signs, 8).patterns, 2);
        assert_eq!(distinct_words(&signs, 1).distinct_up_to_sign, 1);
    }

    #[test]
    fn patches_are_read_line_by_line() {
        // 4 x 3 pixels.
        let counts = patch_counts(&signs(&["#...##.#...#"]), 4, 3);
        let found: Vec<usize> = (0..512).filter(|patch| counts[*patch] > 0).collect();
        // #.. ##. ... and ... #.# ..#
        assert_eq!(found, [0b000_011_001, 0b100_101_000]);
        assert_eq!(
            Repetition::of_counts(&patch_counts(&signs(&["#########", "........."]), 3, 3)),
            Repetition {
                patterns: 2,
                distinct: 2,
                distinct_up_to_sign: 1
            }
        );
    }

    #[test]
    fn units_that_repeat_are_found() {
        for length in [1, 63, 64, 65, 200] {
            let line = |first: &str| format!("{first:.<length$}");
            let inverse = "#".repeat(length);
            let (a, b) = (line("."), line("#"));
            let found = distinct_units(&signs(&[&a, &b, &a, &inverse]));
            // Of one weight, +1 is the inverse of -1.
            let (distinct, distinct_up_to_sign) = if length == 1 { (2, 1) } else { (3, 2) };
            let expected = Repetition {
                patterns: 4,
                distinct,
                distinct_up_to_sign,
            };
            assert_eq!(found, expected, "{length}");
        }
    }

    proptest! {
        #[test]
        fn flips_are_the_signs_that_differ(units in 1usize..5, inputs in 1usize..300, salt in 0u32..1000) {
            let [before, after] = [salt, !salt].map(|salt| values(units * inputs, salt));
            let differs = |place: &usize| (before[*place] >= 0.0) != (after[*place] >= 0.0);
            let expected: Vec<usize> = (0..units * inputs).filter(differs).collect();
            let [before, after] = [&before, &after].map(|values| BitMatrix::from_signs(units, inputs, values));
            prop_assert_eq!(flips(&before, &after), expected.len());
            let found = (0..units).flat_map(|unit| {
                let inputs_of_unit = flipped_inputs(&before, &after, unit).into_iter();
                inputs_of_unit.map(move |input| unit * inputs + input)
            });
            prop_assert_eq!(found.collect::<Vec<_>>(), expected);
        }

        #[test]
        fn repetitions_are_those_of_the_weights_themselves(units in 1usize..40, inputs in 1usize..70, salt in 0u32..1000) {
            let values = values(units * inputs, salt);
            let signs = BitMatrix::from_signs(units, inputs, &values);
            let signs_of = |values: &[f32]| values.iter().map(|x| *x >= 0.0).collect::<Vec<bool>>();
            let repetition = |patterns: Vec<Vec<bool>>| {
                let up_to_sign = |pattern: &Vec<bool>| pattern.iter().map(|bit| bit ^ pattern[0]).collect::<Vec<_>>();
                Repetition {
                    patterns: patterns.len(),
                    distinct: patterns.iter().collect::<HashSet<_>>().len(),
                    distinct_up_to_sign: patterns.iter().map(up_to_sign).collect::<HashSet<_>>().len(),
                }
            };
            let rows = || values.chunks_exact(inputs);
            prop_assert_eq!(distinct_units(&signs), repetition(rows().map(signs_of).collect()));
            for bits in [2, 8, 16] {
                let words = rows().flat_map(|row| row.chunks_exact(bits)).map(signs_of);
                prop_assert_eq!(distinct_words(&signs, bits), repetition(words.collect()));
            }
        }
    }

    #[test]
    fn activations_are_those_of_the_answer() {
        let data = DataSet::procedural(1, 3);
        let all_bits = [1, 2, 4, 8, 32];
        let pairs = all_bits
            .iter()
            .flat_map(|weights| all_bits.map(|activations| (*weights, activations)));
        for (weight_bits, activation_bits) in pairs {
            let spec = NetworkSpec {
                hidden: vec![70, 40],
                weight_bits: Bits::new(weight_bits).unwrap(),
                activation_bits: Bits::new(activation_bits).unwrap(),
                batch_size: 20,
                ..NetworkSpec::default()
            };
            let mut trainer = Trainer::new(spec, 784, DIGITS).unwrap();
            for _ in 0..3 {
                trainer.step(&data.train).unwrap();
            }
            let network = trainer.freeze();
            let all_logits = network.logits(&data.test.pixels);
            for (image, logits) in all_logits.chunks_exact(DIGITS).enumerate() {
                let pixels = data.test.pixels_of(image..image + 1);
                let activations = network.activations(pixels);
                assert_eq!(activations[2].outputs, logits);
                let mut inputs: Vec<f32> = pixels.iter().map(|p| f32::from(*p) / 255.0).collect();
                for (index, (of_layer, layer)) in
                    activations.iter().zip(network.layers()).enumerate()
                {
                    let is_sign = index < 2 && activation_bits == 1 && weight_bits != 32;
                    assert_eq!(of_layer.sums.is_some(), is_sign);
                    for (unit, output) in of_layer.outputs.iter().enumerate() {
                        let found = network.unit_sum(index, unit, pixels);
                        assert_eq!(found.is_some(), is_sign);
                        if let (Some(found), Some(sums)) = (found, &of_layer.sums) {
                            assert_eq!(found.sum, sums[unit]);
                            let terms = found.inputs.iter().zip(&found.weights);
                            let sum: i32 = terms.map(|(a, w)| i32::from(*a) * i32::from(*w)).sum();
                            assert_eq!(sum, found.sum);
                            let is_above = sum >= found.threshold.least;
                            let sign = if is_above { 1 } else { -1 } * found.threshold.above;
                            assert_eq!((sign, f32::from(sign)), (found.output, *output));
                            for (input, integer) in inputs.iter().zip(&found.inputs) {
                                let worth = f32::from(*integer) * layer.input_step();
                                assert!((input - worth).abs() < 1e-6);
                            }
                        }
                        if let Edge::Affine { scale, shift, .. } = layer.edge()
                            && index == 2
                        {
                            let terms = inputs.iter().enumerate();
                            let sum: f32 =
                                terms.map(|(i, x)| x * layer.weights().value(unit, i)).sum();
                            assert!((scale[unit] * sum + shift[unit] - output).abs() < 1e-3);
                        }
                    }
                    inputs.clone_from(&of_layer.outputs);
                }
            }
        }
    }
}
