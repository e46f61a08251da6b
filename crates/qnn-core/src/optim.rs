//! Optimizers: how a gradient moves a parameter. A parameter carries its own optimizer state;
//! what the parameter means, and whether it is clipped, its layer says.
//!
//! The shift-based AdaMax is the paper's Algorithm 3: beta1 = 1 - 2^-3, beta2 = 1 - 2^-10, and the step size and the
//! inverse of v are powers of two, so that both multiplications are shifts. The authors' Torch7 code differs: it has
//! beta1 0.9 and beta2 0.999, divides by v and keeps v rounded to a power of two. We follow the paper.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::quant::ap2;
use crate::spec::Optimizer;

const EPSILON: f32 = 1e-8;
/// Learning rates and means of gradients below this are none, and means of squares below its square.
const SETTLED: f32 = 1e-18;

impl Optimizer {
    /// The shares that the means of the gradient and of its size keep in an update.
    pub fn betas(self) -> (f32, f32) {
        match self {
            Optimizer::Adam | Optimizer::AdaMax => (0.9, 0.999),
            Optimizer::ShiftAdaMax => (1.0 - 1.0 / 8.0, 1.0 - 1.0 / 1024.0),
            Optimizer::Sgd { momentum } => (momentum, 0.0),
        }
    }
}

/// Numbers that training moves, and what the optimizer remembers of each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    pub values: Vec<f32>,
    /// The mean of gradients of Adam and AdaMax, or the velocity of SGD.
    momentum: Vec<f32>,
    /// Adam's mean of squared gradients, or AdaMax's largest magnitude.
    variance: Vec<f32>,
}

/// One update's settings.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    optimizer: Optimizer,
    /// The learning rate; for Adam and AdaMax with the correction of their young means.
    rate: f32,
}

impl Update {
    /// The settings of update number `count` (from 1) since the optimizer was chosen.
    pub fn new(optimizer: Optimizer, learning_rate: f32, count: u32) -> Update {
        let (beta1, beta2) = optimizer.betas();
        let missing = |beta: f32| 1.0 - power(f64::from(beta), count);
        let rate = match optimizer {
            // The form of Kingma and Ba's section 2 that corrects the rate instead of the means.
            Optimizer::Adam => learning_rate * (missing(beta2).sqrt() / missing(beta1)) as f32,
            Optimizer::AdaMax | Optimizer::ShiftAdaMax => {
                (f64::from(learning_rate) / missing(beta1)) as f32
            }
            Optimizer::Sgd { .. } => learning_rate,
        };
        let rate = settled(rate, SETTLED);
        Update { optimizer, rate }
    }

    /// Which optimizer it is of.
    pub fn optimizer(&self) -> Optimizer {
        self.optimizer
    }

    /// The learning rate, for Adam and AdaMax with the correction of their young means.
    pub fn rate(&self) -> f32 {
        self.rate
    }

    /// The same update at `scale` times the learning rate.
    pub fn scaled(self, scale: f32) -> Update {
        Update {
            rate: scale * self.rate,
            ..self
        }
    }
}

/// base^exponent by repeated squaring: the same bits on every machine, unlike the platform's own.
pub fn power(base: f64, mut exponent: u32) -> f64 {
    let (mut result, mut square) = (1.0, base);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result *= square;
        }
        square *= square;
        exponent >>= 1;
    }
    result
}

impl Parameter {
    /// A parameter that stands at `values`, with an optimizer that remembers nothing.
    pub fn new(values: Vec<f32>) -> Parameter {
        Parameter {
            momentum: vec![0.0; values.len()],
            variance: vec![0.0; values.len()],
            values,
        }
    }

    /// Whether all parts belong to a parameter of `length` numbers, and are numbers.
    pub fn is_sound(&self, length: usize) -> bool {
        self.state()
            .iter()
            .all(|part| part.len() == length && part.iter().all(|x| x.is_finite()))
    }

