//! `PackedNetwork`: a trained network frozen for answering: quantized, packed weights and the test phase of batch
//! normalization as one affine map a unit. It learns nothing; the trainer makes it. How it is written to a file, and what
//! plain code answers from there, `qnn-infer` and `qnn-files` say.

use std::ops::Range;

use crate::bits::Encoding;
use crate::data::Images;
use crate::layers::{Operand, ProductKind};
use crate::quant::Quantizer;
use crate::spec::{Bits, Loss};

/// A network that answers.
#[derive(Clone, Debug)]
pub struct PackedNetwork {
    pub(crate) loss: Loss,
    pub(crate) layers: Vec<PackedLayer>,
}

/// A layer that answers.
#[derive(Clone, Debug)]
pub struct PackedLayer {
    inputs: usize,
    units: usize,
    kind: ProductKind,
    /// The integers that come in, if they are, and what each is worth.
    encoding: Option<Encoding>,
    input_step: f32,
    /// `[units, inputs]`.
    weights: Operand,
    edge: Edge,
    /// The logits of the last layer, where its sums are of integers.
    scores: Option<Scores>,
}

/// Batch normalization of the last layer in integers: a score for each class, worth 2^exponent as a logit. Where a network
/// is of integers they are its answer, so that whatever answers for it, with floats or without, says the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scores {
    /// `[classes]`; [`qnn_infer::score`] says how all three make scores.
    pub multiplier: Vec<i32>,
    /// `[classes]`.
    pub offset: Vec<i64>,
    pub shift: u32,
    pub exponent: i32,
}

impl Scores {
    /// Bits of a score, of a multiplier and of what is shifted, besides the sign.
    const SCORE_BITS: i32 = 24;
    const MULTIPLIER_BITS: i32 = 30;
    const SHIFTED_BITS: i32 = 61;

    /// The scores of scale (sum unit) + shift for sums of up to `largest`; `None` where that is beyond float32.
    fn new(scale: &[f32], shift: &[f32], units: &[f32], largest: i32) -> Option<Scores> {
        let factor = |(scale, unit): (&f32, &f32)| f64::from(*scale) * f64::from(*unit);
        let factors: Vec<f64> = scale.iter().zip(units).map(factor).collect();
        let shifts: Vec<f64> = shift.iter().map(|shift| f64::from(*shift)).collect();
        let bounds = factors.iter().zip(&shifts);
        let bounds = bounds.map(|(factor, shift)| factor.abs() * f64::from(largest) + shift.abs());
        // The exponent of a power of two above all magnitudes.
        let above = |magnitudes: &mut dyn Iterator<Item = f64>| {
            let largest = magnitudes.fold(f64::from(f32::MIN_POSITIVE), f64::max);
            // The exponent stands in the bits; what a logarithm gives next to a power of two is the platform's.
            (largest.to_bits() >> 52) as i32 - 1023 + 1
        };
        if !factors.iter().chain(&shifts).all(|x| x.is_finite()) {
            return None;
        }
        let bound = above(&mut bounds.into_iter());
        let exponent = (bound - Scores::SCORE_BITS).max(qnn_infer::MIN_EXPONENT);
        if exponent > qnn_infer::MAX_EXPONENT {
            return None;
        }
        let multiplier = Scores::MULTIPLIER_BITS - above(&mut factors.iter().map(|x| x.abs()));
        let precision = multiplier.min(Scores::SHIFTED_BITS - bound);
        let fixed = |x: &f64| x * f64::powi(2.0, precision);
        // At least 6: the bound is no smaller than a factor.
        let shift = (precision + exponent) as u32;
        // Rounded to the nearest, not down.
        let half = (1i64 << shift) >> 1;
        Some(Scores {
            multiplier: factors.iter().map(|x| fixed(x).round() as i32).collect(),
            offset: shifts
                .iter()
                .map(|x| fixed(x).round() as i64 + half)
                .collect(),
            shift,
            exponent,
        })
    }

