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
    for (bits, size) in [("1", 24_000), ("2", 30_000), ("8", 100_000)] {
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
fn training_goes_on_from_a_packed_network_better_than_from_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (model, packed) = (path("model.safetensors"), path("packed.safetensors"));
    let first = json(&[
        "train",
        "--preset",
        "mnist-128",
        "--epochs",
        "3",
        "--save",
        &model,
        "--json",
    ]);
    json(&["export", "--model", &model, "--out", &packed, "--json"]);
    let more = json(&["train", "--resume", &packed, "--epochs", "1", "--json"]);
    let fresh = json(&["train", "--preset", "mnist-128", "--epochs", "1", "--json"]);
    let accuracy = |report: &Value| report["test_accuracy"].as_f64().unwrap();
    assert!(accuracy(&more) > accuracy(&fresh), "{first} {more} {fresh}");
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
