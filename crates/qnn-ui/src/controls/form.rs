//! What is typed in the settings, and how it becomes a spec. No markup.

use qnn_protocol::spec::{Bits, Loss, NetworkSpec, Optimizer, SpecField};

/// A field that is typed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Hidden,
    LearningRate,
    LearningRateDecay,
    BatchSize,
    Momentum,
    Seed,
}

/// The settings as typed, right or wrong, beside the spec that is in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Form {
    pub hidden: String,
    pub learning_rate: String,
    pub learning_rate_decay: String,
    pub batch_size: String,
    pub momentum: String,
    pub seed: String,
    pub weight_bits: Bits,
    pub activation_bits: Bits,
    pub loss: Loss,
    pub with_momentum: bool,
    in_force: NetworkSpec,
}

impl Form {
    pub fn of(spec: NetworkSpec) -> Form {
        let (with_momentum, momentum) = match spec.optimizer {
            Optimizer::Sgd { momentum } => (true, momentum),
            _ => (false, 0.9),
        };
        Form {
            hidden: widths_text(&spec.hidden),
            learning_rate: spec.learning_rate.to_string(),
            learning_rate_decay: spec.learning_rate_decay.to_string(),
            batch_size: spec.batch_size.to_string(),
            momentum: momentum.to_string(),
            seed: spec.seed.to_string(),
            weight_bits: spec.weight_bits,
            activation_bits: spec.activation_bits,
            loss: spec.loss,
            with_momentum,
            in_force: spec,
        }
    }

    /// The spec that the engine was last told.
    pub fn in_force(&self) -> &NetworkSpec {
        &self.in_force
    }

    pub fn text_mut(&mut self, field: Field) -> &mut String {
        match field {
            Field::Hidden => &mut self.hidden,
            Field::LearningRate => &mut self.learning_rate,
            Field::LearningRateDecay => &mut self.learning_rate_decay,
            Field::BatchSize => &mut self.batch_size,
            Field::Momentum => &mut self.momentum,
            Field::Seed => &mut self.seed,
        }
    }

    pub fn set_hidden(&mut self, hidden: &[usize]) {
        self.hidden = widths_text(hidden);
    }

    /// Puts what is typed in force, if all of it makes sense; gives back the spec that was in force.
    pub fn commit(&mut self) -> Option<NetworkSpec> {
        let (spec, problems) = self.read();
        (problems.is_empty() && spec != self.in_force)
            .then(|| std::mem::replace(&mut self.in_force, spec))
    }

    /// What is wrong with what is typed, each beside its field.
    pub fn problems(&self) -> Vec<(Field, String)> {
        self.read().1
    }

    /// The hidden layers as typed, where they make sense.
    pub fn typed_hidden(&self) -> Option<Vec<usize>> {
        let (spec, problems) = self.read();
        let sound = problems.iter().all(|(field, _)| *field != Field::Hidden);
        sound.then_some(spec.hidden)
    }

    /// The spec as typed; what cannot be read stands as it is in force and is a problem.
    fn read(&self) -> (NetworkSpec, Vec<(Field, String)>) {
        let mut spec = self.in_force.clone();
        let mut problems = Vec::new();
        spec.weight_bits = self.weight_bits;
        spec.activation_bits = self.activation_bits;
        spec.loss = self.loss;
        read_into(
            &mut spec.learning_rate,
            &self.learning_rate,
            Field::LearningRate,
            &mut problems,
        );
        read_into(
            &mut spec.learning_rate_decay,
            &self.learning_rate_decay,
            Field::LearningRateDecay,
            &mut problems,
        );
        read_into(
            &mut spec.batch_size,
            &self.batch_size,
            Field::BatchSize,
            &mut problems,
        );
        read_into(&mut spec.seed, &self.seed, Field::Seed, &mut problems);
        spec.optimizer = if self.with_momentum {
            let mut momentum = 0.9;
            read_into(
                &mut momentum,
                &self.momentum,
                Field::Momentum,
                &mut problems,
            );
            Optimizer::Sgd { momentum }
        } else {
            Optimizer::Adam
        };
        match widths(&self.hidden) {
            Some(widths) => spec.hidden = widths,
            None => problems.push((
                Field::Hidden,
                "Write the units of each layer as whole numbers, such as 512, 512.".into(),
            )),
        }
        problems.extend(spec.problems().into_iter().map(|problem| {
            let field = match problem.field {
                SpecField::Hidden => Field::Hidden,
                SpecField::GradientBits | SpecField::Dropout | SpecField::DecayEpochs => {
                    Field::Hidden
                }
                SpecField::Optimizer => Field::Momentum,
                SpecField::LearningRate => Field::LearningRate,
                SpecField::LearningRateDecay => Field::LearningRateDecay,
                SpecField::BatchSize => Field::BatchSize,
            };
            (field, problem.message)
        }));
        (spec, problems)
    }
}

