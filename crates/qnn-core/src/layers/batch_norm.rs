//! Batch normalization of a layer's sums, ordinary and shift-based, with running statistics for the test phase.
//! It normalizes each unit over the batch; what follows it is the trainer's business.
//!
//! The shift-based one (paper Algorithm 2) rounds to powers of two what the ordinary one multiplies with: the
//! centred sum in its square, 1 / deviation and gamma. Its backward pass puts AP2(x̂) for x̂ as well, as the authors'
//! Torch7 code does. Where paper and code disagree or are silent:
//! - the paper's last line leaves beta out; the code adds it, and so do we;
//! - epsilon is 1e-4, of the authors' Theano code (Torch7: 1e-5), and the newest batch's share in the running
//!   statistics 0.1 (Theano) or 2^-3 (Torch7, a shift);
//! - the running statistic is the variance. The code's is 1 / deviation; with the variance a network can change from
//!   one normalization to the other in the middle of training.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{NotFinite, are_finite};
use crate::optim::{Parameter, Update, group_of};
use crate::parallel::Ranks;
use crate::quant::{ap2, straight_through};
use crate::spec::Normalization;
use crate::threads;

const EPSILON: f32 = 1e-4;
/// Numbers of a line of the cache.
const LINE: usize = 16;

impl Normalization {
    /// A factor as this normalization multiplies with it.
    #[inline]
    fn factor(self, x: f32) -> f32 {
        match self {
            Normalization::BatchNorm => x,
            Normalization::ShiftBatchNorm => ap2(x),
        }
    }

    /// Share of the newest batch in the running statistics.
    pub fn running_share(self) -> f32 {
        match self {
            Normalization::BatchNorm => 0.1,
            Normalization::ShiftBatchNorm => 0.125,
        }
    }

    fn inverse_deviation(self, variance: f32) -> f32 {
        self.factor(1.0 / (variance + EPSILON).sqrt())
    }
}

/// y = gamma x̂ + beta for each unit, x̂ the sums with the batch's mean and variance taken out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchNorm {
    gamma: Parameter,
    beta: Parameter,
    running_mean: Vec<f32>,
    running_variance: Vec<f32>,
}

/// Gamma and beta with the optimizer's two means of each, and the running mean and variance.
pub(crate) type State<T> = ([T; 3], [T; 3], [T; 2]);

/// What the backward pass needs of the forward pass.
#[derive(Clone, Debug, Default)]
pub struct Normalized {
    /// Images of the batch, of all ranks.
    batch: usize,
    /// x̂, `[images, units]`; AP2(x̂) where that is shift-based.
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

    /// The scale of each unit.
    pub fn gamma(&self) -> &[f32] {
        &self.gamma.values
    }

    /// The shift of each unit.
    pub fn beta(&self) -> &[f32] {
        &self.beta.values
    }

    /// The running mean and variance of each unit's sums.
    pub fn running_statistics(&self) -> (&[f32], &[f32]) {
        (&self.running_mean, &self.running_variance)
    }

    /// All that training changes: gamma, beta, and the running mean and variance.
    pub(crate) fn state(&self) -> State<&[f32]> {
        let running = [self.running_mean.as_slice(), &self.running_variance];
        (self.gamma.state(), self.beta.state(), running)
    }

    /// The same, to be written.
    pub(crate) fn state_mut(&mut self) -> State<&mut [f32]> {
        let running = [self.running_mean.as_mut_slice(), &mut self.running_variance];
        (self.gamma.state_mut(), self.beta.state_mut(), running)
    }

    /// Whether all parts belong to a layer of `units` units.
    pub fn has_units(&self, units: usize) -> bool {
        self.gamma.is_sound(units)
            && self.beta.is_sound(units)
            && [&self.running_mean, &self.running_variance].map(Vec::len) == [units; 2]
            && self.running_mean.iter().all(|mean| mean.is_finite())
            && self
                .running_variance
                .iter()
                .all(|variance| variance.is_finite() && *variance >= 0.0)
    }

    /// Makes the optimizer forget.
    pub fn forget_momentum(&mut self) {
        self.gamma.forget_momentum();
        self.beta.forget_momentum();
    }

