//! Dense networks in ONNX files: the chain of nodes from the input to the logits, read as layers. What lies beside the
//! chain is looked at only where the chain takes it in, as constants do; what is no chain is refused by the name of its
//! node.

use std::collections::{HashMap, HashSet};

use prost::Message;
use prost::bytes::Bytes;
use qnn_core::spec::MAX_HIDDEN_LAYERS;
use safetensors::Dtype;

use super::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, data_type};
use super::wire::structure_bytes;
use crate::dense::{Activation, Dense, DenseLayer, ImportError, PixelScaling, batch_norm, decoded};

/// The largest structure of a file that is read, in bytes: nodes, names and shapes of some thousand layers.
const MAX_STRUCTURE: usize = 1 << 20;
/// Nodes from a stored tensor to the constant that is made of it, at most.
const MAX_DEPTH: usize = 16;
/// Below this what pixels are first multiplied with makes about 1 of 255: networks that take 0 to 1 only make it larger.
const BYTE_SCALE: f32 = 1.0 / 16.0;
/// What the standard says BatchNormalization adds to a variance.
const EPSILON: f32 = 1e-5;

/// The network in an ONNX file; the error is `None` where it is none.
pub fn import(bytes: &[u8]) -> Result<Dense, Option<ImportError>> {
    let structure = structure_bytes(bytes).ok_or(None)?;
    if structure > MAX_STRUCTURE {
        let reason = format!("its graph alone takes {structure} bytes; {MAX_STRUCTURE} are read");
        return Err(Some(ImportError::Network(reason)));
    }
    let model = ModelProto::decode(Bytes::copy_from_slice(bytes)).map_err(|_| None)?;
    let graph = model.graph.ok_or(None)?;
    Ok(Chain::new(&graph)?.follow()?)
}

/// A constant: numbers and their shape.
#[derive(Clone)]
struct Constant {
    shape: Vec<usize>,
    numbers: Vec<f32>,
}

/// The layers as far as the chain has been followed.
struct Chain<'a> {
    graph: &'a GraphProto,
    tensors: HashMap<&'a str, &'a TensorProto>,
    /// The node that gives each value.
    makers: HashMap<&'a str, &'a NodeProto>,
    /// The value that the chain has come to, and those before it.
    value: &'a str,
    passed: HashSet<&'a str>,
    layers: Vec<DenseLayer>,
    /// Whether the last layer has its activation: what comes then belongs to the inputs of the next.
    activated: bool,
    /// scale x + shift of what goes into the next layer: one of each, or one for each input.
    scale: Vec<f32>,
    shift: Vec<f32>,
    /// The range of a quantized activation, which clips a hidden layer, but not the logits.
    range: Option<(f32, f32)>,
    /// Whether the chain has come to integers of known worth, which count as that.
    quantized: bool,
    /// Whether pixels go in as bytes.
    bytes: bool,
}

type Outcome<T> = Result<T, ImportError>;

