//! The product of a fully connected layer: its inputs by its quantized weights. On packed integers where that is
//! cheaper, else in float32; the same real numbers either way. No bias: batch normalization has one.

use std::ops::Range;

use crate::bits::BitPlanes;
use crate::kernels::{float_product, integer_product};
use crate::quant::{LinearQuantizer, PIXEL_STEP, pack_pixels};
use crate::spec::Bits;

/// Passes of the binary kernel, one for each pair of binary digits, up to which it is the cheaper way.
/// In Chromium on an x86-64 server core it does about 64 to 89 G multiply-accumulates a second in a pass,
/// the float32 kernel 7 to 12.
const MAX_PASSES: u8 = 8;

/// Whether a layer multiplies packed integers; it multiplies float32 otherwise.
pub fn multiplies_integers(weight_bits: Bits, input_bits: Bits) -> bool {
    !weight_bits.is_float()
        && !input_bits.is_float()
        && weight_bits.get() * input_bits.get() <= MAX_PASSES
}

/// What goes into a layer, `[batch, inputs]`.
#[derive(Clone, Debug)]
pub struct Input {
    columns: usize,
    values: Values,
    /// The integers behind the values, packed, and what they are worth; `None` for floats.
    packed: Option<(BitPlanes, f32)>,
}

#[derive(Clone, Debug)]
enum Values {
    Pixels(Vec<u8>),
    Floats(Vec<f32>),
}

impl Input {
    /// 8-bit pixels as they are, `[batch, columns]`, worth 0 to 1, for weights of `weight_bits`.
    pub fn pixels(columns: usize, pixels: Vec<u8>, weight_bits: Bits) -> Input {
        let rows = pixels.len() / columns;
        let packed = multiplies_integers(weight_bits, Bits::PIXEL)
            .then(|| (pack_pixels(rows, columns, &pixels), PIXEL_STEP));
        Input {
            columns,
            packed,
            values: Values::Pixels(pixels),
        }
    }

    /// Activations, `[batch, columns]`, quantized to `bits`, for weights of `weight_bits`.
    pub fn activations(
        columns: usize,
        activations: &[f32],
        bits: Bits,
        weight_bits: Bits,
    ) -> Input {
        let quantizer = LinearQuantizer::new(bits);
        let rows = activations.len() / columns;
        let packed = if multiplies_integers(weight_bits, bits) {
            quantizer.pack(rows, columns, activations)
        } else {
            None
        };
        Input {
            columns,
            packed: packed.map(|planes| (planes, quantizer.step())),
            values: Values::Floats(activations.iter().map(|x| quantizer.value(*x)).collect()),
        }
    }

    /// The real number at `row`, `column`.
    #[inline]
    pub fn value(&self, row: usize, column: usize) -> f32 {
        let index = row * self.columns + column;
        match &self.values {
            Values::Pixels(pixels) => f32::from(pixels[index]) * PIXEL_STEP,
            Values::Floats(values) => values[index],
        }
    }

    /// Number of images.
    pub fn rows(&self) -> usize {
        match &self.values {
            Values::Pixels(pixels) => pixels.len() / self.columns,
            Values::Floats(values) => values.len() / self.columns,
        }
    }
}

/// The weights of a layer as the forward pass takes them: quantized, and packed where that has integers.
#[derive(Clone, Debug)]
pub struct DenseWeights {
    units: usize,
    quantizer: LinearQuantizer,
    packed: Option<BitPlanes>,
}

impl DenseWeights {
    /// Quantizes `latent` weights, `[units, inputs]`, to `bits`, for inputs of `input_bits`.
    pub fn quantize(units: usize, latent: &[f32], bits: Bits, input_bits: Bits) -> DenseWeights {
        let quantizer = LinearQuantizer::new(bits);
        let packed = if multiplies_integers(bits, input_bits) {
            quantizer.pack(units, latent.len() / units, latent)
        } else {
            None
        };
        DenseWeights {
            units,
            quantizer,
            packed,
        }
    }

    /// The quantized value of a latent weight.
    #[inline]
    pub fn value(&self, latent: f32) -> f32 {
        self.quantizer.value(latent)
    }
}

/// The sums of the images `rows`, `[rows, units]`: inputs times weights.
/// `latent` are the weights that `weights` was made of; a product in floats reads them.
pub fn dense_product(
    input: &Input,
    rows: Range<usize>,
    weights: &DenseWeights,
    latent: &[f32],
    sums: &mut [f32],
) {
    match (&input.packed, &weights.packed) {
        (Some((input, step)), Some(packed)) => {
            let scale = step * weights.quantizer.step();
            let products = integer_product(input, rows, packed);
            for (sum, product) in sums.iter_mut().zip(products) {
                *sum = product as f32 * scale;
            }
        }
        _ => float_product(
            input.columns,
            weights.units,
            |row, column| input.value(rows.start + row, column),
            |column, unit| weights.value(latent[unit * input.columns + column]),
            sums,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn packed_and_float_products_agree(
            (batch, inputs, units) in (1usize..5, 1usize..150, 1usize..12),
            weight_bits in prop::sample::select(Bits::ALL.to_vec()),
            activation_bits in prop::sample::select(Bits::ALL.to_vec()),
            seed in any::<u32>()
        ) {
            let noise = |count: usize, salt: u32| -> Vec<f32> {
                (0..count as u32)
                    .map(|i| ((i ^ seed).wrapping_add(salt).wrapping_mul(2654435761) >> 8) as f32 / (1 << 23) as f32 - 1.0)
                    .collect()
            };
            let latent = noise(inputs * units, 1);
            let input = Input::activations(inputs, &noise(batch * inputs, 2), activation_bits, weight_bits);
            let weights = DenseWeights::quantize(units, &latent, weight_bits, activation_bits);
            let mut sums = vec![0.0; batch * units];
            dense_product(&input, 0..batch, &weights, &latent, &mut sums);
            for row in 0..batch {
                for unit in 0..units {
                    let expected: f64 = (0..inputs)
                        .map(|i| f64::from(input.value(row, i)) * f64::from(weights.value(latent[unit * inputs + i])))
                        .sum();
                    prop_assert!((expected - f64::from(sums[row * units + unit])).abs() < 1e-3);
                }
            }
        }
    }

    #[test]
    fn pixels_are_taken_as_they_are() {
        let latent = [0.3, -0.2, 0.9, 0.1, 0.4, -1.0];
        let input = Input::pixels(3, vec![255, 51, 0, 10, 20, 30], Bits::ONE);
        let weights = DenseWeights::quantize(2, &latent, Bits::ONE, Bits::PIXEL);
        let mut sums = [0.0; 4];
        dense_product(&input, 0..2, &weights, &latent, &mut sums);
        for (sum, expected) in sums.iter().zip([204.0, 306.0, 20.0, 0.0]) {
            assert!((sum - expected / 255.0).abs() < 1e-6);
        }
    }
}
