//! Files of trained networks: the project's own safetensors files (`docs/format.md`), and what other programs read. It
//! makes bytes of networks and networks of bytes; it opens no files, and training and answering are other crates'.

mod header;
mod packed;
mod source;
mod training;
mod unpacked;

pub use header::{Description, FileError, TensorDescription};
pub use packed::{Unpackable, write_packed};
pub use source::{write_c, write_rust};
pub use training::{read_trainer, write_training};
pub use unpacked::unpack;
