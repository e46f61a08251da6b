//! What the tests of the command line share: running it, reading what it prints, and small data.
#![allow(dead_code)] // Not every file of tests needs all of it.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qnn"));
    command.args(arguments).env_remove("RUST_BACKTRACE");
    command
}

pub fn qnn(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// Started, with what it prints kept for later.
pub fn start(arguments: &[&str]) -> Child {
    let mut command = command(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

pub fn parsed(text: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(text).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

pub fn lines(output: &Output) -> Vec<Value> {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    parsed(&output.stdout)
}

pub fn refusal(arguments: &[&str]) -> String {
    let output = qnn(arguments);
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!text.contains("panicked"), "{text}");
    text
}

/// A folder with a small IDX set: 200 images of 8x8, bright on the side that their label tells.
pub fn small_set(folder: &Path) {
    let header = |numbers: &[u32]| -> Vec<u8> {
        numbers
            .iter()
            .flat_map(|number| number.to_be_bytes())
            .collect()
    };
    let labels: Vec<u8> = (0..200u32).map(|image| (image % 2) as u8).collect();
    let pixels = labels.iter().flat_map(|label| {
        (0..64u8).map(move |pixel| {
            if (pixel % 8 < 4) == (*label == 0) {
                200
            } else {
                pixel
            }
        })
    });
    fs::write(
        folder.join("images-idx3"),
        [header(&[0x803, 200, 8, 8]), pixels.collect()].concat(),
    )
    .unwrap();
    fs::write(
        folder.join("labels-idx1"),
        [header(&[0x801, 200]), labels].concat(),
    )
    .unwrap();
}

/// Waits for what must come.
pub fn wait_for(what: &str, is_there: impl Fn() -> bool) {
    for _ in 0..6000 {
        if is_there() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("{what} does not come");
}

/// Sends a signal such as TERM; whether there was such a process.
pub fn signal(name: &str, process: u32) -> bool {
    let mut kill = Command::new("kill");
    kill.args([&format!("-{name}"), &process.to_string()]);
    kill.stderr(Stdio::null()).status().unwrap().success()
}

/// Without the figures that are another in every run.
pub fn without_times(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| !["seconds", "images_per_second"].contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), without_times(value)))
            .collect(),
        Value::Array(values) => values.iter().map(without_times).collect(),
        other => other.clone(),
    }
}

pub fn json(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}