    /// Normalizes `sums`, `[images, units]`, in place by the statistics of the batch, which join the running ones. The images
    /// are those of this rank, `batch` is the number of all.
    pub fn forward(
        &mut self,
        normalization: Normalization,
        sums: &mut [f32],
        batch: usize,
        ranks: &mut Ranks<'_>,
    ) -> Result<Normalized, NotFinite> {
        let units = self.running_mean.len();
        let images = sums.len() / units;
        let rows = |columns: Range<usize>| {
            let rows = sums.chunks_exact(units);
            rows.map(move |row| &row[columns.clone()])
        };
        let over_batch = |sum: &mut f32| *sum /= batch as f32;
        let (mut mean, mut variance) = (vec![0.0; units], vec![0.0; units]);
        ranks.add_in_order([&mut mean], |mean| {
            for_units(images, mean, |columns, [mean]| {
                for row in rows(columns) {
                    for (mean, x) in mean.iter_mut().zip(row) {
                        *mean += x;
                    }
                }
            });
        });
        mean.iter_mut().for_each(over_batch);
        ranks.add_in_order([&mut variance], |variance| {
            for_units(images, variance, |columns, [variance]| {
                let mean = &mean[columns.clone()];
                // The cases stand outside the loops, so that the compiler makes vector code of each.
                match normalization {
                    Normalization::BatchNorm => {
                        rows(columns).for_each(|row| add_squares(variance, mean, row, |x| x))
                    }
                    Normalization::ShiftBatchNorm => {
                        rows(columns).for_each(|row| add_squares(variance, mean, row, ap2))
                    }
                }
            });
        });
        variance.iter_mut().for_each(over_batch);
        // Finite exactly where all sums are.
        are_finite(&variance)?;

        let inverse_deviation: Vec<f32> = variance
            .iter()
            .map(|variance| normalization.inverse_deviation(*variance))
            .collect();
        let gamma: Vec<f32> = self
            .gamma
            .values
            .iter()
            .map(|gamma| normalization.factor(*gamma))
            .collect();
        let piece = threads::rows_per_piece(units) * units;
        let (length, sums) = (sums.len(), sums.chunks_mut(piece));
        let values = threads::fill_pieces(length, piece, sums, |_, values: &mut [f32], sums| {
            for (values, row) in values.chunks_mut(units).zip(sums.chunks_mut(units)) {
                let statistics = mean.iter().zip(&inverse_deviation);
                for ((value, x), (mean, inverse_deviation)) in
                    values.iter_mut().zip(&*row).zip(statistics)
                {
                    *value = (x - mean) * inverse_deviation;
                }
                let parameters = gamma.iter().zip(&self.beta.values);
                for ((y, x), (gamma, beta)) in row.iter_mut().zip(&*values).zip(parameters) {
                    *y = gamma * x + beta;
                }
                if normalization == Normalization::ShiftBatchNorm {
                    values.iter_mut().for_each(|x| *x = ap2(*x));
                }
            }
        });
        for (running, now) in [
            (&mut self.running_mean, &mean),
            (&mut self.running_variance, &variance),
        ] {
            for (running, now) in running.iter_mut().zip(now) {
                *running += normalization.running_share() * (now - *running);
            }
        }
        Ok(Normalized {
            batch,
            values,
            inverse_deviation,
        })
    }

