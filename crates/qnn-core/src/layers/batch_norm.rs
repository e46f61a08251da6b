//! Batch normalization of a layer's sums, with running statistics for the test phase
//! (momentum 0.1 and epsilon 1e-4, as the authors' Theano code).

use serde::{Deserialize, Serialize};

use crate::optim::{Parameter, Update};

const EPSILON: f32 = 1e-4;
/// Share of the newest batch in the running statistics.
const RUNNING_SHARE: f32 = 0.1;

/// y = gamma x̂ + beta for each unit, x̂ the sums with the batch's mean and variance taken out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchNorm {
    gamma: Parameter,
    beta: Parameter,
    running_mean: Vec<f32>,
    running_variance: Vec<f32>,
}

/// What the backward pass needs of the forward pass.
#[derive(Clone, Debug, Default)]
pub struct Normalized {
    /// x̂, `[batch, units]`.
    values: Vec<f32>,
    /// 1 / sqrt(variance + epsilon) of each unit.
    inverse_deviation: Vec<f32>,
}

impl BatchNorm {
    /// A layer of `units` units with gamma 1 and beta 0.
    pub fn new(units: usize) -> BatchNorm {
        BatchNorm {
            gamma: Parameter::new(vec![1.0; units]),
            beta: Parameter::new(vec![0.0; units]),
            running_mean: vec![0.0; units],
            running_variance: vec![1.0; units],
        }
    }

    /// Whether all parts belong to a layer of `units` units.
    pub fn has_units(&self, units: usize) -> bool {
        self.gamma.has_length(units)
            && self.beta.has_length(units)
            && [&self.running_mean, &self.running_variance].map(Vec::len) == [units; 2]
    }

    /// Makes the optimizer forget.
    pub fn forget_momentum(&mut self) {
        self.gamma.forget_momentum();
        self.beta.forget_momentum();
    }

    /// Normalizes `sums`, `[batch, units]`, in place by the batch's statistics, which join the running ones.
    pub fn forward(&mut self, sums: &mut [f32]) -> Normalized {
        let units = self.running_mean.len();
        let batch = (sums.len() / units) as f32;
        let mut mean = vec![0.0; units];
        for row in sums.chunks_exact(units) {
            add(&mut mean, row.iter().copied());
        }
        mean.iter_mut().for_each(|mean| *mean /= batch);
        let mut variance = vec![0.0; units];
        for row in sums.chunks_exact(units) {
            let squares = row
                .iter()
                .zip(&mean)
                .map(|(x, mean)| (x - mean) * (x - mean));
            add(&mut variance, squares);
        }
        variance.iter_mut().for_each(|variance| *variance /= batch);

        let inverse_deviation: Vec<f32> = variance
            .iter()
            .map(|v| 1.0 / (v + EPSILON).sqrt())
            .collect();
        let mut values = Vec::with_capacity(sums.len());
        for row in sums.chunks_exact_mut(units) {
            let start = values.len();
            values.extend(
                row.iter()
                    .zip(mean.iter().zip(&inverse_deviation))
                    .map(|(x, (mean, inverse_deviation))| (x - mean) * inverse_deviation),
            );
            let parameters = self.gamma.values.iter().zip(&self.beta.values);
            for ((y, x), (gamma, beta)) in row.iter_mut().zip(&values[start..]).zip(parameters) {
                *y = gamma * x + beta;
            }
        }
        for (running, now) in [
            (&mut self.running_mean, &mean),
            (&mut self.running_variance, &variance),
        ] {
            for (running, now) in running.iter_mut().zip(now) {
                *running += RUNNING_SHARE * (now - *running);
            }
        }
        Normalized {
            values,
            inverse_deviation,
        }
    }

