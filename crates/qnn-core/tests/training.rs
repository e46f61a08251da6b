//! Training as a whole: it learns, and its result depends on spec, seed and data alone.

#![cfg(not(target_arch = "wasm32"))]

use qnn_core::data::{DataSet, TrainingData};
use qnn_core::spec::{Bits, Loss, NetworkSpec, Optimizer};
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
        let mut trainer = Trainer::new(spec(weight_bits, activation_bits), 784).unwrap();
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

#[test]
fn every_loss_and_optimizer_learns() {
    let data = DataSet::procedural(1, 500);
    for loss in [Loss::SquaredHinge, Loss::CrossEntropy] {
        for (optimizer, learning_rate) in [
            (Optimizer::Adam, 0.03),
            (Optimizer::Sgd { momentum: 0.9 }, 3.0),
        ] {
            let spec = NetworkSpec {
                loss,
                optimizer,
                learning_rate,
                ..spec(1, 1)
            };
            let mut trainer = Trainer::new(spec, 784).unwrap();
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
fn threads_do_not_change_the_curve() {
    let spec = NetworkSpec {
        hidden: vec![300, 200],
        ..spec(1, 2)
    };
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let data = fixed();
            let mut trainer = Trainer::new(spec.clone(), 784).unwrap();
            let curve = curve(&mut trainer, &data.train, 15);
            (
                curve,
                trainer.freeze().evaluate_all(&data.test, 64),
                trainer.checkpoint(),
            )
        })
    };
    let one = on(1);
    assert_eq!(one, on(2));
    assert_eq!(one, on(5));
}

#[test]
fn seeds_change_the_curve() {
    let data = fixed();
    let losses = |seed| {
        let mut trainer = Trainer::new(NetworkSpec { seed, ..spec(1, 1) }, 784).unwrap();
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
    let checkpoint = Trainer::new(spec(1, 1), 784).unwrap().checkpoint();
    assert_eq!(
        Trainer::restore(b"label,pixel").unwrap_err(),
        CheckpointError::Foreign
    );
    assert_eq!(Trainer::restore(&[]).unwrap_err(), CheckpointError::Foreign);
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
    let mut learned = Trainer::new(spec(2, 2), 784).unwrap();
    curve(&mut learned, &data.train, 100);
    for (weight_bits, activation_bits) in [(4, 4), (32, 32), (1, 1)] {
        let mut new = Trainer::new(spec(2, 2), 784).unwrap();
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
    let mut trainer = Trainer::new(spec(1, 1), 784).unwrap();
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
    let mut trainer = Trainer::new(spec, 784).unwrap();
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
    )
    .unwrap();
    assert_eq!(trainer.step(&data.train).unwrap().images, 600);
    assert_eq!(trainer.epoch(), 1);
}
