//! Twins for WebAssembly's 128-bit SIMD. Chosen when compiled: a module either has SIMD or does not load at all.

pub(super) mod float;
pub(super) mod popcount;
