//! Optimizers: how a gradient moves a parameter. A parameter carries its own optimizer state;
//! what the parameter means, and whether it is clipped, its layer says.
//!
//! The shift-based AdaMax is the paper's Algorithm 3: beta1 = 1 - 2^-3, beta2 = 1 - 2^-10, and the step size and the
//! inverse of v are powers of two, so that both multiplications are shifts. The authors' Torch7 code differs: it has
//! beta1 0.9 and beta2 0.999, divides by v and keeps v rounded to a power of two. We follow the paper.

use std::hint::black_box;
use std::ops::Range;
use std::simd::cmp::SimdPartialOrd;
use std::simd::num::SimdFloat;
use std::simd::{Select, Simd, SimdElement, StdFloat, f32x8};

use serde::{Deserialize, Serialize};

use crate::quant::ap2;
use crate::spec::Optimizer;

const EPSILON: f32 = 1e-8;
/// Learning rates, means, magnitudes and velocities below this become zero, and means of squares below its square: such
/// products are still normal numbers of float32. A step that this changes is below 1e-10 of the learning rate.
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

/// Numbers that are moved at a time.
pub type Group = f32x8;
/// How many they are.
pub const GROUP: usize = Group::LEN;

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
        let rate = if rate < SETTLED { 0.0 } else { rate };
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

    /// Moves the numbers along their gradient, but none beyond `limit` on either side of zero. `gradient` gives that of
    /// a group of numbers, and `moved` is handed what they have become; what the last group lacks is zeros.
    #[inline(always)]
    pub fn update(
        &mut self,
        update: Update,
        gradient: impl Fn(usize) -> Group,
        limit: f32,
        moved: impl FnMut(usize, Group),
    ) {
        // Hidden from the compiler, which would write constants into the loop, where browsers build them at each turn.
        let all = |x: f32| Group::splat(black_box(x));
        let (beta1, beta2) = update.optimizer.betas();
        let (of_momentum, of_gradient) = (all(beta1), all(1.0 - beta1));
        let (of_size, of_square) = (all(beta2), all(1.0 - beta2));
        let (least, least_square) = (all(SETTLED), all(SETTLED * SETTLED));
        let (rate, epsilon, one) = (all(update.rate), all(EPSILON), all(1.0));
        let limits = [all(-limit), all(limit)];
        let mean = move |momentum: Group, gradient: Group| {
            settled(of_momentum * momentum + of_gradient * gradient, least)
        };
        let largest_of = move |largest: Group, gradient: Group| {
            settled(larger(of_size * largest, gradient.abs()), least)
        };
        match update.optimizer {
            Optimizer::Adam => self.step(
                gradient,
                limits,
                moved,
                move |momentum, variance, gradient| {
                    *momentum = mean(*momentum, gradient);
                    let squares = of_size * *variance + of_square * (gradient * gradient);
                    *variance = settled(squares, least_square);
                    rate * *momentum / (variance.sqrt() + epsilon)
                },
            ),
            Optimizer::AdaMax => self.step(
                gradient,
                limits,
                moved,
                move |momentum, largest, gradient| {
                    *momentum = mean(*momentum, gradient);
                    *largest = largest_of(*largest, gradient);
                    rate * *momentum / (*largest + epsilon)
                },
            ),
            Optimizer::ShiftAdaMax => {
                let rate = all(ap2(update.rate));
                self.step(
                    gradient,
                    limits,
                    moved,
                    move |momentum, largest, gradient| {
                        *momentum = mean(*momentum, gradient);
                        *largest = largest_of(*largest, gradient);
                        let inverse = one / (*largest + epsilon);
                        *momentum * (rate * Group::from_array(inverse.to_array().map(ap2)))
                    },
                );
            }
            Optimizer::Sgd { .. } => {
                self.step(gradient, limits, moved, move |velocity, _, gradient| {
                    *velocity = settled(of_momentum * *velocity - rate * gradient, least);
                    -*velocity
                })
            }
        }
    }

    /// Takes a step from each number; `step` says how far, and remembers.
    #[inline(always)]
    fn step(
        &mut self,
        gradient: impl Fn(usize) -> Group,
        [smallest, largest]: [Group; 2],
        mut moved: impl FnMut(usize, Group),
        step: impl Fn(&mut Group, &mut Group, Group) -> Group,
    ) {
        let mut take = |group: usize, numbers: [&mut [f32; GROUP]; 3]| {
            let [value, mut momentum, mut variance] = numbers
                .each_ref()
                .map(|numbers| Group::from_array(**numbers));
            let step = step(&mut momentum, &mut variance, gradient(group));
            let value = smaller(larger(value - step, smallest), largest);
            moved(group, value);
            for (numbers, new) in numbers.into_iter().zip([value, momentum, variance]) {
                *numbers = new.to_array();
            }
        };
        let parts = [&mut *self.values, &mut *self.momentum, &mut *self.variance];
        let [
            (values, last),
            (momentum, last_momentum),
            (variance, last_variance),
        ] = parts.map(|part| part.as_chunks_mut::<GROUP>());
        let groups = values.len();
        let numbers = values.iter_mut().zip(momentum).zip(variance);
        for (group, ((value, momentum), variance)) in numbers.enumerate() {
            take(group, [value, momentum, variance]);
        }
        if !last.is_empty() {
            let rest = [last, last_momentum, last_variance];
            let mut filled = rest.each_ref().map(|rest| group_of(rest, 0).to_array());
            take(groups, filled.each_mut());
            for (rest, filled) in rest.into_iter().zip(filled) {
                rest.copy_from_slice(&filled[..rest.len()]);
            }
        }
    }
}

