//! `qnn predict`: what a network answers for the images in PNG files. What an image is, and how it is brought to the network's
//! size, is `qnn_core::data::import`'s.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use indicatif::ProgressBar;
use qnn_core::data::PAD_SIDE;
use qnn_core::data::import::{read_digit, read_picture};
use serde::Serialize;

use crate::Output;
use crate::files::{self, Model};

#[derive(Args)]
pub struct Predict {
    /// The network: as `train --save` or the page saved it, packed, or a dense one of another program (safetensors, ONNX).
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// PNG images of any size, in grey or colours. Those that are dark on light are inverted; others than the network's size
    /// are scaled to fit into it.
    #[arg(value_name = "PNG", required = true)]
    images: Vec<PathBuf>,
    /// Places the ink as MNIST's was: scaled to 20x20 pixels and centred by its mass in 28x28. For digits that were drawn or
    /// scanned, and networks that learned MNIST.
    #[arg(long)]
    digits: bool,
    #[command(flatten)]
    pub output: Output,
}

/// What a network answers for an image.
#[derive(Serialize)]
struct Answer<'a> {
    file: &'a Path,
    class: &'a str,
    /// One for each class.
    logits: Vec<f32>,
}

pub fn predict(arguments: &Predict) -> Result<()> {
    let model = files::model(&arguments.model)?;
    let (inputs, classes) = (model.shape().0, model.classes());
    let side = inputs.isqrt();
    ensure!(
        side * side == inputs,
        "The network reads images of {inputs} pixels, which make no square; PNG files cannot be brought to that size."
    );
    ensure!(
        !arguments.digits || side == PAD_SIDE,
        "--digits makes images of {PAD_SIDE} pixels a side; the network reads such of {side}."
    );
    let read = |file: &Path| {
        let (path, bytes) = (file.to_string_lossy(), files::read(file)?);
        Ok(if arguments.digits {
            read_digit(&path, &bytes)?
        } else {
            read_picture(&path, &bytes, side, side)?
        })
    };
    let bar = ProgressBar::new(arguments.images.len() as u64);
    let mut refused = 0;
    for file in bar.wrap_iter(arguments.images.iter()) {
        match read(file).and_then(|pixels| answer(&model, &classes, file, &pixels)) {
            Ok(answer) => bar.suspend(|| arguments.output.print(&answer, || answer.describe()))?,
            Err(error) => {
                refused += 1;
                bar.suspend(|| eprintln!("Error: {error:#}"));
            }
        }
    }
    if refused > 0 {
        bail!(
            "{refused} of {} files could not be answered.",
            arguments.images.len()
        );
    }
    Ok(())
}

fn answer<'a>(
    model: &Model,
    classes: &'a [String],
    file: &'a Path,
    pixels: &[u8],
) -> Result<Answer<'a>> {
    let logits = model.logits(pixels)?;
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    let class = best.and_then(|(class, _)| classes.get(class));
    Ok(Answer {
        file,
        class: class.context("The network has no classes.")?,
        logits,
    })
}

impl Answer<'_> {
    fn describe(&self) -> String {
        let logits: Vec<String> = self
            .logits
            .iter()
            .map(|logit| format!("{logit:.3}"))
            .collect();
        format!(
            "{}: {}   logits {}",
            self.file.display(),
            self.class,
            logits.join(" ")
        )
    }
}
