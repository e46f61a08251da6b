//! `NetworkSpec`, the one description of a network and its training.
//! The page edits it, the file stores it, the command line reads it. It holds no weights and no data.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::bits::Encoding;
use crate::quant::{GradientQuantizer, Quantizer};

/// The widest hidden layer that is accepted, in units.
pub const MAX_WIDTH: usize = 8192;
/// The most hidden layers that are accepted.
pub const MAX_HIDDEN_LAYERS: usize = 8;
/// The smallest minibatch that is accepted, in images: batch normalization needs a variance, and a variance needs two.
pub const MIN_BATCH_SIZE: usize = 2;
/// The largest minibatch that is accepted, in images.
pub const MAX_BATCH_SIZE: usize = 4096;
/// The largest learning rate that is accepted.
pub const MAX_LEARNING_RATE: f32 = 10.0;

/// The version of [`NetworkSpec`] that is written. Version 1 had none of the fields that have defaults; it is read.
pub const SPEC_VERSION: u32 = 2;

/// A bit width of weights, activations or gradients: 1 to 8 bits, or 32 for float32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Bits(u8);

impl Bits {
    /// One bit: -1 or +1.
    pub const ONE: Bits = Bits(1);
    /// Float32, not quantized.
    pub const FLOAT: Bits = Bits(32);
    /// Every bit width there is, in rising order.
    pub const ALL: [Bits; 9] = [
        Bits(1),
        Bits(2),
        Bits(3),
        Bits(4),
        Bits(5),
        Bits(6),
        Bits(7),
        Bits(8),
        Bits(32),
    ];

    /// The bit width `bits`, or an error that names the ones there are.
    pub fn new(bits: u8) -> Result<Bits, String> {
        Bits::ALL
            .into_iter()
            .find(|known| known.0 == bits)
            .ok_or_else(|| format!("there is no width of {bits} bits; choose 1 to 8 or 32"))
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

/// Where the values lie that a quantizer can tell apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Levels {
    /// At equal distances (the paper's LinearQuant).
    #[default]
    Linear,
    /// At powers of two, so that a multiplication is a shift (the paper's LogQuant).
    Logarithmic,
}

/// Which of its two neighbouring levels a number becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rounding {
    /// The nearer one.
    #[default]
    Deterministic,
    /// Either, by chance, such that its mean is the number.
    Stochastic,
}

impl fmt::Display for Levels {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Levels::Linear => "linear",
            Levels::Logarithmic => "logarithmic",
        })
    }
}

impl fmt::Display for Rounding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Rounding::Deterministic => "deterministic",
            Rounding::Stochastic => "stochastic",
        })
    }
}

/// How the sums of a layer are normalized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalization {
    #[default]
    BatchNorm,
    /// Multiplies by powers of two only (paper Algorithm 2).
    ShiftBatchNorm,
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
    /// AdaMax with beta1 0.9, beta2 0.999.
    #[serde(rename = "adamax")]
    AdaMax,
    /// AdaMax with beta1 1 - 2^-3, beta2 1 - 2^-10 and steps that are shifts (paper Algorithm 3).
    #[serde(rename = "shift-adamax")]
    ShiftAdaMax,
    /// Stochastic gradient descent; momentum in [0, 1).
    Sgd { momentum: f32 },
}

/// The learning rate of a layer's weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LearningRateScale {
    /// The same in every layer.
    #[default]
    Equal,
    /// Times sqrt((inputs + units) / 1.5), the inverse of Glorot's initialization (the authors' `W_LR_scale`).
    Glorot,
}

/// Marks a spec as one of [`SPEC_VERSION`]; reads older ones and refuses newer ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct SpecVersion;

impl TryFrom<u32> for SpecVersion {
    type Error = String;
    fn try_from(version: u32) -> Result<SpecVersion, String> {
        if (1..=SPEC_VERSION).contains(&version) {
            Ok(SpecVersion)
        } else {
            Err(format!(
                "these settings are of version {version}; this program reads versions 1 to {SPEC_VERSION}"
            ))
        }
    }
}

impl From<SpecVersion> for u32 {
    fn from(_: SpecVersion) -> u32 {
        SPEC_VERSION
    }
}