/// Group number `group` of some numbers; what it lacks is zeros.
#[inline(always)]
pub fn group_of<T: SimdElement + Default>(numbers: &[T], group: usize) -> Simd<T, GROUP> {
    let numbers = &numbers[group * GROUP..];
    match numbers.first_chunk() {
        Some(numbers) => Simd::from_array(*numbers),
        None => Simd::load_or_default(numbers),
    }
}

/// The larger of each two numbers: without the library's care for what is not a number, an instruction.
#[inline(always)]
fn larger(one: Group, other: Group) -> Group {
    one.simd_lt(other).select(other, one)
}

/// The smaller of each two.
#[inline(always)]
fn smaller(one: Group, other: Group) -> Group {
    other.simd_lt(one).select(other, one)
}

/// Zero in the place of what is less than `least`. A mean of gradients that have become zero, or a learning rate after
/// hundreds of short epochs, would else lead to numbers too small for float32's usual form, with which processors take
/// many times as long.
#[inline(always)]
fn settled(x: Group, least: Group) -> Group {
    x.abs().simd_lt(least).select(Group::splat(0.0), x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::values;

    fn move_along(parameter: &mut Parameter, update: Update, gradient: &[f32]) {
        let mut part = parameter.part(0..gradient.len());
        part.update(update, |group| group_of(gradient, group), 1.0, |_, _| {});
    }

    #[test]
    fn the_first_step_is_the_learning_rate_against_the_sign() {
        for (optimizer, steps) in [
            (Optimizer::Adam, 0.009999..0.010001),
            (Optimizer::AdaMax, 0.009999..0.010001),
            // Two factors are rounded to powers of two, each by up to the root of two.
            (Optimizer::ShiftAdaMax, 0.005..0.02),
        ] {
            let mut parameter = Parameter::new(vec![0.5, 0.5, 0.5]);
            move_along(
                &mut parameter,
                Update::new(optimizer, 0.01, 1),
                &[3.0, -0.2, 0.0],
            );
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
        move_along(&mut parameter, update, &[3.0]);
        assert_eq!(parameter.values[0], -0.375 / 128.0 / 4.0);
    }

    #[test]
    fn momentum_gathers_speed() {
        let update = Update::new(Optimizer::Sgd { momentum: 0.5 }, 0.1, 1);
        let mut parameter = Parameter::new(vec![0.0, 7.0]);
        for expected in [-0.1, -0.25, -0.425] {
            move_along(&mut parameter, update, &[1.0]);
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
            move_along(
                &mut parameter,
                Update::new(optimizer, 0.1, 1),
                &[1e-9, -1.0],
            );
            for count in 2..200_000 {
                move_along(
                    &mut parameter,
                    Update::new(optimizer, 0.1, count),
                    &[0.0; 2],
                );
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

    /// One number by the formulas, for comparison.
    fn move_one(numbers: &mut [f32; 3], optimizer: Optimizer, rate: f32, g: f32, limit: f32) {
        let zero_below = |x: f32, least: f32| if x.abs() < least { 0.0 } else { x };
        let (beta1, beta2) = optimizer.betas();
        let [value, m, v] = numbers;
        let mean = zero_below(beta1 * *m + (1.0 - beta1) * g, 1e-18);
        let largest = zero_below((beta2 * *v).max(g.abs()), 1e-18);
        let step = match optimizer {
            Optimizer::Adam => {
                let squares = beta2 * *v + (1.0 - beta2) * (g * g);
                (*m, *v) = (mean, zero_below(squares, 1e-18 * 1e-18));
                rate * *m / (v.sqrt() + EPSILON)
            }
            Optimizer::AdaMax => {
                (*m, *v) = (mean, largest);
                rate * *m / (*v + EPSILON)
            }
            Optimizer::ShiftAdaMax => {
                (*m, *v) = (mean, largest);
                *m * (ap2(rate) * ap2(1.0 / (*v + EPSILON)))
            }
            Optimizer::Sgd { .. } => {
                *m = zero_below(beta1 * *m - rate * g, 1e-18);
                -*m
            }
        };
        *value = (*value - step).clamp(-limit, limit);
    }

    #[test]
    fn groups_move_as_their_numbers_do() {
        for optimizer in [
            Optimizer::Adam,
            Optimizer::AdaMax,
            Optimizer::ShiftAdaMax,
            Optimizer::Sgd { momentum: 0.9 },
        ] {
            for (length, limit) in
                (0..=21).flat_map(|length| [(length, 0.9), (length, f32::INFINITY)])
            {
                let start = values(length, 1);
                let mut expected: Vec<[f32; 3]> =
                    start.iter().map(|value| [*value, 0.0, 0.0]).collect();
                let mut parameter = Parameter::new(start);
                for count in 1..=4 {
                    let update = Update::new(optimizer, 0.1, count);
                    // Gradients of all sizes, the smallest ones at the border of what settles.
                    let gradient: Vec<f32> = values(length, count)
                        .iter()
                        .enumerate()
                        .map(|(index, x)| x * 10f32.powi(-(index as i32)))
                        .collect();
                    let mut told = Vec::new();
                    parameter.part(0..length).update(
                        update,
                        |group| group_of(&gradient, group),
                        limit,
                        |group, moved| told.push((group, moved)),
                    );
                    for (numbers, g) in expected.iter_mut().zip(&gradient) {
                        move_one(numbers, optimizer, update.rate(), *g, limit);
                    }
                    let found: Vec<[f32; 3]> = (0..length)
                        .map(|index| parameter.state().map(|part| part[index]))
                        .collect();
                    assert_eq!(found, expected, "{optimizer:?}");
                    let groups = 0..length.div_ceil(GROUP);
                    assert!(told.iter().map(|(group, _)| *group).eq(groups));
                    let told = told.iter().flat_map(|(_, moved)| moved.to_array());
                    assert!(
                        told.zip(&parameter.values)
                            .all(|(told, value)| told == *value)
                    );
                }
            }
        }
    }

    #[test]
    fn powers() {
        assert_eq!(power(3.0, 0), 1.0);
        assert_eq!(power(3.0, 5), 243.0);
        assert!((power(0.999, 1000) - 0.999f64.powi(1000)).abs() < 1e-12);
    }
}
