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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Preset;

    #[test]
    fn one_bit_weights_are_32_times_smaller() {
        let spec = Preset::named("mnist-512").unwrap().spec();
        let bytes = |bits| weight_bytes(&spec, 784, 10, bits);
        assert_eq!(bytes(Bits::ONE), (784 * 512 + 512 * 512 + 512 * 10) / 8);
        assert_eq!(bytes(Bits::FLOAT), 32 * bytes(Bits::ONE));
    }

    #[test]
    fn the_papers_networks_have_the_papers_sizes() {
        let bytes =
            |preset| weight_bytes(&Preset::named(preset).unwrap().spec(), 784, 10, Bits::ONE);
        assert_eq!(bytes("paper-torch7"), 10_014_720 / 8);
        assert_eq!(bytes("paper-theano"), 36_806_656 / 8);
    }
}
