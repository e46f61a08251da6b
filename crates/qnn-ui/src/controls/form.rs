//! What is typed and chosen in the settings, and how it becomes a spec. No markup.

use qnn_protocol::spec::{NetworkSpec, Optimizer, SpecField};
use yew::AttrValue;

use crate::language::text;
use crate::problems as sentences;

/// A field that is typed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Hidden,
    LearningRate,
    LearningRateDecay,
    DecayEpochs,
    BatchSize,
    Momentum,
    InputDropout,
    HiddenDropout,
    Seed,
}

impl Field {
    const COUNT: usize = Field::Seed as usize + 1;
}

/// The settings as typed and chosen, right or wrong, beside the spec that is in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Form {
    texts: [String; Field::COUNT],
    /// What is chosen rather than typed: bits, levels, rounding, the kinds of things.
    pub chosen: NetworkSpec,
    in_force: NetworkSpec,
}

impl Form {
    pub fn of(spec: NetworkSpec) -> Form {
        let mut form = Form {
            texts: Default::default(),
            chosen: spec.clone(),
            in_force: spec,
        };
        form.show(form.in_force.clone());
        form
    }

    /// Shows a spec; it is not in force before [`commit`](Self::commit).
    pub fn show(&mut self, spec: NetworkSpec) {
        let momentum = match spec.optimizer {
            Optimizer::Sgd { momentum } => momentum,
            _ => 0.9,
        };
        let widths: Vec<String> = spec.hidden.iter().map(usize::to_string).collect();
        for (field, text) in [
            (Field::Hidden, widths.join(", ")),
            (Field::LearningRate, spec.learning_rate.to_string()),
            (
                Field::LearningRateDecay,
                spec.learning_rate_decay.to_string(),
            ),
            (Field::DecayEpochs, spec.decay_epochs.to_string()),
            (Field::BatchSize, spec.batch_size.to_string()),
            (Field::Momentum, momentum.to_string()),
            (Field::InputDropout, spec.input_dropout.to_string()),
            (Field::HiddenDropout, spec.hidden_dropout.to_string()),
            (Field::Seed, spec.seed.to_string()),
        ] {
            *self.text_mut(field) = text;
        }
        self.chosen = spec;
    }

    /// The spec that the engine was last told.
    pub fn in_force(&self) -> &NetworkSpec {
        &self.in_force
    }

    pub fn text(&self, field: Field) -> &str {
        &self.texts[field as usize]
    }

    pub fn text_mut(&mut self, field: Field) -> &mut String {
        &mut self.texts[field as usize]
    }

    /// Whether the momentum counts.
    pub fn with_momentum(&self) -> bool {
        matches!(self.chosen.optimizer, Optimizer::Sgd { .. })
    }

    /// Puts what makes sense in force; what does not stays as it was. Gives back the spec that was in force.
    pub fn commit(&mut self) -> Option<NetworkSpec> {
        let spec = self.typed();
        (spec != self.in_force).then(|| std::mem::replace(&mut self.in_force, spec))
    }

    /// What is wrong with what is typed, each beside its field.
    pub fn problems(&self) -> Vec<(Field, AttrValue)> {
        self.read().1
    }

    /// The spec as typed and chosen; what makes no sense stands as it is in force.
    pub fn typed(&self) -> NetworkSpec {
        self.read().0
    }

    /// The spec as typed; what cannot be read or makes no sense stands as it is in force and is a problem.
    fn read(&self) -> (NetworkSpec, Vec<(Field, AttrValue)>) {
        let mut problems = Vec::new();
        let mut spec = NetworkSpec {
            hidden: self.in_force.hidden.clone(),
            learning_rate: self.number(
                Field::LearningRate,
                self.in_force.learning_rate,
                &mut problems,
            ),
            learning_rate_decay: self.number(
                Field::LearningRateDecay,
                self.in_force.learning_rate_decay,
                &mut problems,
            ),
            decay_epochs: self.number(
                Field::DecayEpochs,
                self.in_force.decay_epochs,
                &mut problems,
            ),
            batch_size: self.number(Field::BatchSize, self.in_force.batch_size, &mut problems),
            input_dropout: self.number(
                Field::InputDropout,
                self.in_force.input_dropout,
                &mut problems,
            ),
            hidden_dropout: self.number(
                Field::HiddenDropout,
                self.in_force.hidden_dropout,
                &mut problems,
            ),
            seed: self.number(Field::Seed, self.in_force.seed, &mut problems),
            ..self.chosen.clone()
        };
        if let Optimizer::Sgd { momentum } = &mut spec.optimizer {
            *momentum = self.number(Field::Momentum, 0.9, &mut problems);
        }
        match widths(self.text(Field::Hidden)) {
            Some(widths) => spec.hidden = widths,
            None => problems.push((Field::Hidden, text!("problem.widths"))),
        }
        problems.extend(spec.problems().into_iter().map(|problem| {
            let field = match problem.field {
                // The sliders offer what there is.
                SpecField::Hidden | SpecField::GradientBits => Field::Hidden,
                SpecField::Optimizer => Field::Momentum,
                SpecField::LearningRate => Field::LearningRate,
                SpecField::LearningRateDecay => Field::LearningRateDecay,
                SpecField::DecayEpochs => Field::DecayEpochs,
                SpecField::InputDropout => Field::InputDropout,
                SpecField::HiddenDropout => Field::HiddenDropout,
                SpecField::BatchSize => Field::BatchSize,
            };
            (field, sentences::of_spec(problem.field))
        }));
        for (field, _) in &problems {
            let kept = &self.in_force;
            match field {
                Field::Hidden => spec.hidden.clone_from(&kept.hidden),
                Field::LearningRate => spec.learning_rate = kept.learning_rate,
                Field::LearningRateDecay => spec.learning_rate_decay = kept.learning_rate_decay,
                Field::DecayEpochs => spec.decay_epochs = kept.decay_epochs,
                Field::BatchSize => spec.batch_size = kept.batch_size,
                Field::Momentum => {
                    spec.optimizer = match kept.optimizer {
                        kept @ Optimizer::Sgd { .. } => kept,
                        _ => Optimizer::Sgd { momentum: 0.9 },
                    }
                }
                Field::InputDropout => spec.input_dropout = kept.input_dropout,
                Field::HiddenDropout => spec.hidden_dropout = kept.hidden_dropout,
                Field::Seed => spec.seed = kept.seed,
            }
        }
        (spec, problems)
    }

