//! Optimizers: how a gradient moves a parameter. A parameter carries its own optimizer state;
//! what the parameter means, and whether it is clipped, its layer says.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::spec::Optimizer;

const BETA1: f32 = 0.9;
const BETA2: f32 = 0.999;
const EPSILON: f32 = 1e-8;

/// Numbers that training moves, and what the optimizer remembers of each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    pub values: Vec<f32>,
    /// Adam's mean of gradients, or the velocity of SGD.
    momentum: Vec<f32>,
    /// Adam's mean of squared gradients.
    variance: Vec<f32>,
}

/// One update's settings, the same for all parameters of a network.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    optimizer: Optimizer,
    /// The learning rate; for Adam with the correction of its young means.
    rate: f32,
}

impl Update {
    /// The settings of update number `count` (from 1) since the optimizer was chosen.
    pub fn new(optimizer: Optimizer, learning_rate: f32, count: u32) -> Update {
        let rate = match optimizer {
            // The form of Kingma and Ba's section 2 that corrects the rate instead of the means.
            Optimizer::Adam => {
                let decayed = |beta: f32| power(f64::from(beta), count);
                let correction = (1.0 - decayed(BETA2)).sqrt() / (1.0 - decayed(BETA1));
                learning_rate * correction as f32
            }
            Optimizer::Sgd { .. } => learning_rate,
        };
        Update { optimizer, rate }
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

    /// Whether all parts belong to a parameter of `length` numbers.
    pub fn has_length(&self, length: usize) -> bool {
        [&self.values, &self.momentum, &self.variance].map(Vec::len) == [length; 3]
    }

    /// Makes the optimizer forget.
    pub fn forget_momentum(&mut self) {
        self.momentum.fill(0.0);
        self.variance.fill(0.0);
    }

    /// Moves the numbers of `range` along their `gradient`, one for each.
    pub fn update(&mut self, update: Update, range: Range<usize>, gradient: &[f32]) {
        let values = self.values[range.clone()].iter_mut();
        let momentum = self.momentum[range.clone()].iter_mut();
        match update.optimizer {
            Optimizer::Adam => {
                let variance = self.variance[range].iter_mut();
                for (((value, momentum), variance), gradient) in
                    values.zip(momentum).zip(variance).zip(gradient)
                {
                    *momentum = BETA1 * *momentum + (1.0 - BETA1) * gradient;
                    *variance = BETA2 * *variance + (1.0 - BETA2) * (gradient * gradient);
                    *value -= update.rate * *momentum / (variance.sqrt() + EPSILON);
                }
            }
            Optimizer::Sgd { momentum: friction } => {
                for ((value, velocity), gradient) in values.zip(momentum).zip(gradient) {
                    *velocity = friction * *velocity - update.rate * gradient;
                    *value += *velocity;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_adam_step_is_the_learning_rate_against_the_sign() {
        let mut parameter = Parameter::new(vec![0.5, 0.5, 0.5]);
        parameter.update(
            Update::new(Optimizer::Adam, 0.01, 1),
            0..3,
            &[3.0, -0.2, 0.0],
        );
        for (value, expected) in parameter.values.iter().zip([0.49, 0.51, 0.5]) {
            assert!((value - expected).abs() < 1e-6);
        }
    }

    #[test]
    fn momentum_gathers_speed() {
        let update = Update::new(Optimizer::Sgd { momentum: 0.5 }, 0.1, 1);
        let mut parameter = Parameter::new(vec![0.0, 7.0]);
        for expected in [-0.1, -0.25, -0.425] {
            parameter.update(update, 0..1, &[1.0]);
            assert!((parameter.values[0] - expected).abs() < 1e-6);
        }
        assert_eq!(parameter.values[1], 7.0);
    }

    #[test]
    fn powers() {
        assert_eq!(power(3.0, 0), 1.0);
        assert_eq!(power(3.0, 5), 243.0);
        assert!((power(0.999, 1000) - 0.999f64.powi(1000)).abs() < 1e-12);
    }
}
