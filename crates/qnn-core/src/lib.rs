//! The mathematics of quantized neural networks (Hubara et al., arXiv:1609.07061): packed bits,
//! their products, quantizers, layers and a trainer. It knows no browser, no clock and no I/O.
//!
//! # Where the paper and its authors' code disagree, or leave something open
//!
//! | | paper | authors' code | here |
//! | --- | --- | --- | --- |
//! | Sign(0) | +1 | Torch7: 0 for activations | +1 |
//! | stochastic weights | +1 with the hard sigmoid's probability | Torch7 never takes the sign | the paper |
//! | gradient of a weight's quantizer | straight through where \|w\| <= 1 | no mask; the weight is clipped | the code: a clipped weight is never outside |
//! | range of LinearQuant | \[minV, maxV\], open | none for it | \[-1, 1 - step\]: the codes of two's complement |
//! | range of LogQuant | \[minV, maxV\], open | none for it | ±\[2^(1-2^(k-1)), 1\] |
//! | quantizer of gradients | linear or logarithmic, open how | none | a unit a row of the product; stochastic rounding |
//! | beta of shift-based batch norm | missing in the last line | added | added |
//! | shift-based AdaMax | beta1 1-2^-3, beta2 1-2^-10 | 0.9, 0.999, and v rounded | the paper |
//! | learning rate, MNIST, Torch7 | halved every 10 epochs | every 20 | the paper |
//! | learning rate of gamma and beta | the same | Torch7 scales gamma's | the same |
//! | pixels | 2 p / 255 - 1 | the same; Torch7 mean and deviation | p / 255: batch norm takes the difference out, but a pixel that dropout leaves out is paper, not grey |
//! | first layer when answering | bit planes | float32 product | small integers |

#![feature(portable_simd)]

pub mod bits;
pub mod cost;
pub mod data;
pub mod inspect;
pub mod kernels;
pub mod layers;
pub mod link;
pub mod loss;
pub mod measure;
pub mod optim;
pub mod packed;
pub mod parallel;
pub mod quant;
pub mod random;
pub mod report;
pub mod spec;
pub mod threads;
pub mod train;
pub mod tune;
