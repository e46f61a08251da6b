//! Answers with packed quantized neural networks (arXiv:1609.07061) on anything that runs Rust: integers, popcounts and
//! thresholds, without an operating system, without an allocator and without a copy of the file. It is also the plain
//! twin that faster implementations are held to. It trains nothing and writes no files.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let file: &[u8] = &[]; // in a program: include_bytes!("mnist.safetensors")
//! let network = qnn_infer::Network::parse(file)?;
//! let mut buffer = [0u64; 256]; // at least network.buffer_words()
//! let digit = network.predict(&[0; 784], &mut buffer)?;
//! # Ok(())
//! # }
//! ```
#![no_std]
#![forbid(unsafe_code)]

#[cfg(doctest)]
extern crate std;

mod encoding;
mod file;
mod network;
mod popcount;

pub use encoding::Encoding;
pub use file::ParseError;
pub use network::{
    Edge, Layer, Levels, MAX_SCORE, Network, Numbers, ShapeError, Thresholds, Weights, score,
};

/// The version of the file format that is read; `docs/format.md` specifies it.
pub const FORMAT_VERSION: u32 = 1;
/// The most layers that a network has.
pub const MAX_LAYERS: usize = 9;
/// The most inputs and units that a layer has.
pub const MAX_WIDTH: usize = 8192;
/// The most classes that a network tells apart.
pub const MAX_CLASSES: usize = 64;
/// The most bit planes that a number is packed into.
pub const MAX_DIGITS: usize = 8;
/// Scores are worth a power of two of such an exponent: a normal float32, and the largest logit one too.
pub const MIN_EXPONENT: i32 = -126;
/// The largest exponent.
pub const MAX_EXPONENT: i32 = 103;
/// The most levels that are told apart by thresholds; more take an affine map.
pub const MAX_THRESHOLD_LEVELS: usize = 16;
