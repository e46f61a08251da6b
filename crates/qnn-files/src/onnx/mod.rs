//! ONNX, the graphs that other programs run and give: packed networks and networks of floats are written, dense networks
//! are read. It runs no graph.

mod builder;
mod constants;
mod export;
mod import;
mod proto;
mod wire;

pub use export::{write_float_onnx, write_onnx};
pub(crate) use import::import;
