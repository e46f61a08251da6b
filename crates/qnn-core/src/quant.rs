//! Quantizers of weights, activations and gradients, their straight-through estimators, and AP2 (paper sections 1
//! and 4). They map numbers to levels; packing levels into bits is `bits`, drawing chances is `random`.
//!
//! The paper's LinearQuant and LogQuant clip to a range [minV, maxV] that it leaves open. Weights and activations here
//! are clipped to [-1, 1]: the linear levels reach from -1 to one step below 1 (as two's complement does), the
//! logarithmic ones from -1 to 1. Gradients are clipped to the range of their row, the same on both sides of zero.
//!
//! Where rounding is stochastic, `chance` decides it: uniform in [0, 1). Deterministic rounding does not read it.

use crate::bits::Encoding;
use crate::spec::{Bits, Levels, Rounding};

/// The quantizer of weights and of activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantizer {
    /// 1 bit is the sign, -1 or +1, whatever the levels (paper eq. 1 and 2); 32 bits is the clip alone.
    pub bits: Bits,
    pub levels: Levels,
    pub rounding: Rounding,
}

impl Quantizer {
    /// The same levels, rounded to the nearer one.
    pub fn deterministic(self) -> Quantizer {
        Quantizer {
            rounding: Rounding::Deterministic,
            ..self
        }
    }

    /// Whether the level depends on chance.
    pub fn is_stochastic(self) -> bool {
        self.rounding == Rounding::Stochastic && !self.bits.is_float()
    }

    /// The level that `x` becomes, in [-1, 1]; `chance` decides stochastic rounding.
    ///
    /// - 1 bit: Sign(x) with Sign(0) = +1; stochastically +1 with the probability [`hard_sigmoid`] (paper eq. 1 to 3).
    /// - k linear bits: Clip(round(x / step) step, -1, 1 - step), step 2^(1-k) (LinearQuant).
    /// - k logarithmic bits: a sign and one of 2^(k-1) powers of two, 1 and below; no zero (LogQuant: Clip(AP2(x))).
    pub fn value(self, x: f32, chance: f32) -> f32 {
        let mut value = [0.0];
        self.values(&[x], &[chance], &mut value);
        value[0]
    }

    /// The [`value`](Self::value) of each of `x`. `chances` may be empty where rounding is deterministic.
    pub fn values(self, x: &[f32], chances: &[f32], out: &mut [f32]) {
        self.quantize(x, chances, out, |level| level);
    }

    /// Each level over the [`step`](Self::step), a whole number. Only where there is an [`encoding`](Self::encoding).
    pub fn integers(self, x: &[f32], chances: &[f32], out: &mut [i16]) {
        let steps = 1.0 / self.step();
        self.quantize(x, chances, out, |level| whole(level * steps));
    }

    /// The cases stand outside the loops, so that the compiler makes vector code of each.
    #[inline(always)]
    fn quantize<T>(self, x: &[f32], chances: &[f32], out: &mut [T], convert: impl Fn(f32) -> T) {
        let (step, stochastic) = (self.step(), self.is_stochastic());
        match self.levels {
            _ if self.bits.is_float() => each(x, &[], out, |x, _| convert(hard_tanh(x))),
            _ if self.bits == Bits::ONE && stochastic => {
                each(x, chances, out, |x, chance| convert(sign(x, true, chance)));
            }
            _ if self.bits == Bits::ONE => each(x, &[], out, |x, _| convert(sign(x, false, 0.0))),
            Levels::Linear => {
                let steps = 1.0 / step;
                let scaled = move |x: f32| (x * steps).clamp(-steps, steps - 1.0);
                if stochastic {
                    each(x, chances, out, |x, chance| {
                        convert(round(scaled(x), true, chance) * step)
                    });
                } else {
                    each(x, &[], out, |x, _| {
                        convert(round(scaled(x), false, 0.0) * step)
                    });
                }
            }
            Levels::Logarithmic => each(x, chances, out, |x, chance| {
                let level = if x.abs() < step {
                    // Between the two levels next to zero.
                    sign(x / step, stochastic, chance) * step
                } else {
                    power_of_two(x.abs().min(1.0), stochastic, chance).copysign(x)
                };
                convert(level)
            }),
        }
    }

