//! The settings of a network as arguments: a preset or a file, and what is to be different from it.

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use qnn_core::spec::{Bits, Loss, NetworkSpec, Optimizer, PRESETS, Preset};

#[derive(Args)]
pub struct Settings {
    /// The named settings to start from.
    #[arg(long, default_value = PRESETS[0].name, value_parser = PossibleValuesParser::new(PRESETS.map(|preset| preset.name)))]
    preset: String,
    /// A JSON file of settings to start from, as the last line of --json prints them under "spec".
    #[arg(long, value_name = "FILE", conflicts_with = "preset")]
    spec: Option<PathBuf>,
    /// Widths of the hidden layers, such as 512,512.
    #[arg(long, value_delimiter = ',')]
    hidden: Option<Vec<usize>>,
    /// Bits of the weights: 1, 2, 3, 4, 6, 8 or 32.
    #[arg(long, value_parser = bits)]
    weight_bits: Option<Bits>,
    /// Bits of the activations: 1, 2, 3, 4, 6, 8 or 32.
    #[arg(long, value_parser = bits)]
    activation_bits: Option<Bits>,
    #[arg(long)]
    loss: Option<LossName>,
    #[arg(long)]
    optimizer: Option<OptimizerName>,
    /// Momentum of SGD, at least 0 and below 1; 0.9 by default.
    #[arg(long)]
    momentum: Option<f32>,
    /// Step size of the first epoch.
    #[arg(long)]
    learning_rate: Option<f32>,
    /// What the learning rate is multiplied with after every epoch.
    #[arg(long)]
    learning_rate_decay: Option<f32>,
    /// Images in a minibatch.
    #[arg(long)]
    batch_size: Option<usize>,
    /// Draws the first weights and the order of the images.
    #[arg(long)]
    seed: Option<u32>,
}

#[derive(Clone, Copy, ValueEnum)]
enum LossName {
    SquaredHinge,
    CrossEntropy,
}

#[derive(Clone, Copy, ValueEnum)]
enum OptimizerName {
    Adam,
    Sgd,
}

fn bits(text: &str) -> Result<Bits, String> {
    let number = text
        .parse()
        .map_err(|_| format!("{text} is not a number of bits"))?;
    Bits::new(number)
}

impl Settings {
    /// The spec that the arguments describe, checked.
    pub fn spec(&self) -> Result<NetworkSpec> {
        let mut spec = match &self.spec {
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .with_context(|| format!("{} cannot be read.", file.display()))?;
                serde_json::from_str(&text)
                    .with_context(|| format!("{} does not describe a network.", file.display()))?
            }
            None => Preset::named(&self.preset)
                .ok_or_else(|| anyhow!("There is no preset {}.", self.preset))?
                .spec(),
        };
        let set = &mut spec;
        replace(&mut set.hidden, &self.hidden);
        replace(&mut set.weight_bits, &self.weight_bits);
        replace(&mut set.activation_bits, &self.activation_bits);
        replace(&mut set.learning_rate, &self.learning_rate);
        replace(&mut set.learning_rate_decay, &self.learning_rate_decay);
        replace(&mut set.batch_size, &self.batch_size);
        replace(&mut set.seed, &self.seed);
        let loss = self.loss.map(|loss| match loss {
            LossName::SquaredHinge => Loss::SquaredHinge,
            LossName::CrossEntropy => Loss::CrossEntropy,
        });
        replace(&mut set.loss, &loss);
        let optimizer = self.optimizer.map(|optimizer| match optimizer {
            OptimizerName::Adam => Optimizer::Adam,
            OptimizerName::Sgd => Optimizer::Sgd { momentum: 0.9 },
        });
        replace(&mut set.optimizer, &optimizer);
        if let Some(given) = self.momentum {
            let Optimizer::Sgd { momentum } = &mut set.optimizer else {
                bail!("Only SGD has a momentum: add --optimizer sgd.");
            };
            *momentum = given;
        }
        spec.validate()?;
        Ok(spec)
    }
}

fn replace<T: Clone>(value: &mut T, with: &Option<T>) {
    if let Some(with) = with {
        value.clone_from(with);
    }
}
