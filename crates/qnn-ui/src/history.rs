//! What was measured so far, at a bounded size: training steps, evaluations, and where a setting changed.
//! It knows nothing of pixels; `chart` draws it.

use qnn_protocol::StepPoint;
use qnn_protocol::spec::{LearningRateScale, NetworkSpec, Normalization, Optimizer};
use serde::{Deserialize, Serialize};
use yew::AttrValue;

use crate::language::text;
use crate::names;

/// More buckets than this would not be seen apart; then neighbours are merged.
const MOST_BUCKETS: usize = 1024;
const MOST_EVALUATIONS: usize = 512;
/// Steps over which the smoothed lines average, roughly.
const SMOOTHING_STEPS: f32 = 30.0;

/// Neighbouring training steps, averaged.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// The last step in it, and seconds of training up to there.
    pub step: u32,
    pub seconds: f32,
    steps: u32,
    pub loss: f32,
    pub accuracy: f32,
    /// The running averages after its last step.
    pub smooth_loss: f32,
    pub smooth_accuracy: f32,
}

/// The answers to the whole test set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    pub step: u32,
    /// Seconds of training up to there.
    pub seconds: f32,
    pub epoch: f32,
    pub loss: f32,
    pub accuracy: f32,
}

/// Where something changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    pub step: u32,
    /// Seconds of training up to there.
    pub seconds: f32,
    change: Change,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Change {
    Settings {
        before: NetworkSpec,
        after: NetworkSpec,
    },
    /// The name that the engine gives the new data.
    Data(String),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct History {
    buckets: Vec<Bucket>,
    /// Steps a bucket holds.
    stride: u32,
    evaluations: Vec<Evaluation>,
    marks: Vec<Mark>,
    first_point: FirstPoint,
}

/// Whether the first point after pressing Train has been painted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum FirstPoint {
    Awaited,
    Measured,
    Painted,
}

impl Default for History {
    fn default() -> Self {
        History {
            buckets: Vec::new(),
            stride: 1,
            evaluations: Vec::new(),
            marks: Vec::new(),
            first_point: FirstPoint::Painted,
        }
    }
}

impl History {
    pub fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    pub fn evaluations(&self) -> &[Evaluation] {
        &self.evaluations
    }

    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// The last step of which something is known.
    pub fn last_step(&self) -> u32 {
        let trained = self.buckets.last().map_or(0, |bucket| bucket.step);
        let evaluated = self.evaluations.last().map_or(0, |point| point.step);
        trained.max(evaluated)
    }

    /// Notes steps that took `seconds` in all since training began, up to the last one.
    pub fn push_steps(&mut self, points: &[StepPoint], seconds: f32) {
        let before = self.last_seconds().min(seconds);
        for (number, point) in (1..).zip(points) {
            let share = number as f32 / points.len() as f32;
            self.push_step(*point, before + share * (seconds - before));
        }
    }

    /// Seconds of training of which something is known.
    pub fn last_seconds(&self) -> f32 {
        let trained = self.buckets.last().map_or(0.0, |bucket| bucket.seconds);
        let evaluated = self.evaluations.last().map_or(0.0, |point| point.seconds);
        trained.max(evaluated)
    }

    fn push_step(&mut self, point: StepPoint, seconds: f32) {
        if !(point.loss.is_finite() && point.accuracy.is_finite()) {
            return;
        }
        if self
            .buckets
            .last()
            .is_some_and(|last| point.step <= last.step)
        {
            self.return_to(point.step - 1);
        }
        if self.first_point == FirstPoint::Awaited {
            self.first_point = FirstPoint::Measured;
        }
        let smoothed = |before: Option<f32>, value: f32| {
            // A young network learns fast: there the average follows closely.
            let steps = (point.step as f32 / 4.0).clamp(1.0, SMOOTHING_STEPS);
            before.map_or(value, |before| before + (value - before) / steps)
        };
        let last = self.buckets.last();
        let mut bucket = Bucket {
            step: point.step,
            seconds,
            steps: 1,
            loss: point.loss,
            accuracy: point.accuracy,
            smooth_loss: smoothed(last.map(|last| last.smooth_loss), point.loss),
            smooth_accuracy: smoothed(last.map(|last| last.smooth_accuracy), point.accuracy),
        };
        if let Some(last) = self.buckets.pop_if(|last| last.steps < self.stride) {
            bucket = merged(last, bucket);
        }
        self.buckets.push(bucket);
        if self.buckets.len() > MOST_BUCKETS {
            self.stride *= 2;
            self.buckets = self
                .buckets
                .chunks(2)
                .map(|pair| {
                    pair[1..]
                        .iter()
                        .fold(pair[0], |sum, next| merged(sum, *next))
                })
                .collect();
        }
    }