    /// The logit of a class, exactly its score.
    fn logit(&self, class: usize, sum: i32) -> f32 {
        let score = qnn_infer::score(sum, self.multiplier[class], self.offset[class], self.shift);
        score as f32 * f32::powi(2.0, self.exponent)
    }
}

/// What becomes of a layer's sums.
#[derive(Clone, Debug)]
pub enum Edge {
    /// The sign of batch normalization's output, found in the integer sums alone.
    Signs(Vec<Threshold>),
    /// Batch normalization's output, quantized; in the last layer as it is.
    Affine {
        scale: Vec<f32>,
        shift: Vec<f32>,
        activations: Option<Quantizer>,
    },
}

/// Where the sums of a unit become +1. Batch normalization is monotone, so one comparison says it, and exactly what
/// float32's rounding of scale (unit sum) + shift says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// The smallest sum with the sign `above`; smaller ones have the other.
    pub least: i32,
    pub above: i16,
}

impl Threshold {
    fn new(scale: f32, shift: f32, unit: f32, largest: i32) -> Threshold {
        let is_positive = |sum: i32| scale * (sum as f32 * unit) + shift >= 0.0;
        let above = is_positive(largest);
        let (mut below, mut least) = (-largest - 1, largest);
        while below + 1 < least {
            let middle = below + (least - below) / 2;
            if is_positive(middle) == above {
                least = middle;
            } else {
                below = middle;
            }
        }
        Threshold {
            least,
            above: if above { 1 } else { -1 },
        }
    }

    /// What becomes of a sum: -1 or +1.
    #[inline]
    pub fn of(&self, sum: i32) -> i16 {
        if sum >= self.least {
            self.above
        } else {
            -self.above
        }
    }
}

/// Batch normalization and quantization of a layer's outputs in one: for each unit the sums from which on its activation
/// is another level. It says exactly what the floats say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelThresholds {
    /// The integers that activations are, rising.
    pub levels: Vec<i8>,
    /// For each unit the sums at which its activation changes, rising, `[units, levels - 1]`.
    pub values: Vec<i32>,
    /// Whether the activation of a unit falls as its sum grows, `[units]`.
    pub falling: Vec<bool>,
}

/// The smallest integer from `least` to `most` for which `holds`, which then holds for all above; `most` + 1 where it holds
/// for none.
fn first_that(least: i32, most: i32, holds: impl Fn(i32) -> bool) -> i32 {
    let (mut below, mut first) = (least - 1, most + 1);
    while below + 1 < first {
        let middle = below + (first - below) / 2;
        if holds(middle) {
            first = middle;
        } else {
            below = middle;
        }
    }
    first
}

/// A bound of the magnitude of a sum of `inputs` products.
fn largest_sum(a: Encoding, w: Encoding, inputs: usize) -> i32 {
    let extreme = |encoding: Encoding| i32::from(encoding.range().1) + 1;
    extreme(a) * extreme(w) * inputs as i32
}

impl PackedLayer {
    /// A layer of `weights`, `[units, inputs]`, on inputs of `encoding`, each worth `input_step`; `affine` is batch
    /// normalization's scale and shift, `activations` what its outputs become, if anything.
    pub fn new(
        kind: ProductKind,
        encoding: Option<Encoding>,
        input_step: f32,
        weights: Operand,
        (scale, shift): (Vec<f32>, Vec<f32>),
        activations: Option<Quantizer>,
    ) -> PackedLayer {
        let inputs = weights.columns();
        let scores = match (encoding, weights.encoding(), activations) {
            (Some(a), Some(w), None) => {
                let units = weights.units().iter().map(|unit| input_step * unit);
                let units: Vec<f32> = units.collect();
                Scores::new(&scale, &shift, &units, largest_sum(a, w, inputs))
            }
            _ => None,
        };
        let edge = match (encoding, weights.encoding(), activations) {
            (Some(a), Some(w), Some(activations)) if activations.bits == Bits::ONE => {
                let largest = largest_sum(a, w, inputs);
                let units = weights.units().iter().map(|unit| input_step * unit);
                let affine = scale.iter().zip(&shift).zip(units);
                Edge::Signs(
                    affine
                        .map(|((scale, shift), unit)| Threshold::new(*scale, *shift, unit, largest))
                        .collect(),
                )
            }
            _ => Edge::Affine {
                scale,
                shift,
                activations,
            },
        };
        PackedLayer {
            inputs,
            units: weights.rows(),
            kind,
            encoding,
            input_step,
            weights,
            edge,
            scores,
        }
    }

