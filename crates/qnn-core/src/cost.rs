//! What a network costs: bytes, XNOR-popcounts and multiply-accumulates of its matrix products, counted exactly from
//! its spec, and by a simple model of memory the energy that they would take on a chip of 45 nm. Not measured: the
//! clock belongs to the caller, and no processor that runs this is such a chip.
//!
//! Energies of arithmetic are Horowitz's (ISSCC 2014, 45 nm, 0.9 V): float32 3.7 pJ to multiply and 0.9 pJ to add,
//! 32-bit integers 0.1 pJ to add. Those of narrower integers follow QKeras' fits to the same table, a multiplication
//! of b bits 0.002994791667 b² + 0.001041666667 b pJ and an addition 0.003125 b pJ; a XNOR-popcount is taken to be
//! both at one bit. Memory is Horowitz's too, for 64 bits: 10 pJ from 8 KB, 20 pJ from 32 KB, 100 pJ from 1 MB,
//! 1300 pJ from DRAM.

use serde::Serialize;

use crate::bits::Encoding;
use crate::spec::{Bits, NetworkSpec};

const FLOAT_MULTIPLICATION: f64 = 3.7;
const FLOAT_ADDITION: f64 = 0.9;
/// Sums of integer products are of 32 bits.
const SUM_ADDITION: f64 = 0.1;

/// Picojoules to multiply two integers of `bits` bits.
fn integer_multiplication(bits: f64) -> f64 {
    0.002994791667 * bits * bits + 0.001041666667 * bits
}

/// Picojoules to add two integers of `bits` bits.
fn integer_addition(bits: f64) -> f64 {
    0.003125 * bits
}

/// Picojoules to read or write `bytes` of a memory that holds `capacity` bytes.
fn memory_access(bytes: f64, capacity: u64) -> f64 {
    let access = match capacity {
        0..=8_192 => 10.0,
        8_193..=32_768 => 20.0,
        32_769..=1_048_576 => 100.0,
        _ => 1300.0,
    };
    bytes / 8.0 * access
}

/// Pairs of binary digits up to which a multiplication is counted as so many XNORs and popcounts, not as one of integers.
const MAX_PAIRS: usize = 4;

/// What a matrix product takes for one image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ProductCost {
    /// Multiply-accumulates of the mathematics, whatever computes them.
    pub macs: u64,
    /// Pairs of bits that are compared and counted: macs times the pairs of binary digits.
    pub xnor_popcounts: u64,
    pub integer_macs: u64,
    pub float_macs: u64,
    /// Arithmetic only.
    pub picojoules: f64,
}

impl ProductCost {
    fn of(macs: usize, a: Option<Encoding>, b: Option<Encoding>) -> ProductCost {
        let macs = macs as u64;
        let cost = ProductCost {
            macs,
            ..ProductCost::default()
        };
        match (a, b) {
            (Some(a), Some(b)) if a.digits() * b.digits() <= MAX_PAIRS => {
                let xnor_popcounts = macs * (a.digits() * b.digits()) as u64;
                ProductCost {
                    xnor_popcounts,
                    picojoules: xnor_popcounts as f64
                        * (integer_multiplication(1.0) + integer_addition(1.0)),
                    ..cost
                }
            }
            (Some(a), Some(b)) => {
                let digits = a.digits().max(b.digits()) as f64;
                ProductCost {
                    integer_macs: macs,
                    picojoules: macs as f64 * (integer_multiplication(digits) + SUM_ADDITION),
                    ..cost
                }
            }
            _ => ProductCost {
                float_macs: macs,
                picojoules: macs as f64 * (FLOAT_MULTIPLICATION + FLOAT_ADDITION),
                ..cost
            },
        }
    }
}

impl std::ops::Add for ProductCost {
    type Output = ProductCost;
    fn add(self, other: ProductCost) -> ProductCost {
        ProductCost {
            macs: self.macs + other.macs,
            xnor_popcounts: self.xnor_popcounts + other.xnor_popcounts,
            integer_macs: self.integer_macs + other.integer_macs,
            float_macs: self.float_macs + other.float_macs,
            picojoules: self.picojoules + other.picojoules,
        }
    }
}

