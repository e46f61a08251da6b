//! Losses: their value and their gradient to the logits. Reductions are the mean over the batch
//! (squared hinge: over batch and classes, as the authors' code).

use crate::spec::Loss;

/// What a batch's logits are worth.
#[derive(Clone, Debug)]
pub struct LossGradient {
    /// The mean loss.
    pub loss: f32,
    /// Images whose largest logit is at their label.
    pub correct: usize,
    /// The gradient of the mean loss to each logit, `[batch, classes]`.
    pub gradient: Vec<f32>,
}

/// The index of the largest logit, the first of equals.
pub fn argmax(logits: &[f32]) -> usize {
    let mut best = 0;
    for (class, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = class;
        }
    }
    best
}

/// softmax(logits): shares that sum to 1.
pub fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits[argmax(logits)];
    let mut shares: Vec<f32> = logits.iter().map(|x| libm::expf(x - largest)).collect();
    let sum: f32 = shares.iter().sum();
    shares.iter_mut().for_each(|share| *share /= sum);
    shares
}

impl Loss {
    /// The loss of `logits`, `[batch, classes]`, for one label an image, and its gradient.
    pub fn of(self, logits: &[f32], labels: &[u8]) -> LossGradient {
        let batch = labels.len();
        let classes = logits.len() / batch.max(1);
        let mut gradient = Vec::with_capacity(logits.len());
        let (mut sum, mut correct) = (0.0f64, 0);
        for (logits, &label) in logits.chunks_exact(classes.max(1)).zip(labels) {
            correct += usize::from(argmax(logits) == label as usize);
            match self {
                Loss::SquaredHinge => {
                    let mean = 1.0 / (batch * classes) as f32;
                    for (class, logit) in logits.iter().enumerate() {
                        let target = if class == label as usize { 1.0 } else { -1.0 };
                        let margin = (1.0 - target * logit).max(0.0);
                        sum += f64::from(margin * margin * mean);
                        gradient.push(-2.0 * target * margin * mean);
                    }
                    // f32::max drops NaN; a diverged network must show.
                    if logits.iter().any(|logit| logit.is_nan()) {
                        sum = f64::NAN;
                    }
                }
                Loss::CrossEntropy => {
                    let mean = 1.0 / batch as f32;
                    for (class, share) in softmax(logits).into_iter().enumerate() {
                        let target = f32::from(u8::from(class == label as usize));
                        gradient.push((share - target) * mean);
                        if class == label as usize {
                            sum -= f64::from(libm::logf(share.max(f32::MIN_POSITIVE)) * mean);
                        }
                    }
                    if logits.iter().any(|logit| logit.is_nan()) {
                        sum = f64::NAN;
                    }
                }
            }
        }
        LossGradient {
            loss: sum as f32,
            correct,
            gradient,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn gradients_agree_with_finite_differences(
            logits in prop::collection::vec(-2.0f32..2.0, 12), label in 0u8..4, index in 0usize..12,
            loss in prop::sample::select(vec![Loss::SquaredHinge, Loss::CrossEntropy])
        ) {
            let labels = [label, 3 - label, label];
            let at = |offset: f32| {
                let mut moved = logits.clone();
                moved[index] += offset;
                loss.of(&moved, &labels).loss
            };
            let numeric = (at(1e-2) - at(-1e-2)) / 2e-2;
            prop_assert!((numeric - loss.of(&logits, &labels).gradient[index]).abs() < 2e-3);
        }
    }

    #[test]
    fn losses_by_hand() {
        // Margins 1 - 2 < 0 and 1 + 0.5: (0 + 2.25) / 2.
        let hinge = Loss::SquaredHinge.of(&[2.0, 0.5], &[0]);
        assert_eq!((hinge.loss, hinge.correct), (1.125, 1));
        let cross = Loss::CrossEntropy.of(&[0.0, 0.0], &[1]);
        assert!((cross.loss - 2f32.ln()).abs() < 1e-6);
        assert!(Loss::SquaredHinge.of(&[f32::NAN, 0.0], &[0]).loss.is_nan());
    }
}