    /// Numbers that come in.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Numbers that come out.
    pub fn units(&self) -> usize {
        self.units
    }

    /// The levels of a hidden layer's activations; `None` where a byte does not hold them, and in the last layer.
    pub fn levels(&self) -> Option<Vec<i8>> {
        match &self.edge {
            Edge::Signs(_) => Some(vec![-1, 1]),
            Edge::Affine { activations, .. } => (*activations)?.levels(),
        }
    }

    /// The levels of a hidden layer's activations and where they change; `None` where inputs, weights or activations
    /// are no integers of up to 8 binary digits.
    pub fn level_thresholds(&self) -> Option<LevelThresholds> {
        let (a, w) = (self.encoding?, self.weights.encoding()?);
        let largest = largest_sum(a, w, self.inputs);
        match &self.edge {
            Edge::Signs(thresholds) => Some(LevelThresholds {
                levels: vec![-1, 1],
                values: thresholds.iter().map(|unit| unit.least).collect(),
                falling: thresholds.iter().map(|unit| unit.above < 0).collect(),
            }),
            Edge::Affine {
                scale,
                shift,
                activations,
            } => {
                let activations = (*activations)?;
                let levels = activations.levels()?;
                let changes = levels.len() - 1;
                let units = self.weights.units().iter().zip(scale.iter().zip(shift));
                let values = units.flat_map(|(unit, (scale, shift))| {
                    let worth = self.input_step * unit;
                    let level = move |sum: i32| {
                        let mut level = [0];
                        let output = scale * (sum as f32 * worth) + shift;
                        activations.integers(&[output], &[], &mut level);
                        level[0]
                    };
                    let levels = &levels;
                    (0..changes).map(move |change| {
                        first_that(-largest, largest, |sum| {
                            if *scale < 0.0 {
                                level(sum) <= i16::from(levels[changes - 1 - change])
                            } else {
                                level(sum) >= i16::from(levels[change + 1])
                            }
                        })
                    })
                });
                let values = values.collect();
                Some(LevelThresholds {
                    levels,
                    values,
                    falling: scale.iter().map(|scale| *scale < 0.0).collect(),
                })
            }
        }
    }

    /// The integers that come in; `None` for floats.
    pub fn input_encoding(&self) -> Option<Encoding> {
        self.encoding
    }

    /// What each of those that come in is worth.
    pub fn input_step(&self) -> f32 {
        self.input_step
    }

    /// The quantized weights, `[units, inputs]`.
    pub fn weights(&self) -> &Operand {
        &self.weights
    }

    /// What the last layer makes of sums of integers, in integers.
    pub fn scores(&self) -> Option<&Scores> {
        self.scores.as_ref()
    }

    /// What becomes of the sums.
    pub fn edge(&self) -> &Edge {
        &self.edge
    }

    /// The integer sums of one image, `[units]`, where inputs and weights are integers.
    pub(crate) fn sums(&self, input: &Operand) -> Vec<i32> {
        let mut all = vec![0; self.units];
        input.for_each_sum(0..1, &self.weights, &mut all, |_, _, sums, out| {
            out.copy_from_slice(sums);
        });
        all
    }

