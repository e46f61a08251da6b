//! Constants of an ONNX graph: what nodes are handed besides the images, stored in the file or made of what is stored there.
//! Numbers are decoded when a node asks for them and not kept.

use std::collections::HashMap;

use safetensors::Dtype;

use qnn_core::spec::MAX_WIDTH;

use super::proto::{AttributeProto, GraphProto, NodeProto, TensorProto, data_type};
use crate::dense::{ImportError, decoded};

/// Nodes from a stored tensor to the constant that is made of it, at most.
const MAX_DEPTH: usize = 4;

pub type Outcome<T> = Result<T, ImportError>;

/// A constant: numbers and their shape.
pub struct Constant {
    pub shape: Vec<usize>,
    pub numbers: Vec<f32>,
}

/// The constants of a graph.
pub struct Constants<'a> {
    tensors: HashMap<&'a str, &'a TensorProto>,
    /// The node that gives each value.
    makers: HashMap<&'a str, &'a NodeProto>,
}

/// An error about a node, by its name or that of what it gives.
pub fn refuse<T>(node: &NodeProto, reason: impl Into<String>) -> Outcome<T> {
    let names = [Some(&node.name), node.output.first()];
    let mut names = names.into_iter().flatten();
    let operator = match node.domain.as_str() {
        "" | "ai.onnx" => node.op_type.clone(),
        domain => format!("{domain}.{}", node.op_type),
    };
    Err(ImportError::Node {
        node: names
            .find(|name| !name.is_empty())
            .cloned()
            .unwrap_or_default(),
        operator,
        reason: reason.into(),
    })
}

fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute
        .iter()
        .find(|attribute| attribute.name == name)
}

/// The attribute `name` of a node, or what the standard says where it is left out.
pub fn float(node: &NodeProto, name: &str, default: f32) -> f32 {
    attribute(node, name)
        .and_then(|attribute| attribute.f)
        .unwrap_or(default)
}

/// The same of a whole number.
pub fn integer(node: &NodeProto, name: &str, default: i64) -> i64 {
    attribute(node, name)
        .and_then(|attribute| attribute.i)
        .unwrap_or(default)
}

/// The input `index` of a node; `None` where it is left out.
pub fn input(node: &NodeProto, index: usize) -> Option<&str> {
    node.input
        .get(index)
        .map(String::as_str)
        .filter(|name| !name.is_empty())
}

impl<'a> Constants<'a> {
    pub fn new(graph: &'a GraphProto) -> Constants<'a> {
        let tensors = graph.initializer.iter();
        let outputs = |node: &'a NodeProto| {
            let outputs = node.output.iter();
            outputs.map(move |output| (output.as_str(), node))
        };
        Constants {
            tensors: tensors
                .map(|tensor| (tensor.name.as_str(), tensor))
                .collect(),
            makers: graph.node.iter().flat_map(outputs).collect(),
        }
    }

