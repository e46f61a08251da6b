//! Files against the networks they were made of: what comes back, what answers, and what is refused.

mod common;

use common::{classes, spec, trained};
use proptest::prelude::*;
use qnn_core::data::{DIGITS, DataSet};
use qnn_core::loss::argmax;
use qnn_core::spec::{Bits, Levels, NetworkSpec, Normalization};
use qnn_core::train::Trainer;
use qnn_files::{Description, FileError, read_trainer, unpack, write_packed, write_training};
use qnn_infer::{Network, ParseError};

fn any_spec() -> impl Strategy<Value = NetworkSpec> {
    let levels = || prop::sample::select(vec![Levels::Linear, Levels::Logarithmic]);
    let hidden = prop::collection::vec(1usize..150, 1..4);
    (
        1u8..=8,
        1u8..=8,
        levels(),
        levels(),
        hidden,
        any::<bool>(),
        any::<u32>(),
    )
        .prop_map(
            |(weights, activations, weight_levels, activation_levels, hidden, shift, seed)| {
                let few = |bits: u8, levels| {
                    if levels == Levels::Logarithmic {
                        1 + bits % 3
                    } else {
                        bits
                    }
                };
                NetworkSpec {
                    weight_levels,
                    activation_levels,
                    seed,
                    normalization: if shift {
                        Normalization::ShiftBatchNorm
                    } else {
                        Normalization::BatchNorm
                    },
                    ..spec(
                        few(weights, weight_levels),
                        few(activations, activation_levels),
                        hidden,
                    )
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// The plain reader is the twin of the fast kernels, bit for bit.
    #[test]
    fn a_packed_file_answers_as_the_network_it_was_made_of(spec in any_spec()) {
        let data = DataSet::procedural(3, 30);
        let trainer = trained(spec, &data);
        let file = write_packed(&trainer, &classes(DIGITS)).unwrap();
        let network = Network::parse(&file).unwrap();
        prop_assert_eq!((network.inputs(), network.classes()), (784, DIGITS));
        let mut buffer = vec![u64::MAX; network.buffer_words()];
        let logits = trainer.freeze().logits(&data.test.pixels);
        for (pixels, logits) in data.test.pixels.chunks(784).zip(logits.chunks(DIGITS)) {
            let mut scores = [0; DIGITS];
            network.scores(pixels, &mut buffer, &mut scores).unwrap();
            for (score, logit) in scores.iter().zip(logits) {
                prop_assert_eq!(*score as f32 * network.score_unit(), *logit);
            }
            prop_assert_eq!(network.predict(pixels, &mut buffer).unwrap(), argmax(logits));
        }
    }

    /// Fine-tuning begins where the packed network is.
    #[test]
    fn a_trainer_of_a_packed_file_answers_as_the_file(spec in any_spec(), restates: bool) {
        let data = DataSet::procedural(3, 200);
        let trainer = trained(spec, &data);
        let (mut unpacked, _) = unpack(&write_packed(&trainer, &classes(DIGITS)).unwrap()).unwrap();
        if restates {
            unpacked.restate_batch_norm(&data.test.pixels);
        }
        let answers = |trainer: &Trainer| -> Vec<usize> {
            trainer.freeze().logits(&data.test.pixels).chunks(DIGITS).map(argmax).collect()
        };
        let agreed = answers(&trainer).iter().zip(answers(&unpacked)).filter(|(a, b)| **a == *b).count();
        let least = if trainer.spec().activation_bits == Bits::ONE { 200 } else { 120 };
        prop_assert!(agreed >= least, "{} of 200", agreed);
        unpacked.step(&data.train).unwrap();
    }

    #[test]
    fn training_goes_on_from_a_file_as_if_nothing_had_been(spec in any_spec(), float in any::<bool>()) {
        let spec = if float { NetworkSpec { weight_bits: Bits::FLOAT, ..spec } } else { spec };
        let data = DataSet::procedural(3, 10);
        let mut trainer = trained(spec, &data);
        let file = write_training(&trainer, &classes(DIGITS));
        let (mut restored, description) = read_trainer(&file).unwrap();
        prop_assert_eq!(restored.checkpoint(), trainer.checkpoint());
        prop_assert_eq!(description.classes, classes(DIGITS));
        prop_assert_eq!(description.packed, !float);
        trainer.step(&data.train).unwrap();
        restored.step(&data.train).unwrap();
        prop_assert_eq!(restored.checkpoint(), trainer.checkpoint());
        prop_assert_eq!(write_training(&restored, &classes(DIGITS)), write_training(&trainer, &classes(DIGITS)));
    }

    /// Whatever becomes of its bytes, a file is refused or gives a network that answers.
    #[test]
    fn damaged_files_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut in any::<Option<prop::sample::Index>>(), training: bool) {
        let data = DataSet::procedural(3, 1);
        let trainer = trained(spec(2, 5, vec![9, 5]), &data);
        let mut file = if training { write_training(&trainer, &classes(DIGITS)) } else { write_packed(&trainer, &classes(DIGITS)).unwrap() };
        for (place, byte) in changes {
            // Most of a file is weights, of which all are as good as others: the header and the thresholds are the target.
            let place = place.index(4000);
            let length = file.len();
            file[place.min(length - 1)] = byte;
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        if let Ok(network) = Network::parse(&file) {
            let mut buffer = vec![0; network.buffer_words()];
            let pixels = vec![255; network.inputs()];
            prop_assert!(network.predict(&pixels, &mut buffer).unwrap() < network.classes());
        }
        if let Ok((mut trainer, _)) = read_trainer(&file)
            && trainer.inputs() == 784
        {
            let _ = trainer.step(&data.train);
        }
    }
}

#[test]
fn the_file_of_the_paper_s_kind_of_network_is_small() {
    let trainer = Trainer::new(spec(1, 1, vec![512, 512]), 784, DIGITS).unwrap();
    let file = write_packed(&trainer, &classes(DIGITS)).unwrap();
    assert!(file.len() < 90_000, "{}", file.len());
    // Two rooms of eight planes of 784 pixels.
    assert_eq!(Network::parse(&file).unwrap().buffer_words(), 2 * 8 * 13);
}

#[test]
fn the_same_network_is_the_same_bytes_and_says_what_it_is() {
    let trainer = Trainer::new(spec(1, 2, vec![20]), 784, 3).unwrap();
    let file = write_packed(&trainer, &classes(3)).unwrap();
    assert_eq!(file, write_packed(&trainer, &classes(3)).unwrap());
    let description = Description::of(&file).unwrap();
    assert!(description.packed && description.progress.is_none());
    assert_eq!(
        (description.inputs, &description.spec),
        (784, trainer.spec())
    );
    let weight = description
        .tensors
        .iter()
        .find(|tensor| tensor.name == "layers.0.weight")
        .unwrap();
    assert_eq!(
        (weight.dtype.as_str(), weight.shape.as_slice(), weight.bytes),
        ("U8", &[1, 20, 98][..], 1960)
    );
}

#[test]
fn what_cannot_be_used_is_refused_with_its_reason() {
    let trainer = Trainer::new(spec(1, 1, vec![20]), 784, 3).unwrap();
    let packed = write_packed(&trainer, &classes(3)).unwrap();
    assert!(matches!(read_trainer(&packed), Err(FileError::NoTraining)));
    assert_eq!(
        Network::parse(b"QNN checkpoint").unwrap_err(),
        ParseError::Damaged
    );
    let replaced = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let place = packed
            .windows(from.len())
            .position(|window| window == from.as_bytes())
            .unwrap();
        let mut file = packed.clone();
        file[place..place + to.len()].copy_from_slice(to.as_bytes());
        (
            Network::parse(&file).unwrap_err(),
            Description::of(&file).unwrap_err().to_string(),
        )
    };
    let (error, description) = replaced(r#""version":"1""#, r#""version":"7""#);
    assert_eq!(error, ParseError::Version(7));
    assert!(description.contains("version 7"), "{description}");
    assert_eq!(replaced(r#""qnn""#, r#""gnn""#).0, ParseError::Foreign);
    assert_eq!(
        replaced("layers.0.levels", "layers.0.lovels").0,
        ParseError::Missing {
            layer: 0,
            part: "levels"
        }
    );
    assert_eq!(
        replaced(r#""inputs":"784""#, r#""inputs":"792""#).0,
        ParseError::Misfit {
            layer: 0,
            part: "weight"
        }
    );
    let floats = Trainer::new(spec(32, 1, vec![20]), 784, 3).unwrap();
    assert!(
        write_packed(&floats, &classes(3))
            .unwrap_err()
            .to_string()
            .contains("weights")
    );
    assert_eq!(
        Network::parse(&write_training(&floats, &classes(3))).unwrap_err(),
        ParseError::Unpacked
    );
}
