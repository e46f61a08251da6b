//! A trainer of a packed network, to go on training from: its weights stand where their levels are, and batch normalization
//! such that the network answers as it did. What the packed network does not hold is guessed: the variance of the sums,
//! which training soon knows, and the optimizer begins without memory.

use qnn_core::quant::{PIXEL_STEP, ap2};
use qnn_core::spec::{Levels, NetworkSpec};
use qnn_core::train::{CheckpointError, Progress, Trainer};
use qnn_infer::{Edge, Encoding, Layer, Network, Thresholds};

use crate::header::{Description, FileError};

/// The mean square of a pixel, of ink from 0 to 1: a guess.
const PIXEL_SQUARE: f32 = 0.1;

/// Batch normalization of a unit in the test phase: y = scale (x - mean) + shift.
struct Affine {
    scale: f32,
    mean: f32,
    shift: f32,
}

/// The trainer of a file's packed network. With 1-bit activations it answers exactly as the file does; with more, what lies
/// on the edge between two levels may fall on the other side.
pub fn unpack(file: &[u8]) -> Result<(Trainer, Description), FileError> {
    let description = Description::of(file)?;
    let network = Network::parse(file)?;
    let trainer = trainer(&network, &description.spec)?;
    Ok((trainer, description))
}

fn trainer(network: &Network<'_>, spec: &NetworkSpec) -> Result<Trainer, FileError> {
    let layers = network.layers();
    let hidden: Vec<usize> = layers[..layers.len() - 1]
        .iter()
        .map(|layer| layer.units)
        .collect();
    let steps = spec.weights().encoding().map(Encoding::digits);
    let is_of_spec = |layer: &Layer<'_>| Some(layer.weights.encoding.digits()) == steps;
    if spec.hidden != hidden || !layers.iter().all(is_of_spec) {
        return Err(FileError::Checkpoint(CheckpointError::Damaged));
    }
    let progress = Progress::default();
    let trainer = Trainer::from_state(
        spec.clone(),
        network.inputs(),
        network.classes(),
        progress,
        |index, state| {
            let layer = &layers[index];
            let weight_step = spec.weights().step();
            let input_step = if index == 0 {
                PIXEL_STEP
            } else {
                spec.activations().step()
            };
            let [latent, ..] = state.latent;
            for (unit, row) in latent.chunks_exact_mut(layer.inputs).enumerate() {
                for (input, weight) in row.iter_mut().enumerate() {
                    *weight = weight_of(layer, unit, input) as f32 * weight_step;
                }
            }
            let square = if index == 0 { PIXEL_SQUARE } else { 1.0 };
            // A square of a power of two: shift-based normalization has others not.
            let deviation = ap2((layer.inputs as f32 * square).sqrt());
            let ([gamma, ..], [beta, ..], [mean, variances]) =
                (state.gamma, state.beta, state.running);
            for unit in 0..layer.units {
                let affine = affine(layer, unit, input_step * weight_step, spec);
                gamma[unit] = affine.scale * deviation;
                beta[unit] = affine.shift;
                mean[unit] = affine.mean;
                variances[unit] = deviation * deviation;
            }
        },
    )?;
    Ok(trainer)
}

/// The integer that a weight is.
fn weight_of(layer: &Layer<'_>, unit: usize, input: usize) -> i32 {
    let encoding = layer.weights.encoding;
    let digit = |digit: usize| {
        let row = layer.weights.row(digit, unit, layer.units);
        i32::from(row[input / 8] >> (input % 8) & 1)
    };
    (0..encoding.digits()).fold(encoding.offset(), |sum, place| {
        sum + encoding.coefficient(place) * digit(place)
    })
}

/// What a unit makes of its sums, each worth `worth`.
fn affine(layer: &Layer<'_>, unit: usize, worth: f32, spec: &NetworkSpec) -> Affine {
    match &layer.edge {
        Edge::Thresholds(thresholds) => of_thresholds(thresholds, unit, worth, spec, layer.inputs),
        Edge::Affine { scale, shift, .. } => Affine {
            scale: scale.f32(unit),
            mean: 0.0,
            shift: shift.f32(unit),
        },
        Edge::Scores {
            multiplier,
            offset,
            shift,
            exponent,
        } => {
            let value = |integer: f64| integer * f64::powi(2.0, *exponent - *shift as i32);
            Affine {
                scale: (value(f64::from(multiplier.i32(unit))) / f64::from(worth)) as f32,
                mean: 0.0,
                shift: value(offset.i64(unit) as f64) as f32,
            }
        }
    }
}

/// The straight line through the first and the last change of level.
fn of_thresholds(
    thresholds: &Thresholds<'_>,
    unit: usize,
    worth: f32,
    spec: &NetworkSpec,
    inputs: usize,
) -> Affine {
    let count = thresholds.levels.count() - 1;
    // Between the last sum of one level and the first of the next.
    let change = |index: usize| (thresholds.values.i32(unit * count + index) as f32 - 0.5) * worth;
    let sign = if thresholds.falls(unit) { -1.0 } else { 1.0 };
    let (first, last) = (change(0), change(count - 1));
    if last <= first {
        return Affine {
            scale: sign / (inputs as f32).sqrt(),
            mean: first,
            shift: 0.0,
        };
    }
    // Where batch normalization's output is between two levels: half way, or by ratio.
    let boundary = |index: usize| {
        let [below, above] =
            [index, index + 1].map(|level| f32::from(thresholds.levels.level(level)));
        let middle = match spec.activation_levels {
            Levels::Logarithmic => (below * above).max(0.0).sqrt().copysign(below + above),
            Levels::Linear => (below + above) / 2.0,
        };
        middle * spec.activations().step()
    };
    let (lowest, highest) = (boundary(0), boundary(count - 1));
    let (from, to) = if sign < 0.0 {
        (highest, lowest)
    } else {
        (lowest, highest)
    };
    let scale = (to - from) / (last - first);
    Affine {
        scale,
        mean: first - from / scale,
        shift: 0.0,
    }
}
