//! The GPU: products of bit planes and of floats, whole packed networks, and training, as compute shaders through wgpu: WebGPU in
//! the browser, Vulkan, Metal or DX12 elsewhere. `qnn-core` says what is computed, and is what this is held to; nothing here knows a
//! page or a file.
//!
//! A number's way: `device` opens the adapter, `passes` and `products` put programs and buffers together, `network` and
//! `trainer` line them up, `readback` brings back what comes of it.

mod device;
mod network;
mod passes;
mod products;
mod readback;
mod trainer;

pub use device::{Gpu, GpuError, Request};
pub use network::GpuNetwork;
pub use products::{
    ProductKernel, Tile, Tiles, float_product, float_tiles, integer_product, plane_tiles,
};
pub use trainer::{GpuTrainer, MOST_STEPS, TrainingError};
