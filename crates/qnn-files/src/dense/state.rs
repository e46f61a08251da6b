//! Dense networks in safetensors files of PyTorch's names: which tensors make a layer, and in which order the layers come.

use qnn_core::spec::MAX_HIDDEN_LAYERS;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::{Activation, Dense, DenseLayer, ImportError, PixelScaling};

/// What batch normalization adds to a variance, where no file says: PyTorch's default.
const EPSILON: f32 = 1e-5;
/// The longest header that is read, in bytes: some thousand tensors.
const MAX_HEADER: u64 = 1 << 20;
/// What the names of a layer's weight, bias, statistics and scale end in; other names are refused.
const PARTS: [&str; 7] = [
    "weight",
    "bias",
    "running_mean",
    "running_var",
    "num_batches_tracked",
    "weight_scale",
    "scale",
];

/// Whether the bytes begin as a safetensors file does: the length of a header, and the header's brace.
pub fn is_safetensors(bytes: &[u8]) -> bool {
    bytes.split_first_chunk().is_some_and(|(length, header)| {
        u64::from_le_bytes(*length) <= MAX_HEADER && header.first() == Some(&b'{')
    })
}

/// The network in a safetensors file; the error is `None` where it is none.
pub fn import(bytes: &[u8]) -> Result<Dense, Option<ImportError>> {
    let file = SafeTensors::deserialize(bytes).map_err(|_| None)?;
    Ok(State { file }.dense()?)
}

/// The tensors of a network.
struct State<'a> {
    file: SafeTensors<'a>,
}

fn refuse<T>(tensor: &str, reason: impl Into<String>) -> Result<T, ImportError> {
    Err(ImportError::Tensor {
        tensor: tensor.into(),
        reason: reason.into(),
    })
}

impl State<'_> {
    fn dense(&self) -> Result<Dense, ImportError> {
        let mut prefixes: Vec<&str> = Vec::new();
        for name in self.file.names() {
            let (prefix, part) = name.rsplit_once('.').unwrap_or(("", name));
            if !PARTS.contains(&part) {
                return refuse(
                    name,
                    format!("of the parts of a layer there are {}", PARTS.join(", ")),
                );
            }
            prefixes.push(prefix);
        }
        prefixes.sort_by_cached_key(|prefix| natural(prefix));
        prefixes.dedup();
        let is_norm = |prefix: &&str| self.find(prefix, "running_mean").is_some();
        let (norms, products): (Vec<&str>, Vec<&str>) =
            prefixes.iter().partition(|prefix| is_norm(prefix));
        if products.len() > MAX_HIDDEN_LAYERS + 1 || norms.len() > products.len() {
            return Err(ImportError::Network(format!(
                "it has {} layers and {} normalizations; up to {} layers can be read, each with one",
                products.len(),
                norms.len(),
                MAX_HIDDEN_LAYERS + 1
            )));
        }
        let mut layers = products
            .iter()
            .map(|prefix| self.product(prefix))
            .collect::<Result<Vec<DenseLayer>, ImportError>>()?;
        // The numbers in a sequence of modules say which product a normalization follows; names such as bn1 only their order.
        let in_sequence = prefixes
            .iter()
            .all(|prefix| stem(prefix) == stem(prefixes[0]));
        for (order, norm) in norms.iter().enumerate() {
            let before = |product: &&&str| natural(product) < natural(norm);
            let place = if in_sequence {
                products.iter().filter(before).count().checked_sub(1)
            } else {
                Some(order)
            };
            match place.and_then(|place| layers.get_mut(place)) {
                Some(layer) => self.normalize(layer, norm)?,
                None => return refuse(norm, "there is no layer that it could normalize"),
            }
        }
        Ok(Dense::new(PixelScaling::UNIT, layers))
    }

    fn find(&self, prefix: &str, part: &str) -> Option<TensorView<'_>> {
        self.file.tensor(&joined(prefix, part)).ok()
    }

    /// The layer of a weight and perhaps a bias.
    fn product(&self, prefix: &str) -> Result<DenseLayer, ImportError> {
        let name = joined(prefix, "weight");
        let Some(weight) = self.find(prefix, "weight") else {
            return refuse(
                &name,
                "it is missing, while other parts of the layer are there",
            );
        };
        let [units, inputs] = *weight.shape() else {
            return refuse(
                &name,
                format!(
                    "its shape is {:?}; weights of dense layers are [units, inputs], and batch normalization has a running_mean",
                    weight.shape()
                ),
            );
        };
        let layer = DenseLayer::new(inputs, units, numbers(&name, &weight)?);
        let mut layer = layer.or_else(|reason| refuse(&name, reason))?;
        let scale = self
            .find(prefix, "weight_scale")
            .or_else(|| self.find(prefix, "scale"));
        match scale {
            Some(scale) => {
                let scale = numbers(&joined(prefix, "scale"), &scale)?;
                let of_unit = |unit: usize| scale.get(if scale.len() == 1 { 0 } else { unit });
                let scale: Option<Vec<f32>> =
                    (0..units).map(|unit| of_unit(unit).copied()).collect();
                let Some(scale) = scale else {
                    return refuse(
                        &name,
                        format!("its scale is neither one number nor {units}"),
                    );
                };
                layer.scale_outputs(&scale, &vec![0.0; units]);
            }
            None if weight.dtype() == Dtype::I8 => {
                return refuse(
                    &name,
                    "weights of I8 need a scale, the tensor weight_scale beside it",
                );
            }
            None => {}
        }
        if self.find(prefix, "bias").is_some() {
            layer.bias = self.list(prefix, "bias", units)?;
        }
        layer.activation = Activation::RELU;
        Ok(layer)
    }

    /// Takes batch normalization's test phase into a layer.
    fn normalize(&self, layer: &mut DenseLayer, prefix: &str) -> Result<(), ImportError> {
        let list = |part| self.list(prefix, part, layer.units);
        let mean = list("running_mean")?;
        let variance = list("running_var")?;
        // Without parameters of its own it only normalizes.
        let or = |part, default: f32| match self.find(prefix, part) {
            Some(_) => list(part),
            None => Ok(vec![default; layer.units]),
        };
        let (gamma, beta) = (or("weight", 1.0)?, or("bias", 0.0)?);
        let (scale, shift) = batch_norm([&gamma, &beta, &mean, &variance], EPSILON);
        layer.scale_outputs(&scale, &shift);
        Ok(())
    }

    /// A part of so many numbers.
    fn list(&self, prefix: &str, part: &str, length: usize) -> Result<Vec<f32>, ImportError> {
        let name = joined(prefix, part);
        match self.find(prefix, part) {
            Some(tensor) if tensor.shape() == [length] => numbers(&name, &tensor),
            Some(tensor) => refuse(
                &name,
                format!("its shape is {:?}, not [{length}]", tensor.shape()),
            ),
            None => refuse(&name, "it is missing"),
        }
    }
}