    /// Turns the gradient to the outputs, `[images, units]`, into the gradient to the sums, in place,
    /// and updates gamma and beta; changes neither where a gradient is not finite. Where `outputs` are given, the
    /// gradient is one to their quantized values and passes [`straight_through`] to them first. The images are those of
    /// this rank, as in the forward pass.
    pub fn backward(
        &mut self,
        normalization: Normalization,
        normalized: &Normalized,
        outputs: Option<&[f32]>,
        gradient: &mut [f32],
        update: Update,
        ranks: &mut Ranks<'_>,
    ) -> Result<(), NotFinite> {
        let units = self.running_mean.len();
        let (images, batch) = (gradient.len() / units, normalized.batch);
        if let Some(outputs) = outputs {
            let row_of = |row: usize| &outputs[row * units..][..units];
            threads::for_each_row(gradient, units, |row, gradient| {
                for (gradient, output) in gradient.iter_mut().zip(row_of(row)) {
                    *gradient = straight_through(*output, *gradient);
                }
            });
        }
        let (mut to_gamma, mut to_beta) = (vec![0.0; units], vec![0.0; units]);
        ranks.add_in_order([&mut to_gamma, &mut to_beta], |sums| {
            for_units(images, sums, |columns, [to_gamma, to_beta]| {
                let values = normalized.values.chunks_exact(units);
                for (gradient, values) in gradient.chunks_exact(units).zip(values) {
                    let numbers = gradient[columns.clone()]
                        .iter()
                        .zip(&values[columns.clone()]);
                    for ((to_gamma, to_beta), (g, x)) in
                        to_gamma.iter_mut().zip(&mut *to_beta).zip(numbers)
                    {
                        *to_beta += g;
                        *to_gamma += g * x;
                    }
                }
            });
        });
        are_finite(&to_beta).and(are_finite(&to_gamma))?;
        let scale: Vec<f32> = self
            .gamma
            .values
            .iter()
            .zip(&normalized.inverse_deviation)
            .map(|(gamma, inverse_deviation)| {
                normalization.factor(*gamma) * inverse_deviation / batch as f32
            })
            .collect();
        threads::for_each_row(gradient, units, |row, gradient| {
            let values = &normalized.values[row * units..][..units];
            let sums = to_beta.iter().zip(&to_gamma).zip(&scale);
            for ((gradient, x), ((to_beta, to_gamma), scale)) in
                gradient.iter_mut().zip(values).zip(sums)
            {
                *gradient = scale * (batch as f32 * *gradient - to_beta - x * to_gamma);
            }
        });
        self.gamma.part(0..units).update(
            update,
            |group| group_of(&to_gamma, group),
            f32::INFINITY,
            |_, _| {},
        );
        self.beta.part(0..units).update(
            update,
            |group| group_of(&to_beta, group),
            f32::INFINITY,
            |_, _| {},
        );
        Ok(())
    }

    /// Puts `statistics` in the place of the running mean and variance of each unit and changes gamma and beta such that the
    /// test phase stays as it is; where `only_signs` of it matter, with a gamma of 1 or -1.
    pub(crate) fn restate(
        &mut self,
        normalization: Normalization,
        statistics: &[(f32, f32)],
        only_signs: bool,
    ) {
        let (scale, shift) = self.affine(normalization);
        for (unit, (mean, variance)) in statistics.iter().enumerate() {
            let deviation = 1.0 / normalization.inverse_deviation(*variance);
            let factor = if only_signs && scale[unit] != 0.0 {
                1.0 / (deviation * scale[unit].abs())
            } else {
                1.0
            };
            let scale = scale[unit] * factor;
            self.gamma.values[unit] = scale * deviation;
            self.beta.values[unit] = shift[unit] * factor + mean * scale;
            self.running_mean[unit] = *mean;
            self.running_variance[unit] = *variance;
        }
    }