    /// Turns the gradient to the outputs, `[batch, units]`, into the gradient to the sums, in place,
    /// and updates gamma and beta.
    pub fn backward(&mut self, normalized: &Normalized, gradient: &mut [f32], update: Update) {
        let units = self.running_mean.len();
        let batch = (gradient.len() / units) as f32;
        let (mut to_gamma, mut to_beta) = (vec![0.0; units], vec![0.0; units]);
        let rows = || normalized.values.chunks_exact(units);
        for (gradient, values) in gradient.chunks_exact(units).zip(rows()) {
            add(&mut to_beta, gradient.iter().copied());
            add(
                &mut to_gamma,
                gradient.iter().zip(values).map(|(g, x)| g * x),
            );
        }
        let scale: Vec<f32> = self
            .gamma
            .values
            .iter()
            .zip(&normalized.inverse_deviation)
            .map(|(gamma, inverse_deviation)| gamma * inverse_deviation / batch)
            .collect();
        for (gradient, values) in gradient.chunks_exact_mut(units).zip(rows()) {
            let sums = to_beta.iter().zip(&to_gamma).zip(&scale);
            for ((gradient, x), ((to_beta, to_gamma), scale)) in
                gradient.iter_mut().zip(values).zip(sums)
            {
                *gradient = scale * (batch * *gradient - to_beta - x * to_gamma);
            }
        }
        self.gamma.update(update, 0..units, &to_gamma);
        self.beta.update(update, 0..units, &to_beta);
    }

    /// The test phase as an affine map of each unit: `(scale, shift)` with y = scale x + shift.
    pub fn affine(&self) -> (Vec<f32>, Vec<f32>) {
        let scale: Vec<f32> = self
            .gamma
            .values
            .iter()
            .zip(&self.running_variance)
            .map(|(gamma, variance)| gamma / (variance + EPSILON).sqrt())
            .collect();
        let shift = self
            .beta
            .values
            .iter()
            .zip(self.running_mean.iter().zip(&scale))
            .map(|(beta, (mean, scale))| beta - mean * scale)
            .collect();
        (scale, shift)
    }
}

/// Adds a row to the sums of each unit.
fn add(sums: &mut [f32], row: impl Iterator<Item = f32>) {
    for (sum, x) in sums.iter_mut().zip(row) {
        *sum += x;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Optimizer;

    const SUMS: [f32; 8] = [1.0, -2.0, 4.0, 0.5, -3.0, 2.0, 0.0, 5.0];

    #[test]
    fn outputs_have_mean_0_and_variance_1() {
        let mut outputs = SUMS;
        BatchNorm::new(2).forward(&mut outputs);
        for unit in 0..2 {
            let column = || outputs.iter().skip(unit).step_by(2);
            assert!(column().sum::<f32>().abs() < 1e-5);
            assert!((column().map(|y| y * y).sum::<f32>() / 4.0 - 1.0).abs() < 1e-3);
        }
    }

    #[test]
    fn gradient_agrees_with_finite_differences() {
        let weights = [0.3, -1.0, 0.7, 0.2, -0.4, 0.9, 1.1, -0.6f32];
        let objective = |sums: &[f32; 8]| -> f32 {
            let mut outputs = *sums;
            BatchNorm::new(2).forward(&mut outputs);
            outputs
                .iter()
                .zip(weights)
                .map(|(y, w)| w * y * y * y)
                .sum()
        };
        let mut layer = BatchNorm::new(2);
        let mut outputs = SUMS;
        let normalized = layer.forward(&mut outputs);
        let mut gradient: Vec<f32> = outputs
            .iter()
            .zip(weights)
            .map(|(y, w)| 3.0 * w * y * y)
            .collect();
        let update = Update::new(Optimizer::Sgd { momentum: 0.0 }, 0.0, 1);
        layer.backward(&normalized, &mut gradient, update);
        for index in 0..8 {
            let moved = |offset: f32| {
                let mut sums = SUMS;
                sums[index] += offset;
                objective(&sums)
            };
            let numeric = (moved(1e-2) - moved(-1e-2)) / 2e-2;
            assert!(
                (numeric - gradient[index]).abs() < 5e-3,
                "{numeric} {}",
                gradient[index]
            );
        }
    }

    #[test]
    fn the_test_phase_converges_to_the_batch() {
        let mut layer = BatchNorm::new(2);
        let mut outputs = SUMS;
        for _ in 0..200 {
            outputs = SUMS;
            layer.forward(&mut outputs);
        }
        let (scale, shift) = layer.affine();
        for (index, y) in outputs.iter().enumerate() {
            assert!((scale[index % 2] * SUMS[index] + shift[index % 2] - y).abs() < 1e-3);
        }
    }
}
