//! The settings of a network as arguments: a preset or a file, and what is to be different from it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use qnn_core::spec::{
    Bits, LearningRateScale, Levels, Loss, NetworkSpec, Normalization, Optimizer, PRESETS, Preset,
    Rounding,
};

/// Everything that a sweep does not vary.
#[derive(Args, Clone, Default, PartialEq)]
pub struct Base {
    /// The named settings to start from; mnist-512 by default.
    #[arg(long, value_parser = PossibleValuesParser::new(PRESETS.map(|preset| preset.name)))]
    preset: Option<String>,
    /// A JSON file of settings to start from, as the last line of --json prints them under "spec".
    #[arg(long, value_name = "FILE", conflicts_with = "preset")]
    spec: Option<PathBuf>,
    /// Bits of the gradients in both products of the backward pass: 2 to 8, or 32.
    #[arg(long, value_parser = bits)]
    gradient_bits: Option<Bits>,
    #[arg(long)]
    gradient_levels: Option<LevelsName>,
    #[arg(long)]
    gradient_rounding: Option<RoundingName>,
    #[arg(long)]
    normalization: Option<NormalizationName>,
    /// Share of the pixels that training leaves out.
    #[arg(long, allow_negative_numbers = true)]
    input_dropout: Option<f32>,
    /// Share of the hidden activations that training leaves out.
    #[arg(long, allow_negative_numbers = true)]
    hidden_dropout: Option<f32>,
    #[arg(long)]
    loss: Option<LossName>,
    #[arg(long)]
    optimizer: Option<OptimizerName>,
    /// Momentum of SGD, at least 0 and below 1; 0.9 by default.
    #[arg(long, allow_negative_numbers = true)]
    momentum: Option<f32>,
    /// Step size of the first epoch.
    #[arg(long, allow_negative_numbers = true)]
    learning_rate: Option<f32>,
    /// What the learning rate is multiplied with after every --decay-epochs.
    #[arg(long, allow_negative_numbers = true)]
    learning_rate_decay: Option<f32>,
    /// Epochs between two decays of the learning rate.
    #[arg(long)]
    decay_epochs: Option<u32>,
    /// Whether the learning rate of a layer's weights grows with its size, as in the authors' code.
    #[arg(long)]
    learning_rate_scale: Option<LearningRateScaleName>,
    /// Images in a minibatch.
    #[arg(long)]
    batch_size: Option<usize>,
}

/// All settings of one network.
#[derive(Args)]
pub struct Settings {
    #[command(flatten)]
    base: Base,
    #[command(flatten)]
    varied: Varied,
}

/// What a sweep has lists of.
#[derive(Args)]
struct Varied {
    /// Widths of the hidden layers, such as 512,512.
    #[arg(long, value_delimiter = ',')]
    hidden: Option<Vec<usize>>,
    /// Bits of the weights: 1 to 8, or 32.
    #[arg(long, value_parser = bits)]
    weight_bits: Option<Bits>,
    #[arg(long)]
    weight_levels: Option<LevelsName>,
    #[arg(long)]
    weight_rounding: Option<RoundingName>,
    /// Bits of the activations: 1 to 8, or 32.
    #[arg(long, value_parser = bits)]
    activation_bits: Option<Bits>,
    #[arg(long)]
    activation_levels: Option<LevelsName>,
    #[arg(long)]
    activation_rounding: Option<RoundingName>,
    /// Draws the first weights and the order of the images.
    #[arg(long)]
    seed: Option<u32>,
}

/// An enum of names for arguments, and what each stands for in a spec.
macro_rules! names {
    ($name:ident for $type:ty { $($variant:ident => $value:expr,)* }) => {
        #[derive(Clone, Copy, PartialEq, ValueEnum)]
        enum $name {
            $($variant,)*
        }

        impl From<$name> for $type {
            fn from(name: $name) -> $type {
                match name {
                    $($name::$variant => $value,)*
                }
            }
        }
    };
}

