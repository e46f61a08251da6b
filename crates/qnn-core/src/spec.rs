//! `NetworkSpec`, the one description of a network and its training.
//! The page edits it, the file stores it, the command line reads it. It holds no weights and no data.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The widest hidden layer that is accepted, in units.
pub const MAX_WIDTH: usize = 8192;
/// The most hidden layers that are accepted.
pub const MAX_HIDDEN_LAYERS: usize = 8;
/// The largest minibatch that is accepted, in images.
pub const MAX_BATCH_SIZE: usize = 4096;

/// A bit width of weights or activations: 1, 2, 3, 4, 6 or 8 bits, or 32 for float32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Bits(u8);

impl Bits {
    /// One bit: -1 or +1.
    pub const ONE: Bits = Bits(1);
    /// Float32, not quantized.
    pub const FLOAT: Bits = Bits(32);
    /// The bits of a pixel.
    pub const PIXEL: Bits = Bits(8);
    /// Every bit width there is, in rising order.
    pub const ALL: [Bits; 7] = [
        Bits(1),
        Bits(2),
        Bits(3),
        Bits(4),
        Bits(6),
        Bits(8),
        Bits(32),
    ];

    /// The bit width `bits`, or an error that names the ones there are.
    pub fn new(bits: u8) -> Result<Bits, String> {
        Bits::ALL
            .into_iter()
            .find(|known| known.0 == bits)
            .ok_or_else(|| {
                format!("there is no width of {bits} bits; choose 1, 2, 3, 4, 6, 8 or 32")
            })
    }

    /// The width as a number.
    pub fn get(self) -> u8 {
        self.0
    }

    /// Whether this is float32, which is not quantized.
    pub fn is_float(self) -> bool {
        self == Bits::FLOAT
    }
}

impl TryFrom<u8> for Bits {
    type Error = String;
    fn try_from(bits: u8) -> Result<Bits, String> {
        Bits::new(bits)
    }
}

impl From<Bits> for u8 {
    fn from(bits: Bits) -> u8 {
        bits.0
    }
}

impl fmt::Display for Bits {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// What training makes small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// The mean over batch and classes of max(0, 1 - t y)², t in {-1, +1} (the paper's L2-SVM).
    SquaredHinge,
    /// The mean over the batch of -log softmax(y) at the label.
    CrossEntropy,
}

/// How gradients move the latent weights.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Optimizer {
    /// Adam with beta1 0.9, beta2 0.999, epsilon 1e-8.
    Adam,
    /// Stochastic gradient descent; momentum in [0, 1).
    Sgd { momentum: f32 },
}

/// A fully connected network and how it is trained. Inputs and classes come from the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkSpec {
    /// Units of each hidden layer.
    pub hidden: Vec<usize>,
    /// Bits of the weights of every layer, the first and the last too.
    pub weight_bits: Bits,
    /// Bits of the activations of every hidden layer. The input is 8-bit pixels.
    pub activation_bits: Bits,
    pub loss: Loss,
    pub optimizer: Optimizer,
    /// Step size of the first epoch.
    pub learning_rate: f32,
    /// What the learning rate is multiplied with after every epoch, in (0, 1].
    pub learning_rate_decay: f32,
    /// Images in a minibatch.
    pub batch_size: usize,
    /// Draws the first weights and the order of the images.
    pub seed: u32,
}

/// The field of a [`NetworkSpec`] that an error is about, so that a form can show the error beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpecField {
    Hidden,
    Optimizer,
    LearningRate,
    LearningRateDecay,
    BatchSize,
}

/// Why a spec makes no sense, in one sentence for the person who typed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct SpecError {
    pub field: SpecField,
    pub message: String,
}

impl NetworkSpec {
    /// Everything that is wrong with the spec; empty when it can be trained.
    pub fn problems(&self) -> Vec<SpecError> {
        let mut problems = Vec::new();
        let mut refuse = |field, message: String| problems.push(SpecError { field, message });
        if self.hidden.is_empty() {
            refuse(
                SpecField::Hidden,
                "A network needs at least one hidden layer.".into(),
            );
        }
        if self.hidden.len() > MAX_HIDDEN_LAYERS {
            refuse(
                SpecField::Hidden,
                format!(
                    "{} hidden layers are too many; at most {MAX_HIDDEN_LAYERS}.",
                    self.hidden.len()
                ),
            );
        }
        if let Some(width) = self
            .hidden
            .iter()
            .find(|width| !(1..=MAX_WIDTH).contains(*width))
        {
            refuse(
                SpecField::Hidden,
                format!("A hidden layer has 1 to {MAX_WIDTH} units, not {width}."),
            );
        }
        if let Optimizer::Sgd { momentum } = self.optimizer
            && !(0.0..1.0).contains(&momentum)
        {
            refuse(
                SpecField::Optimizer,
                format!("Momentum is at least 0 and below 1, not {momentum}."),
            );
        }
        if !(self.learning_rate > 0.0 && self.learning_rate <= 10.0) {
            refuse(
                SpecField::LearningRate,
                format!(
                    "The learning rate is above 0 and at most 10, not {}.",
                    self.learning_rate
                ),
            );
        }
        if !(self.learning_rate_decay > 0.0 && self.learning_rate_decay <= 1.0) {
            refuse(
                SpecField::LearningRateDecay,
                format!(
                    "The decay is a factor above 0 and at most 1, not {}.",
                    self.learning_rate_decay
                ),
            );
        }
        // Batch normalization needs a variance, and a variance needs two images.
        if !(2..=MAX_BATCH_SIZE).contains(&self.batch_size) {
            refuse(
                SpecField::BatchSize,
                format!(
                    "A batch has 2 to {MAX_BATCH_SIZE} images, not {}.",
                    self.batch_size
                ),
            );
        }
        problems
    }

