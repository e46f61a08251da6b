//! `qnn eval`: how a network that was saved, or one of another program, does on test images. Nothing is trained.

use std::path::PathBuf;

use anyhow::{Result, anyhow, ensure};
use clap::{Args, ValueEnum};
use qnn_core::data::DataSet;
use qnn_core::packed::Evaluation;
use qnn_files::{Activation, PixelScaling};
use serde::Serialize;

use crate::files::{self, Model};
use crate::{Clock, EVALUATION_PIECE, FinalReport, Output, data_set};

#[derive(Args)]
pub struct Eval {
    /// The network: as `train --save` or the page saved it, packed, or a dense one of another program (safetensors, ONNX).
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// A folder of IDX files with images and labels. Without it: procedural digits.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Answers with the mean of so many networks whose weights are drawn anew, where weights are stochastic.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    samples: Option<u32>,
    #[command(flatten)]
    foreign: Foreign,
    #[command(flatten)]
    pub output: Output,
}

/// What the file of another program may leave open.
#[derive(Args)]
pub struct Foreign {
    /// What a network of another program takes for a pixel, where its file does not say: unit (0 to 1, the usual), bytes (0 to
    /// 255), or MEAN,DEVIATION of pixels from 0 to 1, such as 0.1307,0.3081.
    #[arg(long, value_name = "PIXELS", value_parser = pixels)]
    pixels: Option<PixelScaling>,
    /// What becomes of its hidden units' outputs, where its file does not say: ReLU by default.
    #[arg(long)]
    activation: Option<ActivationName>,
}

#[derive(Clone, Copy, ValueEnum)]
enum ActivationName {
    Relu,
    HardTanh,
    Tanh,
    Sign,
    None,
}

fn pixels(text: &str) -> Result<PixelScaling, String> {
    let numbers = || {
        let (mean, deviation) = text.split_once(',')?;
        let (mean, deviation): (f32, f32) = (mean.parse().ok()?, deviation.parse().ok()?);
        (mean.is_finite() && deviation.is_finite() && deviation > 0.0).then_some((mean, deviation))
    };
    match text {
        "unit" => Ok(PixelScaling::UNIT),
        "bytes" => Ok(PixelScaling::BYTES),
        _ => numbers()
            .map(|(mean, deviation)| PixelScaling::normalized(mean, deviation))
            .ok_or_else(|| {
                format!(
                    "{text} is none of unit, bytes, and a mean and a deviation like 0.1307,0.3081"
                )
            }),
    }
}

impl Foreign {
    /// Says it of a network of another program; an error where it is none and something was said.
    pub fn say(&self, model: &mut Model) -> Result<()> {
        match model.foreign() {
            Some(dense) => {
                if let Some(pixels) = self.pixels {
                    dense.pixels = pixels;
                }
                if let Some(name) = self.activation {
                    dense.set_activation(match name {
                        ActivationName::Relu => Activation::RELU,
                        ActivationName::HardTanh => Activation::Clip {
                            lowest: -1.0,
                            highest: 1.0,
                        },
                        ActivationName::Tanh => Activation::Tanh,
                        ActivationName::Sign => Activation::Sign,
                        ActivationName::None => Activation::NONE,
                    });
                }
                Ok(())
            }
            None if self.pixels.is_none() && self.activation.is_none() => Ok(()),
            None => Err(anyhow!(
                "--pixels and --activation are for networks of other programs; this one says both itself."
            )),
        }
    }
}

/// What is printed of a network of another program.
#[derive(Serialize)]
struct ForeignReport<'a> {
    test_data: &'a str,
    test_images: usize,
    test_loss: f32,
    test_accuracy: f32,
    images_per_second: f64,
}

pub fn eval(arguments: Eval) -> Result<()> {
    let mut model = files::model(&arguments.model)?;
    arguments.foreign.say(&mut model)?;
    let seed = model.trainer().map_or(1, |trainer| trainer.spec().seed);
    let data = data_set(arguments.data.as_deref(), seed)?;
    check_shape(model.shape(), &data)?;
    let mut clock = Clock::default();
    let evaluation = match arguments.samples {
        Some(count) => {
            let trainer = model.trainer()?;
            ensure!(
                trainer.spec().weights().is_stochastic(),
                "The weights of this network are not stochastic: all samples would be the same."
            );
            let networks = trainer.freeze_samples(count);
            clock.time(|| networks.evaluate_all(&data.test, EVALUATION_PIECE))
        }
        None => clock.time(|| model.evaluate(&data.test, EVALUATION_PIECE))?,
    };
    clock.images += evaluation.images;
    match model.trainer() {
        Ok(trainer) => {
            let report = FinalReport::new(trainer, &data, evaluation, &clock);
            arguments.output.print(&report, || report.describe())
        }
        Err(_) => {
            let report = ForeignReport::new(&data, evaluation, &clock);
            arguments.output.print(&report, || report.describe())
        }
    }
}

/// Refuses images that a network of so many inputs and classes does not fit.
pub fn check_shape((inputs, classes): (usize, usize), data: &DataSet) -> Result<()> {
    ensure!(
        inputs == data.test.image_size(),
        "The network reads images of {inputs} pixels; those of {} have {}.",
        data.name,
        data.test.image_size()
    );
    ensure!(
        data.classes.len() <= classes,
        "The network tells {classes} classes apart; {} has {}.",
        data.name,
        data.classes.len()
    );
    Ok(())
}

impl<'a> ForeignReport<'a> {
    fn new(tested: &'a DataSet, evaluation: Evaluation, clock: &Clock) -> ForeignReport<'a> {
        ForeignReport {
            test_data: &tested.name,
            test_images: evaluation.images,
            test_loss: evaluation.loss(),
            test_accuracy: evaluation.accuracy(),
            images_per_second: clock.images_per_second(),
        }
    }

    fn describe(&self) -> String {
        format!(
            "{:.2} % of {} test images of {}; {:.0} images/s",
            100.0 * self.test_accuracy,
            self.test_images,
            self.test_data,
            self.images_per_second
        )
    }
}
