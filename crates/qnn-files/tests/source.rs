//! The exported Rust and C, compiled by the compilers that others use, with all warnings, and run.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{classes, spec, trained};
use qnn_core::data::{DIGITS, DataSet};
use qnn_core::loss::argmax;
use qnn_core::spec::{Levels, NetworkSpec};
use qnn_core::train::Trainer;
use qnn_files::{write_c, write_packed, write_rust};
use qnn_infer::Network;

const RUST_MAIN: &str = r#"
mod network;
use std::io::{Read, Write};
fn main() {
    let mut images = Vec::new();
    std::io::stdin().read_to_end(&mut images).unwrap();
    for pixels in images.as_chunks::<{ network::INPUTS }>().0 {
        assert_eq!(network::CLASS_NAMES.len(), network::CLASSES);
        let best = network::predict(pixels);
        let scores = network::scores(pixels).map(|score| (score as f32 * network::SCORE_UNIT).to_string());
        writeln!(std::io::stdout(), "{best} {} {}", scores.join(" "), network::CLASS_NAMES[best]).unwrap();
    }
}
"#;

const C_MAIN: &str = r#"
#include <stdio.h>
#include "network.c"
int main(void) {
    uint8_t pixels[QNN_INPUTS];
    int32_t scores[QNN_CLASSES];
    while (fread(pixels, 1, sizeof pixels, stdin) == sizeof pixels) {
        int best = qnn_predict(pixels);
        qnn_scores(pixels, scores);
        printf("%d", best);
        for (int class = 0; class < QNN_CLASSES; class++) printf(" %.9g", (double)((float)scores[class] * qnn_score_unit));
        printf(" %s\n", qnn_class_names[best]);
    }
    return 0;
}
"#;

fn run(command: &mut Command, images: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), images).unwrap();
    let output = command
        .stdin(file.reopen().unwrap())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "{command:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Holds what a program printed for the images against the network itself.
fn compare(printed: &str, trainer: &Trainer, pixels: &[u8]) {
    let logits = trainer.freeze().logits(pixels);
    assert_eq!(printed.lines().count(), logits.len() / DIGITS);
    for (line, logits) in printed.lines().zip(logits.chunks(DIGITS)) {
        let (numbers, name) = line.split_once(" class ").unwrap();
        let numbers: Vec<f32> = numbers
            .split(' ')
            .map(|word| word.parse().unwrap())
            .collect();
        let best = argmax(logits);
        assert_eq!(numbers[0], best as f32);
        assert_eq!(name, format!("\"{best}\""));
        for (found, logit) in numbers[1..].iter().zip(logits) {
            assert_eq!(found, logit);
        }
    }
}

/// rustc as the project pins it: the folder tells which.
fn rustc(folder: &Path, arguments: &[&str]) {
    let mut command = Command::new("rustc");
    command.args([
        "--edition",
        "2024",
        "-O",
        "-C",
        "overflow-checks",
        "-D",
        "warnings",
        "--out-dir",
    ]);
    command.arg(folder).args(arguments);
    assert!(
        command
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn exported_programs_answer_alike() {
    let data = DataSet::procedural(5, 500);
    let pixels = &data.test.pixels;
    let logarithmic = NetworkSpec {
        weight_levels: Levels::Logarithmic,
        activation_levels: Levels::Logarithmic,
        ..spec(3, 3, vec![70, 33])
    };
    let specs = [
        spec(1, 1, vec![200, 65, 64]),
        spec(1, 2, vec![70, 33]),
        spec(3, 1, vec![70, 33]),
        spec(2, 8, vec![70, 33]),
        spec(8, 5, vec![70, 33]),
        logarithmic,
    ];
    for spec in specs {
        let trainer = trained(spec, &data);
        let file = write_packed(&trainer, &classes(DIGITS)).unwrap();
        let network = Network::parse(&file).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let text = |name: &str| path(name).to_str().unwrap().to_string();

        fs::write(path("network.rs"), write_rust(&network, &classes(DIGITS))).unwrap();
        fs::write(path("main.rs"), RUST_MAIN).unwrap();
        rustc(folder.path(), &[&text("main.rs")]);
        compare(
            &run(&mut Command::new(path("main")), pixels),
            &trainer,
            pixels,
        );
        fs::write(
            path("lib.rs"),
            "#![no_std]\n#![forbid(unsafe_code)]\npub mod network;\n",
        )
        .unwrap();
        rustc(folder.path(), &["--crate-type", "lib", &text("lib.rs")]);

        fs::write(path("network.c"), write_c(&network, &classes(DIGITS))).unwrap();
        fs::write(path("main.c"), C_MAIN).unwrap();
        // The second may fuse multiplications and additions, where there is an instruction for it.
        for options in [
            &["-std=c99", "-pedantic"][..],
            &["-std=gnu11", "-O3", "-march=native"],
        ] {
            let mut compiler = Command::new("cc");
            compiler
                .args(["-Wall", "-Wextra", "-Werror", "-O2"])
                .args(options);
            compiler
                .arg(path("main.c"))
                .arg("-o")
                .arg(path("c-program"));
            assert!(compiler.status().unwrap().success());
            compare(
                &run(&mut Command::new(path("c-program")), pixels),
                &trainer,
                pixels,
            );
        }
    }
}
