//! The GPU: products of bit planes and of floats, whole packed networks, and training, as compute shaders through wgpu: WebGPU in
//! the browser, Vulkan, Metal or DX12 elsewhere. `qnn-core` says what is computed, and is what this is held to; nothing here knows a
//! page or a file.
//!
//! A number's way: `device` opens the adapter, `passes` and `products` put programs and buffers together, `network` and
//! `trainer` line them up, `readback` brings back what comes of it. `race` finds the fastest tiles, `comparison` is the paper's, and
//! `timer` keeps their time.

mod comparison;
mod device;
mod network;
mod passes;
mod products;
mod race;
mod readback;
mod timer;
mod trainer;

pub use comparison::{
    PAPER_IMAGES, PAPER_SIDE, Rounds, compare_networks, compare_products, compared_spec,
    training_speed,
};
pub use device::{Gpu, GpuError, Request};
pub use network::GpuNetwork;
pub use products::{Tile, Tiles, float_product, float_tiles, integer_product, plane_tiles};
pub use race::{Race, TileSpeed};
pub use timer::Now;
pub use trainer::{GpuTrainer, MOST_STEPS, PreparedTrainer, TrainingError};
