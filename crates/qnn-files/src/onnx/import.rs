//! Dense networks in ONNX files: the chain of nodes from the input to the logits, read as layers. What lies beside the
//! chain is looked at only where the chain takes it in, as constants do; what is no chain is refused by the name of its
//! node.

use std::collections::HashSet;

use prost::Message;
use prost::bytes::Bytes;
use qnn_core::spec::MAX_HIDDEN_LAYERS;

use super::constants::{Constant, Constants, Outcome, float, input, integer, refuse, transposed};
use super::proto::{GraphProto, ModelProto, NodeProto, data_type};
use super::wire::structure_bytes;
use crate::dense::{Activation, Dense, DenseLayer, ImportError, PixelScaling, batch_norm};

/// The largest structure of a file that is read, in bytes: nodes, names and shapes of some thousand layers.
const MAX_STRUCTURE: usize = 1 << 20;
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

/// Whether a Cast makes floats: of 16, 32 or 64 bits, or bfloat16.
fn casts_to_float(node: &NodeProto) -> bool {
    [1, 10, 11, 16].contains(&integer(node, "to", 1))
}

/// The layers as far as the chain has been followed.
struct Chain<'a> {
    graph: &'a GraphProto,
    constants: Constants<'a>,
    /// The value that the chain has come to, and those before it.
    value: &'a str,
    passed: HashSet<&'a str>,
    layers: Vec<DenseLayer>,
    /// Whether the last layer has its activation: what comes then belongs to the inputs of the next.
    activated: bool,
    /// scale x + shift of what goes into the next layer: one of each, or one for each input.
    scale: Vec<f32>,
    shift: Vec<f32>,
    /// The range of quantization where the last layer has no activation: it clips hidden layers, ReLU is often left to it,
    /// but not the logits. Where there is an activation its range is that of quantization already, about.
    range: Option<(f32, f32)>,
    /// Whether the chain has come to integers of known worth, which count as that.
    quantized: bool,
    /// Whether pixels go in as bytes.
    bytes: bool,
}

