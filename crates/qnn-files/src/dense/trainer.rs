//! A dense network as one to train on here. Ours differ from it in one thing: their activations are clipped to [-1, 1]
//! before they are quantized.
//!
//! - **A range of activations is [-1, 1] scaled and shifted**, so clipping to any range is the clip here, with scale and
//!   shift put into the batch normalization before and the weights after it. ReLU has no upper end: it gets, for each
//!   unit, the largest output there is for the images that are shown. On these the network of 32 bits answers as the
//!   original but for rounding; on others an output beyond it is cut off.
//! - **Tanh becomes the clip**, which it resembles, and Sign the quantizer of 1 bit, or the clip of more: such networks have
//!   to be trained on before they answer as well as the original, as all have whose bits are few.
//! - **Weights are scaled into [-1, 1]** unit by unit, and batch normalization scales back. It gets the mean and the variance
//!   that the sums of the shown images have, so that training goes on from where the test phase stands.

use qnn_core::quant::PIXEL_STEP;
use qnn_core::spec::NetworkSpec;
use qnn_core::train::{CheckpointError, Progress, Trainer};

use super::{Activation, Dense, DenseLayer};

/// Why a dense network cannot be trained on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DenseError {
    #[error(
        "Images of {expected} pixels are needed, at least one, to see how large the sums become."
    )]
    NoImages { expected: usize },
    #[error("Not all sums of this network are finite; it cannot be trained on.")]
    NotFinite,
    #[error(transparent)]
    Settings(#[from] CheckpointError),
}

/// Figures of each unit over the images, `[units]`.
struct Statistics {
    lowest: Vec<f32>,
    highest: Vec<f32>,
    mean: Vec<f32>,
    variance: Vec<f32>,
}

impl Statistics {
    /// Of `outputs`, `[images, units]`.
    fn of(outputs: &[f32], units: usize) -> Statistics {
        let images = (outputs.len() / units).max(1) as f64;
        let column = |unit: usize| outputs.iter().skip(unit).step_by(units).copied();
        let mean = |unit: usize| column(unit).map(f64::from).sum::<f64>() / images;
        let variance = |unit: usize| {
            let mean = mean(unit);
            column(unit)
                .map(|x| (f64::from(x) - mean).powi(2))
                .sum::<f64>()
                / images
        };
        Statistics {
            lowest: (0..units)
                .map(|unit| column(unit).fold(f32::INFINITY, f32::min))
                .collect(),
            highest: (0..units)
                .map(|unit| column(unit).fold(f32::NEG_INFINITY, f32::max))
                .collect(),
            mean: (0..units).map(|unit| mean(unit) as f32).collect(),
            variance: (0..units).map(|unit| variance(unit) as f32).collect(),
        }
    }
}

/// A layer as the trainer has it: y = factor (weights x) + shift of each unit, weights in [-1, 1].
struct Scaled {
    layer: DenseLayer,
    factor: Vec<f32>,
    shift: Vec<f32>,
    /// Of the sums of weights x.
    mean: Vec<f32>,
    variance: Vec<f32>,
}

impl Dense {
    /// A trainer that begins where this network stands, under the settings of `spec` but with the hidden layers there are.
    /// `pixels`, `[images, inputs]`, are some hundred images of the kind it shall read.
    ///
    /// Such a network is to be trained on with the loss it was trained with and with small steps, 0.001 of Adam's: those that
    /// begin a network here undo what it knows.
    pub fn into_trainer(self, spec: NetworkSpec, pixels: &[u8]) -> Result<Trainer, DenseError> {
        let inputs = self.inputs();
        if pixels.is_empty() || !pixels.len().is_multiple_of(inputs) {
            return Err(DenseError::NoImages { expected: inputs });
        }
        let spec = NetworkSpec {
            hidden: self.hidden(),
            ..spec
        };
        let (classes, normalization) = (self.classes(), spec.normalization);
        let layers = self.scaled(pixels)?;
        let mut trainer = Trainer::from_state(
            spec,
            inputs,
            classes,
            Progress::default(),
            |index, state| {
                let [weights, ..] = state.latent;
                weights.copy_from_slice(&layers[index].layer.weights);
                let [mean, variance] = state.running;
                mean.copy_from_slice(&layers[index].mean);
                variance.copy_from_slice(&layers[index].variance);
                let [gamma, ..] = state.gamma;
                gamma.fill(1.0);
            },
        )?;
        // With a gamma of 1 the scale is what normalization multiplies with: gamma makes up for it.
        let parameters: Vec<(Vec<f32>, Vec<f32>)> = layers
            .iter()
            .enumerate()
            .map(
                |(
                    index,
                    Scaled {
                        factor,
                        shift,
                        mean,
                        ..
                    },
                )| {
                    let (scale, _) = trainer.batch_norm(index).affine(normalization);
                    let gamma = factor
                        .iter()
                        .zip(scale)
                        .map(|(factor, scale)| factor / scale);
                    let beta = shift.iter().zip(mean.iter().zip(factor));
                    let beta = beta.map(|(shift, (mean, factor))| shift + mean * factor);
                    (gamma.collect(), beta.collect())
                },
            )
            .collect();
        let mut numbers = parameters
            .iter()
            .flat_map(|(gamma, beta)| gamma.iter().chain(beta));
        if !numbers.all(|number| number.is_finite()) {
            return Err(DenseError::NotFinite);
        }
        trainer.take_up(Progress::default(), |index, state| {
            let ([gamma, ..], [beta, ..]) = (state.gamma, state.beta);
            gamma.copy_from_slice(&parameters[index].0);
            beta.copy_from_slice(&parameters[index].1);
        });
        Ok(trainer)
    }

