//! Dense networks of others: fully connected layers of floats, read from safetensors and ONNX files to be compared with
//! and to be trained on with fewer bits (`trainer`). What a file says where is `state`'s and `onnx`'s business.

mod state;
mod trainer;

pub(crate) use state::{batch_norm, decoded};
pub use trainer::DenseError;

use qnn_core::data::{MAX_CLASSES, MAX_IMAGE_SIZE};
use qnn_core::kernels::{FloatView, float_product};
use qnn_core::spec::{MAX_HIDDEN_LAYERS, MAX_WIDTH};

use crate::onnx;

/// A network of fully connected layers, as it was trained elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Dense {
    /// What the network takes for a pixel. A file of weights does not say; set it where it is not as in [`import_dense`].
    pub pixels: PixelScaling,
    layers: Vec<DenseLayer>,
}

/// activation(weights x + bias). Batch normalization is in weights and bias already: in the test phase it is a scale and
/// a shift of each unit.
#[derive(Clone, Debug, PartialEq)]
pub struct DenseLayer {
    pub inputs: usize,
    pub units: usize,
    /// `[units, inputs]`.
    pub weights: Vec<f32>,
    /// `[units]`.
    pub bias: Vec<f32>,
    /// Not applied in the last layer, whose outputs are the logits.
    pub activation: Activation,
}

/// What becomes of the outputs of a hidden layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// Clipped to this range: ReLU is from 0 to infinity, none at all from -infinity to infinity.
    Clip {
        lowest: f32,
        highest: f32,
    },
    Tanh,
    /// -1, 0 or +1.
    Sign,
}

/// What a pixel of 0, paper, to 255, ink, is as a number: scale (pixel / 255) + shift.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PixelScaling {
    pub scale: f32,
    pub shift: f32,
}

/// Why a file is no dense network that can be used, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    #[error(
        "{0} is neither a safetensors file nor an ONNX file, or it is damaged; save the network as one of them."
    )]
    Foreign(String),
    #[error("The tensor {tensor} cannot be used: {reason}.")]
    Tensor { tensor: String, reason: String },
    #[error("The node {node}, of the operator {operator}, cannot be used: {reason}.")]
    Node {
        node: String,
        operator: String,
        reason: String,
    },
    #[error("This network cannot be used: {0}.")]
    Network(String),
}

impl PixelScaling {
    /// 0 to 1, as PyTorch's `ToTensor` gives them.
    pub const UNIT: PixelScaling = PixelScaling {
        scale: 1.0,
        shift: 0.0,
    };
    /// 0 to 255, as they are.
    pub const BYTES: PixelScaling = PixelScaling {
        scale: 255.0,
        shift: 0.0,
    };

    /// 0 to 1 with the mean taken out, over the standard deviation, as PyTorch's `Normalize` gives them.
    pub fn normalized(mean: f32, deviation: f32) -> PixelScaling {
        PixelScaling {
            scale: 1.0 / deviation,
            shift: -mean / deviation,
        }
    }
}

impl Activation {
    pub const NONE: Activation = Activation::Clip {
        lowest: f32::NEG_INFINITY,
        highest: f32::INFINITY,
    };
    pub const RELU: Activation = Activation::Clip {
        lowest: 0.0,
        highest: f32::INFINITY,
    };

    /// What becomes of `x`.
    pub fn of(self, x: f32) -> f32 {
        match self {
            // Not `clamp`, which panics where the ends of a range were set the wrong way round.
            Activation::Clip { lowest, highest } => x.max(lowest).min(highest),
            Activation::Tanh => x.tanh(),
            Activation::Sign if x == 0.0 => 0.0,
            Activation::Sign => x.signum(),
        }
    }
}

/// The dense network in the bytes of a file; `name` is what an error calls the file.
///
/// - **safetensors**: weights and biases by the names that PyTorch gives them (`fc1.weight`, `0.bias`,
///   `bn1.running_mean`), as F32, F16, BF16, F64, or I8 with a scale. Names do not say what lies between the layers:
///   ReLU is assumed, after batch normalization, and pixels from 0 to 1.
/// - **ONNX**: a chain of MatMul, Gemm, QLinearMatMul, arithmetic with constants, BatchNormalization, Relu, Clip, Tanh and
///   Sign, and what leaves numbers as they are. Weights may be quantized (DequantizeLinear); the rounding of quantized
///   activations is left out. Pixels are taken as bytes where the graph takes in bytes or divides by about 255 first,
///   else as 0 to 1.
pub fn import_dense(name: &str, bytes: &[u8]) -> Result<Dense, ImportError> {
    let foreign = || ImportError::Foreign(name.into());
    let dense = if state::is_safetensors(bytes) {
        state::import(bytes).map_err(|error| error.unwrap_or_else(foreign))?
    } else {
        onnx::import(bytes).map_err(|error| error.unwrap_or_else(foreign))?
    };
    dense.check()?;
    Ok(dense)
}

impl Dense {
    pub(crate) fn new(pixels: PixelScaling, layers: Vec<DenseLayer>) -> Dense {
        Dense { pixels, layers }
    }

    /// From the pixels to the logits.
    pub fn layers(&self) -> &[DenseLayer] {
        &self.layers
    }

