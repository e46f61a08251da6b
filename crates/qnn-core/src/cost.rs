//! What a network costs, counted exactly from its spec. Not measured: the clock belongs to the caller.

use crate::spec::{Bits, NetworkSpec};

/// Bytes of all weights of a network of `spec` at `bits` each, without batch normalization.
pub fn weight_bytes(spec: &NetworkSpec, inputs: usize, classes: usize, bits: Bits) -> usize {
    spec.layer_shapes(inputs, classes)
        .iter()
        .map(|(inputs, outputs)| inputs * outputs * bits.get() as usize)
        .sum::<usize>()
        .div_ceil(8)
}
