//! `qnn export`: writes a network as a file that others can use. What is in the files is `qnn_files`' business.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::{Args, ValueEnum};
use qnn_files::{write_c, write_rust};
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
    let packed = model.packed()?;
    let (network, classes) = (Network::parse(&packed)?, model.classes());
    let bytes = match format {
        Format::Packed => packed,
        Format::Rust => write_rust(&network, &classes).into_bytes(),
        Format::C => write_c(&network, &classes).into_bytes(),
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