    /// The test phase as an affine map of each unit: `(scale, shift)` with y = scale x + shift.
    pub fn affine(&self, normalization: Normalization) -> (Vec<f32>, Vec<f32>) {
        let scale: Vec<f32> = self
            .gamma
            .values
            .iter()
            .zip(&self.running_variance)
            .map(|(gamma, variance)| {
                normalization.factor(*gamma) * normalization.inverse_deviation(*variance)
            })
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

/// Adds the squares of a row's differences from the mean, one factor as `factor` makes it.
#[inline(always)]
fn add_squares(variance: &mut [f32], mean: &[f32], row: &[f32], factor: impl Fn(f32) -> f32) {
    for ((variance, x), mean) in variance.iter_mut().zip(row).zip(mean) {
        *variance += (x - mean) * factor(x - mean);
    }
}

/// Adds up figures of each unit over some images, some units at a time, on all threads where that is worth it.
fn for_units<const N: usize>(
    images: usize,
    figures: [&mut [f32]; N],
    add: impl Fn(Range<usize>, [&mut [f32]; N]) + Sync,
) {
    // As few pieces as there are threads: long parts of rows come from another thread's cache faster than short ones.
    let units = figures.first().map_or(0, |figures| figures.len());
    let width = units
        .div_ceil(rayon::current_num_threads())
        .next_multiple_of(LINE);
    let width = width.max(threads::rows_per_piece(images));
    let mut chunks = figures.map(|figures| figures.chunks_mut(width));
    let pieces: Vec<[&mut [f32]; N]> = (0..units.div_ceil(width))
        .map(|_| {
            chunks
                .each_mut()
                .map(|chunks| chunks.next().unwrap_or_default())
        })
        .collect();
    threads::for_each(pieces.into_iter(), |piece, figures| {
        let first = piece * width;
        add(first..units.min(first + width), figures);
    });
}

#[cfg(test)]
mod tests {
    use super::Normalization::{BatchNorm as Ordinary, ShiftBatchNorm as Shift};
    use super::*;
    use crate::spec::Optimizer;

    const SUMS: [f32; 8] = [1.0, -2.0, 4.0, 0.5, -3.0, 2.0, 0.0, 5.0];

    #[test]
    fn outputs_have_mean_0_and_variance_1() {
        // Three factors are rounded to powers of two, each by up to the root of two: 1 / deviation squared, and one.
        for (normalization, variances) in [(Ordinary, 0.999..1.001), (Shift, 0.35..2.83)] {
            let mut outputs = SUMS;
            BatchNorm::new(2)
                .forward(normalization, &mut outputs, 4, &mut Ranks::alone())
                .unwrap();
            for unit in 0..2 {
                let column = || outputs.iter().skip(unit).step_by(2);
                assert!(column().sum::<f32>().abs() < 1e-5);
                let variance = column().map(|y| y * y).sum::<f32>() / 4.0;
                assert!(variances.contains(&variance), "{variance}");
            }
        }
    }

    #[test]
    fn gradient_agrees_with_finite_differences() {
        let weights = [0.3, -1.0, 0.7, 0.2, -0.4, 0.9, 1.1, -0.6f32];
        let objective = |sums: &[f32; 8]| -> f32 {
            let mut outputs = *sums;
            BatchNorm::new(2)
                .forward(Ordinary, &mut outputs, 4, &mut Ranks::alone())
                .unwrap();
            outputs
                .iter()
                .zip(weights)
                .map(|(y, w)| w * y * y * y)
                .sum()
        };
        let mut layer = BatchNorm::new(2);
        let mut outputs = SUMS;
        let normalized = layer
            .forward(Ordinary, &mut outputs, 4, &mut Ranks::alone())
            .unwrap();
        let mut gradient: Vec<f32> = outputs
            .iter()
            .zip(weights)
            .map(|(y, w)| 3.0 * w * y * y)
            .collect();
        let update = Update::new(Optimizer::Sgd { momentum: 0.0 }, 0.0, 1);
        layer
            .backward(
                Ordinary,
                &normalized,
                None,
                &mut gradient,
                update,
                &mut Ranks::alone(),
            )
            .unwrap();
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
        for normalization in [Ordinary, Shift] {
            let mut layer = BatchNorm::new(2);
            let mut outputs = SUMS;
            for _ in 0..200 {
                outputs = SUMS;
                layer
                    .forward(normalization, &mut outputs, 4, &mut Ranks::alone())
                    .unwrap();
            }
            let (scale, shift) = layer.affine(normalization);
            for (index, y) in outputs.iter().enumerate() {
                assert!((scale[index % 2] * SUMS[index] + shift[index % 2] - y).abs() < 1e-3);
            }
        }
    }

    #[test]
    fn what_is_not_finite_is_refused_and_changes_nothing() {
        let mut layer = BatchNorm::new(2);
        let mut outputs = SUMS;
        let normalized = layer
            .forward(Ordinary, &mut outputs, 4, &mut Ranks::alone())
            .unwrap();
        let before = layer.clone();
        for bad in [f32::NAN, f32::INFINITY] {
            let mut sums = SUMS;
            sums[3] = bad;
            assert_eq!(
                layer
                    .forward(Shift, &mut sums, 4, &mut Ranks::alone())
                    .unwrap_err(),
                NotFinite
            );
            let mut gradient = SUMS;
            gradient[4] = bad;
            let update = Update::new(Optimizer::Adam, 0.1, 1);
            let outcome = layer.backward(
                Ordinary,
                &normalized,
                None,
                &mut gradient,
                update,
                &mut Ranks::alone(),
            );
            assert_eq!(outcome, Err(NotFinite));
            assert_eq!(layer, before);
        }
    }
}