    /// Makes the optimizer forget.
    pub fn forget_momentum(&mut self) {
        self.momentum.fill(0.0);
        self.variance.fill(0.0);
    }

    /// The numbers and the optimizer's two means of each.
    pub(crate) fn state(&self) -> [&[f32]; 3] {
        [&self.values, &self.momentum, &self.variance]
    }

    /// The same, to be written.
    pub(crate) fn state_mut(&mut self) -> [&mut [f32]; 3] {
        [&mut self.values, &mut self.momentum, &mut self.variance]
    }

    /// Some of the numbers, with what the optimizer remembers of them.
    pub fn part(&mut self, range: Range<usize>) -> ParameterPart<'_> {
        ParameterPart {
            values: &mut self.values[range.clone()],
            momentum: &mut self.momentum[range.clone()],
            variance: &mut self.variance[range],
        }
    }
}

/// Some of a parameter's numbers.
#[derive(Debug)]
pub struct ParameterPart<'a> {
    pub values: &'a mut [f32],
    momentum: &'a mut [f32],
    variance: &'a mut [f32],
}

impl<'a> ParameterPart<'a> {
    /// Parts of `length` numbers, the last one perhaps of fewer, for several threads.
    pub fn chunks(self, length: usize) -> impl ExactSizeIterator<Item = ParameterPart<'a>> {
        self.values
            .chunks_mut(length)
            .zip(self.momentum.chunks_mut(length))
            .zip(self.variance.chunks_mut(length))
            .map(|((values, momentum), variance)| ParameterPart {
                values,
                momentum,
                variance,
            })
    }

    /// A part of these numbers.
    pub fn part(&mut self, range: Range<usize>) -> ParameterPart<'_> {
        ParameterPart {
            values: &mut self.values[range.clone()],
            momentum: &mut self.momentum[range.clone()],
            variance: &mut self.variance[range],
        }
    }

    /// Moves the numbers along their `gradient`, one for each, but none beyond `limit` on either side of zero.
    pub fn update(&mut self, update: Update, gradient: &[f32], limit: f32) {
        let (beta1, beta2) = update.optimizer.betas();
        let numbers = self
            .values
            .iter_mut()
            .zip(&mut *self.momentum)
            .zip(&mut *self.variance)
            .zip(gradient);
        match update.optimizer {
            Optimizer::Adam => {
                for (((value, momentum), variance), gradient) in numbers {
                    *momentum = settled(beta1 * *momentum + (1.0 - beta1) * gradient, SETTLED);
                    *variance = settled(
                        beta2 * *variance + (1.0 - beta2) * (gradient * gradient),
                        SETTLED * SETTLED,
                    );
                    let step = update.rate * *momentum / (variance.sqrt() + EPSILON);
                    *value = (*value - step).clamp(-limit, limit);
                }
            }
            Optimizer::AdaMax => {
                for (((value, momentum), largest), gradient) in numbers {
                    *momentum = settled(beta1 * *momentum + (1.0 - beta1) * gradient, SETTLED);
                    *largest = settled((beta2 * *largest).max(gradient.abs()), SETTLED);
                    let step = update.rate * *momentum / (*largest + EPSILON);
                    *value = (*value - step).clamp(-limit, limit);
                }
            }
            Optimizer::ShiftAdaMax => {
                let rate = ap2(update.rate);
                for (((value, momentum), largest), gradient) in numbers {
                    *momentum = settled(beta1 * *momentum + (1.0 - beta1) * gradient, SETTLED);
                    *largest = settled((beta2 * *largest).max(gradient.abs()), SETTLED);
                    let step = *momentum * (rate * ap2(1.0 / (*largest + EPSILON)));
                    *value = (*value - step).clamp(-limit, limit);
                }
            }
            Optimizer::Sgd { .. } => {
                for (((value, velocity), _), gradient) in numbers {
                    *velocity = settled(beta1 * *velocity - update.rate * gradient, SETTLED);
                    *value = (*value + *velocity).clamp(-limit, limit);
                }
            }
        }
    }
}

