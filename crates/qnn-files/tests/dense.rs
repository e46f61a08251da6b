//! Dense networks of others: what they become here, and what damaged files do. Whole files of other programs are tested by
//! `tests/onnx`.

mod common;

use std::collections::HashMap;

use common::{classes, spec, trained};
use proptest::prelude::*;
use qnn_core::data::{DIGITS, DataSet};
use qnn_core::loss::argmax;
use qnn_core::measure::values;
use qnn_core::spec::{Bits, NetworkSpec};
use qnn_core::train::Trainer;
use qnn_files::{
    Activation, DenseError, ImportError, PixelScaling, import_dense, write_float_onnx, write_onnx,
    write_packed,
};
use qnn_infer::Network;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// Name, shape and numbers of each.
type Tensors = Vec<(&'static str, &'static [usize], Vec<f32>)>;

/// Settings of 32 bits.
fn float(hidden: &[usize]) -> NetworkSpec {
    spec(32, 32, hidden.to_vec())
}

/// A safetensors file of float32 tensors.
fn file(tensors: &[(&str, &[usize], Vec<f32>)]) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, _, numbers)| numbers.iter().flat_map(|x| x.to_le_bytes()).collect())
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        let view = TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap();
        (name.to_string(), view)
    });
    safetensors::serialize(views.collect::<HashMap<_, _>>(), None).unwrap()
}

/// 784-12-9-10 with weights of a usual size.
fn state() -> Tensors {
    let of = |count, salt, size: f32| values(count, salt).into_iter().map(move |x| x * size);
    vec![
        ("fc1.weight", &[12, 784], of(12 * 784, 1, 0.1).collect()),
        ("fc1.bias", &[12], of(12, 2, 0.2).collect()),
        ("fc2.weight", &[9, 12], of(9 * 12, 3, 0.5).collect()),
        ("fc2.bias", &[9], of(9, 4, 0.2).collect()),
        ("fc10.weight", &[10, 9], of(90, 5, 0.6).collect()),
        ("fc10.bias", &[10], of(10, 6, 0.2).collect()),
    ]
}

fn close(found: &[f32], expected: &[f32], share: f32) {
    let largest = expected
        .iter()
        .fold(0.0f32, |largest, x| largest.max(x.abs()));
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() <= share * largest,
            "{found} {expected}"
        );
    }
}

#[test]
fn relu_is_kept_on_the_images_that_were_shown_and_training_starts_where_it_stood() {
    let data = DataSet::procedural(3, 400);
    let shown = data.test.pixels_of(0..200);
    let mut dense = import_dense("state.safetensors", &file(&state())).unwrap();
    assert_eq!(
        (dense.inputs(), dense.hidden(), dense.classes()),
        (784, vec![12, 9], 10)
    );
    dense.pixels = PixelScaling::normalized(0.13, 0.31);
    let expected = dense.logits(&data.test.pixels);
    let spread = |logits: &[f32]| {
        let mean = logits.iter().sum::<f32>() / logits.len() as f32;
        (logits.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / logits.len() as f32).sqrt()
    };
    let trainer = dense.clone().into_trainer(float(&[1]), shown).unwrap();
    assert_eq!(trainer.spec().hidden, [12, 9]);
    let logits = trainer.freeze().logits(&data.test.pixels);
    close(&logits[..200 * DIGITS], &expected[..200 * DIGITS], 1e-4);
    // Of other images few go beyond, and not by far.
    let error: Vec<f32> = logits
        .iter()
        .zip(&expected)
        .map(|(found, expected)| found - expected)
        .collect();
    assert!(
        spread(&error) < 0.1 * spread(&expected),
        "{} {}",
        spread(&error),
        spread(&expected)
    );
    for layer in 0..3 {
        let weights = trainer.latent_weights(layer);
        assert!(weights.iter().all(|weight| weight.abs() <= 1.0));
        let (mean, variance) = trainer.batch_norm(layer).running_statistics();
        assert!(mean.iter().any(|mean| mean.abs() > 1e-3));
        assert!(variance.iter().all(|variance| *variance >= 0.0));
    }
}