/// What a layer costs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LayerCost {
    pub inputs: usize,
    pub units: usize,
    /// Of the quantized weights.
    pub weight_bytes: usize,
    /// Of the inputs of one image.
    pub input_bytes: usize,
    /// Of the latent weights and what the optimizer remembers of each, in training.
    pub training_bytes: u64,
    /// To answer an image.
    pub answer: ProductCost,
    /// To train on an image: the product forward, ...
    pub forward: ProductCost,
    /// ... of the gradient with the weights; nothing in the first layer, below which nothing learns, ...
    pub input_gradient: ProductCost,
    /// ... and of the gradient with the inputs.
    pub weight_gradient: ProductCost,
}

/// What a network costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cost {
    pub layers: Vec<LayerCost>,
    /// Images of a minibatch, which share the reading of the weights in training.
    batch_size: usize,
}

impl Cost {
    /// Counts for a network of `spec`, for images of `inputs` pixels in `classes` classes.
    pub fn of(spec: &NetworkSpec, inputs: usize, classes: usize) -> Cost {
        let (weights, gradients) = (spec.weights().encoding(), spec.gradients().encoding());
        let shapes = spec.layer_shapes(inputs, classes);
        let layers = shapes
            .iter()
            .enumerate()
            .map(|(layer, &(inputs, units))| {
                let macs = inputs * units;
                let input = spec.input_encoding(layer, true);
                LayerCost {
                    inputs,
                    units,
                    weight_bytes: packed_bytes(macs, spec.weight_bits),
                    input_bytes: if layer == 0 {
                        inputs
                    } else {
                        packed_bytes(inputs, spec.activation_bits)
                    },
                    training_bytes: (macs * 3 * size_of::<f32>()) as u64,
                    answer: ProductCost::of(macs, spec.input_encoding(layer, false), weights),
                    forward: ProductCost::of(macs, input, weights),
                    input_gradient: if layer == 0 {
                        ProductCost::default()
                    } else {
                        ProductCost::of(macs, gradients, weights)
                    },
                    weight_gradient: ProductCost::of(macs, gradients, input),
                }
            })
            .collect();
        Cost {
            layers,
            batch_size: spec.batch_size,
        }
    }

    /// Bytes of all quantized weights, without batch normalization.
    pub fn weight_bytes(&self) -> usize {
        self.layers.iter().map(|layer| layer.weight_bytes).sum()
    }

    /// Bytes of the inputs of all layers, of one image.
    pub fn input_bytes(&self) -> usize {
        self.layers.iter().map(|layer| layer.input_bytes).sum()
    }

    /// Bytes of the latent weights and the optimizer's state.
    pub fn training_bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.training_bytes).sum()
    }

    /// The products to answer one image.
    pub fn answer(&self) -> ProductCost {
        self.sum(|layer| layer.answer)
    }

    /// The products to train on one image.
    pub fn training(&self) -> ProductCost {
        self.sum(|layer| layer.forward + layer.input_gradient + layer.weight_gradient)
    }

    /// Picojoules to answer one image: arithmetic, and memory, each weight and each activation read once.
    pub fn answer_picojoules(&self) -> f64 {
        self.answer().picojoules + self.memory_picojoules()
    }

    /// Picojoules of the memory to answer one image.
    pub fn memory_picojoules(&self) -> f64 {
        let (weights, inputs) = (self.weight_bytes(), self.input_bytes());
        memory_access(weights as f64, weights as u64) + memory_access(inputs as f64, inputs as u64)
    }

    /// Picojoules to train on one image: arithmetic, and memory. The quantized weights are taken to be read twice and
    /// the latent weights with the optimizer's state to be read and written once a minibatch, whose images share them;
    /// the activations to be written once and read twice.
    pub fn training_picojoules(&self) -> f64 {
        let (weights, inputs) = (self.weight_bytes(), self.input_bytes());
        let state = self.training_bytes();
        let shared = memory_access(2.0 * weights as f64, weights as u64)
            + memory_access(2.0 * state as f64, state);
        self.training().picojoules
            + shared / self.batch_size as f64
            + memory_access(3.0 * inputs as f64, (self.batch_size * inputs) as u64)
    }

    fn sum(&self, product: impl Fn(&LayerCost) -> ProductCost) -> ProductCost {
        self.layers
            .iter()
            .map(product)
            .fold(ProductCost::default(), |sum, cost| sum + cost)
    }
}