names!(LevelsName for Levels { Linear => Levels::Linear, Logarithmic => Levels::Logarithmic, });
names!(RoundingName for Rounding {
    Deterministic => Rounding::Deterministic,
    Stochastic => Rounding::Stochastic,
});
names!(NormalizationName for Normalization {
    BatchNorm => Normalization::BatchNorm,
    ShiftBatchNorm => Normalization::ShiftBatchNorm,
});
names!(LossName for Loss {
    SquaredHinge => Loss::SquaredHinge,
    CrossEntropy => Loss::CrossEntropy,
});
names!(OptimizerName for Optimizer {
    Adam => Optimizer::Adam,
    Adamax => Optimizer::AdaMax,
    ShiftAdamax => Optimizer::ShiftAdaMax,
    Sgd => Optimizer::Sgd { momentum: 0.9 },
});
names!(LearningRateScaleName for LearningRateScale {
    Equal => LearningRateScale::Equal,
    Glorot => LearningRateScale::Glorot,
});

/// A time in seconds.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.parse().ok();
    number
        .and_then(|number| Duration::try_from_secs_f64(number).ok())
        .ok_or_else(|| format!("{text} is not a number of seconds"))
}

/// A bit width.
pub fn bits(text: &str) -> Result<Bits, String> {
    let number = text
        .parse()
        .map_err(|_| format!("{text} is not a number of bits"))?;
    Bits::new(number)
}

impl Base {
    /// The spec that the arguments describe, not checked yet.
    pub fn spec(&self) -> Result<NetworkSpec> {
        let mut spec = match (&self.spec, &self.preset) {
            (Some(file), _) => {
                let text = std::fs::read_to_string(file)
                    .with_context(|| format!("{} cannot be read.", file.display()))?;
                serde_json::from_str(&text)
                    .with_context(|| format!("{} does not describe a network.", file.display()))?
            }
            (None, Some(name)) => Preset::named(name)
                .ok_or_else(|| anyhow!("There is no preset {name}."))?
                .spec(),
            (None, None) => NetworkSpec::default(),
        };
        let set = &mut spec;
        replace(&mut set.gradient_bits, &self.gradient_bits);
        replace(&mut set.gradient_levels, &self.gradient_levels);
        replace(&mut set.gradient_rounding, &self.gradient_rounding);
        replace(&mut set.normalization, &self.normalization);
        replace(&mut set.input_dropout, &self.input_dropout);
        replace(&mut set.hidden_dropout, &self.hidden_dropout);
        replace(&mut set.loss, &self.loss);
        replace(&mut set.optimizer, &self.optimizer);
        replace(&mut set.learning_rate, &self.learning_rate);
        replace(&mut set.learning_rate_decay, &self.learning_rate_decay);
        replace(&mut set.decay_epochs, &self.decay_epochs);
        replace(&mut set.learning_rate_scale, &self.learning_rate_scale);
        replace(&mut set.batch_size, &self.batch_size);
        if let Some(given) = self.momentum {
            let Optimizer::Sgd { momentum } = &mut set.optimizer else {
                bail!("Only SGD has a momentum: add --optimizer sgd.");
            };
            *momentum = given;
        }
        Ok(spec)
    }
}

impl Settings {
    /// The spec that the arguments describe, checked.
    pub fn spec(&self) -> Result<NetworkSpec> {
        let mut spec = self.base.spec()?;
        let (set, varied) = (&mut spec, &self.varied);
        replace(&mut set.hidden, &varied.hidden);
        replace(&mut set.weight_bits, &varied.weight_bits);
        replace(&mut set.weight_levels, &varied.weight_levels);
        replace(&mut set.weight_rounding, &varied.weight_rounding);
        replace(&mut set.activation_bits, &varied.activation_bits);
        replace(&mut set.activation_levels, &varied.activation_levels);
        replace(&mut set.activation_rounding, &varied.activation_rounding);
        replace(&mut set.seed, &varied.seed);
        spec.validate()?;
        Ok(spec)
    }
}

fn replace<T, Given: Clone + Into<T>>(value: &mut T, with: &Option<Given>) {
    if let Some(with) = with {
        *value = with.clone().into();
    }
}