/// Whether a network of `after` cannot go on with what one of `before` has learned.
pub fn starts_anew(before: &NetworkSpec, after: &NetworkSpec) -> bool {
    !before.same_shape(after) || before.seed != after.seed
}

/// A number that can be typed, and what to say of a text that is none.
trait Typed: std::str::FromStr {
    const EXPECTED: &'static str;
}

impl Typed for f32 {
    const EXPECTED: &'static str = "This is a number, such as 0.01.";
}

impl Typed for usize {
    const EXPECTED: &'static str = "This is a whole number, such as 100.";
}

impl Typed for u32 {
    const EXPECTED: &'static str = "The seed is a whole number from 0 to 4294967295.";
}

/// Reads a number; a decimal comma is as good as a point.
fn read_into<T: Typed>(
    number: &mut T,
    text: &str,
    field: Field,
    problems: &mut Vec<(Field, String)>,
) {
    match text.trim().replace(',', ".").parse() {
        Ok(read) => *number = read,
        Err(_) => problems.push((field, T::EXPECTED.into())),
    }
}

fn widths_text(widths: &[usize]) -> String {
    let widths: Vec<String> = widths.iter().map(usize::to_string).collect();
    widths.join(", ")
}

fn widths(text: &str) -> Option<Vec<usize>> {
    text.split(|separator: char| separator == ',' || separator.is_whitespace())
        .filter(|width| !width.is_empty())
        .map(|width| width.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(field: Field, text: &str) -> Form {
        let mut form = Form::of(NetworkSpec::default());
        *form.text_mut(field) = text.into();
        form
    }

    #[test]
    fn a_form_reads_back_the_spec_it_shows() {
        for optimizer in [Optimizer::Adam, Optimizer::Sgd { momentum: 0.5 }] {
            let spec = NetworkSpec {
                optimizer,
                ..NetworkSpec::default()
            };
            assert_eq!(Form::of(spec.clone()).read(), (spec, vec![]));
        }
    }

    #[test]
    fn what_is_wrong_is_said_beside_its_field_and_is_never_in_force() {
        for (field, text) in [
            (Field::Hidden, ""),
            (Field::Hidden, "512, many"),
            (Field::Hidden, "0"),
            (Field::LearningRate, "fast"),
            (Field::LearningRate, "-1"),
            (Field::LearningRate, "NaN"),
            (Field::LearningRateDecay, "2"),
            (Field::BatchSize, "1"),
            (Field::BatchSize, "2.5"),
            (Field::Seed, "-1"),
        ] {
            let mut form = with(field, text);
            let problems = form.problems();
            assert_eq!(problems.len(), 1, "{field:?} {text}: {problems:?}");
            assert_eq!(problems[0].0, field);
            assert_eq!(form.commit(), None);
            assert_eq!(*form.in_force(), NetworkSpec::default());
        }
    }

    #[test]
    fn momentum_matters_only_where_it_is_used() {
        let mut form = with(Field::Momentum, "1.5");
        assert_eq!(form.problems(), vec![]);
        form.with_momentum = true;
        assert_eq!(form.problems()[0].0, Field::Momentum);
    }

    #[test]
    fn a_comma_is_a_decimal_point_in_a_number_and_a_separator_in_a_list() {
        let mut form = with(Field::LearningRate, "0,01");
        assert!(form.commit().is_some());
        assert_eq!(form.in_force().learning_rate, 0.01);
        assert_eq!(
            with(Field::Hidden, "64,32 16").typed_hidden(),
            Some(vec![64, 32, 16])
        );
    }

    #[test]
    fn only_another_shape_or_seed_starts_anew() {
        let anew = |field, text| starts_anew(&NetworkSpec::default(), &with(field, text).read().0);
        assert!(anew(Field::Hidden, "64"));
        assert!(anew(Field::Seed, "2"));
        assert!(!anew(Field::LearningRate, "0.1"));
        assert!(!anew(Field::Hidden, "512 512"));
    }
}
