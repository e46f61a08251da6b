//! Training as a whole: it learns, and its result depends on spec, seed and data alone.

#![cfg(not(target_arch = "wasm32"))]

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use qnn_core::data::{DIGITS, DataSet, Images, MAX_CLASSES, TrainingData};
use qnn_core::kernels::{Choice, Method};
use qnn_core::spec::{
    Bits, LearningRateScale, Levels, Loss, NetworkSpec, Normalization, Optimizer, Preset, Rounding,
};
use qnn_core::train::{CheckpointError, StepMetrics, Trainer};

fn spec(weight_bits: u8, activation_bits: u8) -> NetworkSpec {
    NetworkSpec {
        hidden: vec![64, 40],
        weight_bits: Bits::new(weight_bits).unwrap(),
        activation_bits: Bits::new(activation_bits).unwrap(),
        batch_size: 50,
        ..NetworkSpec::default()
    }
}

fn curve(trainer: &mut Trainer, data: &TrainingData, steps: usize) -> Vec<StepMetrics> {
    (0..steps).map(|_| trainer.step(data).unwrap()).collect()
}

/// 600 procedural digits as a fixed set, and 300 to test with.
fn fixed() -> DataSet {
    let digits = DataSet::procedural(3, 900);
    let mut test = digits.test;
    let mut train = test.clone();
    train.pixels.truncate(600 * 784);
    train.labels.truncate(600);
    test.pixels.drain(..600 * 784);
    test.labels.drain(..600);
    DataSet {
        train: TrainingData::Images(train),
        test,
        ..digits
    }
}

#[test]
fn every_bit_width_learns() {
    let data = DataSet::procedural(1, 500);
    for (weight_bits, activation_bits) in
        [(1, 1), (2, 2), (1, 32), (32, 1), (3, 4), (8, 6), (32, 32)]
    {
        let mut trainer = Trainer::new(spec(weight_bits, activation_bits), 784, DIGITS).unwrap();
        let before = trainer.freeze().evaluate_all(&data.test, 100);
        curve(&mut trainer, &data.train, 250);
        let after = trainer.freeze().evaluate_all(&data.test, 100);
        assert!(
            before.accuracy() < 0.3,
            "{weight_bits}/{activation_bits}: {}",
            before.accuracy()
        );
        assert!(
            after.accuracy() > 0.65,
            "{weight_bits}/{activation_bits}: {}",
            after.accuracy()
        );
    }
}

/// Digits below `classes` with labels that end at the last class, three quarters to train and the others to test with.
fn relabelled(classes: usize) -> DataSet {
    let digits = DataSet::procedural(3, 4000);
    let kept = |range: std::ops::Range<usize>| {
        let places = range.filter(|place| usize::from(digits.test.labels[*place]) < classes);
        let (pixels, labels): (Vec<_>, Vec<_>) = places
            .map(|place| {
                let pixels = digits.test.pixels_of(place..place + 1).to_vec();
                (pixels, classes as u8 - 1 - digits.test.labels[place])
            })
            .unzip();
        Images {
            pixels: pixels.concat(),
            labels,
            ..digits.test
        }
    };
    let train = digits.test.len() * 3 / 4;
    DataSet {
        name: "digits with other labels".into(),
        classes: (0..classes).map(|class| format!("class {class}")).collect(),
        train: TrainingData::Images(kept(0..train)),
        test: kept(train..digits.test.len()),
    }
}

#[test]
fn every_number_of_classes_learns_and_is_kept() {
    for classes in [2, 3, 12, MAX_CLASSES] {
        let data = relabelled(classes);
        let mut trainer = Trainer::new(spec(1, 1), 784, classes).unwrap();
        curve(&mut trainer, &data.train, 300);
        let network = trainer.freeze();
        let test = network.evaluate_all(&data.test, 100);
        assert!(
            test.accuracy() > 0.65,
            "{classes} classes: {}",
            test.accuracy()
        );
        assert_eq!((trainer.classes(), network.classes()), (classes, classes));
        let mut resumed = Trainer::restore(&trainer.checkpoint()).unwrap();
        assert_eq!(resumed.classes(), classes);
        assert_eq!(
            curve(&mut resumed, &data.train, 3),
            curve(&mut trainer, &data.train, 3)
        );
    }
}

