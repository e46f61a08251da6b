//! What a visitor may look at of a network, put together from what `qnn_core` counts: images with their answers, and the
//! bits of a unit.

use qnn_core::bits::BitMatrix;
use qnn_core::data::Images;
use qnn_core::inspect::{distinct_words, flipped_inputs, flips, histogram};
use qnn_core::loss::{argmax, softmax};
use qnn_core::packed::PackedNetwork;
use qnn_core::report::TestReport;
use qnn_core::train::Trainer;
use qnn_protocol::{DistinctWords, SumThreshold, TestDigit, UnitBits};
use serde_bytes::ByteBuf;

/// Test images shown.
const DIGITS: usize = 24;
/// Bins of the histogram of latent weights.
const BINS: usize = 64;
/// Neighbouring weights that make a word.
const WORDS: [usize; 2] = [8, 16];
/// What an input pixel is worth that is all ink.
const INK: f32 = 255.0;

/// The signs of all layers before and after a step.
#[derive(Default)]
pub struct Flips {
    /// Whether the next step is to be looked at: counting every one would cost more than training.
    pub is_wanted: bool,
    before: Vec<BitMatrix>,
    after: Vec<BitMatrix>,
}

impl Flips {
    pub fn before_step(&mut self, trainer: &Trainer) {
        if std::mem::take(&mut self.is_wanted) {
            self.before = signs(trainer);
            self.after.clear();
        }
    }

    pub fn after_step(&mut self, trainer: &Trainer) {
        if self.before.len() > self.after.len() {
            self.after = signs(trainer);
        }
    }

    fn layers(&self) -> impl Iterator<Item = (&BitMatrix, &BitMatrix)> {
        self.before.iter().zip(&self.after)
    }
}

fn signs(trainer: &Trainer) -> Vec<BitMatrix> {
    let layers = 0..trainer.state().count();
    layers.map(|layer| trainer.signs(layer)).collect()
}

/// The first test images, and what a network says of them.
pub fn digits(network: &PackedNetwork, images: &Images) -> Vec<TestDigit> {
    let shown = DIGITS.min(images.len());
    let logits = network.logits(images.pixels_of(0..shown));
    let logits = logits.chunks_exact(network.classes()).enumerate();
    logits
        .map(|(image, logits)| {
            let answer = argmax(logits);
            TestDigit {
                pixels: ByteBuf::from(images.pixels_of(image..image + 1)),
                label: images.labels[image],
                answer: answer as u8,
                share: softmax(logits)[answer],
            }
        })
        .collect()
}

/// Images of a test that got an answer of a `cell`, or the worst mistakes.
pub fn mistakes(report: &TestReport, cell: Option<(u8, u8)>, images: &Images) -> Vec<TestDigit> {
    let found = match cell {
        Some((label, answer)) => report.cell(label, answer, DIGITS),
        None => report.worst(DIGITS),
    };
    found
        .into_iter()
        .map(|image| {
            let answer = report.answers()[image];
            TestDigit {
                pixels: ByteBuf::from(images.pixels_of(image..image + 1)),
                label: answer.label,
                answer: answer.answer,
                share: answer.share,
            }
        })
        .collect()
}

/// A unit of a layer of the network in training, and what its frozen `network` makes of an image's `pixels`.
pub fn unit_bits(
    trainer: &Trainer,
    network: &PackedNetwork,
    flipped: &Flips,
    (layer, unit): (u32, u32),
    pixels: &[u8],
) -> UnitBits {
    let layers = network.layers();
    let layer = (layer as usize).min(layers.len() - 1);
    let units = |layer: usize| trainer.batch_norm(layer).gamma().len();
    let unit = (unit as usize).min(units(layer) - 1);
    let latent = trainer.latent_weights(layer);
    let inputs = latent.len() / units(layer);
    let weights = layers[layer].weights();
    let of_layer = histogram(latent, BINS);
    let signs = trainer.signs(layer);
    let words = WORDS.map(|bits| {
        let repetition = distinct_words(&signs, bits);
        DistinctWords {
            bits: bits as u32,
            distinct: repetition.distinct as u32,
            words: repetition.patterns as u32,
        }
    });
    let activations = network.activations(pixels);
    let activations: Vec<Vec<f32>> = activations.into_iter().map(|layer| layer.outputs).collect();
    let of_unit = flipped.layers().nth(layer);
    let of_unit = of_unit.map(|(before, after)| flipped_inputs(before, after, unit));
    let numbers = |numbers: Vec<usize>| numbers.into_iter().map(|number| number as u32).collect();
    UnitBits {
        step: trainer.step_count(),
        layer: layer as u32,
        unit: unit as u32,
        units: numbers((0..layers.len()).map(units).collect()),
        latent: latent[unit * inputs..(unit + 1) * inputs].to_vec(),
        weights: (0..inputs)
            .map(|input| weights.value(unit, input))
            .collect(),
        flipped: numbers(of_unit.unwrap_or_default()),
        flips: numbers(
            flipped
                .layers()
                .map(|(before, after)| flips(before, after))
                .collect(),
        ),
        layer_weights: trainer
            .state()
            .map(|layer| layer.latent[0].len() as u32)
            .collect(),
        histogram: of_layer.counts,
        clipped: of_layer.clipped.iter().sum(),
        words: words.to_vec(),
        inputs: match layer {
            0 => pixels.iter().map(|pixel| f32::from(*pixel) / INK).collect(),
            _ => activations[layer - 1].clone(),
        },
        threshold: network
            .unit_sum(layer, unit, pixels)
            .map(|sum| SumThreshold {
                sum: sum.sum,
                least: sum.threshold.least,
                above: i32::from(sum.threshold.above),
            }),
        activations,
        of_drawing: false,
    }
}