    /// The layers, scaled for pixels from 0 to 1 and activations from -1 to 1.
    fn scaled(self, pixels: &[u8]) -> Result<Vec<Scaled>, DenseError> {
        let mut numbers: Vec<f32> = pixels
            .iter()
            .map(|pixel| f32::from(*pixel) * PIXEL_STEP)
            .collect();
        // What the layer took in, as scale x + shift of what ours takes in.
        let mut taken_in = (
            vec![self.pixels.scale; self.inputs()],
            vec![self.pixels.shift; self.inputs()],
        );
        let last = self.layers.len() - 1;
        let mut layers = Vec::new();
        for (index, mut layer) in self.layers.into_iter().enumerate() {
            layer.scale_inputs(&taken_in.0, &taken_in.1);
            let mut outputs = layer.outputs(&numbers);
            if !outputs.iter().all(|output| output.is_finite()) {
                return Err(DenseError::NotFinite);
            }
            let statistics = Statistics::of(&outputs, layer.units);
            let (half_range, middle) = if index < last {
                ranges(layer.activation, &statistics)
            } else {
                (vec![1.0; layer.units], vec![0.0; layer.units])
            };
            for row in outputs.chunks_exact_mut(layer.units) {
                for (unit, output) in row.iter_mut().enumerate() {
                    *output = ((*output - middle[unit]) / half_range[unit]).clamp(-1.0, 1.0);
                }
            }
            numbers = outputs;
            layers.push(scaled(layer, &statistics, &half_range, &middle));
            taken_in = (half_range, middle);
        }
        Ok(layers)
    }
}

/// Half the range that the outputs of each unit are clipped to, and its middle.
fn ranges(activation: Activation, statistics: &Statistics) -> (Vec<f32>, Vec<f32>) {
    let Activation::Clip { lowest, highest } = activation else {
        let units = statistics.mean.len();
        return (vec![1.0; units], vec![0.0; units]);
    };
    let ends = statistics
        .lowest
        .iter()
        .zip(&statistics.highest)
        .map(|(least, most)| {
            let lowest = if lowest.is_finite() {
                lowest
            } else {
                least.min(highest)
            };
            let highest = if highest.is_finite() {
                highest
            } else {
                most.max(lowest)
            };
            // A unit that always gives the same needs a range all the same.
            if highest > lowest {
                (lowest, highest)
            } else {
                (lowest, lowest + 1.0)
            }
        });
    ends.map(|(lowest, highest)| ((highest - lowest) / 2.0, lowest + (highest - lowest) / 2.0))
        .unzip()
}

/// The layer with its weights in [-1, 1]. `statistics` are those of its outputs, which are to be divided by half the range
/// of each unit, its middle taken out.
fn scaled(
    mut layer: DenseLayer,
    statistics: &Statistics,
    half_range: &[f32],
    middle: &[f32],
) -> Scaled {
    let largest = |row: &[f32]| {
        row.iter()
            .fold(0.0f32, |largest, weight| largest.max(weight.abs()))
    };
    let rows = layer.weights.chunks_exact(layer.inputs);
    let largest: Vec<f32> = rows
        .map(largest)
        .map(|largest| if largest > 0.0 { largest } else { 1.0 })
        .collect();
    for (row, largest) in layer.weights.chunks_exact_mut(layer.inputs).zip(&largest) {
        row.iter_mut().for_each(|weight| *weight /= largest);
    }
    let units = 0..layer.units;
    Scaled {
        factor: units
            .clone()
            .map(|unit| largest[unit] / half_range[unit])
            .collect(),
        shift: units
            .clone()
            .map(|unit| (layer.bias[unit] - middle[unit]) / half_range[unit])
            .collect(),
        mean: units
            .clone()
            .map(|unit| (statistics.mean[unit] - layer.bias[unit]) / largest[unit])
            .collect(),
        variance: units
            .map(|unit| statistics.variance[unit] / largest[unit].powi(2))
            .collect(),
        layer,
    }
}