impl<'a> Chain<'a> {
    fn new(graph: &'a GraphProto) -> Outcome<Chain<'a>> {
        let constants = Constants::new(graph);
        // Files of older versions name their constants among the inputs.
        let mut inputs = graph
            .input
            .iter()
            .filter(|input| !constants.is_stored(&input.name));
        let (Some(pixels), None) = (inputs.next(), inputs.next()) else {
            return Err(ImportError::Network(
                "its graph has not one input, the images".into(),
            ));
        };
        let tensor_type = pixels
            .r#type
            .as_ref()
            .and_then(|of| of.tensor_type.as_ref());
        Ok(Chain {
            graph,
            constants,
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
            // Shapes and labels lead away from the chain.
            if matches!(node.op_type.as_str(), "Shape" | "ArgMax") {
                continue;
            }
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
            if !is_next {
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
            "Cast" if !self.layers.is_empty() && !casts_to_float(node) => {
                refuse(node, "it rounds to whole numbers")
            }
            "Identity" | "Cast" | "Dropout" | "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze"
            | "Softmax" | "LogSoftmax" => Ok(()),
            "DequantizeLinear" => self.dequantize(node),
            "MatMul" => {
                let weights = self.constants.matrix(node, 1)?;
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
                let range = self.constants.quantized_range(node, [1, 2])?;
                self.quantize(range);
                Ok(())
            }
            "Relu" => self.activate(node, Activation::RELU),
            "Tanh" => self.activate(node, Activation::Tanh),
            "Sign" => self.activate(node, Activation::Sign),
            "Clip" => {
                let end = |index, name, default: f32| match input(node, index) {
                    Some(_) => self.constants.scalar(node, index),
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
        if activation == Activation::NONE {
            return Ok(());
        }
        layer.activation = match (layer.activation, activation) {
            (Activation::NONE, activation) if !self.activated => activation,
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
        self.range = None;
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
        if let Some((lowest, highest)) = self.range.take() {
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
        let numbers = self.constants.row(node, usize::from(is_first))?;
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
        let [gamma, beta, mean, variance] =
            [1, 2, 3, 4].map(|index| self.constants.row(node, index));
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
        let mut weights = self.constants.matrix(node, 1)?;
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
            Some(_) => self
                .constants
                .row(node, 2)?
                .iter()
                .map(|bias| beta * bias)
                .collect(),
            None => vec![0.0],
        };
        self.affine(node, &[float(node, "alpha", 1.0)], &bias)
    }

    /// `QLinearMatMul(a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point)`.
    fn quantized_product(&mut self, node: &NodeProto) -> Outcome<()> {
        self.dequantize(node)?;
        let weights = self.constants.matrix(node, 3)?;
        let weights = self.constants.dequantized(node, weights, [4, 5], 1, 0)?;
        self.product(node, weights)?;
        let range = self.constants.quantized_range(node, [6, 7])?;
        self.quantize(range);
        Ok(())
    }

    /// Notes that integers of such a range have come, which clips what they are made of.
    fn quantize(&mut self, (lowest, highest): (f32, f32)) {
        self.quantized = true;
        self.range = (!self.activated).then_some((lowest, highest));
    }

    /// Takes (x - zero point) scale, both the next inputs of a node, of integers that are not worth that already: pixels.
    fn dequantize(&mut self, node: &NodeProto) -> Outcome<()> {
        if !std::mem::take(&mut self.quantized) {
            let scale = self.constants.scalar(node, 1)?;
            let zero = match input(node, 2) {
                Some(_) => self.constants.scalar(node, 2)?,
                None => 0.0,
            };
            self.affine(node, &[scale], &[-zero * scale])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::proto::{TensorProto, TensorTypeProto, TypeProto, ValueInfoProto};
    use super::*;

    fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
        NodeProto {
            op_type: op.into(),
            input: inputs.iter().map(|input| input.to_string()).collect(),
            output: vec![output.into()],
            ..NodeProto::default()
        }
    }

    fn refused(node: Vec<NodeProto>, initializer: Vec<TensorProto>) -> String {
        let tensor_type = Some(TensorTypeProto::default());
        let pixels = ValueInfoProto {
            name: "pixels".into(),
            r#type: Some(TypeProto { tensor_type }),
            ..ValueInfoProto::default()
        };
        let graph = GraphProto {
            node,
            initializer,
            input: vec![pixels],
            ..GraphProto::default()
        };
        let model = ModelProto {
            graph: Some(graph),
            ..ModelProto::default()
        };
        import(&model.encode_to_vec())
            .unwrap_err()
            .unwrap()
            .to_string()
    }

    #[test]
    fn constants_that_are_made_of_themselves_are_refused() {
        for op in ["DequantizeLinear", "Identity", "Transpose"] {
            let error = refused(
                vec![
                    node(op, &["weight", "weight", "weight"], "weight"),
                    node("MatMul", &["pixels", "weight"], "sums"),
                ],
                Vec::new(),
            );
            assert!(error.contains("weight is no constant"), "{error}");
        }
    }

    #[test]
    fn tensors_that_hold_other_numbers_than_their_shapes_are_refused() {
        for (dims, numbers) in [
            (vec![0, i64::MAX, i64::MAX], 0),
            (vec![i64::MAX, i64::MAX], 4),
            (vec![-2, -2], 4),
            (vec![2, 3], 4),
        ] {
            let weight = TensorProto {
                dims,
                data_type: data_type::FLOAT,
                float_data: vec![1.0; numbers],
                name: "weight".into(),
                ..TensorProto::default()
            };
            let nodes = vec![node("MatMul", &["pixels", "weight"], "sums")];
            let error = refused(nodes, vec![weight]);
            assert!(error.contains("The tensor weight"), "{error}");
        }
    }
}