/// A fully connected network and how it is trained. Inputs and classes come from the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkSpec {
    #[serde(default)]
    pub version: SpecVersion,
    /// Units of each hidden layer.
    pub hidden: Vec<usize>,
    /// Bits of the weights of every layer, the first and the last too.
    pub weight_bits: Bits,
    #[serde(default)]
    pub weight_levels: Levels,
    /// Of training; a network that answers rounds deterministically.
    #[serde(default)]
    pub weight_rounding: Rounding,
    /// Bits of the activations of every hidden layer. The input is 8-bit pixels.
    pub activation_bits: Bits,
    #[serde(default)]
    pub activation_levels: Levels,
    /// Of training; a network that answers rounds deterministically.
    #[serde(default)]
    pub activation_rounding: Rounding,
    /// Bits of the gradients in both products of the backward pass: 2 to 8, or 32.
    #[serde(default = "float")]
    pub gradient_bits: Bits,
    #[serde(default)]
    pub gradient_levels: Levels,
    #[serde(default = "stochastic")]
    pub gradient_rounding: Rounding,
    #[serde(default)]
    pub normalization: Normalization,
    /// Share of the pixels that training leaves out at random, in [0, 1).
    #[serde(default)]
    pub input_dropout: f32,
    /// Share of the hidden activations that training leaves out at random, in [0, 1).
    #[serde(default)]
    pub hidden_dropout: f32,
    pub loss: Loss,
    pub optimizer: Optimizer,
    /// Step size of the first epoch.
    pub learning_rate: f32,
    /// What the learning rate is multiplied with after every `decay_epochs`, in (0, 1].
    pub learning_rate_decay: f32,
    /// Epochs between two decays of the learning rate.
    #[serde(default = "one")]
    pub decay_epochs: u32,
    #[serde(default)]
    pub learning_rate_scale: LearningRateScale,
    /// Images in a minibatch.
    pub batch_size: usize,
    /// Draws the first weights, the order of the images and all that is left to chance.
    pub seed: u32,
}

// What version 1 of the spec did, where a field came later.
fn float() -> Bits {
    Bits::FLOAT
}

fn stochastic() -> Rounding {
    Rounding::Stochastic
}

fn one() -> u32 {
    1
}

