//! Files of trained networks: the project's own safetensors files (`docs/format.md`), and what other programs read. It
//! makes bytes of networks and networks of bytes; it opens no files, and training and answering are other crates'.

mod dense;
mod header;
mod onnx;
mod packed;
mod source;
mod training;
mod unpacked;

use qnn_core::train::Trainer;

pub use dense::{
    Activation, Dense, DenseError, DenseLayer, ImportError, PixelScaling, import_dense,
};
pub use header::{Description, FileError, TensorDescription};
pub use onnx::{write_float_onnx, write_onnx};
pub use packed::{Unpackable, write_packed};
pub use source::{write_c, write_rust};
pub use training::{begin_anew, read_trainer, write_training};
pub use unpacked::unpack;

/// A network that was opened to go on with.
pub struct Opened {
    pub trainer: Trainer,
    /// Whether training goes on exactly: the file holds more than the packed network.
    pub is_whole: bool,
    /// The names of the classes, where the file has them.
    pub classes: Option<Vec<String>>,
}

/// Whether a file, by its name or its first bytes, is one that [`open`] reads.
pub fn is_network(name: &str, bytes: &[u8]) -> bool {
    let ends = [".safetensors", ".onnx", ".qnn"].into_iter();
    let name = name.to_ascii_lowercase();
    ends.into_iter().any(|end| name.ends_with(end)) || Trainer::is_checkpoint(bytes)
}

/// Whether a file, by its name or its first bytes, is a network of another program's: [`import_dense`] reads it.
pub fn is_foreign(name: &str, bytes: &[u8]) -> bool {
    let is_onnx = name.to_ascii_lowercase().ends_with(".onnx");
    is_onnx || matches!(Description::of(bytes), Err(FileError::Foreign))
}

/// The network in a file of this project's, of whatever kind: what training goes on from, a packed network, or a checkpoint
/// as the page kept it.
pub fn open(bytes: &[u8]) -> Result<Opened, FileError> {
    if Trainer::is_checkpoint(bytes) {
        return Ok(Opened {
            trainer: Trainer::restore(bytes)?,
            is_whole: true,
            classes: None,
        });
    }
    let is_whole = Description::of(bytes)?.progress.is_some();
    let (trainer, description) = if is_whole {
        read_trainer(bytes)?
    } else {
        unpack(bytes)?
    };
    Ok(Opened {
        trainer,
        is_whole,
        classes: Some(description.classes),
    })
}