    /// What the integers are worth: the distance of linear levels, the smallest of logarithmic ones; 1 for one bit,
    /// whose integers are -1 and +1, and for 32 bits.
    pub fn step(self) -> f32 {
        let bits = i32::from(self.bits.get());
        match self.levels {
            _ if self.bits == Bits::ONE || self.bits.is_float() => 1.0,
            Levels::Linear => exp2(1 - bits),
            Levels::Logarithmic => exp2(1 - (1 << (bits - 1))),
        }
    }

    /// The [`integers`](Self::integers) that there are, rising; `None` where a byte does not hold them all.
    pub fn levels(self) -> Option<Vec<i8>> {
        let bits = u32::from(self.bits.get());
        match (bits, self.levels) {
            (1, _) => Some(vec![-1, 1]),
            (2..=8, Levels::Linear) => {
                let half = 1i16 << (bits - 1);
                Some((-half..half).map(|level| level as i8).collect())
            }
            (2..=3, Levels::Logarithmic) => {
                let powers = (0..1u32 << (bits - 1)).map(|exponent| 1i8 << exponent);
                Some(
                    powers
                        .clone()
                        .rev()
                        .map(|power| -power)
                        .chain(powers)
                        .collect(),
                )
            }
            _ => None,
        }
    }

    /// The small integers that the levels are multiples of; `None` where there are none: for 32 bits, and for
    /// logarithmic levels of 5 bits and more, whose range is too wide.
    pub fn encoding(self) -> Option<Encoding> {
        match (self.bits.get(), self.levels) {
            (1, _) => Some(Encoding::Sign),
            (32, _) | (5.., Levels::Logarithmic) => None,
            (bits, Levels::Linear) => Some(Encoding::TwosComplement(bits)),
            // Up to 2^(2^(k-1) - 1), and as far below zero.
            (bits, Levels::Logarithmic) => Some(Encoding::TwosComplement((1 << (bits - 1)) + 1)),
        }
    }
}

/// The quantizer of gradients. Its levels have a zero and are multiples of a unit that fits the largest gradient of a
/// row of the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GradientQuantizer {
    /// 2 to 8, or 32 for none.
    pub bits: Bits,
    pub levels: Levels,
    pub rounding: Rounding,
}

impl GradientQuantizer {
    /// Whether the level depends on chance.
    pub fn is_stochastic(self) -> bool {
        self.rounding == Rounding::Stochastic && !self.bits.is_float()
    }

    /// How many units the largest level is: 2^(k-1) - 1 of k linear bits; 2^(2^(k-1) - 2) of k logarithmic ones,
    /// which are a sign and zero or one of 2^(k-1) - 1 powers of two.
    pub fn largest(self) -> f32 {
        let magnitudes = (1i32 << (self.bits.get() - 1)) - 1;
        match self.levels {
            Levels::Linear => magnitudes as f32,
            Levels::Logarithmic => exp2(magnitudes - 1),
        }
    }

    /// The unit for a row whose largest magnitude is `largest`. For logarithmic levels it is a power of two, so that
    /// a multiplication by a level and its unit is a shift. 0 for a row of zeros; 1 for 32 bits.
    pub fn unit(self, largest: f32) -> f32 {
        match self.levels {
            _ if self.bits.is_float() => 1.0,
            _ if largest == 0.0 => 0.0,
            Levels::Linear => largest / self.largest(),
            // Of 8 bits the smallest level may be below float32's smallest number, 2^-149, which then takes its place.
            Levels::Logarithmic => (ap2(largest) / self.largest()).max(f32::from_bits(1)),
        }
    }

    /// The level of the gradient `g` of a row, in units of `unit`; `g` itself for 32 bits.
    ///
    /// - linear: round(g / unit), clipped to the largest level;
    /// - logarithmic: AP2(g / unit), clipped to the largest level; below the smallest, that or zero.
    pub fn level(self, g: f32, unit: f32, chance: f32) -> f32 {
        let mut level = [0.0];
        self.levels(&[g], unit, &[chance], &mut level, |level| level);
        level[0]
    }