#[test]
fn networks_that_clip_as_ours_are_kept_on_all_images() {
    let data = DataSet::procedural(3, 300);
    let mut dense = import_dense("state.safetensors", &file(&state())).unwrap();
    for (lowest, highest) in [(-1.0, 1.0), (0.0, 6.0), (-0.5, 0.25)] {
        dense.set_activation(Activation::Clip { lowest, highest });
        let one = data.test.pixels_of(0..2);
        let trainer = dense.clone().into_trainer(float(&[1]), one).unwrap();
        let expected = dense.logits(&data.test.pixels);
        close(&trainer.freeze().logits(&data.test.pixels), &expected, 1e-4);
    }
}

#[test]
fn our_own_float_graphs_come_back_as_they_were() {
    let data = DataSet::procedural(3, 200);
    let trainer = trained(float(&[20, 11]), &data);
    let dense = import_dense("float.onnx", &write_float_onnx(&trainer, &classes(DIGITS))).unwrap();
    assert_eq!(dense.pixels, PixelScaling::BYTES);
    let expected = trainer.freeze().logits(&data.test.pixels);
    close(&dense.logits(&data.test.pixels), &expected, 1e-4);
    let again = dense
        .into_trainer(trainer.spec().clone(), &data.test.pixels)
        .unwrap();
    close(&again.freeze().logits(&data.test.pixels), &expected, 1e-4);
}

/// What the import is for: a network of floats becomes one of few bits, better than an untrained one by far.
#[test]
fn a_network_of_floats_is_trained_on_with_one_bit() {
    let data = DataSet::procedural(3, 500);
    let accuracy = |trainer: &Trainer| trainer.freeze().evaluate_all(&data.test, 500).accuracy();
    let train = |trainer: &mut Trainer, steps: usize| {
        for _ in 0..steps {
            trainer.step(&data.train).unwrap();
        }
    };
    let settings = NetworkSpec {
        batch_size: 100,
        ..float(&[64])
    };
    let mut original = Trainer::new(settings, 784, DIGITS).unwrap();
    train(&mut original, 150);
    let file = write_float_onnx(&original, &classes(DIGITS));
    let few_bits = NetworkSpec {
        weight_bits: Bits::ONE,
        activation_bits: Bits::ONE,
        learning_rate: 0.01,
        batch_size: 100,
        ..NetworkSpec::default()
    };
    let dense = import_dense("float.onnx", &file).unwrap();
    let mut tuned = dense
        .into_trainer(few_bits.clone(), data.test.pixels_of(0..200))
        .unwrap();
    let mut anew = Trainer::new(
        NetworkSpec {
            hidden: vec![64],
            ..few_bits
        },
        784,
        DIGITS,
    )
    .unwrap();
    train(&mut tuned, 15);
    train(&mut anew, 15);
    let (tuned, anew) = (accuracy(&tuned), accuracy(&anew));
    assert!(
        tuned > anew && tuned > 0.6,
        "{tuned} {anew} of {}",
        accuracy(&original)
    );
}