/// Zero in the place of what is less than `least` and moves nothing. A mean of gradients that have become zero, or a
/// learning rate after hundreds of short epochs, would else lead to numbers too small for float32's usual form, with which
/// processors take a hundred times as long.
#[inline(always)]
fn settled(x: f32, least: f32) -> f32 {
    if x.abs() < least { 0.0 } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_is_the_learning_rate_against_the_sign() {
        for (optimizer, steps) in [
            (Optimizer::Adam, 0.009999..0.010001),
            (Optimizer::AdaMax, 0.009999..0.010001),
            // Two factors are rounded to powers of two, each by up to the root of two.
            (Optimizer::ShiftAdaMax, 0.005..0.02),
        ] {
            let mut parameter = Parameter::new(vec![0.5, 0.5, 0.5]);
            parameter
                .part(0..3)
                .update(Update::new(optimizer, 0.01, 1), &[3.0, -0.2, 0.0], 1.0);
            let moved = |index: usize| parameter.values[index] - 0.5;
            assert!(steps.contains(&-moved(0)), "{optimizer:?} {}", moved(0));
            assert!(steps.contains(&moved(1)), "{optimizer:?} {}", moved(1));
            assert_eq!(parameter.values[2], 0.5);
        }
    }

    #[test]
    fn shift_adamax_by_hand() {
        // 2^-10 / (1 - 7/8) = 2^-7; m = 3/8, AP2(1/3) = 2^-2 by ratio: 1/3 is nearer to 1/4 than to 1/2.
        let mut parameter = Parameter::new(vec![0.0]);
        let update = Update::new(Optimizer::ShiftAdaMax, 1.0 / 1024.0, 1);
        parameter.part(0..1).update(update, &[3.0], 1.0);
        assert_eq!(parameter.values[0], -0.375 / 128.0 / 4.0);
    }

    #[test]
    fn momentum_gathers_speed() {
        let update = Update::new(Optimizer::Sgd { momentum: 0.5 }, 0.1, 1);
        let mut parameter = Parameter::new(vec![0.0, 7.0]);
        for expected in [-0.1, -0.25, -0.425] {
            parameter.part(0..1).update(update, &[1.0], 1.0);
            assert!((parameter.values[0] - expected).abs() < 1e-6);
        }
        assert_eq!(parameter.values[1], 7.0);
    }

    #[test]
    fn what_is_remembered_comes_to_rest_at_zero() {
        for optimizer in [
            Optimizer::Adam,
            Optimizer::AdaMax,
            Optimizer::ShiftAdaMax,
            Optimizer::Sgd { momentum: 0.9 },
        ] {
            let mut parameter = Parameter::new(vec![0.0; 2]);
            parameter
                .part(0..2)
                .update(Update::new(optimizer, 0.1, 1), &[1e-9, -1.0], 1.0);
            for count in 2..200_000 {
                parameter
                    .part(0..2)
                    .update(Update::new(optimizer, 0.1, count), &[0.0; 2], 1.0);
                let [values, momentum, variance] = parameter.state();
                let all = [values, momentum, variance].concat();
                assert!(
                    all.iter().all(|x| *x == 0.0 || x.is_normal()),
                    "{optimizer:?} {all:?}"
                );
            }
            assert_eq!(parameter.momentum, [0.0; 2]);
            // So does a learning rate that has been halved a hundred times.
            assert_eq!(
                Update::new(optimizer, 0.1 * 0.5f32.powi(100), 1).rate(),
                0.0
            );
        }
    }

    #[test]
    fn powers() {
        assert_eq!(power(3.0, 0), 1.0);
        assert_eq!(power(3.0, 5), 243.0);
        assert!((power(0.999, 1000) - 0.999f64.powi(1000)).abs() < 1e-12);
    }
}
