//! `qnn export`: writes a network as a file that others can use. What is in the files is `qnn_files`' business.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::{Args, ValueEnum};
use qnn_files::{write_c, write_float_onnx, write_onnx, write_rust};
use qnn_infer::Network;
use serde::Serialize;

use crate::files;

#[derive(Args)]
pub struct Export {
    /// The network, as `train --save` or the page saved it.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Where to write; its ending tells the format where --format does not.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// safetensors with the packed network alone (.safetensors).
    Packed,
    /// An ONNX graph of integers, its weights packed; of float32 where weights or activations are (.onnx).
    Onnx,
    /// An ONNX graph of float32, the quantized weights and activations as floats.
    OnnxFloat,
    /// One file of Rust, without dependencies (.rs).
    Rust,
    /// One file of C99 (.c).
    C,
}

#[derive(Serialize)]
struct Exported {
    file: PathBuf,
    bytes: usize,
}

pub fn export(arguments: Export) -> Result<()> {
    let ending = arguments
        .out
        .extension()
        .unwrap_or_default()
        .to_string_lossy();
    let format = match (arguments.format, &*ending) {
        (Some(format), _) => format,
        (None, "safetensors") => Format::Packed,
        (None, "onnx") => Format::Onnx,
        (None, "rs") => Format::Rust,
        (None, "c") => Format::C,
        (None, _) => {
            return Err(anyhow!(
                "The ending of {} names no format: add --format.",
                arguments.out.display()
            ));
        }
    };
    let model = files::model(&arguments.model)?;
    let (trainer, classes) = (model.trainer()?, model.classes());
    let is_float =
        format == Format::OnnxFloat || format == Format::Onnx && !trainer.spec().is_packable();
    let bytes = if is_float {
        write_float_onnx(trainer, &classes)
    } else {
        let packed = model.packed()?;
        let network = Network::parse(&packed)?;
        match format {
            Format::Packed | Format::OnnxFloat => packed,
            Format::Onnx => write_onnx(&network, trainer.spec(), &classes),
            Format::Rust => write_rust(&network, &classes).into_bytes(),
            Format::C => write_c(&network, &classes).into_bytes(),
        }
    };
    files::save(&arguments.out, &bytes)?;
    let exported = Exported {
        file: arguments.out,
        bytes: bytes.len(),
    };
    let text = if arguments.json {
        serde_json::to_string(&exported)?
    } else {
        format!("{}: {} bytes", exported.file.display(), exported.bytes)
    };
    crate::print_line(&text)
}