    /// What the layer makes of `input`, for a layer above of kind `next`.
    fn hidden(&self, input: &Operand, next: ProductKind) -> Operand {
        let rows = input.rows();
        match &self.edge {
            Edge::Signs(thresholds) => {
                let mut signs = vec![0; rows * self.units];
                input.for_each_sum(
                    0..rows,
                    &self.weights,
                    &mut signs,
                    |_, units, sums, signs| {
                        for ((sign, sum), threshold) in
                            signs.iter_mut().zip(sums).zip(&thresholds[units])
                        {
                            *sign = threshold.of(*sum);
                        }
                    },
                );
                Operand::of_integers(next.a(), Encoding::Sign, self.units, signs, 1.0)
            }
            Edge::Affine { activations, .. } => {
                let outputs = self.outputs(input);
                let activations =
                    activations.unwrap_or_else(|| unreachable!("a hidden layer has activations"));
                Operand::quantized(next.a(), activations, self.units, &outputs, None, None)
            }
        }
    }

    /// Batch normalization's outputs, `[images, units]`.
    fn outputs(&self, input: &Operand) -> Vec<f32> {
        let mut outputs = vec![0.0; input.rows() * self.units];
        if let Some(scores) = &self.scores {
            let rows = 0..input.rows();
            input.for_each_sum(
                rows,
                &self.weights,
                &mut outputs,
                |_, units, sums, logits| {
                    for (class, (logit, sum)) in units.zip(logits.iter_mut().zip(sums)) {
                        *logit = scores.logit(class, *sum);
                    }
                },
            );
            return outputs;
        }
        input.product(0..input.rows(), &self.weights, &mut outputs);
        if let Edge::Affine { scale, shift, .. } = &self.edge {
            for row in outputs.chunks_exact_mut(self.units) {
                for (output, (scale, shift)) in row.iter_mut().zip(scale.iter().zip(shift)) {
                    *output = scale * *output + shift;
                }
            }
        }
        outputs
    }
}

/// How a network did on some images.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evaluation {
    pub images: usize,
    pub correct: usize,
    /// The sum over the images of the loss of each.
    pub loss_sum: f64,
}

impl Evaluation {
    /// Of images with `logits`, `[images, classes]`, and `labels`, `[images]`.
    pub fn of(loss: Loss, logits: &[f32], labels: &[u8]) -> Evaluation {
        let outcome = loss.of(logits, labels);
        Evaluation {
            images: labels.len(),
            correct: outcome.correct,
            loss_sum: f64::from(outcome.loss) * labels.len() as f64,
        }
    }

    /// Share answered rightly, 0 to 1.
    pub fn accuracy(&self) -> f32 {
        self.correct as f32 / self.images.max(1) as f32
    }

    /// Mean loss.
    pub fn loss(&self) -> f32 {
        (self.loss_sum / self.images.max(1) as f64) as f32
    }
}

/// The mean of what several networks answer: those of one trainer with weights drawn anew, for stochastic weights.
#[derive(Clone, Debug)]
pub struct SampledNetworks(pub Vec<PackedNetwork>);

impl SampledNetworks {
    /// The mean logits of images, `[images, classes]`, for their pixels, `[images, inputs]`.
    pub fn logits(&self, pixels: &[u8]) -> Vec<f32> {
        let share = 1.0 / self.0.len() as f32;
        let mut mean: Vec<f32> = Vec::new();
        for network in &self.0 {
            let logits = network.logits(pixels);
            mean.resize(logits.len(), 0.0);
            for (mean, logit) in mean.iter_mut().zip(logits) {
                *mean += share * logit;
            }
        }
        mean
    }

    /// Answers all test images, `piece` at a time.
    pub fn evaluate_all(&self, images: &Images, piece: usize) -> Evaluation {
        let Some(first) = self.0.first() else {
            return Evaluation::default();
        };
        evaluate_all(first.loss, images, piece, |pixels| self.logits(pixels))
    }
}

/// Answers all images, `piece` at a time, with the logits that a network gives for their pixels.
fn evaluate_all(
    loss: Loss,
    images: &Images,
    piece: usize,
    logits: impl Fn(&[u8]) -> Vec<f32>,
) -> Evaluation {
    let pieces = (0..images.len()).step_by(piece);
    pieces.fold(Evaluation::default(), |sum, first| {
        let range = first..images.len().min(first + piece);
        sum + evaluate(loss, images, range, &logits)
    })
}

