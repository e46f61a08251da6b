//! A packed network as source code: one file of Rust or of C with the weights as constants and a function that answers,
//! which needs nothing else. What answers is the same text in every file, `runtime.rs.txt` and `runtime.c.txt`; this
//! writes the constants before it.

use std::fmt::Write;

use qnn_infer::{Edge, Encoding, Layer, Levels, Network, Numbers};

const RUST: &str = include_str!("runtime.rs.txt");
const C: &str = include_str!("runtime.c.txt");
/// Numbers on a line.
const PER_LINE: usize = 8;

/// A file of Rust, without dependencies and without std: `predict` and `scores`. `classes` are the names of the classes.
pub fn write_rust(network: &Network<'_>, classes: &[String]) -> String {
    let names: Vec<String> = classes.iter().map(|name| format!("{name:?}")).collect();
    let mut text = format!("//! {}\n", described(network).join("\n//! "));
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    line(format!(
        "\n/// Pixels of an image.\npub const INPUTS: usize = {};",
        network.inputs()
    ));
    line(format!(
        "/// Classes that are told apart.\npub const CLASSES: usize = {};",
        network.classes()
    ));
    line(format!(
        "/// The names of the classes.\npub const CLASS_NAMES: [&str; CLASSES] = [{}];",
        names.join(", ")
    ));
    let unit = network.score_unit();
    line(format!(
        "/// What a score of 1 is worth as a logit.\npub const SCORE_UNIT: f32 = {unit:e};"
    ));
    line(format!(
        "const WORDS: usize = {};",
        network.buffer_words() / 2
    ));
    let mut layers = Vec::new();
    for (index, layer) in network.layers().iter().enumerate() {
        let mut array = |name: &str, kind: &str, numbers: Vec<String>| {
            let count = numbers.len();
            line(format!(
                "static {name}_{index}: [{kind}; {count}] = [\n{}];",
                lines(&numbers)
            ));
            format!("&{name}_{index}")
        };
        let weights = array("WEIGHTS", "u64", words(layer));
        let edge = match &layer.edge {
            Edge::Thresholds(edge) => {
                let values = array("THRESHOLDS", "i32", integers(edge.values));
                let falling = array("FALLING", "u8", bytes(edge.falling));
                let levels = array("LEVELS", "i8", levels(edge.levels));
                format!(
                    "Edge::Thresholds {{ values: {values}, falling: {falling}, levels: {levels} }}"
                )
            }
            Edge::Affine {
                scale,
                shift,
                unit,
                levels,
            } => {
                let scale = array("SCALE", "f32", floats(*scale, ""));
                let shift = array("SHIFT", "f32", floats(*shift, ""));
                let (lowest, highest) = levels.range();
                format!(
                    "Edge::Affine {{ scale: {scale}, shift: {shift}, unit: {unit:e}, lowest: {lowest}, highest: {highest} }}"
                )
            }
            Edge::Scores {
                multiplier,
                offset,
                shift,
                ..
            } => {
                let multiplier = array("MULTIPLIER", "i32", integers(*multiplier));
                let offset = array("OFFSET", "i64", long_integers(*offset));
                format!(
                    "Edge::Scores {{ multiplier: {multiplier}, offset: {offset}, shift: {shift} }}"
                )
            }
        };
        let digits = |encoding: Encoding| {
            let (offset, coefficients) = digits(encoding);
            format!(
                "Digits {{ offset: {offset}, coefficients: &[{}] }}",
                coefficients.join(", ")
            )
        };
        layers.push(format!(
            "    Layer {{ inputs: {}, units: {}, input: {}, weight: {}, weights: {weights}, edge: {edge} }},\n",
            layer.inputs,
            layer.units,
            digits(layer.input),
            digits(layer.weights.encoding),
        ));
    }
    line(format!(
        "static LAYERS: [Layer; {}] = [\n{}];\n",
        layers.len(),
        layers.concat()
    ));
    text + RUST
}

