//! `qnn inspect`: prints what the file of a network holds. It changes nothing and trains nothing.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use qnn_core::spec::NetworkSpec;
use qnn_core::train::Trainer;
use qnn_files::Description;
use serde::Serialize;

use crate::files;

#[derive(Args)]
pub struct Inspect {
    /// The network: a safetensors file, or a checkpoint of the page.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

/// What a checkpoint says of itself: it has no tensors with names.
#[derive(Serialize)]
struct Checkpoint<'a> {
    spec: &'a NetworkSpec,
    inputs: usize,
    classes: usize,
    steps: u32,
    epochs: u32,
}

pub fn inspect(arguments: &Inspect) -> Result<()> {
    let bytes = files::read(&arguments.file)?;
    if Trainer::is_checkpoint(&bytes) {
        let trainer = files::trainer(&arguments.file)?;
        let checkpoint = Checkpoint {
            spec: trainer.spec(),
            inputs: trainer.inputs(),
            classes: trainer.classes(),
            steps: trainer.step_count(),
            epochs: trainer.epoch(),
        };
        return print(arguments.json, &checkpoint, || {
            let shape = shape(checkpoint.spec, checkpoint.inputs, checkpoint.classes);
            format!(
                "checkpoint of a network {shape}\n{}\ntrained for {} steps, {} epochs",
                settings(checkpoint.spec),
                checkpoint.steps,
                checkpoint.epochs
            )
        });
    }
    let description = Description::of(&bytes)?;
    print(arguments.json, &description, || {
        describe(&description, bytes.len())
    })
}

fn print(json: bool, report: &impl Serialize, describe: impl Fn() -> String) -> Result<()> {
    let text = if json {
        serde_json::to_string(report)?
    } else {
        describe()
    };
    crate::print_line(&text)
}

fn describe(description: &Description, bytes: usize) -> String {
    let Description {
        spec,
        inputs,
        classes,
        progress,
        ..
    } = description;
    let mut lines = vec![
        format!(
            "network {}, format {}",
            shape(spec, *inputs, classes.len()),
            description.version
        ),
        settings(spec),
        format!("classes: {}", classes.join(", ")),
        match progress {
            Some(progress) => format!(
                "training can go on: {} steps are trained",
                progress.step_count()
            ),
            None => "training cannot go on exactly: the packed network alone is here".into(),
        },
        if description.packed {
            "the packed network is here".into()
        } else {
            "there is no packed network: not all weights and activations are of 1 to 8 bits".into()
        },
        format!("{bytes} bytes in {} tensors:", description.tensors.len()),
    ];
    for tensor in &description.tensors {
        let shape: Vec<String> = tensor.shape.iter().map(usize::to_string).collect();
        lines.push(format!(
            "  {:36} {:4} {:>18} {:>10} bytes",
            tensor.name,
            tensor.dtype,
            format!("[{}]", shape.join(", ")),
            tensor.bytes
        ));
    }
    lines.join("\n")
}

/// The widths of a network from its pixels to its classes.
fn shape(spec: &NetworkSpec, inputs: usize, classes: usize) -> String {
    let widths = [inputs]
        .into_iter()
        .chain(spec.hidden.iter().copied())
        .chain([classes]);
    widths
        .map(|width| width.to_string())
        .collect::<Vec<_>>()
        .join("-")
}

fn settings(spec: &NetworkSpec) -> String {
    format!(
        "weights of {} bits, {}; activations of {} bits, {}",
        spec.weight_bits, spec.weight_levels, spec.activation_bits, spec.activation_levels
    )
}