/// Batch normalization's test phase as scale and shift, of gamma, beta, mean and variance of each unit.
pub fn batch_norm(
    [gamma, beta, mean, variance]: [&[f32]; 4],
    epsilon: f32,
) -> (Vec<f32>, Vec<f32>) {
    let scale = gamma
        .iter()
        .zip(variance)
        .map(|(gamma, variance)| gamma / (variance + epsilon).sqrt());
    let scale: Vec<f32> = scale.collect();
    let shift = beta
        .iter()
        .zip(mean.iter().zip(&scale))
        .map(|(beta, (mean, scale))| beta - mean * scale);
    let shift = shift.collect();
    (scale, shift)
}

fn joined(prefix: &str, part: &str) -> String {
    if prefix.is_empty() {
        part.into()
    } else {
        format!("{prefix}.{part}")
    }
}

/// A name as its words and numbers, so that 10 comes after 9.
fn natural(name: &str) -> Vec<(&str, u64)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let (word, digits) = rest.split_at(
            rest.find(|c: char| c.is_ascii_digit())
                .unwrap_or(rest.len()),
        );
        let end = digits
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(digits.len());
        let (number, after) = digits.split_at(end);
        parts.push((word, number.parse().unwrap_or(u64::MAX)));
        rest = after;
    }
    parts
}

/// What is left of a name without its last number.
fn stem(name: &str) -> &str {
    name.trim_end_matches(|c: char| c.is_ascii_digit())
}

/// The numbers of a tensor.
fn numbers(name: &str, tensor: &TensorView<'_>) -> Result<Vec<f32>, ImportError> {
    decoded(tensor.dtype(), tensor.data()).map_or_else(
        || {
            refuse(
                name,
                format!(
                    "it is of type {}; F32, F16, BF16, F64 and I8 can be read",
                    tensor.dtype()
                ),
            )
        },
        Ok,
    )
}

/// Little-endian numbers as float32; `None` where they are of another type.
pub fn decoded(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    fn each<const SIZE: usize>(bytes: &[u8], to: impl Fn([u8; SIZE]) -> f32) -> Vec<f32> {
        bytes.as_chunks().0.iter().map(|bytes| to(*bytes)).collect()
    }
    Some(match dtype {
        Dtype::F32 => each(bytes, f32::from_le_bytes),
        Dtype::F64 => each(bytes, |bytes| f64::from_le_bytes(bytes) as f32),
        Dtype::F16 => each(bytes, |bytes| half(u16::from_le_bytes(bytes))),
        Dtype::BF16 => each(bytes, |[low, high]| f32::from_le_bytes([0, 0, low, high])),
        Dtype::I8 => each(bytes, |[byte]| f32::from(byte as i8)),
        Dtype::U8 => each(bytes, |[byte]| f32::from(byte)),
        Dtype::I32 => each(bytes, |bytes| i32::from_le_bytes(bytes) as f32),
        Dtype::I64 => each(bytes, |bytes| i64::from_le_bytes(bytes) as f32),
        _ => return None,
    })
}

/// A float16 by its bits.
fn half(bits: u16) -> f32 {
    const SCALE: f32 = f32::from_bits((127 + 112) << 23);
    let magnitude = u32::from(bits & 0x7fff);
    let value = if magnitude >= 0x7c00 {
        f32::NAN // Infinite or no number, which no weight is.
    } else {
        // The exponents differ in their zero by 112.
        f32::from_bits(magnitude << 13) * SCALE
    };
    if bits >> 15 == 1 { -value } else { value }
}
