//! The packed network as tensors: what `qnn-infer` reads. No floats are left of the layers but where activations have 5 to
//! 8 bits.

use qnn_core::bits::Encoding;
use qnn_core::packed::{Edge, PackedLayer, PackedNetwork};
use qnn_core::train::Trainer;
use qnn_infer::{MAX_DIGITS, MAX_THRESHOLD_LEVELS};
use safetensors::Dtype;

use crate::header::{self, Tensor};

/// Bits that a multiplier of the scores has, besides its sign.
const MULTIPLIER_BITS: i32 = 30;
/// Bits that an offset of the scores has at most, besides its sign.
const OFFSET_BITS: i32 = 61;
/// The smallest exponent: 2^-126 is the smallest normal float32.
const MIN_EXPONENT: i32 = -126;

/// Why a network cannot be packed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unpackable {
    #[error(
        "Packed networks hold weights and activations of 1 to 8 bits, logarithmic ones of 1 to 3; the {0} of this one have others."
    )]
    Floats(&'static str),
    #[error("The scores of this network are not finite; it cannot be packed.")]
    NotFinite,
}

/// A file of the network that the trainer has made, packed, without what training goes on from; `classes` are the names
/// of its classes.
pub fn write_packed(trainer: &Trainer, classes: &[String]) -> Result<Vec<u8>, Unpackable> {
    let tensors = tensors(&trainer.freeze())?;
    Ok(header::write(
        trainer.spec(),
        trainer.inputs(),
        classes,
        None,
        tensors,
    ))
}

/// The tensors of a packed network.
pub fn tensors(network: &PackedNetwork) -> Result<Vec<Tensor>, Unpackable> {
    let mut tensors = Vec::new();
    for (index, layer) in network.layers().iter().enumerate() {
        for (part, dtype, shape, bytes) in layer_tensors(layer)? {
            tensors.push(Tensor {
                name: format!("layers.{index}.{part}"),
                dtype,
                shape,
                bytes,
            });
        }
    }
    Ok(tensors)
}

type Part = (&'static str, Dtype, Vec<usize>, Vec<u8>);

fn layer_tensors(layer: &PackedLayer) -> Result<Vec<Part>, Unpackable> {
    let units = layer.units();
    let mut parts = vec![weight(layer)?];
    let Edge::Affine {
        scale,
        shift,
        activations: None,
    } = layer.edge()
    else {
        let thresholds = layer.level_thresholds();
        let thresholds = thresholds.ok_or(Unpackable::Floats("activations"))?;
        let levels = &thresholds.levels;
        parts.push((
            "levels",
            Dtype::I8,
            vec![levels.len()],
            levels.iter().map(|level| *level as u8).collect(),
        ));
        if let (Edge::Affine { scale, shift, .. }, true) =
            (layer.edge(), levels.len() > MAX_THRESHOLD_LEVELS)
        {
            parts.push(floats("scale", scale));
            parts.push(floats("shift", shift));
            parts.push(floats("unit", &[unit(layer)]));
        } else {
            let values = thresholds.values.iter().flat_map(|sum| sum.to_le_bytes());
            parts.push((
                "thresholds",
                Dtype::I32,
                vec![units, levels.len() - 1],
                values.collect(),
            ));
            let falling = pack_bits(thresholds.falling.iter().copied());
            parts.push(("falling", Dtype::U8, vec![falling.len()], falling));
        }
        return Ok(parts);
    };
    let scores = Scores::new(unit(layer), scale, shift)?;
    let multiplier = scores
        .multiplier
        .iter()
        .flat_map(|number| number.to_le_bytes());
    let offset = scores.offset.iter().flat_map(|number| number.to_le_bytes());
    parts.push(("multiplier", Dtype::I32, vec![units], multiplier.collect()));
    parts.push(("offset", Dtype::I64, vec![units], offset.collect()));
    parts.push((
        "exponent",
        Dtype::I32,
        vec![1],
        scores.exponent.to_le_bytes().to_vec(),
    ));
    Ok(parts)
}

/// What a sum of 1 is worth.
fn unit(layer: &PackedLayer) -> f32 {
    layer.input_step() * layer.weights().units().first().copied().unwrap_or(1.0)
}

fn floats(part: &'static str, values: &[f32]) -> Part {
    let bytes = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    (part, Dtype::F32, vec![values.len()], bytes)
}

/// The bit planes of a layer's weights, `[digits, units, bytes]`.
fn weight(layer: &PackedLayer) -> Result<Part, Unpackable> {
    let (inputs, units) = (layer.inputs(), layer.units());
    let encoding = layer
        .weights()
        .encoding()
        .filter(|encoding| encoding.digits() <= MAX_DIGITS);
    let encoding: Encoding = encoding.ok_or(Unpackable::Floats("weights"))?;
    if layer
        .input_encoding()
        .is_none_or(|input| input.digits() > MAX_DIGITS)
    {
        return Err(Unpackable::Floats("activations"));
    }
    let mut bytes = Vec::with_capacity(encoding.digits() * units * inputs.div_ceil(8));
    for digit in 0..encoding.digits() {
        for unit in 0..units {
            let integers = (0..inputs).filter_map(|input| layer.weights().integer(unit, input));
            bytes.extend(pack_bits(
                integers.map(|integer| encoding.digit(integer, digit) == 1),
            ));
        }
    }
    let shape = vec![encoding.digits(), units, inputs.div_ceil(8)];
    Ok(("weight", Dtype::U8, shape, bytes))
}

/// Eight bits a byte, the first one lowest; zeros fill the last.
fn pack_bits(bits: impl Iterator<Item = bool>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, bit) in bits.enumerate() {
        if index % 8 == 0 {
            bytes.push(0);
        }
        if let Some(byte) = bytes.last_mut() {
            *byte |= u8::from(bit) << (index % 8);
        }
    }
    bytes
}