#[test]
fn every_loss_and_optimizer_learns() {
    let data = DataSet::procedural(1, 500);
    for loss in [Loss::SquaredHinge, Loss::CrossEntropy] {
        for (optimizer, learning_rate) in [
            (Optimizer::Adam, 0.03),
            (Optimizer::AdaMax, 0.03),
            (Optimizer::ShiftAdaMax, 0.03),
            (Optimizer::Sgd { momentum: 0.9 }, 3.0),
        ] {
            let spec = NetworkSpec {
                loss,
                optimizer,
                learning_rate,
                ..spec(1, 1)
            };
            let mut trainer = Trainer::new(spec, 784, DIGITS).unwrap();
            curve(&mut trainer, &data.train, 400);
            let after = trainer.freeze().evaluate_all(&data.test, 100);
            assert!(
                after.accuracy() > 0.4,
                "{loss:?} {optimizer:?}: {}",
                after.accuracy()
            );
        }
    }
}

#[test]
fn every_part_of_the_paper_learns() {
    let data = DataSet::procedural(1, 500);
    let change = |change: fn(&mut NetworkSpec)| {
        let mut spec = spec(1, 1);
        change(&mut spec);
        spec
    };
    let all_integer = NetworkSpec {
        hidden: vec![64, 40],
        batch_size: 50,
        ..Preset::named("all-integer").unwrap().spec()
    };
    for (spec, least) in [
        (
            change(|spec| spec.activation_rounding = Rounding::Stochastic),
            0.6,
        ),
        (
            change(|spec| spec.weight_rounding = Rounding::Stochastic),
            0.5,
        ),
        (
            change(|spec| spec.gradient_bits = Bits::new(6).unwrap()),
            0.65,
        ),
        (
            change(|spec| spec.gradient_bits = Bits::new(2).unwrap()),
            0.5,
        ),
        (
            change(|spec| {
                spec.gradient_bits = Bits::new(4).unwrap();
                spec.gradient_levels = Levels::Logarithmic;
            }),
            0.6,
        ),
        (
            change(|spec| {
                spec.weight_bits = Bits::new(4).unwrap();
                spec.activation_bits = Bits::new(3).unwrap();
                spec.weight_levels = Levels::Logarithmic;
                spec.activation_levels = Levels::Logarithmic;
            }),
            0.65,
        ),
        (
            change(|spec| spec.normalization = Normalization::ShiftBatchNorm),
            0.6,
        ),
        (
            change(|spec| {
                spec.input_dropout = 0.2;
                spec.hidden_dropout = 0.2;
            }),
            0.55,
        ),
        (all_integer, 0.6),
    ] {
        let mut trainer = Trainer::new(spec.clone(), 784, DIGITS).unwrap();
        curve(&mut trainer, &data.train, 250);
        let accuracy = trainer.freeze().evaluate_all(&data.test, 100).accuracy();
        assert!(accuracy > least, "{accuracy} {spec:?}");
    }
}

fn any_spec() -> impl Strategy<Value = NetworkSpec> {
    let bits = || prop::sample::select(Bits::ALL.to_vec());
    let levels = || prop::sample::select(vec![Levels::Linear, Levels::Logarithmic]);
    let rounding = || prop::sample::select(vec![Rounding::Deterministic, Rounding::Stochastic]);
    let quantizers = (
        (bits(), levels(), rounding()),
        (bits(), levels(), rounding()),
        (
            prop::sample::select(Bits::ALL[1..].to_vec()),
            levels(),
            rounding(),
        ),
    );
    let training = (
        prop::sample::select(vec![
            Normalization::BatchNorm,
            Normalization::ShiftBatchNorm,
        ]),
        prop::sample::select(vec![0.0f32, 0.3]),
        prop::sample::select(vec![0.0f32, 0.3]),
        prop::sample::select(vec![
            Optimizer::Adam,
            Optimizer::AdaMax,
            Optimizer::ShiftAdaMax,
            Optimizer::Sgd { momentum: 0.9 },
        ]),
        prop::sample::select(vec![Loss::SquaredHinge, Loss::CrossEntropy]),
        prop::sample::select(vec![LearningRateScale::Equal, LearningRateScale::Glorot]),
        2usize..60,
        any::<u32>(),
    );
    (quantizers, training).prop_map(|((weights, activations, gradients), training)| {
        let (normalization, input_dropout, hidden_dropout, optimizer, loss, scale, batch, seed) =
            training;
        NetworkSpec {
            hidden: vec![300, 70],
            weight_bits: weights.0,
            weight_levels: weights.1,
            weight_rounding: weights.2,
            activation_bits: activations.0,
            activation_levels: activations.1,
            activation_rounding: activations.2,
            gradient_bits: gradients.0,
            gradient_levels: gradients.1,
            gradient_rounding: gradients.2,
            normalization,
            input_dropout,
            hidden_dropout,
            optimizer,
            loss,
            learning_rate_scale: scale,
            batch_size: batch,
            seed,
            ..NetworkSpec::default()
        }
    })
}

