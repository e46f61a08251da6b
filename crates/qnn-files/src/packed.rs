//! The packed network as tensors: what `qnn-infer` reads. No floats are left of the layers but where activations have 5 to
//! 8 bits.

use qnn_core::bits::Encoding;
use qnn_core::packed::{Edge, PackedLayer, PackedNetwork};
use qnn_core::train::Trainer;
use qnn_infer::{MAX_DIGITS, MAX_THRESHOLD_LEVELS};
use safetensors::Dtype;

use crate::header::{self, Tensor};

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
    Ok(header::write(trainer, classes, None, tensors))
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
    if let Edge::Affine {
        activations: None, ..
    } = layer.edge()
    {
        let scores = layer.scores().ok_or(Unpackable::NotFinite)?;
        let multiplier = scores.multiplier.iter().flat_map(|x| x.to_le_bytes());
        let offset = scores.offset.iter().flat_map(|x| x.to_le_bytes());
        parts.push(("multiplier", Dtype::I32, vec![units], multiplier.collect()));
        parts.push(("offset", Dtype::I64, vec![units], offset.collect()));
        for (part, number) in [
            ("score_shift", scores.shift as i32),
            ("exponent", scores.exponent),
        ] {
            parts.push((part, Dtype::I32, vec![1], number.to_le_bytes().to_vec()));
        }
        return Ok(parts);
    }
    let levels = layer.levels().ok_or(Unpackable::Floats("activations"))?;
    parts.push((
        "levels",
        Dtype::I8,
        vec![levels.len()],
        levels.iter().map(|level| *level as u8).collect(),
    ));
    if let (Edge::Affine { scale, shift, .. }, true) =
        (layer.edge(), levels.len() > MAX_THRESHOLD_LEVELS)
    {
        parts.push(floats("scale", scale)?);
        parts.push(floats("shift", shift)?);
        parts.push(floats("unit", &[unit(layer)])?);
    } else {
        let thresholds = layer.level_thresholds();
        let thresholds = thresholds.ok_or(Unpackable::Floats("activations"))?;
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
    Ok(parts)
}

/// What a sum of 1 is worth.
fn unit(layer: &PackedLayer) -> f32 {
    layer.input_step() * layer.weights().units().first().copied().unwrap_or(1.0)
}

fn floats(part: &'static str, values: &[f32]) -> Result<Part, Unpackable> {
    if !values.iter().all(|value| value.is_finite()) {
        return Err(Unpackable::NotFinite);
    }
    let bytes = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    Ok((part, Dtype::F32, vec![values.len()], bytes))
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