    /// The [`level`](Self::level) of each of `g`, converted. `chances` may be empty where rounding is deterministic.
    #[inline(always)]
    pub fn levels<T>(
        self,
        g: &[f32],
        unit: f32,
        chances: &[f32],
        out: &mut [T],
        convert: impl Fn(f32) -> T,
    ) {
        if self.bits.is_float() {
            return each(g, &[], out, |g, _| convert(g));
        }
        if unit == 0.0 {
            return each(g, &[], out, |_, _| convert(0.0));
        }
        let (largest, stochastic) = (self.largest(), self.is_stochastic());
        let units = move |g: f32| (g / unit).clamp(-largest, largest);
        match self.levels {
            Levels::Linear if stochastic => each(g, chances, out, |g, chance| {
                convert(round(units(g), true, chance))
            }),
            Levels::Linear => each(g, &[], out, |g, _| convert(round(units(g), false, 0.0))),
            Levels::Logarithmic => each(g, chances, out, |g, chance| {
                let units = units(g);
                convert(if units.abs() < 1.0 {
                    round(units, stochastic, chance)
                } else {
                    power_of_two(units.abs(), stochastic, chance).copysign(g)
                })
            }),
        }
    }

    /// The small integers that the levels are; `None` where there are none, as for [`Quantizer::encoding`].
    pub fn encoding(self) -> Option<Encoding> {
        match (self.bits.get(), self.levels) {
            (32, _) | (5.., Levels::Logarithmic) => None,
            (bits, Levels::Linear) => Some(Encoding::TwosComplement(bits)),
            (bits, Levels::Logarithmic) => Some(Encoding::TwosComplement(1 << (bits - 1))),
        }
    }
}

/// Applies `to` to each of `x` and its chance, 0 where there are no chances.
#[inline(always)]
fn each<T>(x: &[f32], chances: &[f32], out: &mut [T], to: impl Fn(f32, f32) -> T) {
    if chances.is_empty() {
        for (out, x) in out.iter_mut().zip(x) {
            *out = to(*x, 0.0);
        }
    } else {
        for ((out, x), chance) in out.iter_mut().zip(x).zip(chances) {
            *out = to(*x, *chance);
        }
    }
}

/// 2^exponent, from 2^-127 on.
fn exp2(exponent: i32) -> f32 {
    f32::powi(2.0, exponent)
}

/// Sign(x) (paper eq. 1), or +1 with the probability [`hard_sigmoid`] (paper eq. 2).
#[inline]
fn sign(x: f32, stochastic: bool, chance: f32) -> f32 {
    let positive = if stochastic {
        chance < hard_sigmoid(x)
    } else {
        x >= 0.0
    };
    if positive { 1.0 } else { -1.0 }
}

/// A whole number next to `x`: the nearer one (of equals the even one), or by chance such that the mean is `x`.
/// For |x| up to 2^21. Without calls of floor and round, for which the oldest x86-64 machines have no instruction.
#[inline]
fn round(x: f32, stochastic: bool, chance: f32) -> f32 {
    let nearest = (x + WHOLE) - WHOLE;
    if stochastic {
        let below = if nearest > x { nearest - 1.0 } else { nearest };
        if chance < x - below {
            below + 1.0
        } else {
            below
        }
    } else {
        nearest
    }
}

/// Around here float32 holds whole numbers only, and they stand in its lowest bits.
const WHOLE: f32 = (3 << 22) as f32;

/// A whole number of float32 as an integer, without the conversion's care for numbers that fit none.
#[inline]
pub(crate) fn whole(x: f32) -> i16 {
    (x + WHOLE).to_bits() as i16
}

/// A power of two next to `x` > 0: AP2(x), or by chance such that the mean is `x`.
#[inline]
fn power_of_two(x: f32, stochastic: bool, chance: f32) -> f32 {
    if stochastic {
        let (x, back) = normal(x);
        let below = f32::from_bits(x.to_bits() & 0x7f80_0000);
        if chance * below < x - below {
            2.0 * below * back
        } else {
            below * back
        }
    } else {
        ap2(x)
    }
}