/// A file of C99, which needs its standard headers alone: `qnn_predict` and `qnn_scores`. `classes` are the names of the
/// classes.
pub fn write_c(network: &Network<'_>, classes: &[String]) -> String {
    let names: Vec<String> = classes.iter().map(|name| c_string(name)).collect();
    let mut text = format!("/* {}\n */\n", described(network).join("\n * "));
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    line("#include <stddef.h>\n#include <stdint.h>\n".into());
    line(format!(
        "/* Pixels of an image. */\n#define QNN_INPUTS {}",
        network.inputs()
    ));
    line(format!(
        "/* Classes that are told apart. */\n#define QNN_CLASSES {}",
        network.classes()
    ));
    line(format!(
        "/* The names of the classes. */\nconst char *const qnn_class_names[QNN_CLASSES] = {{{}}};",
        names.join(", ")
    ));
    let unit = network.score_unit();
    line(format!(
        "/* What a score of 1 is worth as a logit. */\nconst float qnn_score_unit = {unit:e}f;"
    ));
    line(format!(
        "#define QNN_WORDS {}\n",
        network.buffer_words() / 2
    ));
    let mut layers = Vec::new();
    for (index, layer) in network.layers().iter().enumerate() {
        let mut array = |name: &str, kind: &str, numbers: Vec<String>| {
            let count = numbers.len();
            line(format!(
                "static const {kind} {name}_{index}[{count}] = {{\n{}}};",
                lines(&numbers)
            ));
            format!("{name}_{index}")
        };
        let mut fields = vec![
            format!(".inputs = {}, .units = {}", layer.inputs, layer.units),
            format!(
                ".weights = {}",
                array("weights", "uint64_t", suffixed(words(layer), "u"))
            ),
        ];
        for (name, encoding) in [("input", layer.input), ("weight", layer.weights.encoding)] {
            let (offset, coefficients) = digits(encoding);
            let count = coefficients.len();
            fields.push(format!(
                ".{name} = {{{offset}, {count}, {{{}}}}}",
                coefficients.join(", ")
            ));
        }
        match &layer.edge {
            Edge::Thresholds(edge) => {
                fields.push(format!(
                    ".thresholds = {}",
                    array("thresholds", "int32_t", integers(edge.values))
                ));
                fields.push(format!(
                    ".falling = {}",
                    array("falling", "uint8_t", bytes(edge.falling))
                ));
                fields.push(format!(
                    ".levels = {}",
                    array("levels", "int8_t", levels(edge.levels))
                ));
                fields.push(format!(".level_count = {}", edge.levels.count()));
            }
            Edge::Affine {
                scale,
                shift,
                unit,
                levels,
            } => {
                fields.push(format!(
                    ".scale = {}",
                    array("scale", "float", floats(*scale, "f"))
                ));
                fields.push(format!(
                    ".shift = {}",
                    array("shift", "float", floats(*shift, "f"))
                ));
                let (lowest, highest) = levels.range();
                fields.push(format!(
                    ".unit = {unit:e}f, .lowest = {lowest}, .highest = {highest}"
                ));
            }
            Edge::Scores {
                multiplier,
                offset,
                shift,
                ..
            } => {
                fields.push(format!(
                    ".multiplier = {}",
                    array("multiplier", "int32_t", integers(*multiplier))
                ));
                fields.push(format!(
                    ".offset = {}",
                    array("offset", "int64_t", suffixed(long_integers(*offset), "LL"))
                ));
                fields.push(format!(".shift_by = {shift}"));
            }
        }
        layers.push(format!("    {{{}}},\n", fields.join(",\n     ")));
    }
    let runtime = C.replace("QNN_LAYERS_HERE", layers.concat().trim_end());
    text + &runtime
}

/// What a network is, in lines.
fn described(network: &Network<'_>) -> Vec<String> {
    let layers = network.layers();
    let widths: Vec<String> = std::iter::once(network.inputs())
        .chain(layers.iter().map(|layer| layer.units))
        .map(|width| width.to_string())
        .collect();
    let bits: Vec<String> = layers
        .iter()
        .map(|layer| layer.weights.encoding.digits().to_string())
        .collect();
    vec![
        format!("A quantized neural network, {}, exported by QNN Playground.", widths.join("-")),
        format!("Binary digits of the weights, layer by layer: {}.", bits.join(", ")),
        "It answers with integers, popcounts and thresholds, as the program that it was trained with does.".into(),
    ]
}

/// Offset and coefficients of an encoding.
fn digits(encoding: Encoding) -> (i32, Vec<String>) {
    let coefficients = (0..encoding.digits()).map(|digit| encoding.coefficient(digit).to_string());
    (encoding.offset(), coefficients.collect())
}

/// The weights of a layer, `[units, digits, words]`, as literals of 64 bits.
fn words(layer: &Layer<'_>) -> Vec<String> {
    let mut words = Vec::new();
    for unit in 0..layer.units {
        for digit in 0..layer.weights.encoding.digits() {
            for piece in layer.weights.row(digit, unit, layer.units).chunks(8) {
                let mut word = [0; 8];
                word[..piece.len()].copy_from_slice(piece);
                words.push(format!("{:#018x}", u64::from_le_bytes(word)));
            }
        }
    }
    words
}

fn integers(numbers: Numbers<'_>) -> Vec<String> {
    (0..numbers.0.len() / 4)
        .map(|index| numbers.i32(index).to_string())
        .collect()
}

fn long_integers(numbers: Numbers<'_>) -> Vec<String> {
    (0..numbers.0.len() / 8)
        .map(|index| numbers.i64(index).to_string())
        .collect()
}

fn floats(numbers: Numbers<'_>, suffix: &str) -> Vec<String> {
    (0..numbers.0.len() / 4)
        .map(|index| format!("{:e}{suffix}", numbers.f32(index)))
        .collect()
}

fn bytes(bytes: &[u8]) -> Vec<String> {
    bytes.iter().map(u8::to_string).collect()
}

fn levels(levels: Levels<'_>) -> Vec<String> {
    (0..levels.count())
        .map(|index| levels.level(index).to_string())
        .collect()
}

fn suffixed(numbers: Vec<String>, suffix: &str) -> Vec<String> {
    numbers.into_iter().map(|number| number + suffix).collect()
}

/// Numbers in lines, each with a comma behind it.
fn lines(numbers: &[String]) -> String {
    let mut text = String::new();
    for line in numbers.chunks(PER_LINE) {
        // Writing to a string does not fail.
        let _ = writeln!(text, "    {},", line.join(", "));
    }
    text
}

/// A string of C: what is not plain ASCII as octal bytes of UTF-8.
fn c_string(text: &str) -> String {
    let mut string = String::from("\"");
    for byte in text.bytes() {
        match byte {
            // A question mark may begin a trigraph.
            b' '..=b'~' if !b"\"\\?".contains(&byte) => string.push(char::from(byte)),
            _ => {
                let _ = write!(string, "\\{byte:03o}");
            }
        }
    }
    string + "\""
}
