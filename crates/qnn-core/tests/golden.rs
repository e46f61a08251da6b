//! The trainer against an implementation of the same equations that was written apart from it, in Python with
//! automatic differentiation: `tests/golden/generate.py` made `tests/golden/vectors.json`.
//!
//! Quantized levels agree exactly; what is summed in float32 here and in float64 there within a tolerance.

#![cfg(not(target_arch = "wasm32"))]

use qnn_core::data::{DIGITS, Images, TrainingData};
use qnn_core::quant::{GradientQuantizer, Quantizer, ap2};
use qnn_core::spec::{Bits, Levels, Loss, NetworkSpec, Rounding};
use qnn_core::train::Trainer;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    ap2: Ap2,
    quantizers: Vec<Quantized>,
    gradient_quantizers: Vec<QuantizedRow>,
    losses: Vec<LossCase>,
    training: Vec<Training>,
}

#[derive(Deserialize)]
struct Ap2 {
    x: Vec<f32>,
    value: Vec<f32>,
}

#[derive(Deserialize)]
struct Quantized {
    bits: Bits,
    levels: Levels,
    rounding: Rounding,
    x: Vec<f32>,
    chance: Vec<f32>,
    value: Vec<f32>,
}

#[derive(Deserialize)]
struct QuantizedRow {
    bits: Bits,
    levels: Levels,
    rounding: Rounding,
    row: Vec<f32>,
    chance: Vec<f32>,
    unit: f32,
    level: Vec<f32>,
}

#[derive(Deserialize)]
struct LossCase {
    loss: Loss,
    logits: Vec<Vec<f32>>,
    labels: Vec<u8>,
    value: f32,
    gradient: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
struct Training {
    name: String,
    spec: NetworkSpec,
    inputs: usize,
    pixels: Vec<Vec<u8>>,
    labels: Vec<u8>,
    latent: Vec<Vec<f32>>,
    steps: Vec<Step>,
    test_logits: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
struct Step {
    loss: f32,
    correct: usize,
    latent: Vec<Vec<f32>>,
    gamma: Vec<Vec<f32>>,
    beta: Vec<Vec<f32>>,
    running_mean: Vec<Vec<f32>>,
    running_variance: Vec<Vec<f32>>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../../tests/golden/vectors.json")).unwrap()
}

/// Within `tolerance`, absolute below 1 and relative above.
fn agree(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let allowed = tolerance * expected.abs().max(1.0);
        assert!(
            (found - expected).abs() <= allowed,
            "{what}, number {index}: {found} instead of {expected}"
        );
    }
}

#[test]
fn levels_are_the_same() {
    let golden = golden();
    let found: Vec<f32> = golden.ap2.x.iter().map(|x| ap2(*x)).collect();
    assert_eq!(found, golden.ap2.value);
    assert!(golden.quantizers.len() >= 9 * 4);
    for case in golden.quantizers {
        let quantizer = Quantizer {
            bits: case.bits,
            levels: case.levels,
            rounding: case.rounding,
        };
        let numbers = case.x.iter().zip(&case.chance);
        let found: Vec<f32> = numbers
            .map(|(x, chance)| quantizer.value(*x, *chance))
            .collect();
        assert_eq!(found, case.value, "{quantizer:?} of {:?}", case.x);
    }
    assert!(golden.gradient_quantizers.len() >= 7 * 4);
    for case in golden.gradient_quantizers {
        let quantizer = GradientQuantizer {
            bits: case.bits,
            levels: case.levels,
            rounding: case.rounding,
        };
        let largest = case
            .row
            .iter()
            .fold(0.0f32, |largest, g| largest.max(g.abs()));
        let unit = quantizer.unit(largest);
        assert!(
            (unit - case.unit).abs() <= 1e-6 * case.unit,
            "{quantizer:?}: {unit} {}",
            case.unit
        );
        let numbers = case.row.iter().zip(&case.chance);
        let found: Vec<f32> = numbers
            .map(|(g, chance)| quantizer.level(*g, unit, *chance))
            .collect();
        assert_eq!(found, case.level, "{quantizer:?} of {:?}", case.row);
    }
}

#[test]
fn losses_are_the_same() {
    for case in golden().losses {
        let outcome = case.loss.of(&case.logits.concat(), &case.labels);
        agree("loss", &[outcome.loss], &[case.value], 1e-6);
        agree("gradient", &outcome.gradient, &case.gradient.concat(), 1e-6);
    }
}

#[test]
fn three_steps_of_training_are_the_same() {
    let cases = golden().training;
    assert!(cases.len() >= 25);
    for case in cases {
        let images = case.labels.len();
        let pixels = case.pixels.concat();
        let data = TrainingData::Images(Images {
            width: case.inputs,
            height: 1,
            pixels: pixels.clone(),
            labels: case.labels,
        });
        let mut trainer =
            Trainer::with_latent_weights(case.spec, case.inputs, DIGITS, case.latent).unwrap();
        for (number, step) in case.steps.iter().enumerate() {
            let what = |what: &str, layer: usize| {
                format!(
                    "{}, step {}, {what} of layer {}",
                    case.name,
                    number + 1,
                    layer + 1
                )
            };
            let metrics = trainer.step(&data).unwrap();
            agree(&what("loss", 0), &[metrics.loss], &[step.loss], 1e-5);
            assert_eq!(
                (metrics.accuracy * images as f32).round() as usize,
                step.correct,
                "{}",
                case.name
            );
            for layer in 0..step.latent.len() {
                let batch_norm = trainer.batch_norm(layer);
                let (mean, variance) = batch_norm.running_statistics();
                agree(
                    &what("weights", layer),
                    trainer.latent_weights(layer),
                    &step.latent[layer],
                    2e-5,
                );
                agree(
                    &what("gamma", layer),
                    batch_norm.gamma(),
                    &step.gamma[layer],
                    2e-5,
                );
                agree(
                    &what("beta", layer),
                    batch_norm.beta(),
                    &step.beta[layer],
                    2e-5,
                );
                agree(
                    &what("running mean", layer),
                    mean,
                    &step.running_mean[layer],
                    2e-5,
                );
                agree(
                    &what("running variance", layer),
                    variance,
                    &step.running_variance[layer],
                    2e-5,
                );
            }
        }
        let logits = trainer.freeze().logits(&pixels);
        agree(
            &format!("{}, logits", case.name),
            &logits,
            &case.test_logits.concat(),
            2e-4,
        );
    }
}
