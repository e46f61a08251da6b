//! The mathematics of quantized neural networks (Hubara et al., arXiv:1609.07061): packed bits,
//! their products, quantizers, layers and a trainer. It knows no browser, no clock and no I/O.

pub mod cost;
pub mod spec;