    /// The first of [`problems`](Self::problems), if there is one.
    pub fn validate(&self) -> Result<(), SpecError> {
        self.problems().into_iter().next().map_or(Ok(()), Err)
    }

    /// `(inputs, outputs)` of every layer, for images of `inputs` pixels in `classes` classes.
    pub fn layer_shapes(&self, inputs: usize, classes: usize) -> Vec<(usize, usize)> {
        let outputs = self.hidden.iter().copied().chain([classes]);
        let inputs = [inputs].into_iter().chain(self.hidden.iter().copied());
        inputs.zip(outputs).collect()
    }

    /// Bits of what goes into layer `layer`: pixels into the first.
    pub fn input_bits(&self, layer: usize) -> Bits {
        if layer == 0 {
            Bits::PIXEL
        } else {
            self.activation_bits
        }
    }

    /// Whether the latent weights of a network of this spec fit one of the `other`.
    pub fn same_shape(&self, other: &NetworkSpec) -> bool {
        self.hidden == other.hidden
    }
}

/// A named spec.
pub struct Preset {
    pub name: &'static str,
    /// One line for the visitor.
    pub about: &'static str,
    hidden: &'static [usize],
}

/// The named specs, the default one first.
pub const PRESETS: [Preset; 4] = [
    Preset {
        name: "mnist-512",
        about: "two hidden layers of 512: quick, above 97 %",
        hidden: &[512, 512],
    },
    Preset {
        name: "mnist-128",
        about: "one hidden layer of 128: for a phone",
        hidden: &[128],
    },
    Preset {
        name: "paper-torch7",
        about: "three hidden layers of 2048, the shape of the paper's Torch7 run",
        hidden: &[2048, 2048, 2048],
    },
    Preset {
        name: "paper-theano",
        about: "three hidden layers of 4096, the shape of the paper's Theano run",
        hidden: &[4096, 4096, 4096],
    },
];

impl Preset {
    /// The preset called `name`.
    pub fn named(name: &str) -> Option<&'static Preset> {
        PRESETS.iter().find(|preset| preset.name == name)
    }

    /// The spec it stands for.
    pub fn spec(&self) -> NetworkSpec {
        NetworkSpec {
            hidden: self.hidden.to_vec(),
            weight_bits: Bits::ONE,
            activation_bits: Bits::ONE,
            loss: Loss::SquaredHinge,
            optimizer: Optimizer::Adam,
            learning_rate: 0.03,
            learning_rate_decay: 0.7,
            batch_size: 100,
            seed: 1,
        }
    }
}

impl Default for NetworkSpec {
    /// The first preset.
    fn default() -> Self {
        PRESETS[0].spec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senseless_specs_are_refused_at_the_field_they_are_wrong_in() {
        let wrong = |change: fn(&mut NetworkSpec)| {
            let mut spec = NetworkSpec::default();
            change(&mut spec);
            let fields: Vec<SpecField> = spec.problems().iter().map(|error| error.field).collect();
            fields
        };
        assert!(wrong(|_| ()).is_empty());
        assert_eq!(wrong(|spec| spec.hidden.clear()), [SpecField::Hidden]);
        assert_eq!(
            wrong(|spec| spec.hidden = vec![512, 0]),
            [SpecField::Hidden]
        );
        assert_eq!(wrong(|spec| spec.hidden = vec![8193]), [SpecField::Hidden]);
        assert_eq!(wrong(|spec| spec.hidden = vec![8; 9]), [SpecField::Hidden]);
        for rate in [f32::NAN, 0.0, -1.0, f32::INFINITY] {
            let spec = NetworkSpec {
                learning_rate: rate,
                learning_rate_decay: rate,
                ..NetworkSpec::default()
            };
            let fields: Vec<SpecField> = spec.problems().iter().map(|error| error.field).collect();
            assert_eq!(
                fields,
                [SpecField::LearningRate, SpecField::LearningRateDecay]
            );
        }
        assert_eq!(wrong(|spec| spec.batch_size = 1), [SpecField::BatchSize]);
        assert_eq!(wrong(|spec| spec.batch_size = 5000), [SpecField::BatchSize]);
        assert_eq!(
            wrong(|spec| spec.optimizer = Optimizer::Sgd { momentum: 1.0 }),
            [SpecField::Optimizer]
        );
    }

    #[test]
    fn specs_survive_json_and_other_bit_widths_do_not() {
        for preset in &PRESETS {
            let spec = preset.spec();
            assert!(spec.problems().is_empty());
            let json = serde_json::to_string(&spec).unwrap();
            assert_eq!(serde_json::from_str::<NetworkSpec>(&json).unwrap(), spec);
            let error = serde_json::from_str::<NetworkSpec>(
                &json.replace("\"weight_bits\":1", "\"weight_bits\":5"),
            );
            assert!(
                error
                    .unwrap_err()
                    .to_string()
                    .contains("no width of 5 bits")
            );
        }
    }
}