fn refuse<T>(node: &NodeProto, reason: impl Into<String>) -> Outcome<T> {
    let node_name = [Some(&node.name), node.output.first()]
        .into_iter()
        .flatten();
    let operator = match node.domain.as_str() {
        "" | "ai.onnx" => node.op_type.clone(),
        domain => format!("{domain}.{}", node.op_type),
    };
    Err(ImportError::Node {
        node: node_name
            .into_iter()
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

fn float(node: &NodeProto, name: &str, default: f32) -> f32 {
    attribute(node, name)
        .and_then(|attribute| attribute.f)
        .unwrap_or(default)
}

fn integer(node: &NodeProto, name: &str, default: i64) -> i64 {
    attribute(node, name)
        .and_then(|attribute| attribute.i)
        .unwrap_or(default)
}

/// The input `index` of a node; `None` where it is left out.
fn input(node: &NodeProto, index: usize) -> Option<&str> {
    node.input
        .get(index)
        .map(String::as_str)
        .filter(|name| !name.is_empty())
}

impl<'a> Chain<'a> {
    fn new(graph: &'a GraphProto) -> Outcome<Chain<'a>> {
        let tensors = graph
            .initializer
            .iter()
            .map(|tensor| (tensor.name.as_str(), tensor));
        let tensors: HashMap<&str, &TensorProto> = tensors.collect();
        // Files of older versions name their constants among the inputs.
        let mut inputs = graph
            .input
            .iter()
            .filter(|input| !tensors.contains_key(input.name.as_str()));
        let (Some(pixels), None) = (inputs.next(), inputs.next()) else {
            return Err(ImportError::Network(
                "its graph has not one input, the images".into(),
            ));
        };
        let tensor_type = pixels
            .r#type
            .as_ref()
            .and_then(|of| of.tensor_type.as_ref());
        let outputs = |node: &'a NodeProto| {
            node.output
                .iter()
                .map(move |output| (output.as_str(), node))
        };
        Ok(Chain {
            graph,
            tensors,
            makers: graph.node.iter().flat_map(outputs).collect(),
            value: &pixels.name,
            passed: HashSet::new(),
            layers: Vec::new(),
            activated: true,
            scale: vec![1.0],
            shift: vec![0.0],
            range: None,
            quantized: false,
            bytes: tensor_type.is_some_and(|of| of.elem_type == data_type::UINT8),
        })
    }

    fn follow(mut self) -> Outcome<Dense> {
        let graph = self.graph;
        let mut ended = false;
        for node in &graph.node {
            if let Some(branch) = node
                .input
                .iter()
                .find(|input| self.passed.contains(input.as_str()))
            {
                return refuse(
                    node,
                    format!("it takes in {branch}, as another node does; only chains can be read"),
                );
            }
            // What takes in nothing of the chain is a constant, or is for nothing.
            let is_next = node.input.iter().any(|input| input == self.value);
            // Shapes and labels lead away from the chain.
            if !is_next || matches!(node.op_type.as_str(), "Shape" | "ArgMax") {
                continue;
            }
            if ended {
                return refuse(node, "nothing is read after Softmax");
            }
            ended = matches!(node.op_type.as_str(), "Softmax" | "LogSoftmax");
            self.take(node)?;
            self.passed.insert(self.value);
            self.value = node.output.first().map_or("", String::as_str);
        }
        self.dense()
    }

    fn dense(self) -> Outcome<Dense> {
        let refuse = |reason: &str| Err(ImportError::Network(reason.into()));
        let Some(last) = self.layers.last() else {
            return refuse("its graph has no layer of MatMul or Gemm");
        };
        if last.activation != Activation::NONE {
            return refuse("its last layer has an activation; logits have none");
        }
        let pixels = if self.bytes {
            PixelScaling::BYTES
        } else {
            PixelScaling::UNIT
        };
        Ok(Dense::new(pixels, self.layers))
    }

    /// Takes in a node of the chain.
    fn take(&mut self, node: &NodeProto) -> Outcome<()> {
        let is_first = input(node, 0) == Some(self.value);
        if !matches!(node.domain.as_str(), "" | "ai.onnx") {
            return refuse(node, "only operators of the standard are read");
        }
        if !is_first && !matches!(node.op_type.as_str(), "Add" | "Mul" | "Sub") {
            return refuse(node, "the images are not its first input");
        }
        match node.op_type.as_str() {
            "Identity" | "Cast" | "Dropout" | "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze"
            | "Softmax" | "LogSoftmax" | "DequantizeLinear" => Ok(()),
            "MatMul" => {
                let weights = self.matrix(node, 1)?;
                self.product(node, weights)
            }
            "Gemm" => self.gemm(node),
            "QLinearMatMul" => self.quantized_product(node),
            "MatMulInteger" => refuse(
                node,
                "packed networks are no dense ones; open the safetensors file that this one was made of",
            ),
            "Add" | "Sub" | "Mul" | "Div" => self.arithmetic(node, is_first),
            "BatchNormalization" => self.batch_normalization(node),
            "QuantizeLinear" => {
                self.range = Some(self.quantized_range(node, [1, 2])?);
                self.quantized = true;
                Ok(())
            }
            "Relu" => self.activate(node, Activation::RELU),
            "Tanh" => self.activate(node, Activation::Tanh),
            "Sign" => self.activate(node, Activation::Sign),
            "Clip" => {
                let end = |index, name, default: f32| match input(node, index) {
                    Some(_) => self.scalar(node, index),
                    None => Ok(float(node, name, default)),
                };
                let lowest = end(1, "min", f32::NEG_INFINITY)?;
                let highest = end(2, "max", f32::INFINITY)?;
                if lowest.is_nan() || highest.is_nan() || lowest >= highest {
                    return refuse(node, format!("it clips to {lowest} to {highest}"));
                }
                self.activate(node, Activation::Clip { lowest, highest })
            }
            _ => refuse(
                node,
                "layers of MatMul, Gemm and QLinearMatMul can be read, with Add, Sub, Mul, Div, BatchNormalization, Relu, \
                 Clip, Tanh and Sign between them",
            ),
        }
    }

    /// Sets the activation of the last layer; two ranges in turn are one.
    fn activate(&mut self, node: &NodeProto, activation: Activation) -> Outcome<()> {
        let Some(layer) = self.layers.last_mut() else {
            return refuse(node, "there is no layer before it");
        };
        layer.activation = match (layer.activation, activation) {
            (Activation::NONE, activation) => activation,
            (
                Activation::Clip { lowest, highest },
                Activation::Clip {
                    lowest: next_lowest,
                    highest: next_highest,
                },
            ) if self.scale == [1.0] && self.shift == [0.0] => Activation::Clip {
                lowest: lowest.max(next_lowest),
                highest: highest.min(next_highest),
            },
            _ => return refuse(node, "there is an activation before it already"),
        };
        self.activated = true;
        Ok(())
    }

    /// Begins a layer of weights, `[inputs, units]`.
    fn product(&mut self, node: &NodeProto, weights: Constant) -> Outcome<()> {
        let [inputs, units] = weights.shape[..] else {
            return refuse(
                node,
                format!(
                    "its weights are of the shape {:?}, not of two axes",
                    weights.shape
                ),
            );
        };
        if let Some(before) = self.layers.last().filter(|before| before.units != inputs) {
            return refuse(
                node,
                format!(
                    "its {inputs} inputs follow a layer of {} units",
                    before.units
                ),
            );
        }
        if let Some((lowest, highest)) = self.range.take()
            && !self.layers.is_empty()
        {
            self.activate(node, Activation::Clip { lowest, highest })?;
        }
        if self.layers.len() > MAX_HIDDEN_LAYERS {
            return refuse(
                node,
                format!("{MAX_HIDDEN_LAYERS} hidden layers are read at most"),
            );
        }
        let weights = transposed(&weights.numbers, inputs, units);
        let layer = DenseLayer::new(inputs, units, weights);
        let mut layer = layer.or_else(|reason| refuse(node, reason))?;
        if self.layers.is_empty() && self.scale[0].abs() < BYTE_SCALE {
            self.bytes = true;
        }
        let each = |numbers: &[f32]| match numbers {
            [one] => Some(vec![*one; inputs]),
            numbers => Some(numbers.to_vec()).filter(|numbers| numbers.len() == inputs),
        };
        let (Some(scale), Some(shift)) = (each(&self.scale), each(&self.shift)) else {
            return refuse(
                node,
                format!("before it stand numbers of another count than its {inputs} inputs"),
            );
        };
        layer.scale_inputs(&scale, &shift);
        (self.scale, self.shift) = (vec![1.0], vec![0.0]);
        self.activated = false;
        self.layers.push(layer);
        Ok(())
    }

    /// Puts scale x + shift in the place of what the chain has come to.
    fn affine(&mut self, node: &NodeProto, scale: &[f32], shift: &[f32]) -> Outcome<()> {
        let longest = scale.len().max(shift.len());
        let at = |numbers: &[f32], index: usize| {
            numbers
                .get(index)
                .or(numbers.first())
                .copied()
                .unwrap_or(0.0)
        };
        let fits = |length: usize, numbers: &[f32]| numbers.len() == 1 || numbers.len() == length;
        if let Some(layer) = self.layers.last_mut().filter(|_| !self.activated) {
            let units = layer.units;
            if !fits(units, scale) || !fits(units, shift) {
                return refuse(node, format!("it has {longest} numbers for {units} units"));
            }
            let scale: Vec<f32> = (0..units).map(|unit| at(scale, unit)).collect();
            let shift: Vec<f32> = (0..units).map(|unit| at(shift, unit)).collect();
            layer.scale_outputs(&scale, &shift);
            // A range of quantization was of what came before.
            self.range = None;
            return Ok(());
        }
        let length = longest.max(self.scale.len());
        if ![scale, shift, &self.scale]
            .iter()
            .all(|numbers| fits(length, numbers))
        {
            return refuse(
                node,
                format!(
                    "it has {longest} numbers, one before it {}",
                    self.scale.len()
                ),
            );
        }
        let before = (
            std::mem::take(&mut self.scale),
            std::mem::take(&mut self.shift),
        );
        self.scale = (0..length)
            .map(|index| at(&before.0, index) * at(scale, index))
            .collect();
        self.shift = (0..length)
            .map(|index| at(&before.1, index) * at(scale, index) + at(shift, index))
            .collect();
        Ok(())
    }

    fn arithmetic(&mut self, node: &NodeProto, is_first: bool) -> Outcome<()> {
        let numbers = self.row(node, usize::from(is_first))?;
        let negative = || numbers.iter().map(|number| -number).collect::<Vec<f32>>();
        match (node.op_type.as_str(), is_first) {
            ("Add", _) => self.affine(node, &[1.0], &numbers),
            ("Sub", true) => self.affine(node, &[1.0], &negative()),
            ("Sub", false) => self.affine(node, &[-1.0], &numbers),
            ("Mul", _) => self.affine(node, &numbers, &[0.0]),
            _ => {
                let inverse: Vec<f32> = numbers.iter().map(|number| 1.0 / number).collect();
                self.affine(node, &inverse, &[0.0])
            }
        }
    }

    fn batch_normalization(&mut self, node: &NodeProto) -> Outcome<()> {
        let [gamma, beta, mean, variance] = [1, 2, 3, 4].map(|index| self.row(node, index));
        let (gamma, beta, mean, variance) = (gamma?, beta?, mean?, variance?);
        let units = gamma.len();
        if [&beta, &mean, &variance]
            .iter()
            .any(|numbers| numbers.len() != units)
        {
            return refuse(node, "its parameters are not all of the same length");
        }
        let epsilon = float(node, "epsilon", EPSILON);
        let (scale, shift) = batch_norm([&gamma, &beta, &mean, &variance], epsilon);
        self.affine(node, &scale, &shift)
    }

    fn gemm(&mut self, node: &NodeProto) -> Outcome<()> {
        if integer(node, "transA", 0) != 0 {
            return refuse(node, "the images are transposed (transA)");
        }
        let mut weights = self.matrix(node, 1)?;
        if integer(node, "transB", 0) != 0
            && let [units, inputs] = weights.shape[..]
        {
            weights = Constant {
                shape: vec![inputs, units],
                numbers: transposed(&weights.numbers, units, inputs),
            };
        }
        self.product(node, weights)?;
        let beta = float(node, "beta", 1.0);
        let bias = match input(node, 2) {
            Some(_) => self.row(node, 2)?.iter().map(|bias| beta * bias).collect(),
            None => vec![0.0],
        };
        self.affine(node, &[float(node, "alpha", 1.0)], &bias)
    }

    /// `QLinearMatMul(a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point)`.
    fn quantized_product(&mut self, node: &NodeProto) -> Outcome<()> {
        self.dequantize(node)?;
        let weights = self.matrix(node, 3)?;
        let weights = self.dequantized(node, weights, [4, 5], 1)?;
        self.product(node, weights)?;
        self.range = Some(self.quantized_range(node, [6, 7])?);
        self.quantized = true;
        Ok(())
    }

    /// Takes (x - zero point) scale, both the next inputs of a node, of integers that are not worth that already: pixels.
    fn dequantize(&mut self, node: &NodeProto) -> Outcome<()> {
        if !std::mem::take(&mut self.quantized) {
            let scale = self.scalar(node, 1)?;
            let zero = match input(node, 2) {
                Some(_) => self.scalar(node, 2)?,
                None => 0.0,
            };
            self.affine(node, &[scale], &[-zero * scale])?;
        }
        Ok(())
    }

    /// The range of what is quantized with the scale and the zero point at those inputs of a node.
    fn quantized_range(&self, node: &NodeProto, [scale, zero]: [usize; 2]) -> Outcome<(f32, f32)> {
        let scale = self.scalar(node, scale)?;
        let Some(zero_name) = input(node, zero) else {
            return Ok((0.0, 255.0 * scale)); // uint8 is the default.
        };
        let is_signed = self
            .tensors
            .get(zero_name)
            .is_some_and(|tensor| tensor.data_type == data_type::INT8);
        let (lowest, highest) = if is_signed {
            (-128.0, 127.0)
        } else {
            (0.0, 255.0)
        };
        let zero = self.scalar(node, zero)?;
        Ok(((lowest - zero) * scale, (highest - zero) * scale))
    }

    /// (x - zero point) scale, both at those inputs of a node, for the whole tensor or along `axis`.
    fn dequantized(
        &self,
        node: &NodeProto,
        mut constant: Constant,
        [scale, zero]: [usize; 2],
        axis: i64,
    ) -> Outcome<Constant> {
        let scale = self.row(node, scale)?;
        let zero = match input(node, zero) {
            Some(_) => self.row(node, zero)?,
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
            let index = place / after.max(1) % scale.len();
            *number = (*number - zero[index]) * scale[index];
        }
        Ok(constant)
    }

    /// The constant of two axes at an input of a node.
    fn matrix(&self, node: &NodeProto, index: usize) -> Outcome<Constant> {
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
    fn row(&self, node: &NodeProto, index: usize) -> Outcome<Vec<f32>> {
        let constant = self.constant(node, index, 0)?;
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

    /// The constant at an input of a node, a single number.
    fn scalar(&self, node: &NodeProto, index: usize) -> Outcome<f32> {
        match self.constant(node, index, 0)?.numbers[..] {
            [number] => Ok(number),
            _ => refuse(
                node,
                format!("{} is not a single number", node.input[index]),
            ),
        }
    }

    /// The constant at an input of a node, which other nodes may have made of a stored one; `depth` counts them.
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
                self.dequantized(maker, constant, [1, 2], integer(maker, "axis", 1))
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
}

/// `[rows, columns]` as `[columns, rows]`.
fn transposed(numbers: &[f32], rows: usize, columns: usize) -> Vec<f32> {
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
    let shape: Option<Vec<usize>> = tensor
        .dims
        .iter()
        .map(|length| usize::try_from(*length).ok())
        .collect();
    let shape = shape.unwrap_or_default();
    let count = shape
        .iter()
        .try_fold(1usize, |product, length| product.checked_mul(*length));
    if count != Some(numbers.len()) {
        return refuse(format!(
            "it holds {} numbers, which its shape {:?} does not",
            numbers.len(),
            tensor.dims
        ));
    }
    Ok(Constant { shape, numbers })
}
