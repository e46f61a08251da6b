//! The files of networks as the command line's user meets them: saved, looked into, exported, tested again.

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

fn qnn(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_qnn"))
        .args(arguments)
        .output()
        .unwrap()
}

fn json(arguments: &[&str]) -> Value {
    let output = qnn(arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

fn refusal(arguments: &[&str]) -> String {
    let output = qnn(arguments);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_network_is_saved_inspected_exported_and_tested() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (model, packed) = (path("model.safetensors"), path("packed.safetensors"));
    for (bits, size) in [("1", 24_000), ("2", 30_000), ("8", 110_000)] {
        let trained = json(&[
            "train",
            "--preset",
            "mnist-128",
            "--weight-bits",
            bits,
            "--activation-bits",
            bits,
            "--epochs",
            "1",
            "--save",
            &model,
            "--json",
        ]);
        let description = json(&["inspect", &model, "--json"]);
        assert_eq!(description["packed"], true);
        assert_eq!(description["spec"], trained["spec"]);
        assert!(description["progress"]["step"].as_u64().unwrap() > 100);

        let exported = json(&["export", "--model", &model, "--out", &packed, "--json"]);
        assert_eq!(exported["bytes"], fs::metadata(&packed).unwrap().len());
        assert!(exported["bytes"].as_u64().unwrap() < size, "{exported}");
        assert_eq!(
            json(&["inspect", &packed, "--json"])["progress"],
            Value::Null
        );
        let text = qnn(&["inspect", &packed]);
        let text = String::from_utf8(text.stdout).unwrap();
        assert!(
            text.contains("network 784-128-10") && text.contains("layers.0.weight"),
            "{text}"
        );

        // The packed file answers by other code, and as the network does.
        let (whole, alone) = (
            json(&["eval", "--model", &model, "--json"]),
            json(&["eval", "--model", &packed, "--json"]),
        );
        assert_eq!(alone["test_accuracy"], whole["test_accuracy"]);
        assert_eq!(alone["test_loss"], whole["test_loss"]);

        // Once packed, it packs to the same again.
        let again = path("again.safetensors");
        json(&["export", "--model", &packed, "--out", &again, "--json"]);
        assert_eq!(fs::read(&again).unwrap(), fs::read(&packed).unwrap());
        for name in ["network.rs", "network.c"] {
            json(&["export", "--model", &packed, "--out", &path(name), "--json"]);
            assert!(
                fs::read_to_string(path(name))
                    .unwrap()
                    .contains("784-128-10")
            );
        }
    }
}

#[test]
fn training_goes_on_from_a_network_under_other_settings() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (model, packed) = (path("model.safetensors"), path("packed.safetensors"));
    let train = |more: &[&str]| json(&[&["train", "--epochs", "1", "--json"][..], more].concat());
    let accuracy = |report: &Value| report["test_accuracy"].as_f64().unwrap();
    let first = train(&["--preset", "mnist-128", "--save", &model]);
    json(&["export", "--model", &model, "--out", &packed, "--json"]);
    for from in [&model, &packed] {
        let gentle = ["--learning-rate", "0.001", "--seed", "2", "--from", from];
        let more = train(&gentle);
        assert_eq!(more["spec"]["hidden"], serde_json::json!([128]));
        assert!(accuracy(&more) > accuracy(&first) - 0.02, "{more} {first}");
        // Nobody learns so slowly: the figure is that of the network it began with, with two bits now.
        let two = [
            "--learning-rate",
            "1e-9",
            "--weight-bits",
            "2",
            "--from",
            &model,
        ];
        let slow = train(&two);
        assert!(accuracy(&slow) > 0.5, "{slow}");
    }
    let fresh = train(&["--preset", "mnist-128", "--learning-rate", "1e-9"]);
    assert!(accuracy(&fresh) < 0.5, "{fresh}");
    let both = refusal(&["train", "--from", &model, "--resume", &model]);
    assert!(both.contains("cannot be used with"), "{both}");
    let pixels = refusal(&["eval", "--model", &model, "--pixels", "bytes"]);
    assert!(pixels.contains("networks of other programs"), "{pixels}");
}

/// A dense network of floats as other programs save it: the mean of each class is its row, and the nearest answers.
#[test]
fn a_network_of_another_program_is_tested_and_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (theirs, ours, model) = (
        path("theirs.onnx"),
        path("ours.safetensors"),
        path("model.safetensors"),
    );
    json(&[
        "train",
        "--preset",
        "mnist-128",
        "--weight-bits",
        "32",
        "--activation-bits",
        "32",
        "--epochs",
        "1",
        "--save",
        &model,
        "--json",
    ]);
    json(&["export", "--model", &model, "--out", &theirs, "--json"]);
    let as_it_is = json(&["eval", "--model", &theirs, "--json"]);
    let here = json(&["eval", "--model", &model, "--json"]);
    let accuracy = |report: &Value| report["test_accuracy"].as_f64().unwrap();
    assert!(
        (accuracy(&as_it_is) - accuracy(&here)).abs() < 0.001,
        "{as_it_is} {here}"
    );
    let begin = [
        "train",
        "--from",
        &theirs,
        "--epochs",
        "1",
        "--learning-rate",
        "0.001",
        "--save",
        &ours,
        "--json",
    ];
    for (bits, least) in [("32", 0.02), ("2", 0.15)] {
        let trained = json(
            &[
                &begin[..],
                &["--weight-bits", bits, "--activation-bits", bits],
            ]
            .concat(),
        );
        assert!(
            accuracy(&trained) > accuracy(&here) - least,
            "{bits}: {trained} {here}"
        );
    }
    assert_eq!(
        json(&["inspect", &ours, "--json"])["spec"]["weight_bits"],
        2
    );
    let wrong = refusal(&["export", "--model", &theirs, "--out", &path("a.c")]);
    assert!(wrong.contains("qnn train --from"), "{wrong}");
}

#[test]
fn what_cannot_be_exported_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let model = path("model.safetensors");
    json(&[
        "train",
        "--preset",
        "mnist-128",
        "--weight-bits",
        "32",
        "--epochs",
        "1",
        "--save",
        &model,
        "--json",
    ]);
    let export = |out: &str| refusal(&["export", "--model", &model, "--out", &path(out)]);
    assert!(export("a.safetensors").contains("1 to 8 bits"));
    assert!(export("a.txt").contains("--format"));
    assert!(!fs::exists(path("a.safetensors")).unwrap());
    fs::write(&model, "nothing").unwrap();
    assert!(export("a.c").contains("not a safetensors file"));
    assert!(refusal(&["inspect", &model]).contains("not a safetensors file"));
    assert!(refusal(&["inspect", &path("absent")]).contains("cannot be read"));
}