    pub fn push_evaluation(&mut self, evaluation: Evaluation) {
        self.evaluations
            .retain(|known| known.step < evaluation.step);
        self.evaluations.push(evaluation);
        if self.evaluations.len() > MOST_EVALUATIONS {
            let last = self.evaluations.len() - 1;
            let mut places = 0..;
            self.evaluations.retain(|_| {
                places
                    .next()
                    .is_some_and(|place| place % 2 == 0 || place == last)
            });
        }
    }

    /// Notes that the settings changed now. Changes with no step between them are one change.
    pub fn mark_settings(&mut self, before: &NetworkSpec, after: &NetworkSpec) {
        let step = self.last_step();
        let earlier = self.marks.pop_if(|mark| {
            mark.step + self.stride >= step && matches!(mark.change, Change::Settings { .. })
        });
        let before = match earlier {
            Some(Mark {
                change: Change::Settings { before, .. },
                ..
            }) => before,
            _ => before.clone(),
        };
        let change = Change::Settings {
            before,
            after: after.clone(),
        };
        self.push_mark(Mark {
            step,
            seconds: self.last_seconds(),
            change,
        });
    }

    /// Notes that the data changed now.
    pub fn mark_data(&mut self, name: &str) {
        let step = self.last_step();
        let change = Change::Data(name.into());
        self.push_mark(Mark {
            step,
            seconds: self.last_seconds(),
            change,
        });
    }

    /// A mark at the very start would mark nothing.
    fn push_mark(&mut self, mark: Mark) {
        if mark.step > 0 && !mark.label().is_empty() {
            self.marks.push(mark);
        }
    }

    /// Forgets everything after `step`: the network stands there again.
    pub fn return_to(&mut self, step: u32) {
        self.buckets.retain(|bucket| bucket.step <= step);
        self.evaluations.retain(|point| point.step <= step);
        self.marks.retain(|mark| mark.step <= step && step > 0);
        if self.buckets.is_empty() {
            self.stride = 1;
        }
    }

    /// From now on the first point is awaited.
    pub fn await_first_point(&mut self) {
        self.first_point = FirstPoint::Awaited;
    }

    /// To be called when all was painted; true where that painted the awaited first point.
    pub fn painted_first_point(&mut self) -> bool {
        let painted = self.first_point == FirstPoint::Measured;
        if painted {
            self.first_point = FirstPoint::Painted;
        }
        painted
    }
}

fn merged(first: Bucket, second: Bucket) -> Bucket {
    let steps = first.steps + second.steps;
    let mean = |first_mean: f32, second_mean: f32| {
        (first_mean * first.steps as f32 + second_mean * second.steps as f32) / steps as f32
    };
    Bucket {
        steps,
        loss: mean(first.loss, second.loss),
        accuracy: mean(first.accuracy, second.accuracy),
        ..second
    }
}

impl Mark {
    /// What changed, as short as can be: `W 1→2 bits`.
    pub fn label(&self) -> String {
        match &self.change {
            Change::Data(name) => names::data(name).to_string(),
            Change::Settings { before, after } => settings_label(before, after),
        }
    }
}