    /// Whether a tensor of this name is stored.
    pub fn is_stored(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The constant of two axes at an input of a node.
    pub fn matrix(&self, node: &NodeProto, index: usize) -> Outcome<Constant> {
        let constant = self.constant(node, index, 0)?;
        match constant.shape[..] {
            [_, _] => Ok(constant),
            _ => refuse(
                node,
                format!(
                    "{} is of the shape {:?}, not of two axes",
                    node.input[index], constant.shape
                ),
            ),
        }
    }

    /// The constant at an input of a node, a number or a row of them.
    pub fn row(&self, node: &NodeProto, index: usize) -> Outcome<Vec<f32>> {
        self.row_at(node, index, 0)
    }

    fn row_at(&self, node: &NodeProto, index: usize, depth: usize) -> Outcome<Vec<f32>> {
        self.check_short(node, index)?;
        let constant = self.constant(node, index, depth)?;
        let last = constant.shape.last().copied().unwrap_or(1);
        if constant.numbers.is_empty() || constant.numbers.len() != last {
            return refuse(
                node,
                format!(
                    "{} is of the shape {:?}, not a row",
                    node.input[index], constant.shape
                ),
            );
        }
        Ok(constant.numbers)
    }

    /// Refuses a stored tensor that is longer than any row, before its numbers are read: many nodes may ask for it.
    fn check_short(&self, node: &NodeProto, index: usize) -> Outcome<()> {
        let stored = input(node, index).and_then(|name| self.tensors.get(name));
        let longest = stored.and_then(|tensor| tensor.dims.iter().max());
        match longest {
            Some(length) if *length > MAX_WIDTH as i64 => refuse(
                node,
                format!("{} has more than {MAX_WIDTH} numbers", node.input[index]),
            ),
            _ => Ok(()),
        }
    }

    /// The constant at an input of a node, a single number.
    pub fn scalar(&self, node: &NodeProto, index: usize) -> Outcome<f32> {
        self.check_short(node, index)?;
        match self.constant(node, index, 0)?.numbers[..] {
            [number] => Ok(number),
            _ => refuse(
                node,
                format!("{} is not a single number", node.input[index]),
            ),
        }
    }

    /// The constant at an input of a node, which so many other nodes as `depth`, and perhaps more, make something of.
    fn constant(&self, node: &NodeProto, index: usize, depth: usize) -> Outcome<Constant> {
        let Some(name) = input(node, index) else {
            return refuse(node, format!("its input {index} is missing"));
        };
        if let Some(tensor) = self.tensors.get(name) {
            return stored(tensor);
        }
        let maker = self.makers.get(name).filter(|_| depth < MAX_DEPTH);
        let Some(maker) = maker else {
            return refuse(node, format!("{name} is no constant"));
        };
        if maker.op_type == "Constant" {
            return match maker.attribute.first() {
                Some(AttributeProto {
                    t: Some(tensor), ..
                }) => stored(tensor),
                Some(AttributeProto {
                    f: Some(number), ..
                }) => Ok(Constant {
                    shape: vec![],
                    numbers: vec![*number],
                }),
                Some(AttributeProto { floats, .. }) if !floats.is_empty() => Ok(Constant {
                    shape: vec![floats.len()],
                    numbers: floats.clone(),
                }),
                _ => refuse(maker, "it holds no floats"),
            };
        }
        if !matches!(
            maker.op_type.as_str(),
            "Identity" | "Cast" | "Transpose" | "DequantizeLinear"
        ) {
            return refuse(
                node,
                format!("{name} is no constant, but made by {}", maker.op_type),
            );
        }
        let constant = self.constant(maker, 0, depth + 1)?;
        match (maker.op_type.as_str(), &constant.shape[..]) {
            ("DequantizeLinear", _) => {
                let axis = integer(maker, "axis", 1);
                self.dequantized(maker, constant, [1, 2], axis, depth + 1)
            }
            ("Transpose", [rows, columns]) => {
                let swaps = attribute(maker, "perm").is_none_or(|perm| perm.ints == [1, 0]);
                let (rows, columns) = (*rows, *columns);
                Ok(if swaps {
                    let numbers = transposed(&constant.numbers, rows, columns);
                    Constant {
                        shape: vec![columns, rows],
                        numbers,
                    }
                } else {
                    constant
                })
            }
            ("Transpose", _) => refuse(maker, "it transposes what has not two axes"),
            _ => Ok(constant),
        }
    }

    /// (x - zero point) scale, both at those inputs of a node, for the whole tensor or along `axis`; `depth` as in
    /// [`constant`](Self::constant).
    pub fn dequantized(
        &self,
        node: &NodeProto,
        mut constant: Constant,
        [scale, zero]: [usize; 2],
        axis: i64,
        depth: usize,
    ) -> Outcome<Constant> {
        let scale = self.row_at(node, scale, depth)?;
        let zero = match input(node, zero) {
            Some(_) => self.row_at(node, zero, depth)?,
            None => vec![0.0; scale.len()],
        };
        let rank = constant.shape.len() as i64;
        let axis = usize::try_from(if axis < 0 { axis + rank } else { axis }).unwrap_or(usize::MAX);
        let along = if scale.len() == 1 {
            Some(1)
        } else {
            constant.shape.get(axis).copied()
        };
        if along != Some(scale.len()) || zero.len() != scale.len() {
            return refuse(
                node,
                "its scale is neither one number nor one for each unit",
            );
        }
        let after: usize = constant.shape.iter().skip(axis.saturating_add(1)).product();
        for (place, number) in constant.numbers.iter_mut().enumerate() {
            let index = place / after % scale.len();
            *number = (*number - zero[index]) * scale[index];
        }
        Ok(constant)
    }

    /// The range of what is quantized with the scale and the zero point at those inputs of a node.
    pub fn quantized_range(
        &self,
        node: &NodeProto,
        [scale, zero]: [usize; 2],
    ) -> Outcome<(f32, f32)> {
        let scale = self.scalar(node, scale)?;
        let Some(zero_name) = input(node, zero) else {
            return Ok((0.0, 255.0 * scale)); // uint8 is the default.
        };
        let made = self
            .makers
            .get(zero_name)
            .and_then(|node| node.attribute.first()?.t.as_ref());
        let tensor = self.tensors.get(zero_name).copied().or(made);
        let is_signed = tensor.is_some_and(|tensor| tensor.data_type == data_type::INT8);
        let (lowest, highest) = if is_signed {
            (-128.0, 127.0)
        } else {
            (0.0, 255.0)
        };
        let zero = self.scalar(node, zero)?;
        Ok(((lowest - zero) * scale, (highest - zero) * scale))
    }
}

/// `[rows, columns]` as `[columns, rows]`.
pub fn transposed(numbers: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(rows * columns);
    for column in 0..columns {
        out.extend(numbers.iter().skip(column).step_by(columns));
    }
    out
}

/// The numbers of a tensor that is stored in the file.
fn stored(tensor: &TensorProto) -> Outcome<Constant> {
    let refuse = |reason: String| {
        Err(ImportError::Tensor {
            tensor: tensor.name.clone(),
            reason,
        })
    };
    if tensor.data_location != 0 {
        return refuse("its numbers lie in another file; save the network as one file".into());
    }
    let dtype = match tensor.data_type {
        data_type::FLOAT => Dtype::F32,
        data_type::UINT8 => Dtype::U8,
        data_type::INT8 => Dtype::I8,
        data_type::INT32 => Dtype::I32,
        data_type::INT64 => Dtype::I64,
        data_type::FLOAT16 => Dtype::F16,
        data_type::DOUBLE => Dtype::F64,
        data_type::BFLOAT16 => Dtype::BF16,
        other => {
            return refuse(format!(
                "it is of the type {other} of TensorProto, which holds no weights"
            ));
        }
    };
    let raw = tensor.raw_data.as_deref().filter(|raw| !raw.is_empty());
    let numbers = match (raw, dtype) {
        (Some(raw), _) => decoded(dtype, raw).unwrap_or_default(),
        (None, Dtype::F32) => tensor.float_data.clone(),
        (None, Dtype::F64) => tensor
            .double_data
            .iter()
            .map(|number| *number as f32)
            .collect(),
        (None, Dtype::I64) => tensor
            .int64_data
            .iter()
            .map(|number| *number as f32)
            .collect(),
        // Halves stand there by their bits.
        (None, Dtype::F16 | Dtype::BF16) => {
            let bits = tensor
                .int32_data
                .iter()
                .flat_map(|number| (*number as u16).to_le_bytes());
            decoded(dtype, &bits.collect::<Vec<u8>>()).unwrap_or_default()
        }
        (None, _) => tensor
            .int32_data
            .iter()
            .map(|number| *number as f32)
            .collect(),
    };
    let lengths = tensor
        .dims
        .iter()
        .map(|length| usize::try_from(*length).ok());
    let shape: Option<Vec<usize>> = lengths.collect();
    let shape = shape.unwrap_or_default();
    let count = shape
        .iter()
        .try_fold(1usize, |product, length| product.checked_mul(*length));
    if numbers.is_empty() || count != Some(numbers.len()) {
        return refuse(format!(
            "it holds {} numbers, which its shape {:?} does not",
            numbers.len(),
            tensor.dims
        ));
    }
    Ok(Constant { shape, numbers })
}