/// Bytes of `count` numbers of `bits` bits.
fn packed_bytes(count: usize, bits: Bits) -> usize {
    (count * bits.get() as usize).div_ceil(8)
}

/// Bytes of all weights of a network of `spec` at `bits` each, without batch normalization.
pub fn weight_bytes(spec: &NetworkSpec, inputs: usize, classes: usize, bits: Bits) -> usize {
    spec.layer_shapes(inputs, classes)
        .iter()
        .map(|(inputs, units)| packed_bytes(inputs * units, bits))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Preset;

    const MACS: u64 = 784 * 512 + 512 * 512 + 512 * 10;

    fn preset(name: &str) -> NetworkSpec {
        Preset::named(name).unwrap().spec()
    }

    #[test]
    fn one_bit_weights_are_32_times_smaller() {
        let spec = preset("mnist-512");
        let bytes = |bits| weight_bytes(&spec, 784, 10, bits);
        assert_eq!(bytes(Bits::ONE), MACS as usize / 8);
        assert_eq!(bytes(Bits::FLOAT), 32 * bytes(Bits::ONE));
        assert_eq!(Cost::of(&spec, 784, 10).weight_bytes(), bytes(Bits::ONE));
    }

    #[test]
    fn the_papers_networks_have_the_papers_sizes() {
        let bytes = |name| weight_bytes(&preset(name), 784, 10, Bits::ONE);
        assert_eq!(bytes("paper-torch7"), 10_014_720 / 8);
        assert_eq!(bytes("paper-theano"), 36_806_656 / 8);
    }

    #[test]
    fn counts_by_hand() {
        // Pixels of 8 bits by signs are integers; signs by signs a pass of the binary kernel.
        let cost = Cost::of(&preset("mnist-512"), 784, 10);
        let answer = cost.answer();
        assert_eq!(answer.macs, MACS);
        assert_eq!(answer.xnor_popcounts, 512 * 512 + 512 * 10);
        assert_eq!(answer.integer_macs, 784 * 512);
        assert_eq!(answer.float_macs, 0);
        // Gradients of float32: the forward pass is as before, the two backward ones are floats.
        let training = cost.training();
        assert_eq!(training.macs, 3 * MACS - 784 * 512);
        assert_eq!(training.float_macs, 2 * MACS - 784 * 512);
        assert_eq!(cost.input_bytes(), 784 + 512 / 8 + 512 / 8);

        let floats = NetworkSpec {
            weight_bits: Bits::FLOAT,
            activation_bits: Bits::FLOAT,
            ..preset("mnist-512")
        };
        let floats = Cost::of(&floats, 784, 10);
        assert_eq!(floats.answer().float_macs, MACS);
        assert!((floats.answer().picojoules - 4.6 * MACS as f64).abs() < 1.0);
        assert!(cost.answer_picojoules() < floats.answer_picojoules() / 20.0);
        assert!(cost.training_picojoules() < floats.training_picojoules());
    }

    #[test]
    fn two_bits_take_four_passes() {
        let two = Bits::new(2).unwrap();
        let spec = NetworkSpec {
            weight_bits: two,
            activation_bits: two,
            ..preset("mnist-512")
        };
        let answer = Cost::of(&spec, 784, 10).answer();
        assert_eq!(answer.xnor_popcounts, 4 * (512 * 512 + 512 * 10));
    }

    #[test]
    fn all_integer_training_has_no_float_product() {
        let training = Cost::of(&preset("all-integer"), 784, 10).training();
        assert_eq!(training.float_macs, 0);
        assert_eq!(training.macs, 3 * MACS - 784 * 512);
    }

    #[test]
    fn energies_of_the_table() {
        assert!((integer_multiplication(8.0) - 0.2).abs() < 1e-6);
        assert!((integer_multiplication(32.0) - 3.1).abs() < 1e-6);
        assert!((integer_addition(32.0) - SUM_ADDITION).abs() < 1e-9);
        assert_eq!(memory_access(8.0, 8192), 10.0);
        assert_eq!(memory_access(16.0, 2 << 20), 2600.0);
    }
}