/// AP2(x) = sign(x) 2^round(log2 |x|), the nearest power of two by ratio (paper section 3.2); AP2(0) = 0.
/// Exact: the mantissa is compared with sqrt(2). What is not finite stays, and the largest result is 2^127.
#[inline]
pub fn ap2(x: f32) -> f32 {
    /// What lifts mantissas above sqrt(2) into the next exponent.
    const ROUND_UP: u32 = 0x80_0000 - 0x35_04f4;
    if !x.is_finite() {
        return x;
    }
    let (scaled, back) = normal(x.abs());
    let magnitude = (scaled.to_bits() + ROUND_UP).min(0x7f00_0000) & 0x7f80_0000;
    (f32::from_bits(magnitude) * back).copysign(x)
}

/// `x` >= 0 times a power of two such that its exponent stands in its bits, and the factor back: float32 writes
/// numbers below 2^-126 in another way.
#[inline]
fn normal(x: f32) -> (f32, f32) {
    if x < f32::MIN_POSITIVE {
        (x * (1 << 24) as f32, 1.0 / (1 << 24) as f32)
    } else {
        (x, 1.0)
    }
}

/// The hard sigmoid Clip((x + 1) / 2, 0, 1) (paper eq. 3).
#[inline]
pub fn hard_sigmoid(x: f32) -> f32 {
    ((x + 1.0) / 2.0).clamp(0.0, 1.0)
}

/// Htanh(x) = Clip(x, -1, 1), the function whose gradient the straight-through estimator uses.
#[inline]
pub fn hard_tanh(x: f32) -> f32 {
    x.clamp(-1.0, 1.0)
}

/// The straight-through estimator with saturation (paper eq. 4), of every quantizer of activations: the gradient of
/// the level passes to `x` unchanged where |x| <= 1 and vanishes elsewhere. Weights are clipped instead.
#[inline]
pub fn straight_through(x: f32, gradient: f32) -> f32 {
    if x.abs() <= 1.0 { gradient } else { 0.0 }
}

/// What an 8-bit pixel's integer is worth.
pub const PIXEL_STEP: f32 = 1.0 / 255.0;

#[cfg(test)]
mod tests {
    use std::f32::consts::SQRT_2;

    use super::*;
    use proptest::prelude::*;

    fn any_quantizer() -> impl Strategy<Value = Quantizer> {
        (
            prop::sample::select(Bits::ALL.to_vec()),
            any_levels(),
            any_rounding(),
        )
            .prop_map(|(bits, levels, rounding)| Quantizer {
                bits,
                levels,
                rounding,
            })
    }

    fn any_gradient_quantizer() -> impl Strategy<Value = GradientQuantizer> {
        (
            prop::sample::select(Bits::ALL[1..8].to_vec()),
            any_levels(),
            any_rounding(),
        )
            .prop_map(|(bits, levels, rounding)| GradientQuantizer {
                bits,
                levels,
                rounding,
            })
    }

    fn any_levels() -> impl Strategy<Value = Levels> {
        prop::sample::select(vec![Levels::Linear, Levels::Logarithmic])
    }

    fn any_rounding() -> impl Strategy<Value = Rounding> {
        prop::sample::select(vec![Rounding::Deterministic, Rounding::Stochastic])
    }

    /// Numbers of all sizes, not only those near 1.
    fn any_number() -> impl Strategy<Value = f32> {
        (-3.0f32..3.0, 0i32..12).prop_map(|(x, shift)| x * exp2(-shift))
    }

    /// The mean over evenly spread chances; its error is below the distance of the levels over their number.
    fn mean(level: impl Fn(f32) -> f32) -> f64 {
        let count = 4096;
        let chances = (0..count).map(|index| (index as f32 + 0.5) / count as f32);
        chances.map(|chance| f64::from(level(chance))).sum::<f64>() / f64::from(count)
    }

