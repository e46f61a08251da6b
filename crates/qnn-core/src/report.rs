//! `TestReport`: how a network did on test images, image by image and class by class, put together piece by piece.
//! It holds no images, only their places in the test set.

use std::ops::Range;

use crate::data::Images;
use crate::loss::{argmax, softmax};
use crate::packed::{Evaluation, PackedNetwork};
use crate::spec::Loss;

/// What a network answered to test images, in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct TestReport {
    loss: Loss,
    classes: usize,
    evaluation: Evaluation,
    confusion: Vec<u32>,
    answers: Vec<Answer>,
}

/// What a network answered to an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// The class that would be right.
    pub label: u8,
    /// The class with the largest logit.
    pub answer: u8,
    /// That class's share of the softmax of the logits, 0 to 1.
    pub share: f32,
}

impl TestReport {
    /// An empty report on a network of `classes` classes that was trained for `loss`.
    pub fn new(loss: Loss, classes: usize) -> TestReport {
        TestReport {
            loss,
            classes,
            evaluation: Evaluation::default(),
            confusion: vec![0; classes * classes],
            answers: Vec::new(),
        }
    }

    /// Adds the next images: their `logits`, `[images, classes]`, and `labels`, `[images]`. Panics where there are not as
    /// many logits, or where a label is no class.
    pub fn add(&mut self, logits: &[f32], labels: &[u8]) {
        assert_eq!(logits.len(), labels.len() * self.classes);
        self.evaluation = self.evaluation + Evaluation::of(self.loss, logits, labels);
        for (logits, &label) in logits.chunks_exact(self.classes).zip(labels) {
            assert!(usize::from(label) < self.classes, "label {label}");
            let answer = argmax(logits);
            self.confusion[usize::from(label) * self.classes + answer] += 1;
            self.answers.push(Answer {
                label,
                answer: answer as u8,
                share: softmax(logits)[answer],
            });
        }
    }

    /// The numbers of all images together.
    pub fn evaluation(&self) -> Evaluation {
        self.evaluation
    }

    /// The confusion matrix: how many images of a class were answered as another, `[classes (right), classes (answered)]`.
    pub fn confusion(&self) -> &[u32] {
        &self.confusion
    }

    /// What was answered to each image, `[images]`.
    pub fn answers(&self) -> &[Answer] {
        &self.answers
    }

    /// Share of each class's images that were answered rightly, 0 to 1, `[classes]`; `None` for a class without images.
    pub fn class_accuracies(&self) -> Vec<Option<f32>> {
        let rows = self.confusion.chunks_exact(self.classes).enumerate();
        rows.map(|(class, row)| {
            let images: u32 = row.iter().sum();
            (images > 0).then(|| row[class] as f32 / images as f32)
        })
        .collect()
    }

    /// Places of up to `count` wrongly answered images, those first of whose answer the network was surest.
    pub fn worst(&self, count: usize) -> Vec<usize> {
        self.surest(count, |answer| answer.answer != answer.label)
    }

    /// Places of up to `count` images of class `label` that were answered as `answer`, the surest ones first.
    pub fn cell(&self, label: u8, answer: u8, count: usize) -> Vec<usize> {
        self.surest(count, |of| (of.label, of.answer) == (label, answer))
    }

    fn surest(&self, count: usize, is_wanted: impl Fn(&Answer) -> bool) -> Vec<usize> {
        let mut places: Vec<usize> = (0..self.answers.len())
            .filter(|place| is_wanted(&self.answers[*place]))
            .collect();
        let share = |place: &usize| self.answers[*place].share;
        places.sort_by(|a, b| share(b).total_cmp(&share(a)));
        places.truncate(count);
        places
    }
}

impl PackedNetwork {
    /// Answers the test images of `range` and adds them to `report`.
    pub fn report(&self, images: &Images, range: Range<usize>, report: &mut TestReport) {
        if !range.is_empty() {
            let logits = self.logits(images.pixels_of(range.clone()));
            report.add(&logits, &images.labels[range]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DIGITS, DataSet};
    use crate::spec::NetworkSpec;
    use crate::train::Trainer;

    /// Logits of three classes: which one is answered, and how surely.
    fn logits(answers: &[(usize, f32)]) -> Vec<f32> {
        let of_image = |&(answer, logit): &(usize, f32)| {
            let mut logits = [0.0; 3];
            logits[answer] = logit;
            logits
        };
        answers.iter().flat_map(of_image).collect()
    }

    #[test]
    fn a_report_by_hand() {
        let mut report = TestReport::new(Loss::CrossEntropy, 3);
        report.add(&logits(&[(0, 1.0), (2, 0.5), (2, 3.0)]), &[0, 0, 2]);
        report.add(&logits(&[(2, 2.0), (0, 1.0)]), &[0, 2]);
        assert_eq!(report.confusion(), [1, 0, 2, 0, 0, 0, 1, 0, 1]);
        assert_eq!(
            report.class_accuracies(),
            [Some(1.0 / 3.0), None, Some(0.5)]
        );
        let evaluation = report.evaluation();
        assert_eq!((evaluation.images, evaluation.correct), (5, 2));
        assert_eq!(report.worst(9), [3, 4, 1]);
        assert_eq!(report.worst(2), [3, 4]);
        assert_eq!(report.cell(0, 2, 9), [3, 1]);
        assert_eq!(report.cell(0, 2, 1), [3]);
        assert_eq!(report.cell(1, 1, 9), [0; 0]);
        let e = 1f32.exp();
        assert!((report.answers()[0].share - e / (e + 2.0)).abs() < 1e-6);
        assert_eq!(
            (report.answers()[4].label, report.answers()[4].answer),
            (2, 0)
        );
    }

    #[test]
    fn a_report_in_pieces_is_the_evaluation() {
        let data = DataSet::procedural(1, 100);
        let spec = NetworkSpec {
            hidden: vec![40],
            ..NetworkSpec::default()
        };
        let mut trainer = Trainer::new(spec, 784, DIGITS).unwrap();
        for _ in 0..20 {
            trainer.step(&data.train).unwrap();
        }
        let network = trainer.freeze();
        let mut report = TestReport::new(network.loss(), network.classes());
        for range in [0..30, 30..30, 30..100] {
            network.report(&data.test, range, &mut report);
        }
        let (found, expected) = (report.evaluation(), network.evaluate(&data.test, 0..100));
        assert_eq!((found.images, found.correct), (100, expected.correct));
        assert!((found.loss() - expected.loss()).abs() < 1e-5);
        let diagonal: u32 = report.confusion().iter().step_by(DIGITS + 1).sum();
        assert_eq!(diagonal as usize, expected.correct);
        assert_eq!(report.worst(100).len(), 100 - expected.correct);
    }
}