    /// Sets what becomes of the outputs of all hidden layers, which a file of weights does not say.
    pub fn set_activation(&mut self, activation: Activation) {
        for layer in &mut self.layers {
            layer.activation = activation;
        }
    }

    /// Numbers of an image.
    pub fn inputs(&self) -> usize {
        self.layers.first().map_or(0, |layer| layer.inputs)
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.units)
    }

    /// Units of each hidden layer.
    pub fn hidden(&self) -> Vec<usize> {
        let hidden = self.layers.iter().take(self.layers.len().saturating_sub(1));
        hidden.map(|layer| layer.units).collect()
    }

    /// The logits of images, `[images, classes]`, for their pixels, `[images, inputs]`, as the original gives them.
    pub fn logits(&self, pixels: &[u8]) -> Vec<f32> {
        let mut numbers = self.taken_in(pixels);
        for (index, layer) in self.layers.iter().enumerate() {
            numbers = layer.outputs(&numbers);
            if index + 1 < self.layers.len() {
                layer.activate(&mut numbers);
            }
        }
        numbers
    }

    /// Pixels as the numbers that the network takes in.
    fn taken_in(&self, pixels: &[u8]) -> Vec<f32> {
        let PixelScaling { scale, shift } = self.pixels;
        let scaled = |pixel: &u8| scale * (f32::from(*pixel) / 255.0) + shift;
        pixels.iter().map(scaled).collect()
    }

    /// Refuses what no network here is like.
    fn check(&self) -> Result<(), ImportError> {
        let refuse = |reason: String| Err(ImportError::Network(reason));
        let hidden = self.layers.len().saturating_sub(1);
        if !(1..=MAX_HIDDEN_LAYERS).contains(&hidden) {
            return refuse(format!(
                "it has {hidden} hidden layers; 1 to {MAX_HIDDEN_LAYERS} can be read"
            ));
        }
        for pair in self.layers.windows(2) {
            if pair[0].units != pair[1].inputs {
                return refuse(format!(
                    "a layer of {} units is followed by one of {} inputs",
                    pair[0].units, pair[1].inputs
                ));
            }
        }
        let (inputs, classes) = (self.inputs(), self.classes());
        if inputs > MAX_IMAGE_SIZE {
            return refuse(format!(
                "it takes in {inputs} numbers; images have {MAX_IMAGE_SIZE} pixels at most"
            ));
        }
        if !(2..=MAX_CLASSES).contains(&classes) {
            return refuse(format!(
                "it gives {classes} numbers; there are 2 to {MAX_CLASSES} classes"
            ));
        }
        let numbers = self
            .layers
            .iter()
            .flat_map(|layer| layer.weights.iter().chain(&layer.bias));
        let PixelScaling { scale, shift } = self.pixels;
        if !numbers
            .chain(&[scale, shift])
            .all(|number| number.is_finite())
        {
            return refuse("not all of its numbers are finite".into());
        }
        Ok(())
    }
}

impl DenseLayer {
    /// A layer of `weights`, `[units, inputs]`, without bias and activation.
    pub(crate) fn new(
        inputs: usize,
        units: usize,
        weights: Vec<f32>,
    ) -> Result<DenseLayer, String> {
        let sizes = 1..=MAX_WIDTH;
        if !sizes.contains(&inputs) || !sizes.contains(&units) {
            return Err(format!(
                "its {units} units have {inputs} inputs; 1 to {MAX_WIDTH} of each can be read"
            ));
        }
        Ok(DenseLayer {
            inputs,
            units,
            weights,
            bias: vec![0.0; units],
            activation: Activation::NONE,
        })
    }

    /// weights x + bias, `[images, units]`, for `[images, inputs]`.
    fn outputs(&self, inputs: &[f32]) -> Vec<f32> {
        let images = inputs.len() / self.inputs;
        let mut outputs = vec![0.0; images * self.units];
        let (a, b) = (FloatView::Lines(inputs), FloatView::Lines(&self.weights));
        float_product(self.inputs, self.units, a, b, &mut outputs);
        for row in outputs.chunks_exact_mut(self.units) {
            for (output, bias) in row.iter_mut().zip(&self.bias) {
                *output += bias;
            }
        }
        outputs
    }

    fn activate(&self, outputs: &mut [f32]) {
        for output in outputs {
            *output = self.activation.of(*output);
        }
    }

    /// Puts scale y + shift of each unit, `[units]`, in the place of its output y.
    pub(crate) fn scale_outputs(&mut self, scale: &[f32], shift: &[f32]) {
        let rows = self.weights.chunks_exact_mut(self.inputs);
        let affine = scale.iter().zip(shift);
        for ((row, bias), (scale, shift)) in rows.zip(&mut self.bias).zip(affine) {
            row.iter_mut().for_each(|weight| *weight *= scale);
            *bias = *bias * scale + shift;
        }
    }

    /// Makes the layer take in x where it took in scale x + shift of each input, `[inputs]`.
    pub(crate) fn scale_inputs(&mut self, scale: &[f32], shift: &[f32]) {
        let rows = self.weights.chunks_exact_mut(self.inputs);
        for (row, bias) in rows.zip(&mut self.bias) {
            for (weight, (scale, shift)) in row.iter_mut().zip(scale.iter().zip(shift)) {
                *bias += *weight * shift;
                *weight *= scale;
            }
        }
    }
}
