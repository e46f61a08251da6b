//! Training among processes as its user meets it: the same bits as one process, and one message where it fails. Where there
//! is no mpirun the tests say so and pass.

#![cfg(feature = "mpi")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use qnn_core::data::DIGITS;
use qnn_core::parallel::{Exchange, Traffic, float_all_reduce_bytes};
use qnn_core::spec::NetworkSpec;
use serde_json::Value;

/// What `ranks` processes with the same arguments print; `None` where there is no mpirun.
fn mpirun(ranks: usize, arguments: &[&str]) -> Option<Output> {
    let output = Command::new("mpirun")
        // Root may be all that a container has, and a machine may have fewer cores than there are ranks.
        .args(["--allow-run-as-root", "--oversubscribe", "-n"])
        .arg(ranks.to_string())
        .arg(env!("CARGO_BIN_EXE_qnn"))
        .args(arguments)
        .env("RUST_BACKTRACE", "0")
        .output();
    match output {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("Not tested: mpirun cannot be run ({error}).");
            None
        }
    }
}

fn qnn(arguments: &[&str]) -> Output {
    let qnn = Command::new(env!("CARGO_BIN_EXE_qnn"))
        .args(arguments)
        .output();
    qnn.unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// A folder with a small IDX set: 500 images of 12x12 in ten classes, a bright square at a place that their label tells.
fn small_set(folder: &Path) {
    let header = |numbers: &[u32]| -> Vec<u8> {
        numbers
            .iter()
            .flat_map(|number| number.to_be_bytes())
            .collect()
    };
    let labels: Vec<u8> = (0..500u32).map(|image| (image * 7 % 10) as u8).collect();
    let pixels = labels.iter().enumerate().flat_map(|(image, label)| {
        (0..144u32).map(move |pixel| {
            let is_bright = pixel / 14 == u32::from(*label);
            let noise = (pixel * 31 + image as u32 * 17) % 97;
            if is_bright {
                250 - noise as u8
            } else {
                noise as u8
            }
        })
    });
    let images = [header(&[0x803, 500, 12, 12]), pixels.collect()].concat();
    fs::write(folder.join("images-idx3"), images).unwrap();
    fs::write(
        folder.join("labels-idx1"),
        [header(&[0x801, 500]), labels].concat(),
    )
    .unwrap();
}

#[test]
fn mpi_trains_to_the_bits_of_one_process() {
    let folder = tempfile::tempdir().unwrap();
    small_set(folder.path());
    let data = folder.path().to_str().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (one, some, resumed) = (file("one"), file("some"), file("resumed"));
    let kept = |file: &str| fs::read(file).unwrap();
    #[rustfmt::skip]
    let train = [
        "train", "--data", data, "--hidden", "96,64", "--batch-size", "50", "--gradient-bits", "6", "--epochs", "2", "--json",
        "--save",
    ];
    let alone = lines(&qnn(&[&train[..], &[&one]].concat()));
    for ranks in [2, 3] {
        let arguments = [&train[..], &[&some, "--mpi", "--threads", "1"]].concat();
        let Some(output) = mpirun(ranks, &arguments) else {
            return;
        };
        let together = lines(&output);
        assert_eq!(together.len(), 3);
        for (one, other) in alone.iter().zip(&together) {
            for field in [
                "step",
                "train_loss",
                "last_loss",
                "test_loss",
                "test_accuracy",
            ] {
                assert_eq!(one[field], other[field], "{field}");
            }
        }
        assert!(kept(&one) == kept(&some));

        // Every step sends what is computed.
        let last = &together[2];
        let spec: NetworkSpec = serde_json::from_value(last["spec"].clone()).unwrap();
        let steps = together[1]["step"].as_u64().unwrap();
        let weights = 144 * 96 + 96 * 64 + 64 * 10;
        let mut sent = Traffic::default();
        (0..steps).for_each(|_| sent += Traffic::of_step(&spec, (144, DIGITS), 50, ranks));
        let sent_per_step = sent.of_steps() / steps;
        sent.state = 2 * (ranks as u64 - 1) * 12 * weights as u64;
        let expected = Exchange {
            ranks,
            steps: steps as u32,
            sent,
            sent_per_step,
            float_all_reduce_per_step: float_all_reduce_bytes(weights, ranks),
        };
        assert_eq!(last["exchange"], serde_json::to_value(expected).unwrap());
    }
    // What ranks have kept goes on alone, and the other way round.
    #[rustfmt::skip]
    let resume = ["train", "--data", data, "--epochs", "1", "--json", "--save", &resumed, "--resume"];
    lines(&qnn(&[&resume[..], &[&some]].concat()));
    let alone = kept(&resumed);
    let together = mpirun(2, &[&resume[..], &[&one, "--mpi"]].concat());
    lines(&together.unwrap());
    assert!(alone == kept(&resumed));
}

#[test]
fn mpi_says_once_what_is_wrong_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    small_set(folder.path());
    let data = folder.path().to_str().unwrap();
    let train = [
        "train", "--mpi", "--hidden", "32", "--epochs", "1", "--data",
    ];
    let one = |more: &[&'static str]| [&train[..], &[data], more].concat();
    let other = [":", "-n", "1", env!("CARGO_BIN_EXE_qnn")];
    let nowhere = [&train[..], &["/nowhere"]].concat();
    // All ranks, the second alone, the first alone when all else is over, and what does not fit.
    let trials = [
        (2, nowhere.clone(), "/nowhere cannot be read"),
        (
            1,
            [&one(&[])[..], &other, &nowhere].concat(),
            "/nowhere cannot be read",
        ),
        (
            2,
            one(&["--save", "/nowhere/model"]),
            "/nowhere/model.run.json cannot be written",
        ),
        (
            1,
            [&one(&[])[..], &other, &one(&["--seed", "7"])].concat(),
            "different settings",
        ),
    ];
    for (ranks, arguments, message) in trials {
        let Some(output) = mpirun(ranks, &arguments) else {
            return;
        };
        assert!(!output.status.success(), "{arguments:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(text.matches(message).count(), 1, "{text}");
        assert!(!text.contains("panicked"), "{text}");
    }
}
