//! `PackedNetwork`: a trained network frozen for answering: quantized, packed weights and the test phase of batch
//! normalization as one affine map a unit. It learns nothing; the trainer makes it.

use std::ops::Range;

use crate::data::{CLASSES, Images};
use crate::layers::{Operand, ProductKind};
use crate::quant::Quantizer;
use crate::spec::Loss;

/// A network that answers.
#[derive(Clone, Debug)]
pub struct PackedNetwork {
    pub(crate) activations: Quantizer,
    pub(crate) loss: Loss,
    pub(crate) layers: Vec<PackedLayer>,
}

#[derive(Clone, Debug)]
pub(crate) struct PackedLayer {
    pub inputs: usize,
    pub kind: ProductKind,
    /// `[units, inputs]`.
    pub weights: Operand,
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
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
    debug_assert_eq!(logits.len(), range.len() * CLASSES);
    let outcome = loss.of(&logits, &images.labels[range.clone()]);
    Evaluation {
        images: range.len(),
        correct: outcome.correct,
        loss_sum: f64::from(outcome.loss) * range.len() as f64,
    }
}

impl PackedNetwork {
    /// Pixels of an image.
    pub fn inputs(&self) -> usize {
        self.layers[0].inputs
    }

    /// The logits of images, `[images, classes]`, for their pixels, `[images, inputs]`.
    pub fn logits(&self, pixels: &[u8]) -> Vec<f32> {
        let mut input = Operand::pixels(self.layers[0].kind, self.inputs(), pixels, None);
        for (index, layer) in self.layers.iter().enumerate() {
            let units = layer.scale.len();
            let rows = input.rows();
            let mut sums = vec![0.0; rows * units];
            input.product(0..rows, &layer.weights, &mut sums);
            for row in sums.chunks_exact_mut(units) {
                for (sum, (scale, shift)) in
                    row.iter_mut().zip(layer.scale.iter().zip(&layer.shift))
                {
                    *sum = scale * *sum + shift;
                }
            }
            let Some(next) = self.layers.get(index + 1) else {
                return sums;
            };
            input = Operand::quantized(next.kind, self.activations, units, &sums, None, None);
        }
        unreachable!("a network has a layer")
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