    /// The number typed in a field, a decimal comma as good as a point; `otherwise`, and a problem, where it is none.
    fn number<T: Typed>(
        &self,
        field: Field,
        otherwise: T,
        problems: &mut Vec<(Field, AttrValue)>,
    ) -> T {
        let text = self.text(field).trim().replace(',', ".");
        text.parse().unwrap_or_else(|_| {
            problems.push((field, T::expected()));
            otherwise
        })
    }
}

/// Whether a network of `after` cannot go on with what one of `before` has learned.
pub fn starts_anew(before: &NetworkSpec, after: &NetworkSpec) -> bool {
    !before.same_shape(after) || before.seed != after.seed
}

/// A number that can be typed, and what to say of a text that is none.
trait Typed: std::str::FromStr {
    fn expected() -> AttrValue;
}

impl Typed for f32 {
    fn expected() -> AttrValue {
        text!("problem.number", example = 0.01)
    }
}

impl Typed for usize {
    fn expected() -> AttrValue {
        text!("problem.whole_number", example = 100)
    }
}

impl Typed for u32 {
    fn expected() -> AttrValue {
        text!("problem.whole_number", example = 1)
    }
}

fn widths(text: &str) -> Option<Vec<usize>> {
    text.split(|separator: char| separator == ',' || separator.is_whitespace())
        .filter(|width| !width.is_empty())
        .map(|width| width.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use qnn_protocol::spec::{Bits, PRESETS, Preset};

    use super::*;

    fn with(field: Field, text: &str) -> Form {
        let mut form = Form::of(NetworkSpec::default());
        *form.text_mut(field) = text.into();
        form
    }

    #[test]
    fn a_form_reads_back_the_spec_it_shows() {
        let momentum = NetworkSpec {
            optimizer: Optimizer::Sgd { momentum: 0.5 },
            ..NetworkSpec::default()
        };
        for spec in PRESETS.iter().map(Preset::spec).chain([momentum]) {
            assert_eq!(Form::of(spec.clone()).read(), (spec.clone(), vec![]));
            let mut form = Form::of(NetworkSpec::default());
            form.show(spec.clone());
            form.commit();
            assert_eq!(*form.in_force(), spec);
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
            (Field::DecayEpochs, "0"),
            (Field::InputDropout, "1"),
            (Field::HiddenDropout, "-0.1"),
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
    fn a_wrong_field_keeps_nothing_else_out_of_force() {
        let mut form = with(Field::InputDropout, "2");
        *form.text_mut(Field::Hidden) = "64".into();
        form.chosen.weight_bits = Bits::ALL[3];
        assert!(form.commit().is_some());
        let expected = NetworkSpec {
            hidden: vec![64],
            weight_bits: Bits::ALL[3],
            ..NetworkSpec::default()
        };
        assert_eq!(*form.in_force(), expected);
        assert_eq!(form.problems().len(), 1);
    }

    #[test]
    fn momentum_matters_only_where_it_is_used() {
        let mut form = with(Field::Momentum, "1.5");
        assert_eq!(form.problems(), vec![]);
        form.chosen.optimizer = Optimizer::Sgd { momentum: 0.9 };
        assert_eq!(form.problems()[0].0, Field::Momentum);
    }

    #[test]
    fn a_comma_is_a_decimal_point_in_a_number_and_a_separator_in_a_list() {
        let mut form = with(Field::LearningRate, "0,01");
        assert!(form.commit().is_some());
        assert_eq!(form.in_force().learning_rate, 0.01);
        assert_eq!(
            with(Field::Hidden, "64,32 16").typed().hidden,
            vec![64, 32, 16]
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