fn evaluate(
    loss: Loss,
    images: &Images,
    range: Range<usize>,
    logits: impl Fn(&[u8]) -> Vec<f32>,
) -> Evaluation {
    if range.is_empty() {
        return Evaluation::default();
    }
    let logits = logits(images.pixels_of(range.clone()));
    Evaluation::of(loss, &logits, &images.labels[range])
}

impl PackedNetwork {
    /// Pixels of an image.
    pub fn inputs(&self) -> usize {
        self.layers[0].inputs
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.layers[self.layers.len() - 1].units
    }

    /// From the pixels to the logits.
    pub fn layers(&self) -> &[PackedLayer] {
        &self.layers
    }

    /// The loss that the network was trained for.
    pub fn loss(&self) -> Loss {
        self.loss
    }

    /// The logits of images, `[images, classes]`, for their pixels, `[images, inputs]`.
    pub fn logits(&self, pixels: &[u8]) -> Vec<f32> {
        self.pass(pixels, |_, _| ())
    }

    /// The logits of images, and on the way there shows `see` each layer with what goes into it.
    pub(crate) fn pass<'a>(
        &'a self,
        pixels: &[u8],
        mut see: impl FnMut(&'a PackedLayer, &Operand),
    ) -> Vec<f32> {
        let mut input = Operand::pixels(self.layers[0].kind.a(), self.inputs(), pixels, None);
        for layers in self.layers.windows(2) {
            see(&layers[0], &input);
            input = layers[0].hidden(&input, layers[1].kind);
        }
        let last = &self.layers[self.layers.len() - 1];
        see(last, &input);
        last.outputs(&input)
    }

    /// Answers the test images of `range`.
    pub fn evaluate(&self, images: &Images, range: Range<usize>) -> Evaluation {
        evaluate(self.loss, images, range, |pixels| self.logits(pixels))
    }

    /// Answers all test images, `piece` at a time.
    pub fn evaluate_all(&self, images: &Images, piece: usize) -> Evaluation {
        evaluate_all(self.loss, images, piece, |pixels| self.logits(pixels))
    }
}

impl std::ops::Add for Evaluation {
    type Output = Evaluation;
    fn add(self, other: Evaluation) -> Evaluation {
        Evaluation {
            images: self.images + other.images,
            correct: self.correct + other.correct,
            loss_sum: self.loss_sum + other.loss_sum,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn scores_are_the_logits_of_the_floats(
            classes in prop::collection::vec((-3.0f32..3.0, -40.0f32..40.0, -9i32..9), 1..5), bits in 1u32..24
        ) {
            let largest = (1 << bits) - 1;
            let [scale, shift, units] = [0, 1, 2].map(|part| -> Vec<f32> {
                classes.iter().map(|class| [class.0 * f32::powi(2.0, class.2), class.1, 0.5][part]).collect()
            });
            let scores = Scores::new(&scale, &shift, &units, largest).unwrap();
            for (class, ((scale, shift), unit)) in scale.iter().zip(&shift).zip(&units).enumerate() {
                let of = |sum: i32| f64::from(*scale) * f64::from(*unit) * f64::from(sum) + f64::from(*shift);
                for sum in [-largest, -largest / 3, 0, 1, largest] {
                    let found = f64::from(scores.logit(class, sum));
                    // A 24-bit score, and a multiplier of 30 bits.
                    let step = f64::powi(2.0, scores.exponent);
                    prop_assert!((found - of(sum)).abs() <= step, "{} {}", found, of(sum));
                }
            }
        }

        #[test]
        fn thresholds_say_what_floats_say(
            scale in prop_oneof![Just(0.0f32), -3.0f32..3.0], shift in -40.0f32..40.0, unit in 0.001f32..2.0
        ) {
            let threshold = Threshold::new(scale, shift, unit, 300);
            for sum in -300..=300 {
                let positive = scale * (sum as f32 * unit) + shift >= 0.0;
                prop_assert_eq!(threshold.of(sum) > 0, positive, "{}", sum);
            }
        }
    }
}