fn settings_label(before: &NetworkSpec, after: &NetworkSpec) -> String {
    let mut changes: Vec<AttrValue> = Vec::new();
    for (name, before, after) in [
        ("W", before.weight_bits, after.weight_bits),
        ("A", before.activation_bits, after.activation_bits),
        ("G", before.gradient_bits, after.gradient_bits),
    ] {
        if before != after {
            changes.push(text!(
                "mark.bits",
                name = name,
                before = before,
                after = after
            ));
        }
    }
    for (name, before, after) in [
        ("W", before.weight_levels, after.weight_levels),
        ("A", before.activation_levels, after.activation_levels),
        ("G", before.gradient_levels, after.gradient_levels),
    ] {
        if before != after {
            changes.push(format!("{name} {}", names::levels(after)).into());
        }
    }
    for (name, before, after) in [
        ("W", before.weight_rounding, after.weight_rounding),
        ("A", before.activation_rounding, after.activation_rounding),
        ("G", before.gradient_rounding, after.gradient_rounding),
    ] {
        if before != after {
            changes.push(format!("{name} {}", names::rounding(after)).into());
        }
    }
    if before.normalization != after.normalization {
        changes.push(match after.normalization {
            Normalization::BatchNorm => text!("mark.batch_norm"),
            Normalization::ShiftBatchNorm => text!("mark.shift_norm"),
        });
    }
    for (before, after) in [
        (before.input_dropout, after.input_dropout),
        (before.hidden_dropout, after.hidden_dropout),
    ] {
        if before != after {
            changes.push(text!("mark.dropout", share = after));
        }
    }
    if before.loss != after.loss {
        changes.push(names::loss(after.loss));
    }
    if before.learning_rate_scale != after.learning_rate_scale {
        changes.push(match after.learning_rate_scale {
            LearningRateScale::Equal => text!("mark.equal_rates"),
            LearningRateScale::Glorot => text!("mark.glorot_rates"),
        });
    }
    if before.learning_rate != after.learning_rate {
        changes.push(text!("mark.rate", rate = after.learning_rate));
    }
    if before.learning_rate_decay != after.learning_rate_decay
        || before.decay_epochs != after.decay_epochs
    {
        changes.push(text!(
            "mark.decay",
            factor = after.learning_rate_decay,
            epochs = after.decay_epochs
        ));
    }
    if before.batch_size != after.batch_size {
        changes.push(text!("mark.batch", images = after.batch_size));
    }
    if before.optimizer != after.optimizer {
        changes.push(match after.optimizer {
            Optimizer::Sgd { momentum } => format!("SGD {momentum}").into(),
            other => names::optimizer(other),
        });
    }
    // More than a chart's margin holds are told by their number.
    if changes.len() > 2 {
        text!("mark.settings", count = changes.len()).to_string()
    } else {
        let changes: Vec<&str> = changes.iter().map(AttrValue::as_str).collect();
        changes.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qnn_protocol::spec::Bits;

    fn with_steps(steps: u32) -> History {
        let mut history = History::default();
        for step in 1..=steps {
            let point = StepPoint {
                step,
                loss: 1.0,
                accuracy: 0.5,
            };
            history.push_steps(&[point], step as f32);
        }
        history
    }

    #[test]
    fn a_long_run_stays_small_and_loses_no_step() {
        let history = with_steps(100_000);
        assert!(history.buckets.len() <= MOST_BUCKETS);
        assert!(history.buckets.len() >= MOST_BUCKETS / 4);
        assert_eq!(history.last_step(), 100_000);
        let steps: u32 = history.buckets.iter().map(|bucket| bucket.steps).sum();
        assert_eq!(steps, 100_000);
        assert!(history.buckets.iter().all(|bucket| bucket.loss == 1.0));
    }

    #[test]
    fn changes_at_one_step_are_one_mark_from_the_first_to_the_last() {
        let mut history = with_steps(10);
        let spec = |bits| NetworkSpec {
            weight_bits: Bits::new(bits).expect("a known width"),
            ..NetworkSpec::default()
        };
        history.mark_settings(&spec(1), &spec(2));
        history.mark_settings(&spec(2), &spec(3));
        assert_eq!(history.marks().len(), 1);
        assert_eq!(history.marks()[0].label(), "W 1→3 bits");
        history.mark_settings(&spec(3), &spec(1));
        assert!(history.marks().is_empty());
    }

    #[test]
    fn steps_that_come_together_share_their_time() {
        let mut history = with_steps(2);
        let point = |step| StepPoint {
            step,
            loss: 1.0,
            accuracy: 0.5,
        };
        history.push_steps(&[point(3), point(4)], 6.0);
        let seconds: Vec<f32> = history
            .buckets()
            .iter()
            .map(|bucket| bucket.seconds)
            .collect();
        assert_eq!(seconds, [1.0, 2.0, 4.0, 6.0]);
    }

    #[test]
    fn a_new_network_leaves_nothing_behind() {
        let mut history = with_steps(10);
        history.mark_data("MNIST");
        history.return_to(0);
        assert_eq!(history.last_step(), 0);
        assert!(history.buckets().is_empty() && history.marks().is_empty());
    }

    #[test]
    fn a_step_seen_before_replaces_what_followed_it() {
        let mut history = with_steps(10);
        let point = |step| StepPoint {
            step,
            loss: 2.0,
            accuracy: 0.5,
        };
        history.push_steps(&[point(4)], 4.0);
        assert_eq!(history.last_step(), 4);
        assert_eq!(history.buckets().len(), 4);
        history.push_steps(&[point(1)], 1.0);
        assert_eq!(history.last_step(), 1);
    }

    #[test]
    fn a_loss_that_is_no_number_is_not_drawn() {
        let mut history = History::default();
        let point = StepPoint {
            step: 1,
            loss: f32::NAN,
            accuracy: 0.1,
        };
        history.push_steps(&[point], 1.0);
        assert!(history.buckets().is_empty());
    }

    #[test]
    fn many_evaluations_keep_the_first_and_the_last() {
        let mut history = History::default();
        for step in 1..=2000 {
            history.push_evaluation(Evaluation {
                step,
                seconds: step as f32,
                epoch: step as f32,
                loss: 0.1,
                accuracy: 0.9,
            });
        }
        assert!(history.evaluations().len() <= MOST_EVALUATIONS);
        assert_eq!(history.evaluations()[0].step, 1);
        assert_eq!(history.last_step(), 2000);
    }
}