    proptest! {
        #[test]
        fn quantizers_are_idempotent_monotone_and_within_range(
            quantizer in any_quantizer(), x in any_number(), y in any_number(), chance in 0.0f32..1.0,
            other_chance in 0.0f32..1.0
        ) {
            let value = quantizer.value(x, chance);
            // One stochastic bit within (-1, 1) is not a level: only levels stay.
            prop_assert_eq!(quantizer.value(value, other_chance), value);
            prop_assert!((-1.0..=1.0).contains(&value));
            let (lower, upper) = if x <= y { (x, y) } else { (y, x) };
            prop_assert!(quantizer.value(lower, chance) <= quantizer.value(upper, chance));
            if !quantizer.is_stochastic() {
                prop_assert_eq!(value, quantizer.value(x, other_chance));
            }
        }

        #[test]
        fn linear_levels_are_within_half_a_step(
            bits in prop::sample::select(Bits::ALL[1..8].to_vec()), share in 0.0f32..1.0
        ) {
            let quantizer = Quantizer { bits, levels: Levels::Linear, rounding: Rounding::Deterministic };
            let x = -1.0 + share * (2.0 - quantizer.step());
            prop_assert!((quantizer.value(x, 0.0) - x).abs() <= quantizer.step() / 2.0);
        }

        #[test]
        fn logarithmic_levels_are_within_a_factor_of_root_two(
            bits in prop::sample::select(Bits::ALL[1..8].to_vec()), x in any_number()
        ) {
            let quantizer = Quantizer { bits, levels: Levels::Logarithmic, rounding: Rounding::Deterministic };
            prop_assume!((quantizer.step()..=1.0).contains(&x.abs()));
            let ratio = quantizer.value(x, 0.0) / x;
            prop_assert!((0.999 / SQRT_2..1.001 * SQRT_2).contains(&ratio), "{}", ratio);
        }

        #[test]
        fn stochastic_rounding_is_unbiased(quantizer in any_quantizer(), share in -1.0f32..=1.0, shift in 0i32..8) {
            let quantizer = Quantizer { rounding: Rounding::Stochastic, ..quantizer };
            let largest = quantizer.value(9.0, 0.0);
            let x = (share * exp2(-shift)).min(largest);
            let mean = mean(|chance| quantizer.value(x, chance));
            prop_assert!((mean - f64::from(x)).abs() < 5e-4, "{} {}", mean, x);
        }

        #[test]
        fn integers_times_step_are_the_values(
            quantizer in any_quantizer(), x in any_number(), chance in 0.0f32..1.0
        ) {
            if let Some(encoding) = quantizer.encoding() {
                let mut integer = [0];
                quantizer.integers(&[x], &[chance], &mut integer);
                let integer = integer[0];
                prop_assert_eq!(f32::from(integer) * quantizer.step(), quantizer.value(x, chance));
                prop_assert!(encoding.holds(integer), "{:?} {}", encoding, integer);
            }
        }

        #[test]
        fn gradients_are_idempotent_monotone_symmetric_and_within_the_range_of_their_row(
            quantizer in any_gradient_quantizer(), row in prop::collection::vec(any_number(), 2..20), chance in 0.0f32..1.0
        ) {
            let largest = row.iter().fold(0.0f32, |largest, g| largest.max(g.abs()));
            let unit = quantizer.unit(largest);
            let level = |g: f32| quantizer.level(g, unit, chance);
            let mut sorted = row.clone();
            sorted.sort_unstable_by(f32::total_cmp);
            for pair in sorted.windows(2) {
                prop_assert!(level(pair[0]) <= level(pair[1]));
            }
            for g in row {
                let units = level(g);
                prop_assert!(units.abs() <= quantizer.largest());
                let again = level(units * unit);
                prop_assert!((again - units).abs() <= 1e-4 * units.abs(), "{} {}", again, units);
                if let Some(encoding) = quantizer.encoding() {
                    prop_assert_eq!(units.fract(), 0.0);
                    prop_assert!(encoding.holds(units as i16));
                }
                if !quantizer.is_stochastic() {
                    prop_assert_eq!(level(-g), -units);
                }
            }
        }

        #[test]
        fn stochastic_gradients_are_unbiased(quantizer in any_gradient_quantizer(), g in any_number(), over in 1.5f32..3.0) {
            let quantizer = GradientQuantizer { rounding: Rounding::Stochastic, ..quantizer };
            // A row whose largest is well above g: logarithmic levels end up to half an octave below the largest.
            let unit = quantizer.unit(g.abs() * over);
            let mean = mean(|chance| quantizer.level(g, unit, chance)) * f64::from(unit);
            prop_assert!((mean - f64::from(g)).abs() <= 1e-3 * f64::from(g.abs()).max(f64::from(unit)), "{} {}", mean, g);
        }

        #[test]
        fn straight_through_vanishes_exactly_outside_the_clip(x in -3.0f32..3.0, gradient in 0.1f32..2.0) {
            let expected = if (-1.0..=1.0).contains(&x) { gradient } else { 0.0 };
            prop_assert_eq!(straight_through(x, gradient), expected);
        }

        #[test]
        fn ap2_is_the_nearest_power_of_two_by_ratio(x in any_number()) {
            let expected = f64::from(x.signum()) * f64::from(x.abs()).log2().round().exp2();
            prop_assert_eq!(f64::from(ap2(x)), if x == 0.0 { 0.0 } else { expected });
            let tiny = x * exp2(-120);
            let expected = f64::from(tiny.signum()) * f64::from(tiny.abs()).log2().round().exp2();
            // Above 2^-149, the smallest of all.
            prop_assert!(tiny.abs() < 2e-45 || f64::from(ap2(tiny)) == expected, "{} {}", tiny, ap2(tiny));
        }
    }