#[test]
fn neither_threads_nor_slices_nor_a_checkpoint_change_the_curve() {
    let data = fixed();
    let pool = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap()
    };
    let (one, three) = (pool(1), pool(3));
    let config = Config {
        cases: 40,
        failure_persistence: None,
        ..Config::default()
    };
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let outcome = TestRunner::new_with_rng(config, random).run(&any_spec(), |spec| {
        let mut whole = Trainer::new(spec.clone(), 784, DIGITS).unwrap();
        let expected = one.install(|| curve(&mut whole, &data.train, 4));
        // On three threads, in slices with other work between them, and restored in the middle.
        // With one kernel for all integers, and after that with the fastest for each.
        let method = Method::ALL[spec.seed as usize % Method::ALL.len()];
        let mut cut = Trainer::new(spec, 784, DIGITS).unwrap();
        cut.choose_kernels(Choice {
            forced: Some(method),
            ..Choice::default()
        });
        let mut found = Vec::new();
        three.install(|| {
            while found.len() < 4 {
                if let Some(metrics) = cut.advance(&data.train).unwrap() {
                    found.push(metrics);
                    if found.len() == 2 {
                        cut = Trainer::restore(&cut.checkpoint()).unwrap();
                    }
                }
                cut.freeze();
            }
        });
        prop_assert_eq!(expected, found);
        prop_assert!(whole.checkpoint() == cut.checkpoint(), "other weights");
        let test = |trainer: &Trainer| trainer.freeze().evaluate_all(&data.test, 64);
        prop_assert_eq!(one.install(|| test(&whole)), three.install(|| test(&cut)));
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn gradients_of_the_whole_network_agree_with_finite_differences() {
    let images = Images {
        width: 3,
        height: 2,
        pixels: (0..8 * 6u32)
            .map(|index| (index * index * 37 % 251) as u8)
            .collect(),
        labels: (0..8).collect(),
    };
    let data = TrainingData::Images(images);
    let noise = |count: u32| -> Vec<f32> {
        (0..count)
            .map(|index| (index.wrapping_mul(2654435761) >> 9) as f32 / (1 << 23) as f32 - 0.5)
            .collect()
    };
    for (loss, dropout, least) in [
        (Loss::SquaredHinge, 0.0, 60),
        (Loss::CrossEntropy, 0.0, 60),
        (Loss::SquaredHinge, 0.3, 30),
    ] {
        // Every first step leaves out the same. Plain descent: a weight moves by its gradient times the rate. The clip of the activations is not smooth:
        // the first batch normalization makes some of them larger than 1, and moving a weight a little moves none over.
        let spec = NetworkSpec {
            hidden: vec![5],
            input_dropout: dropout,
            hidden_dropout: dropout,
            loss,
            optimizer: Optimizer::Sgd { momentum: 0.0 },
            learning_rate: 0.01,
            batch_size: 8,
            ..spec(32, 32)
        };
        let latent = vec![noise(5 * 6), noise(10 * 5)];
        let step = |latent: &[Vec<f32>]| {
            let mut trainer =
                Trainer::with_latent_weights(spec.clone(), 6, DIGITS, latent.to_vec()).unwrap();
            (trainer.step(&data).unwrap().loss, trainer)
        };
        let (_, moved) = step(&latent);
        let mut checked = 0;
        for layer in 0..2 {
            for weight in 0..latent[layer].len() {
                let slope = |offset: f32| {
                    let at = |offset: f32| {
                        let mut latent = latent.clone();
                        latent[layer][weight] += offset;
                        step(&latent).0
                    };
                    (at(offset) - at(-offset)) / (2.0 * offset)
                };
                // Where an activation crosses the clip nearby, the slope is another on each side.
                let (near, far) = (slope(4e-3), slope(8e-3));
                if (near - far).abs() > 1e-3 {
                    continue;
                }
                let gradient = (latent[layer][weight] - moved.latent_weights(layer)[weight]) / 0.01;
                assert!(
                    (gradient - near).abs() < 3e-3,
                    "{loss:?} {layer} {weight}: {gradient} {near}"
                );
                checked += 1;
            }
        }
        assert!(checked > least, "{checked}");
    }
}

#[test]
fn what_is_not_a_number_stops_the_step_and_is_named() {
    let data = fixed();
    let mut latent: Vec<Vec<f32>> = [784 * 64, 64 * 40, 40 * 10]
        .map(|count| vec![0.5; count])
        .into();
    latent[1][7] = f32::NAN;
    let mut trainer = Trainer::with_latent_weights(spec(32, 32), 784, DIGITS, latent).unwrap();
    let error = trainer.step(&data.train).unwrap_err();
    assert_eq!((error.step, error.layer, error.what), (1, 2, "weights"));
    assert!(error.to_string().contains("weights of layer 2"));
    assert!(!trainer.is_within_step());
    // Not even a checkpoint brings it in.
    assert_eq!(
        Trainer::restore(&trainer.checkpoint()).unwrap_err(),
        CheckpointError::Damaged
    );

    // Gammas near the end of float32, where no step leads: patched into a checkpoint of a new network.
    let mut checkpoint = Trainer::new(spec(1, 1), 784, DIGITS).unwrap().checkpoint();
    let ones: Vec<u8> = [10]
        .into_iter()
        .chain(1f32.to_le_bytes().repeat(10))
        .collect();
    let gamma = checkpoint
        .windows(41)
        .position(|window| window == ones)
        .unwrap()
        + 1;
    for value in [3e38f32, 1e15] {
        checkpoint[gamma..gamma + 40].copy_from_slice(&value.to_le_bytes().repeat(10));
        let mut trainer = Trainer::restore(&checkpoint).unwrap();
        let error = trainer.step(&data.train).unwrap_err();
        assert_eq!((error.layer, error.what), (3, "logits"));
        assert!(
            Trainer::restore(&trainer.checkpoint()).is_ok(),
            "all of it is finite still"
        );
    }
}

#[test]
fn sampled_networks_differ_and_their_mean_answers() {
    let data = fixed();
    let spec = NetworkSpec {
        weight_rounding: Rounding::Stochastic,
        ..spec(1, 1)
    };
    let mut trainer = Trainer::new(spec, 784, DIGITS).unwrap();
    curve(&mut trainer, &data.train, 200);
    let networks = trainer.freeze_samples(8);
    let pixels = data.test.pixels_of(0..20);
    let logits: Vec<Vec<f32>> = networks
        .0
        .iter()
        .map(|network| network.logits(pixels))
        .collect();
    assert_ne!(logits[0], logits[1]);
    for (index, mean) in networks.logits(pixels).into_iter().enumerate() {
        let expected = logits.iter().map(|logits| logits[index]).sum::<f32>() / 8.0;
        assert!((mean - expected).abs() < 1e-4);
    }
    let mean = networks.evaluate_all(&data.test, 50).accuracy();
    let one = networks.0[0].evaluate_all(&data.test, 50).accuracy();
    assert!(mean > one && mean > 0.3, "{mean} {one}");
}

#[test]
fn seeds_change_the_curve() {
    let data = fixed();
    let losses = |seed| {
        let mut trainer = Trainer::new(NetworkSpec { seed, ..spec(1, 1) }, 784, DIGITS).unwrap();
        curve(&mut trainer, &data.train, 3)
    };
    assert_eq!(losses(5), losses(5));
    assert_ne!(losses(5), losses(6));
}

#[test]
fn a_checkpoint_in_mid_epoch_changes_nothing() {
    let data = fixed();
    for optimizer in [Optimizer::Adam, Optimizer::Sgd { momentum: 0.9 }] {
        let mut whole = Trainer::new(
            NetworkSpec {
                optimizer,
                ..spec(1, 1)
            },
            784,
            DIGITS,
        )
        .unwrap();
        curve(&mut whole, &data.train, 17);
        let mut resumed = Trainer::restore(&whole.checkpoint()).unwrap();
        assert_eq!(
            curve(&mut whole, &data.train, 20),
            curve(&mut resumed, &data.train, 20)
        );
        assert_eq!(whole.checkpoint(), resumed.checkpoint());
    }
}

#[test]
fn damaged_checkpoints_are_refused() {
    let data = fixed();
    let checkpoint = Trainer::new(spec(1, 1), 784, DIGITS).unwrap().checkpoint();
    assert_eq!(
        Trainer::restore(b"label,pixel").unwrap_err(),
        CheckpointError::Foreign
    );
    assert_eq!(Trainer::restore(&[]).unwrap_err(), CheckpointError::Foreign);
    let mut first = checkpoint.clone();
    first[14] = 2;
    let error = Trainer::restore(&first).unwrap_err();
    assert_eq!(error, CheckpointError::Version(2));
    assert!(error.to_string().contains("version 2"));
    for length in (16..checkpoint.len()).step_by(checkpoint.len() / 50) {
        assert_eq!(
            Trainer::restore(&checkpoint[..length]).unwrap_err(),
            CheckpointError::Damaged
        );
    }
    // Whatever a flipped byte says, it is an error or a network, never a panic.
    for index in 15..200 {
        let mut damaged = checkpoint.clone();
        damaged[index] ^= 0xff;
        if let Ok(mut trainer) = Trainer::restore(&damaged)
            && trainer.spec().batch_size <= 100
        {
            let _ = trainer.step(&data.train);
        }
    }
}

#[test]
fn what_was_learned_at_one_bit_width_serves_at_another() {
    let data = fixed();
    // Steps this small teach nothing: they only let batch normalization's running statistics follow.
    let follow = |trainer: &mut Trainer, weight_bits, activation_bits| {
        let spec = NetworkSpec {
            learning_rate: 1e-6,
            ..spec(weight_bits, activation_bits)
        };
        trainer.reconfigure(spec).unwrap();
        curve(trainer, &data.train, 40);
        trainer.freeze().evaluate_all(&data.test, 100).accuracy()
    };
    let mut learned = Trainer::new(spec(2, 2), 784, DIGITS).unwrap();
    curve(&mut learned, &data.train, 100);
    for (weight_bits, activation_bits) in [(4, 4), (32, 32), (1, 1)] {
        let mut new = Trainer::new(spec(2, 2), 784, DIGITS).unwrap();
        let ignorant = follow(&mut new, weight_bits, activation_bits);
        let accuracy = follow(&mut learned, weight_bits, activation_bits);
        assert!(
            ignorant < 0.4 && accuracy > ignorant + 0.2,
            "{weight_bits} bits: {accuracy}, new {ignorant}"
        );
    }
}

#[test]
fn senseless_settings_are_refused_and_change_nothing() {
    let mut trainer = Trainer::new(spec(1, 1), 784, DIGITS).unwrap();
    let refused = trainer.reconfigure(NetworkSpec {
        learning_rate: f32::NAN,
        ..spec(2, 2)
    });
    assert!(refused.is_err());
    assert_eq!(*trainer.spec(), spec(1, 1));
}

#[test]
fn latent_weights_stay_within_the_clip() {
    let data = fixed();
    let spec = NetworkSpec {
        learning_rate: 5.0,
        ..spec(1, 1)
    };
    let mut trainer = Trainer::new(spec, 784, DIGITS).unwrap();
    curve(&mut trainer, &data.train, 10);
    assert!(
        trainer
            .latent_weights(0)
            .iter()
            .all(|weight| (-1.0..=1.0).contains(weight))
    );
    assert!(
        trainer
            .latent_weights(0)
            .iter()
            .any(|weight| weight.abs() == 1.0)
    );
}

#[test]
fn odd_batches_and_epochs() {
    let data = fixed();
    // 600 images: 4 batches of 128, the rest waits for another shuffle.
    let mut trainer = Trainer::new(
        NetworkSpec {
            batch_size: 128,
            ..spec(1, 1)
        },
        784,
        DIGITS,
    )
    .unwrap();
    curve(&mut trainer, &data.train, 5);
    assert_eq!(
        (trainer.epoch(), trainer.epochs(&data.train)),
        (1, 1.0 + 128.0 / 600.0)
    );
    // A batch larger than the set is the set.
    let mut trainer = Trainer::new(
        NetworkSpec {
            batch_size: 4000,
            ..spec(1, 1)
        },
        784,
        DIGITS,
    )
    .unwrap();
    assert_eq!(trainer.step(&data.train).unwrap().images, 600);
    assert_eq!(trainer.epoch(), 1);
}
