//! `PackedNetwork`: a trained network frozen for answering: quantized, packed weights and the test phase of batch
//! normalization as one affine map a unit. It learns nothing; the trainer makes it.

use std::ops::Range;

use crate::data::{CLASSES, Images};
use crate::layers::{DenseWeights, Input, dense_product};
use crate::spec::{Bits, Loss};

/// A network that answers.
#[derive(Clone, Debug)]
pub struct PackedNetwork {
    pub(crate) weight_bits: Bits,
    pub(crate) activation_bits: Bits,
    pub(crate) loss: Loss,
    pub(crate) layers: Vec<PackedLayer>,
}

#[derive(Clone, Debug)]
pub(crate) struct PackedLayer {
    pub inputs: usize,
    pub weights: DenseWeights,
    /// The latent weights where the product is one of floats; empty where packed ones serve.
    pub latent: Vec<f32>,
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

impl PackedNetwork {
    /// Pixels of an image.
    pub fn inputs(&self) -> usize {
        self.layers[0].inputs
    }

    /// The logits of images, `[images, classes]`, for their pixels, `[images, inputs]`.
    pub fn logits(&self, pixels: &[u8]) -> Vec<f32> {
        let mut input = Input::pixels(self.inputs(), pixels.to_vec(), self.weight_bits);
        for (index, layer) in self.layers.iter().enumerate() {
            let units = layer.scale.len();
            let rows = input.rows();
            let mut sums = vec![0.0; rows * units];
            dense_product(&input, 0..rows, &layer.weights, &layer.latent, &mut sums);
            for row in sums.chunks_exact_mut(units) {
                for (sum, (scale, shift)) in
                    row.iter_mut().zip(layer.scale.iter().zip(&layer.shift))
                {
                    *sum = scale * *sum + shift;
                }
            }
            if index + 1 == self.layers.len() {
                return sums;
            }
            input = Input::activations(units, &sums, self.activation_bits, self.weight_bits);
        }
        unreachable!("a network has a layer")
    }

    /// Answers the test images of `range`.
    pub fn evaluate(&self, images: &Images, range: Range<usize>) -> Evaluation {
        if range.is_empty() {
            return Evaluation::default();
        }
        let logits = self.logits(images.pixels_of(range.clone()));
        debug_assert_eq!(logits.len(), range.len() * CLASSES);
        let outcome = self.loss.of(&logits, &images.labels[range.clone()]);
        Evaluation {
            images: range.len(),
            correct: outcome.correct,
            loss_sum: f64::from(outcome.loss) * range.len() as f64,
        }
    }

    /// Answers all test images, `piece` at a time.
    pub fn evaluate_all(&self, images: &Images, piece: usize) -> Evaluation {
        let pieces = (0..images.len()).step_by(piece);
        pieces.fold(Evaluation::default(), |sum, first| {
            sum + self.evaluate(images, first..images.len().min(first + piece))
        })
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