    #[test]
    fn values_of_the_paper() {
        let quantizer = |bits, levels| Quantizer {
            bits: Bits::new(bits).unwrap(),
            levels,
            rounding: Rounding::Deterministic,
        };
        let sign = quantizer(1, Levels::Linear);
        assert_eq!(
            [-0.1, 0.0, 0.1].map(|x| sign.value(x, 0.0)),
            [-1.0, 1.0, 1.0]
        );
        let two = quantizer(2, Levels::Linear);
        assert_eq!(
            [-2.0, -0.8, -0.3, 0.2, 0.3, 9.0].map(|x| two.value(x, 0.0)),
            [-1.0, -1.0, -0.5, 0.0, 0.5, 0.5]
        );
        let three = quantizer(3, Levels::Logarithmic);
        assert_eq!(
            [-2.0, -0.8, -0.3, 0.2, 0.01, -0.01, 0.0].map(|x| three.value(x, 0.0)),
            [-1.0, -1.0, -0.25, 0.25, 0.125, -0.125, 0.125]
        );
        assert_eq!(
            [1.0, -1.0, 1.1].map(|x| straight_through(x, 2.0)),
            [2.0, 2.0, 0.0]
        );
        assert_eq!(
            [0.0, 1.0, SQRT_2, SQRT_2.next_up(), -6.1, f32::MAX].map(ap2),
            [0.0, 1.0, 1.0, 2.0, -8.0, f32::powi(2.0, 127)]
        );
        assert!(ap2(f32::NAN).is_nan());
    }

    #[test]
    fn the_six_bit_gradient_of_a_row() {
        let six = GradientQuantizer {
            bits: Bits::new(6).unwrap(),
            levels: Levels::Linear,
            rounding: Rounding::Deterministic,
        };
        let unit = six.unit(0.62);
        let levels = [0.62, -0.62, 0.0, 0.031, -0.3].map(|g| six.level(g, unit, 0.0));
        assert_eq!(levels, [31.0, -31.0, 0.0, 2.0, -15.0]);
        assert_eq!(six.level(0.0, six.unit(0.0), 0.9), 0.0);
        // 127 octaves below a small number there is no float32 any more.
        let eight = GradientQuantizer {
            bits: Bits::new(8).unwrap(),
            levels: Levels::Logarithmic,
            ..six
        };
        let unit = eight.unit(1e-8);
        assert_eq!(eight.level(1e-8, unit, 0.0) * unit, ap2(1e-8));
    }
}