/// The field of a [`NetworkSpec`] that an error is about, so that a form can show the error beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpecField {
    Hidden,
    GradientBits,
    InputDropout,
    HiddenDropout,
    Optimizer,
    LearningRate,
    LearningRateDecay,
    DecayEpochs,
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
        if self.gradient_bits == Bits::ONE {
            refuse(
                SpecField::GradientBits,
                "Gradients have 2 to 8 bits, or 32: one bit has no zero.".into(),
            );
        }
        for (field, share) in [
            (SpecField::InputDropout, self.input_dropout),
            (SpecField::HiddenDropout, self.hidden_dropout),
        ] {
            if !(0.0..1.0).contains(&share) {
                refuse(
                    field,
                    format!("Dropout is a share of at least 0 and below 1, not {share}."),
                );
            }
        }
        if let Optimizer::Sgd { momentum } = self.optimizer
            && !(0.0..1.0).contains(&momentum)
        {
            refuse(
                SpecField::Optimizer,
                format!("Momentum is at least 0 and below 1, not {momentum}."),
            );
        }
        if !(self.learning_rate > 0.0 && self.learning_rate <= MAX_LEARNING_RATE) {
            refuse(
                SpecField::LearningRate,
                format!(
                    "The learning rate is above 0 and at most {MAX_LEARNING_RATE}, not {}.",
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
        if self.decay_epochs == 0 {
            refuse(
                SpecField::DecayEpochs,
                "The learning rate decays after 1 or more epochs, not 0.".into(),
            );
        }
        if !(MIN_BATCH_SIZE..=MAX_BATCH_SIZE).contains(&self.batch_size) {
            refuse(
                SpecField::BatchSize,
                format!(
                    "A batch has {MIN_BATCH_SIZE} to {MAX_BATCH_SIZE} images, not {}.",
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

    /// How the weights are quantized.
    pub fn weights(&self) -> Quantizer {
        Quantizer {
            bits: self.weight_bits,
            levels: self.weight_levels,
            rounding: self.weight_rounding,
        }
    }

    /// How the activations of the hidden layers are quantized.
    pub fn activations(&self) -> Quantizer {
        Quantizer {
            bits: self.activation_bits,
            levels: self.activation_levels,
            rounding: self.activation_rounding,
        }
    }

    /// How the gradients to a layer's sums are quantized.
    pub fn gradients(&self) -> GradientQuantizer {
        GradientQuantizer {
            bits: self.gradient_bits,
            levels: self.gradient_levels,
            rounding: self.gradient_rounding,
        }
    }

    /// The share of the inputs of layer `layer` that training leaves out.
    pub fn dropout(&self, layer: usize) -> f32 {
        if layer == 0 {
            self.input_dropout
        } else {
            self.hidden_dropout
        }
    }

    /// The integers that go into layer `layer`; `None` for floats. In training, dropout needs a zero among them.
    pub fn input_encoding(&self, layer: usize, training: bool) -> Option<Encoding> {
        let encoding = if layer == 0 {
            Some(Encoding::Unsigned8)
        } else {
            self.activations().encoding()
        };
        if training && self.dropout(layer) > 0.0 {
            encoding.map(Encoding::with_zero)
        } else {
            encoding
        }
    }

    /// Whether a network that answers is one of integers of up to 8 binary digits, which can be packed.
    pub fn is_packable(&self) -> bool {
        let quantizers = [self.weights(), self.activations()];
        quantizers
            .iter()
            .all(|quantizer| quantizer.levels().is_some())
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
    change: fn(NetworkSpec) -> NetworkSpec,
}

/// The named specs, the default one first.
pub const PRESETS: [Preset; 7] = [
    Preset {
        name: "mnist-512",
        about: "two hidden layers of 512: quick, above 97 %",
        hidden: &[512, 512],
        change: |spec| spec,
    },
    Preset {
        name: "mnist-128",
        about: "one hidden layer of 128: for a phone",
        hidden: &[128],
        change: |spec| spec,
    },
    Preset {
        name: "all-integer",
        about: "6-bit gradients, shift-based norm and AdaMax: no float matrix product",
        hidden: &[512, 512],
        change: |spec| NetworkSpec {
            gradient_bits: Bits(6),
            normalization: Normalization::ShiftBatchNorm,
            optimizer: Optimizer::ShiftAdaMax,
            learning_rate_scale: LearningRateScale::Glorot,
            learning_rate: 1.0 / 64.0,
            learning_rate_decay: 0.5,
            decay_epochs: 2,
            ..spec
        },
    },
    Preset {
        name: "binary-connect",
        about: "1-bit weights, float32 activations",
        hidden: &[512, 512],
        change: |spec| NetworkSpec {
            activation_bits: Bits::FLOAT,
            ..spec
        },
    },
    Preset {
        name: "mnist-1024",
        about: "three hidden layers of 1024: 1.3 % test error after 60 epochs",
        hidden: &[1024, 1024, 1024],
        change: |spec| NetworkSpec {
            input_dropout: 0.2,
            learning_rate_decay: 0.93,
            ..spec
        },
    },
    Preset {
        name: "paper-torch7",
        about: "the paper's Torch7 run: three hidden layers of 2048",
        hidden: &[2048, 2048, 2048],
        change: |spec| NetworkSpec {
            activation_rounding: Rounding::Stochastic,
            normalization: Normalization::ShiftBatchNorm,
            optimizer: Optimizer::ShiftAdaMax,
            learning_rate_scale: LearningRateScale::Glorot,
            learning_rate: 1.0 / 64.0,
            learning_rate_decay: 0.5,
            decay_epochs: 10,
            ..spec
        },
    },
    Preset {
        name: "paper-theano",
        about: "the paper's Theano run: three hidden layers of 4096",
        hidden: &[4096, 4096, 4096],
        change: |spec| NetworkSpec {
            input_dropout: 0.2,
            hidden_dropout: 0.5,
            learning_rate_scale: LearningRateScale::Glorot,
            learning_rate: 0.003,
            learning_rate_decay: 0.990_832,
            ..spec
        },
    },
];

impl Preset {
    /// The preset called `name`.
    pub fn named(name: &str) -> Option<&'static Preset> {
        PRESETS.iter().find(|preset| preset.name == name)
    }

    /// The spec it stands for.
    pub fn spec(&self) -> NetworkSpec {
        (self.change)(NetworkSpec {
            version: SpecVersion,
            hidden: self.hidden.to_vec(),
            weight_bits: Bits::ONE,
            weight_levels: Levels::Linear,
            weight_rounding: Rounding::Deterministic,
            activation_bits: Bits::ONE,
            activation_levels: Levels::Linear,
            activation_rounding: Rounding::Deterministic,
            gradient_bits: Bits::FLOAT,
            gradient_levels: Levels::Linear,
            gradient_rounding: Rounding::Stochastic,
            normalization: Normalization::BatchNorm,
            input_dropout: 0.0,
            hidden_dropout: 0.0,
            loss: Loss::SquaredHinge,
            optimizer: Optimizer::Adam,
            learning_rate: 0.03,
            learning_rate_decay: 0.7,
            decay_epochs: 1,
            learning_rate_scale: LearningRateScale::Equal,
            batch_size: 100,
            seed: 1,
        })
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
        assert_eq!(
            wrong(|spec| spec.gradient_bits = Bits::ONE),
            [SpecField::GradientBits]
        );
        assert_eq!(
            wrong(|spec| spec.hidden_dropout = 1.0),
            [SpecField::HiddenDropout]
        );
        assert_eq!(
            wrong(|spec| spec.input_dropout = f32::NAN),
            [SpecField::InputDropout]
        );
        assert_eq!(
            wrong(|spec| spec.decay_epochs = 0),
            [SpecField::DecayEpochs]
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
                &json.replace("\"weight_bits\":1", "\"weight_bits\":9"),
            );
            assert!(
                error
                    .unwrap_err()
                    .to_string()
                    .contains("no width of 9 bits")
            );
        }
    }

    #[test]
    fn older_specs_are_read_and_newer_ones_are_refused_by_their_version() {
        let first = r#"{"hidden":[512,512],"weight_bits":1,"activation_bits":1,"loss":"squared-hinge",
            "optimizer":"adam","learning_rate":0.03,"learning_rate_decay":0.7,"batch_size":100,"seed":1}"#;
        assert_eq!(
            serde_json::from_str::<NetworkSpec>(first).unwrap(),
            NetworkSpec::default()
        );
        let present = serde_json::to_string(&NetworkSpec::default()).unwrap();
        let newer = present.replace("\"version\":2", "\"version\":3");
        let error = serde_json::from_str::<NetworkSpec>(&newer).unwrap_err();
        assert!(error.to_string().contains("version 3"), "{error}");
    }
}