#[test]
fn what_cannot_be_used_is_refused_with_its_reason() {
    let refused = |change: &dyn Fn(&mut Tensors)| {
        let mut state = state();
        change(&mut state);
        import_dense("state.safetensors", &file(&state))
            .unwrap_err()
            .to_string()
    };
    let error = refused(&|state| state[2] = ("fc2.weight", &[9, 13], vec![0.0; 9 * 13]));
    assert!(
        error.contains("12 units") && error.contains("13 inputs"),
        "{error}"
    );
    let error = refused(&|state| state[2].0 = "fc2.kernel");
    assert!(error.contains("fc2.kernel"), "{error}");
    let error = refused(&|state| state[0] = ("fc1.weight", &[12, 1, 28, 28], vec![0.0; 12 * 784]));
    assert!(
        error.contains("fc1.weight") && error.contains("[12, 1, 28, 28]"),
        "{error}"
    );
    let error = refused(&|state| state[3] = ("fc2.bias", &[8], vec![0.0; 8]));
    assert!(
        error.contains("fc2.bias") && error.contains("[8], not [9]"),
        "{error}"
    );
    let error = refused(&|state| state[5].2[3] = f32::NAN);
    assert!(error.contains("finite"), "{error}");
    let error = refused(&|state| state.truncate(2));
    assert!(error.contains("0 hidden layers"), "{error}");
    // No numbers, but units for which memory would be taken.
    let error = refused(&|state| state[0] = ("fc1.weight", &[1 << 60, 0], vec![]));
    assert!(error.contains("fc1.weight"), "{error}");

    assert_eq!(
        import_dense("notes.txt", b"nothing of the kind").unwrap_err(),
        ImportError::Foreign("notes.txt".into())
    );
    let trainer = Trainer::new(spec(1, 1, vec![20]), 784, DIGITS).unwrap();
    let packed = write_packed(&trainer, &classes(DIGITS)).unwrap();
    let network = Network::parse(&packed).unwrap();
    let integers = write_onnx(&network, trainer.spec(), &classes(DIGITS));
    let error = import_dense("integers.onnx", &integers)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("layers.0.sums") && error.contains("safetensors"),
        "{error}"
    );
    // A megabyte of empty nodes would take a hundred of memory.
    let mut nodes = vec![0x3a, 0x80, 0x80, 0x80, 0x01];
    nodes.extend([0x0a, 0x00].repeat(1 << 20));
    let error = import_dense("nodes.onnx", &nodes).unwrap_err().to_string();
    assert!(error.contains("graph alone"), "{error}");

    let dense = import_dense("state.safetensors", &file(&state())).unwrap();
    let error = dense.into_trainer(float(&[1]), &[0; 783]).unwrap_err();
    assert_eq!(error, DenseError::NoImages { expected: 784 });
}

/// Numbers, for instance 2^100, that are finite by themselves and not in sums or squares.
#[test]
fn sums_that_are_not_finite_are_refused() {
    for size in [1e30, 1e38] {
        let mut state = state();
        state[0].2.fill(size);
        let dense = import_dense("state.safetensors", &file(&state)).unwrap();
        let outcome = dense.into_trainer(float(&[1]), &[255; 784 * 2]);
        if let Ok(trainer) = outcome {
            let logits = trainer.freeze().logits(&[255; 784]);
            assert!(logits.iter().all(|logit| logit.is_finite()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever becomes of its bytes, a file is refused or gives a network that answers.
    #[test]
    fn damaged_files_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<Option<prop::sample::Index>>(),
        onnx: bool,
    ) {
        let mut file = if onnx {
            let trainer = Trainer::new(float(&[3, 2]), 4, 2).unwrap();
            write_float_onnx(&trainer, &classes(2))
        } else {
            file(&[
                ("0.weight", &[3, 4], values(12, 1)),
                ("0.bias", &[3], values(3, 2)),
                ("1.running_mean", &[3], values(3, 3)),
                ("1.running_var", &[3], vec![1.0; 3]),
                ("3.weight", &[2, 3], values(6, 4)),
            ])
        };
        for (place, byte) in changes {
            let place = place.index(file.len());
            file[place] = byte;
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        if let Ok(dense) = import_dense("damaged", &file) {
            let pixels = vec![200; 2 * dense.inputs()];
            let logits = dense.logits(&pixels);
            prop_assert_eq!(logits.len(), 2 * dense.classes());
            prop_assert!(argmax(&logits[..dense.classes()]) < dense.classes());
            if let Ok(trainer) = dense.into_trainer(float(&[1]), &pixels) {
                prop_assert_eq!(trainer.freeze().logits(&pixels).len(), logits.len());
            }
        }
    }
}