/// Batch normalization of the last layer in integers: logit = (multiplier sum + offset) 2^exponent.
struct Scores {
    multiplier: Vec<i32>,
    offset: Vec<i64>,
    exponent: i32,
}

impl Scores {
    /// As precise as the integers allow, which is more than float32 is.
    fn new(unit: f32, scale: &[f32], shift: &[f32]) -> Result<Scores, Unpackable> {
        let factors: Vec<f64> = scale
            .iter()
            .map(|scale| f64::from(*scale) * f64::from(unit))
            .collect();
        let largest = |values: &mut dyn Iterator<Item = f64>| {
            values.fold(0.0, |largest: f64, x| largest.max(x.abs()))
        };
        let factor = largest(&mut factors.iter().copied());
        let offset = largest(&mut shift.iter().copied().map(f64::from));
        let all = scale.iter().chain(shift);
        if !factor.is_finite() || all.into_iter().any(|x| !x.is_finite()) {
            return Err(Unpackable::NotFinite);
        }
        // The exponent of the power of two above a magnitude.
        let above = |magnitude: f64| magnitude.max(f64::MIN_POSITIVE).log2().floor() as i32 + 1;
        let exponent = (above(factor) - MULTIPLIER_BITS).max(above(offset) - OFFSET_BITS);
        let exponent = exponent.max(MIN_EXPONENT);
        let fixed = |x: f64| (x * f64::powi(2.0, -exponent)).round();
        Ok(Scores {
            multiplier: factors.iter().map(|factor| fixed(*factor) as i32).collect(),
            offset: shift
                .iter()
                .map(|shift| fixed(f64::from(*shift)) as i64)
                .collect(),
            exponent,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_the_logits_of_the_floats() {
        let (unit, scale, shift) = (0.25, [3.0f32, -0.001, 0.0], [-1.5f32, 7e4, 1e-9]);
        let scores = Scores::new(unit, &scale, &shift).unwrap();
        for (class, (scale, shift)) in scale.iter().zip(&shift).enumerate() {
            for sum in [-1000i32, 0, 1, 9999] {
                let expected =
                    f64::from(*scale) * f64::from(sum) * f64::from(unit) + f64::from(*shift);
                let score =
                    i64::from(scores.multiplier[class]) * i64::from(sum) + scores.offset[class];
                let found = score as f64 * f64::powi(2.0, scores.exponent);
                assert!((found - expected).abs() < 1e-5, "{found} {expected}");
            }
        }
        assert!(Scores::new(1.0, &[0.0, 0.0], &[0.0, 0.0]).is_ok());
        assert!(Scores::new(1.0, &[f32::INFINITY], &[0.0]).is_err());
    }
}
