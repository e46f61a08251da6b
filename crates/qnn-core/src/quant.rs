//! Quantizers of weights and activations and their straight-through estimators (paper sections 1 and 4).
//! They map numbers to numbers and to codes; packing codes into bits is `bits`.

use crate::bits::{BitPlanes, Encoding};
use crate::spec::Bits;

/// The linear quantizer of k bits: Clip(round(x / step) step, -1, 1 - step) with step 2^(1-k).
/// One bit is the sign (paper eq. 1, with sign(0) = +1); 32 bits is the clip alone, the hard tanh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinearQuantizer {
    bits: Bits,
}

impl LinearQuantizer {
    /// The quantizer of `bits` bits.
    pub fn new(bits: Bits) -> LinearQuantizer {
        LinearQuantizer { bits }
    }

    /// The quantized value of `x`, in [-1, 1].
    #[inline]
    pub fn value(self, x: f32) -> f32 {
        match self.bits {
            Bits::ONE => {
                if x >= 0.0 {
                    1.0
                } else {
                    -1.0
                }
            }
            Bits::FLOAT => hard_tanh(x),
            _ => self.integer(x) * self.step(),
        }
    }

    /// The integer that stands for `x`: its quantized value over the step. 2 to 8 bits only.
    #[inline]
    fn integer(self, x: f32) -> f32 {
        let steps = 1.0 / self.step();
        (x * steps).round_ties_even().clamp(-steps, steps - 1.0)
    }

    /// The distance between neighbouring values, or what the integers of the packed form are worth:
    /// 2^(1-k), and 1 for one bit, whose integers are -1 and +1.
    pub fn step(self) -> f32 {
        match self.bits {
            Bits::ONE | Bits::FLOAT => 1.0,
            bits => 1.0 / (1u32 << (bits.get() - 1)) as f32,
        }
    }

    /// The quantized integers of `values`, `[rows, columns]`, packed; `None` for 32 bits, which has none.
    /// Times [`step`](Self::step) they are the quantized values.
    pub fn pack(self, rows: usize, columns: usize, values: &[f32]) -> Option<BitPlanes> {
        assert_eq!(values.len(), rows * columns);
        let row = |row: usize| values[row * columns..][..columns].iter();
        match self.bits {
            Bits::FLOAT => None,
            Bits::ONE => Some(BitPlanes::pack(Encoding::Sign, rows, columns, |index| {
                row(index).map(|x| u8::from(*x >= 0.0))
            })),
            bits => {
                let encoding = Encoding::TwosComplement(bits.get());
                Some(BitPlanes::pack(encoding, rows, columns, |index| {
                    row(index).map(|x| self.integer(*x) as i8 as u8)
                }))
            }
        }
    }
}

/// Htanh(x) = Clip(x, -1, 1), the function whose gradient the straight-through estimator uses.
#[inline]
pub fn hard_tanh(x: f32) -> f32 {
    x.clamp(-1.0, 1.0)
}

/// The straight-through estimator with saturation (paper eq. 4): the gradient of the quantized value passes to
/// `x` unchanged where |x| <= 1 and vanishes elsewhere.
#[inline]
pub fn straight_through(x: f32, gradient: f32) -> f32 {
    if x.abs() <= 1.0 { gradient } else { 0.0 }
}

/// 8-bit pixels, `[rows, columns]`, packed as they are. A pixel p is worth p / 255.
pub fn pack_pixels(rows: usize, columns: usize, pixels: &[u8]) -> BitPlanes {
    assert_eq!(pixels.len(), rows * columns);
    BitPlanes::pack(Encoding::Unsigned8, rows, columns, |row| {
        pixels[row * columns..][..columns].iter().copied()
    })
}

/// What an 8-bit pixel's integer is worth.
pub const PIXEL_STEP: f32 = 1.0 / 255.0;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_bits() -> impl Strategy<Value = Bits> {
        prop::sample::select(Bits::ALL.to_vec())
    }

    proptest! {
        #[test]
        fn quantizers_are_idempotent_monotone_and_within_range(
            bits in any_bits(), x in -3.0f32..3.0, y in -3.0f32..3.0
        ) {
            let quantizer = LinearQuantizer::new(bits);
            let value = quantizer.value(x);
            prop_assert_eq!(quantizer.value(value), value);
            prop_assert!((-1.0..=1.0).contains(&value));
            prop_assert!((x <= y) == (value <= quantizer.value(y)) || value == quantizer.value(y));
        }

        #[test]
        fn inside_the_range_the_error_is_half_a_step(
            bits in prop::sample::select(Bits::ALL[1..6].to_vec()), share in 0.0f32..1.0
        ) {
            let quantizer = LinearQuantizer::new(bits);
            let x = -1.0 + share * (2.0 - quantizer.step());
            prop_assert!((quantizer.value(x) - x).abs() <= quantizer.step() / 2.0);
        }

        #[test]
        fn packed_integers_times_step_are_the_values(
            bits in prop::sample::select(Bits::ALL[..6].to_vec()),
            values in prop::collection::vec(-1.5f32..1.5, 1..200)
        ) {
            let quantizer = LinearQuantizer::new(bits);
            let packed = quantizer.pack(1, values.len(), &values).unwrap();
            for (column, x) in values.iter().enumerate() {
                let unpacked = packed.get(0, column) as f32 * quantizer.step();
                prop_assert_eq!(unpacked, quantizer.value(*x));
            }
        }

        #[test]
        fn straight_through_vanishes_exactly_outside_the_clip(x in -3.0f32..3.0, gradient in 0.1f32..2.0) {
            let expected = if (-1.0..=1.0).contains(&x) { gradient } else { 0.0 };
            prop_assert_eq!(straight_through(x, gradient), expected);
        }
    }

    #[test]
    fn values_of_the_paper() {
        let sign = LinearQuantizer::new(Bits::ONE);
        assert_eq!([-0.1, 0.0, 0.1].map(|x| sign.value(x)), [-1.0, 1.0, 1.0]);
        let two = LinearQuantizer::new(Bits::new(2).unwrap());
        assert_eq!(
            [-2.0, -0.8, -0.3, 0.2, 0.3, 9.0].map(|x| two.value(x)),
            [-1.0, -1.0, -0.5, 0.0, 0.5, 0.5]
        );
        assert_eq!(
            [1.0, -1.0, 1.1].map(|x| straight_through(x, 2.0)),
            [2.0, 2.0, 0.0]
        );
    }
}
