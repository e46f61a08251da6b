//! The mathematics of quantized neural networks (Hubara et al., arXiv:1609.07061): packed bits,
//! their products, quantizers, layers and a trainer. It knows no browser, no clock and no I/O.

pub mod bits;
pub mod cost;
pub mod data;
pub mod kernels;
pub mod layers;
pub mod loss;
pub mod optim;
pub mod packed;
pub mod quant;
pub mod random;
pub mod spec;
pub mod train;
