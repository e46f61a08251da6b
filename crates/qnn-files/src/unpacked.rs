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

/// The most weights that are unpacked: each takes 12 bytes of latent weight and optimizer, a hundred times of what it takes
/// in the file.
const MAX_WEIGHTS: usize = 1 << 26;

/// Batch normalization of a unit in the test phase: y = scale (x - mean) + shift.
struct Affine {
    scale: f32,
    mean: f32,
    shift: f32,
}

/// The trainer of a file's packed network. It answers as the file does but for sums next to the edge of two levels, which may
/// fall on the other side: with 1-bit activations there are none, but where sums are so large that float32 rounds them.
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
    let levels = spec.activations().levels();
    let is_of_spec = |layer: &Layer<'_>| {
        let known = match &layer.edge {
            Edge::Thresholds(Thresholds { levels, .. }) | Edge::Affine { levels, .. } => *levels,
            Edge::Scores { .. } => return Some(layer.weights.encoding.digits()) == steps,
        };
        let known: Vec<i8> = (0..known.count()).map(|index| known.level(index)).collect();
        Some(layer.weights.encoding.digits()) == steps && levels.as_ref() == Some(&known)
    };
    if spec.hidden != hidden || !layers.iter().all(is_of_spec) {
        return Err(FileError::Checkpoint(CheckpointError::Damaged));
    }
    let weights: usize = layers.iter().map(|layer| layer.inputs * layer.units).sum();
    if weights > MAX_WEIGHTS {
        return Err(FileError::Large(weights));
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
        Edge::Thresholds(thresholds) => of_thresholds(layer, thresholds, unit, worth, spec),
        Edge::Affine {
            scale,
            shift,
            unit: sum,
            ..
        } => Affine {
            scale: scale.f32(unit) * (sum / worth),
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
            // Half a score is in the offset, so that scores are rounded to the nearest.
            let half = ((1u64 << shift) >> 1) as f64;
            Affine {
                scale: (value(f64::from(multiplier.i32(unit))) / f64::from(worth)) as f32,
                mean: 0.0,
                shift: value(offset.i64(unit) as f64 - half) as f32,
            }
        }
    }
}

/// The straight line through the first and the last change of level that a sum can come to.
fn of_thresholds(
    layer: &Layer<'_>,
    thresholds: &Thresholds<'_>,
    unit: usize,
    worth: f32,
    spec: &NetworkSpec,
) -> Affine {
    let count = thresholds.levels.count() - 1;
    let extreme = |encoding: Encoding| i64::from(encoding.range().1) + 1;
    let largest = extreme(layer.input) * extreme(layer.weights.encoding) * layer.inputs as i64;
    let falls = thresholds.falls(unit);
    let sum_at = |change: usize| thresholds.values.i32(unit * count + change);
    // Beyond the largest sums stand the changes that never come.
    let comes = |change: &usize| {
        i64::from(sum_at(*change)).abs() <= largest && i64::from(sum_at(*change)) > -largest
    };
    // Between the last sum of one level and the first of the next.
    let x = |change: usize| ((f64::from(sum_at(change)) - 0.5) * f64::from(worth)) as f32;
    // Where batch normalization's output is between two levels: half way, or by ratio.
    let y = |change: usize| {
        let lower = if falls { count - 1 - change } else { change };
        let [below, above] =
            [lower, lower + 1].map(|level| f32::from(thresholds.levels.level(level)));
        let middle = match spec.activation_levels {
            Levels::Logarithmic => (below * above).max(0.0).sqrt().copysign(below + above),
            Levels::Linear => (below + above) / 2.0,
        };
        middle * spec.activations().step()
    };
    let coming: Vec<usize> = (0..count).filter(comes).collect();
    match (coming.first(), coming.last()) {
        (Some(first), Some(last)) if x(*last) > x(*first) => {
            let scale = (y(*last) - y(*first)) / (x(*last) - x(*first));
            Affine {
                scale,
                mean: x(*first) - y(*first) / scale,
                shift: 0.0,
            }
        }
        (Some(change), _) => {
            let sign = if falls { -1.0 } else { 1.0 };
            Affine {
                scale: sign / (layer.inputs as f32).sqrt(),
                mean: x(*change),
                shift: y(*change),
            }
        }
        // Always the same level.
        _ => Affine {
            scale: 0.0,
            mean: 0.0,
            shift: f32::from(thresholds.level(unit, 0)) * spec.activations().step(),
        },
    }
}
