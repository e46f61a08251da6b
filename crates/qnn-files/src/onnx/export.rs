//! Networks as ONNX graphs: the packed one in integers, which answers as `qnn_infer` does, score by score, and the same
//! with float32 weights. What a graph is written down as, `builder` and `proto` say.
//!
//! **Weights of k bits take k bits in the file.** They lie in fields of 1, 2, 4 or 8 bits that fill bytes (5 bits are a
//! field of 4 and one of 1); the graph shifts, masks and adds them up. All of that is constant, so a runtime that
//! folds constants does it once, when it loads the file. The standard's own small types were the alternative: INT4 and
//! UINT4 need opset 21, INT2 and UINT2 opset 25, and there is none of 1, 3 or 5 bits, so that 1-bit weights would take
//! twice the bytes, in graphs that few runtimes read. Operators of opset 12 do, which ONNX Runtime reads since 1.3.
//!
//! **Sums are MatMulInteger's, of uint8 by uint8 with zero points.** Sums of int32 are exact, so no runtime may differ.
//! Not uint8 by int8: on x86-64 without VNNI, ONNX Runtime multiplies those with VPMADDUBSW, which saturates the sum of
//! two products at 16 bits (its documentation, "Quantize ONNX models", "When and why do I need to try U8U8?").
//!
//! **Activations are found by comparison**, up to 4 bits. Those of 5 to 8 bits take the float32 operations of
//! `qnn_infer`, one by one: equal wherever each of them rounds by itself, as it does in ONNX Runtime on a processor.

use qnn_core::quant::{PIXEL_STEP, Quantizer};
use qnn_core::spec::{Bits, Levels, NetworkSpec};
use qnn_core::train::Trainer;
use qnn_infer::{Edge, Encoding, Layer, MAX_SCORE, Network, Thresholds};

use super::builder::{Builder, floats, int, ints, string};
use super::proto::data_type::{FLOAT, INT32, INT64, UINT8};

/// A file of the packed network: `pixels`, uint8 `[batch, inputs]`, become `scores`, int32 `[batch, classes]`, `logits`,
/// float32 `[batch, classes]`, and `label`, int64 `[batch]`. `classes` are the names of the classes.
pub fn write_onnx(network: &Network<'_>, spec: &NetworkSpec, classes: &[String]) -> Vec<u8> {
    let mut graph = Builder::default();
    graph.input("pixels", network.inputs());
    let mut activations = "pixels".to_string();
    let layers = network.layers();
    for (index, layer) in layers.iter().enumerate() {
        let name = |part: &str| format!("layers.{index}.{part}");
        let weight = unpacked_weight(&mut graph, layer, &name);
        let input_zero = zero_point(layer.input);
        let input_zero = graph.constant(name("input_zero_point"), UINT8, &[], vec![input_zero]);
        let weight_zero = zero_point(layer.weights.encoding);
        let weight_zero = graph.constant(name("weight_zero_point"), UINT8, &[], vec![weight_zero]);
        let inputs = [&activations, &weight, &input_zero, &weight_zero].map(String::as_str);
        let sums = graph.node("MatMulInteger", name("sums"), &inputs, []);
        // What comes out is what the next layer takes in; nothing comes after the last.
        let output = layers
            .get(index + 1)
            .map_or(Encoding::Sign, |next| next.input);
        activations = match &layer.edge {
            Edge::Thresholds(edge) => compared(&mut graph, edge, layer.units, &sums, output, &name),
            Edge::Affine { .. } => rounded(&mut graph, &layer.edge, &sums, output, &name),
            Edge::Scores { .. } => scores(&mut graph, layer, &sums, &name),
        };
    }
    let scores = graph.cast("float_scores", &activations, FLOAT);
    let unit = graph.scalar("score_unit", network.score_unit());
    graph.node("Mul", "logits", &[&scores, &unit], []);
    // Of equal scores the first, in ONNX as in `Network::predict`.
    let attributes = [int("axis", 1), int("keepdims", 0)];
    graph.node("ArgMax", "label", &["scores"], attributes);
    let classes_of = Some(network.classes());
    graph.output(
        "logits",
        FLOAT,
        classes_of,
        "What the trained network gives each class.",
    );
    graph.output("label", INT64, None, "The class of the largest score.");
    graph.output("scores", INT32, classes_of, "The logits as exact integers.");
    let about = format!(
        "A quantized neural network, weights of {} and activations of {} bits, that computes with integers \
         (arXiv:1609.07061). Its weights are packed and unpacked by the graph itself.",
        spec.weight_bits, spec.activation_bits
    );
    graph.file(&about, spec, classes)
}

/// What is added to integers of `encoding` to make them unsigned.
fn zero_point(encoding: Encoding) -> u8 {
    (-encoding.range().0) as u8
}

/// Where the bits of a field stand in the unsigned weights.
struct Field {
    width: usize,
    lowest_bit: usize,
}

/// The fields that unsigned weights of `encoding` are stored in.
fn fields(encoding: Encoding) -> Vec<Field> {
    if encoding == Encoding::Sign {
        // -1 and +1 are 0 and 2: their lowest bit is not stored.
        return vec![Field {
            width: 1,
            lowest_bit: 1,
        }];
    }
    let widths = [8, 4, 2, 1].into_iter();
    let mut lowest_bit = 0;
    let fields = widths
        .filter(|width| encoding.digits() & width != 0)
        .map(|width| {
            lowest_bit += width;
            Field {
                width,
                lowest_bit: lowest_bit - width,
            }
        });
    fields.collect()
}

/// Adds the weights of a layer, packed, and the nodes that make uint8 `[inputs, units]` of them, zero point and all.
fn unpacked_weight(
    graph: &mut Builder,
    layer: &Layer<'_>,
    name: &impl Fn(&str) -> String,
) -> String {
    let weights = unsigned_weights(layer);
    let shape = [layer.inputs, layer.units];
    let fields = fields(layer.weights.encoding);
    let mut whole: Option<String> = None;
    for Field { width, lowest_bit } in &fields {
        let name = |part: &str| match fields.len() {
            1 => name(&format!("weight.{part}")),
            _ => name(&format!("weight.from_bit_{lowest_bit}.{part}")),
        };
        if *width == 8 {
            return graph.constant(name("bytes"), UINT8, &shape, weights);
        }
        let per_byte = 8 / width;
        let mask = (1u8 << width) - 1;
        let bytes: Vec<u8> = weights
            .chunks(per_byte)
            .map(|weights| {
                let fields = weights.iter().enumerate();
                fields.fold(0, |byte, (place, weight)| {
                    byte | (weight >> lowest_bit & mask) << (place * width)
                })
            })
            .collect();
        let packed = graph.constant(name("packed"), UINT8, &[bytes.len(), 1], bytes);
        let shifts: Vec<u8> = (0..per_byte).map(|place| (place * width) as u8).collect();
        let shifts = graph.constant(name("shifts"), UINT8, &[per_byte], shifts);
        let right = string("direction", "RIGHT");
        let shifted = graph.node("BitShift", name("shifted"), &[&packed, &shifts], [right]);
        let modulus = graph.constant(name("modulus"), UINT8, &[], vec![1u8 << width]);
        let mut field = graph.node("Mod", name("field"), &[&shifted, &modulus], []);
        if *lowest_bit > 0 {
            let places = graph.constant(name("places"), UINT8, &[], vec![*lowest_bit as u8]);
            let left = string("direction", "LEFT");
            field = graph.node("BitShift", name("in_place"), &[&field, &places], [left]);
        }
        let row = graph.indices(name("row"), &[-1]);
        let row = graph.node("Reshape", name("padded"), &[&field, &row], []);
        let begin = graph.indices(name("begin"), &[0]);
        let end = graph.indices(name("end"), &[weights.len() as i64]);
        let part = graph.node("Slice", name("part"), &[&row, &begin, &end], []);
        whole = Some(match whole {
            None => part,
            // Runtimes add 32-bit integers, not all of them bytes.
            Some(lower) => {
                let lower = graph.cast(name("lower_integers"), &lower, INT32);
                let part = graph.cast(name("integers"), &part, INT32);
                let sum = graph.node("Add", name("sum"), &[&lower, &part], []);
                graph.cast(name("sum_bytes"), &sum, UINT8)
            }
        });
    }
    let matrix = graph.indices(name("weight.shape"), &shape.map(|length| length as i64));
    let whole = whole.unwrap_or_default();
    graph.node("Reshape", name("weight"), &[&whole, &matrix], [])
}

/// The weights of a layer with their zero point added, `[inputs, units]`.
fn unsigned_weights(layer: &Layer<'_>) -> Vec<u8> {
    let weights = &layer.weights;
    let zero = i32::from(zero_point(weights.encoding));
    let digits = 0..weights.encoding.digits();
    let mut unsigned = vec![0; layer.inputs * layer.units];
    for unit in 0..layer.units {
        let rows = digits
            .clone()
            .map(|digit| weights.row(digit, unit, layer.units));
        let rows: Vec<&[u8]> = rows.collect();
        for input in 0..layer.inputs {
            let digits = rows.iter().enumerate();
            let code = digits.fold(0, |code, (digit, row)| {
                code | (row[input / 8] >> (input % 8) & 1) << digit
            });
            let integer = weights.encoding.decode(code);
            unsigned[input * layer.units + unit] = (integer + zero) as u8;
        }
    }
    unsigned
}

/// Adds the nodes that find levels of up to 4 bits by comparing `sums`.
fn compared(
    graph: &mut Builder,
    edge: &Thresholds<'_>,
    units: usize,
    sums: &str,
    output: Encoding,
    name: &impl Fn(&str) -> String,
) -> String {
    let changes = edge.levels.count() - 1;
    let falls: Vec<bool> = (0..units).map(|unit| edge.falls(unit)).collect();
    let mut sums = sums.to_string();
    if falls.contains(&true) {
        let directions = falls.iter().map(|falls| if *falls { -1i32 } else { 1 });
        let directions: Vec<u8> = directions.flat_map(i32::to_le_bytes).collect();
        let directions = graph.constant(name("directions"), INT32, &[units], directions);
        sums = graph.node("Mul", name("directed_sums"), &[&sums, &directions], []);
    }
    // A unit that falls has so many levels as there are thresholds t that its sum s does not reach: s < t is -s >= 1 - t.
    // No sum comes near the ends of 32 bits, so a threshold there may be anything else out of reach.
    let thresholds = (0..units * changes).flat_map(|index| {
        let threshold = edge.values.i32(index);
        let directed = if falls[index / changes] {
            1i32.saturating_sub(threshold)
        } else {
            threshold
        };
        directed.to_le_bytes()
    });
    let thresholds: Vec<u8> = thresholds.collect();
    let shape = [units, changes];
    let shape = if changes == 1 { &shape[..1] } else { &shape };
    let thresholds = graph.constant(name("thresholds"), INT32, shape, thresholds);
    let zero = i16::from(zero_point(output));
    let levels = (0..=changes).map(|index| (i16::from(edge.levels.level(index)) + zero) as u8);
    let levels: Vec<[u8; 1]> = levels.map(|level| [level]).collect();
    levels_reached(graph, &sums, &thresholds, (UINT8, &levels), name)
}

/// Adds the nodes that give each of `sums`, `[batch, units]`, the level of as many as it reaches of its rising
/// thresholds, `[units, levels - 1]` or the same for all units, without the last axis where there is a single one. Levels
/// are of the type and the little-endian bytes that stand there.
fn levels_reached<const SIZE: usize>(
    graph: &mut Builder,
    sums: &str,
    thresholds: &str,
    (data_type, levels): (i32, &[[u8; SIZE]]),
    name: &impl Fn(&str) -> String,
) -> String {
    if let [low, high] = levels {
        let reached = graph.node("GreaterOrEqual", name("reached"), &[sums, thresholds], []);
        let high = graph.constant(name("high_level"), data_type, &[], high.to_vec());
        let low = graph.constant(name("low_level"), data_type, &[], low.to_vec());
        return graph.node("Where", name("activations"), &[&reached, &high, &low], []);
    }
    let column = graph.node("Unsqueeze", name("column"), &[sums], [ints("axes", &[2])]);
    let reached = graph.node(
        "GreaterOrEqual",
        name("reached"),
        &[&column, thresholds],
        [],
    );
    let reached = graph.cast(name("reached_integers"), &reached, INT32);
    let attributes = [ints("axes", &[2]), int("keepdims", 0)];
    let count = graph.node("ReduceSum", name("level"), &[&reached], attributes);
    let levels = graph.constant(name("levels"), data_type, &[levels.len()], levels.concat());
    graph.node("Gather", name("activations"), &[&levels, &count], [])
}

/// Adds the nodes that make scores, as `qnn_infer::score` does in 64 bits.
fn scores(
    graph: &mut Builder,
    layer: &Layer<'_>,
    sums: &str,
    name: &impl Fn(&str) -> String,
) -> String {
    let Edge::Scores {
        multiplier,
        offset,
        shift,
        ..
    } = &layer.edge
    else {
        return sums.into();
    };
    let shape = [layer.units];
    let sums = graph.cast(name("long_sums"), sums, INT64);
    let multipliers = (0..layer.units).map(|class| i64::from(multiplier.i32(class)));
    let multipliers: Vec<u8> = multipliers.flat_map(i64::to_le_bytes).collect();
    let multiplier = graph.constant(name("multiplier"), INT64, &shape, multipliers);
    let offset = graph.constant(name("offset"), INT64, &shape, offset.0.to_vec());
    let products = graph.node("Mul", name("products"), &[&sums, &multiplier], []);
    let mut scores = graph.node("Add", name("unshifted"), &[&products, &offset], []);
    // No operator shifts negative numbers. Without its remainder, which is never negative in ONNX, a number divides evenly.
    // 2^63 is beyond 64 bits: so far it goes in two steps.
    for (step, places) in [(*shift).min(62), shift.saturating_sub(62)]
        .into_iter()
        .enumerate()
    {
        if places > 0 {
            let name = |part: &str| name(&format!("shift_{step}.{part}"));
            let divisor = (1i64 << places).to_le_bytes().to_vec();
            let divisor = graph.constant(name("divisor"), INT64, &[], divisor);
            let remainder = graph.node("Mod", name("remainder"), &[&scores, &divisor], []);
            let multiple = graph.node("Sub", name("multiple"), &[&scores, &remainder], []);
            scores = graph.node("Div", name("shifted"), &[&multiple, &divisor], []);
        }
    }
    let end = |value: i64| value.to_le_bytes().to_vec();
    let lowest = graph.constant(name("lowest"), INT64, &[], end(-MAX_SCORE));
    let highest = graph.constant(name("highest"), INT64, &[], end(MAX_SCORE));
    let clipped = graph.node("Clip", name("clipped"), &[&scores, &lowest, &highest], []);
    graph.cast("scores", &clipped, INT32)
}

/// Adds the nodes that round to levels of 5 to 8 bits in float32.
fn rounded(
    graph: &mut Builder,
    edge: &Edge<'_>,
    sums: &str,
    output: Encoding,
    name: &impl Fn(&str) -> String,
) -> String {
    let Edge::Affine {
        scale,
        shift,
        unit,
        levels,
    } = edge
    else {
        return sums.into();
    };
    let (lowest, highest) = levels.range();
    let units = [scale.0.len() / size_of::<f32>()];
    let sums = graph.cast(name("float_sums"), sums, FLOAT);
    let unit = graph.scalar(name("unit"), *unit);
    let sums = graph.node("Mul", name("real_sums"), &[&sums, &unit], []);
    let scale = graph.constant(name("scale"), FLOAT, &units, scale.0.to_vec());
    let scaled = graph.node("Mul", name("scaled"), &[&sums, &scale], []);
    let shift = graph.constant(name("shift"), FLOAT, &units, shift.0.to_vec());
    let normalized = graph.node("Add", name("normalized"), &[&scaled, &shift], []);
    let steps = graph.scalar(name("steps"), -f32::from(lowest));
    let in_steps = graph.node("Mul", name("in_steps"), &[&normalized, &steps], []);
    let rounded = clipped_and_rounded(graph, &in_steps, (lowest.into(), highest.into()), name);
    let zero = graph.scalar(name("zero_point"), zero_point(output).into());
    let unsigned = graph.node("Add", name("unsigned"), &[&rounded, &zero], []);
    graph.cast(name("activations"), &unsigned, UINT8)
}

/// Adds the nodes that clip to a range and round to whole numbers, ties to even.
fn clipped_and_rounded(
    graph: &mut Builder,
    values: &str,
    (lowest, highest): (f32, f32),
    name: &impl Fn(&str) -> String,
) -> String {
    let clipped = clipped(graph, values, (lowest, highest), name("clipped"), name);
    graph.node("Round", name("rounded"), &[&clipped], [])
}

fn clipped(
    graph: &mut Builder,
    values: &str,
    (lowest, highest): (f32, f32),
    output: String,
    name: &impl Fn(&str) -> String,
) -> String {
    let lowest = graph.scalar(name("lowest"), lowest);
    let highest = graph.scalar(name("highest"), highest);
    graph.node("Clip", output, &[values, &lowest, &highest], [])
}

/// A file of the network that the trainer has made, as it answers, with float32 weights, for 32-bit networks and to
/// compare with: `pixels`, uint8 `[batch, inputs]`, become `logits`, float32 `[batch, classes]`, and `label`, int64
/// `[batch]`. Its answers are the trainer's but for the order in which a runtime adds floats. `classes` are the names of
/// the classes.
pub fn write_float_onnx(trainer: &Trainer, classes: &[String]) -> Vec<u8> {
    let spec = trainer.spec();
    let mut graph = Builder::default();
    graph.input("pixels", trainer.inputs());
    let mut activations = graph.cast("float_pixels", "pixels", FLOAT);
    let shapes = spec.layer_shapes(trainer.inputs(), trainer.classes());
    for (index, (inputs, units)) in shapes.iter().copied().enumerate() {
        let name = |part: &str| format!("layers.{index}.{part}");
        let mut weights = vec![0.0; inputs * units];
        let quantizer = spec.weights().deterministic();
        quantizer.values(trainer.latent_weights(index), &[], &mut weights);
        let columns = (0..inputs).flat_map(|input| weights[input..].iter().step_by(inputs));
        let weight: Vec<f32> = columns.copied().collect();
        let weight = graph.constant(name("weight"), FLOAT, &[inputs, units], floats(&weight));
        let mut sums = graph.node("MatMul", name("sums"), &[&activations, &weight], []);
        if index == 0 {
            // Sums of whole pixels are exact where the weights have few bits.
            let unit = graph.scalar("pixel_step", PIXEL_STEP);
            sums = graph.node("Mul", name("real_sums"), &[&sums, &unit], []);
        }
        let (scale, shift) = trainer.batch_norm(index).affine(spec.normalization);
        let scale = graph.constant(name("scale"), FLOAT, &[units], floats(&scale));
        let scaled = graph.node("Mul", name("scaled"), &[&sums, &scale], []);
        let shift = graph.constant(name("shift"), FLOAT, &[units], floats(&shift));
        let is_last = index + 1 == shapes.len();
        let normalized = if is_last {
            "logits".into()
        } else {
            name("normalized")
        };
        activations = graph.node("Add", normalized, &[&scaled, &shift], []);
        if !is_last {
            let quantizer = spec.activations().deterministic();
            activations = float_activations(&mut graph, &activations, quantizer, &name);
        }
    }
    let attributes = [int("axis", 1), int("keepdims", 0)];
    graph.node("ArgMax", "label", &["logits"], attributes);
    let classes_of = Some(trainer.classes());
    graph.output(
        "logits",
        FLOAT,
        classes_of,
        "What the trained network gives each class.",
    );
    graph.output("label", INT64, None, "The class of the largest logit.");
    let about = format!(
        "A quantized neural network, weights of {} and activations of {} bits (arXiv:1609.07061), written in float32.",
        spec.weight_bits, spec.activation_bits
    );
    graph.file(&about, spec, classes)
}

/// Adds the nodes that make activations, in [-1, 1], of batch normalization's outputs.
fn float_activations(
    graph: &mut Builder,
    outputs: &str,
    quantizer: Quantizer,
    name: &impl Fn(&str) -> String,
) -> String {
    if quantizer.bits.is_float() {
        return clipped(graph, outputs, (-1.0, 1.0), name("activations"), name);
    }
    if quantizer.bits == Bits::ONE || quantizer.levels == Levels::Logarithmic {
        let levels = levels(quantizer);
        let thresholds: Vec<f32> = levels[1..]
            .iter()
            .map(|level| least_that_becomes(quantizer, *level))
            .collect();
        let shape = [thresholds.len()];
        let shape = if levels.len() == 2 { &[] } else { &shape[..] };
        let thresholds = graph.constant(name("thresholds"), FLOAT, shape, floats(&thresholds));
        let levels: Vec<[u8; 4]> = levels.iter().map(|level| level.to_le_bytes()).collect();
        return levels_reached(graph, outputs, &thresholds, (FLOAT, &levels), name);
    }
    let steps = 1.0 / quantizer.step();
    let in_steps = graph.scalar(name("steps"), steps);
    let in_steps = graph.node("Mul", name("in_steps"), &[outputs, &in_steps], []);
    let rounded = clipped_and_rounded(graph, &in_steps, (-steps, steps - 1.0), name);
    let step = graph.scalar(name("step"), quantizer.step());
    graph.node("Mul", name("activations"), &[&rounded, &step], [])
}

/// The levels of one bit or of logarithmic bits, rising.
fn levels(quantizer: Quantizer) -> Vec<f32> {
    let magnitudes = 1 << (quantizer.bits.get() - 1);
    let magnitudes = (0..magnitudes).map(|exponent| quantizer.step() * f32::powi(2.0, exponent));
    let negative = magnitudes.clone().rev().map(|magnitude| -magnitude);
    negative.chain(magnitudes).collect()
}

/// The least number of [-2, 2] that becomes `level` or a higher one.
fn least_that_becomes(quantizer: Quantizer, level: f32) -> f32 {
    // Integers in the order of the floats whose bits they are; the map is its own inverse.
    let ordered = |bits: i32| bits ^ (((bits >> 31) as u32) >> 1) as i32;
    let float = |place: i32| f32::from_bits(ordered(place) as u32);
    let place = |float: f32| ordered(float.to_bits() as i32);
    let (mut below, mut least) = (place(-2.0), place(2.0));
    while least.wrapping_sub(below) as u32 > 1 {
        let middle = below.midpoint(least);
        if quantizer.value(float(middle), 0.0) >= level {
            least = middle;
        } else {
            below = middle;
        }
    }
    float(least)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use prost::Message;

    use super::super::proto::{GraphProto, ModelProto, TensorProto};
    use super::*;
    use crate::write_packed;

    fn spec(weights: u8, activations: u8, hidden: Vec<usize>) -> NetworkSpec {
        NetworkSpec {
            hidden,
            weight_bits: Bits::new(weights).unwrap(),
            activation_bits: Bits::new(activations).unwrap(),
            ..NetworkSpec::default()
        }
    }

    fn classes() -> Vec<String> {
        (0..10).map(|class| format!("class {class}")).collect()
    }

    fn exported(trainer: &Trainer) -> (Vec<u8>, Vec<u8>) {
        let packed = write_packed(trainer, &classes()).unwrap();
        let network = Network::parse(&packed).unwrap();
        let file = write_onnx(&network, trainer.spec(), &classes());
        (packed, file)
    }

    /// Whatever a node takes in is there before it, and nothing is there twice.
    fn check_order(graph: &GraphProto) {
        let mut known: Vec<&str> = graph
            .input
            .iter()
            .map(|input| input.name.as_str())
            .collect();
        known.extend(graph.initializer.iter().map(|tensor| tensor.name.as_str()));
        for node in &graph.node {
            for input in &node.input {
                assert!(known.contains(&input.as_str()), "{input}");
            }
            known.extend(node.output.iter().map(String::as_str));
        }
        for output in &graph.output {
            assert!(known.contains(&output.name.as_str()), "{}", output.name);
        }
        let count = known.len();
        known.sort_unstable();
        known.dedup();
        assert_eq!(known.len(), count);
    }

    fn tensors(graph: &GraphProto) -> HashMap<&str, &TensorProto> {
        let tensors = graph.initializer.iter();
        tensors
            .map(|tensor| (tensor.name.as_str(), tensor))
            .collect()
    }

    fn raw<'a>(tensors: &HashMap<&str, &'a TensorProto>, name: &str) -> &'a [u8] {
        tensors[name].raw_data.as_deref().unwrap()
    }

    #[test]
    fn weights_take_their_bits_and_unpack_to_what_they_were() {
        for weights in 1..=8 {
            let trainer = Trainer::new(spec(weights, 2, vec![9, 5]), 21, 10).unwrap();
            let (packed, file) = exported(&trainer);
            let graph = ModelProto::decode(file.as_slice()).unwrap().graph.unwrap();
            check_order(&graph);
            let tensors = tensors(&graph);
            for (index, layer) in Network::parse(&packed).unwrap().layers().iter().enumerate() {
                let prefix = format!("layers.{index}.weight");
                let count = layer.inputs * layer.units;
                // What the nodes compute, by the standard's words for them.
                let mut unsigned = vec![0u8; count];
                let mut bytes = 0;
                let packed = tensors.iter().filter_map(|(name, tensor)| {
                    let is_weight = name.starts_with(&format!("{prefix}."));
                    let base = name.strip_suffix(".packed").filter(|_| is_weight)?;
                    Some((base.to_string(), tensor.raw_data.as_deref()?))
                });
                for (base, packed) in packed {
                    bytes += packed.len();
                    let shifts = raw(&tensors, &format!("{base}.shifts"));
                    let modulus = raw(&tensors, &format!("{base}.modulus"))[0];
                    let places = tensors.get(format!("{base}.places").as_str());
                    let places = places.map_or(0, |places| places.raw_data.as_ref().unwrap()[0]);
                    let row = packed
                        .iter()
                        .flat_map(|byte| shifts.iter().map(move |shift| byte >> shift));
                    for (weight, shifted) in unsigned.iter_mut().zip(row) {
                        *weight += (shifted % modulus) << places;
                    }
                }
                if let Some(whole) = tensors.get(format!("{prefix}.bytes").as_str()) {
                    unsigned = whole.raw_data.as_deref().unwrap().to_vec();
                    bytes += unsigned.len();
                }
                let bits = usize::from(weights);
                assert!(
                    bytes * 8 < count * bits + 8 * bits,
                    "{bytes} bytes of {count} weights"
                );
                let zero = raw(&tensors, &format!("{prefix}_zero_point"))[0];
                let integers = trainer.spec().weights().deterministic();
                let mut expected = vec![0; count];
                integers.integers(trainer.latent_weights(index), &[], &mut expected);
                for (place, weight) in unsigned.iter().enumerate() {
                    let (input, unit) = (place / layer.units, place % layer.units);
                    let found = i16::from(*weight) - i16::from(zero);
                    assert_eq!(
                        found,
                        expected[unit * layer.inputs + input],
                        "{weights} bits"
                    );
                }
            }
        }
    }

    #[test]
    fn the_file_of_the_paper_s_kind_of_network_is_small() {
        let trainer = Trainer::new(spec(1, 1, vec![512, 512]), 784, 10).unwrap();
        let (_, file) = exported(&trainer);
        assert!(file.len() < 100_000, "{}", file.len());
        let floats = write_float_onnx(&trainer, &classes());
        assert!(
            (2_600_000..2_800_000).contains(&floats.len()),
            "{}",
            floats.len()
        );
    }

    #[test]
    fn a_model_says_what_it_is_takes_in_and_gives() {
        let trainer = Trainer::new(spec(1, 2, vec![20]), 784, 10).unwrap();
        let (_, integers) = exported(&trainer);
        for (file, outputs) in [
            (integers, &["logits", "label", "scores"][..]),
            (write_float_onnx(&trainer, &classes()), &["logits", "label"]),
        ] {
            let model = ModelProto::decode(file.as_slice()).unwrap();
            assert_eq!((model.ir_version, model.opset_import[0].version), (7, 12));
            let [spec, names] = &model.metadata_props[..] else {
                panic!("two properties")
            };
            assert_eq!(
                serde_json::from_str::<NetworkSpec>(&spec.value).unwrap(),
                *trainer.spec()
            );
            assert_eq!(
                serde_json::from_str::<Vec<String>>(&names.value).unwrap(),
                classes()
            );
            let graph = model.graph.unwrap();
            check_order(&graph);
            let found: Vec<&str> = graph
                .output
                .iter()
                .map(|output| output.name.as_str())
                .collect();
            assert_eq!(found, outputs);
            let pixels = graph.input[0].r#type.clone().unwrap().tensor_type.unwrap();
            assert_eq!(pixels.elem_type, UINT8);
            let [batch, columns] = &pixels.shape.unwrap().dim[..] else {
                panic!("two axes")
            };
            assert_eq!(
                (batch.dim_param.as_deref(), columns.dim_value),
                (Some("batch"), Some(784))
            );
        }
    }

    #[test]
    fn thresholds_of_floats_say_what_the_quantizer_says() {
        for (bits, levels_of) in [
            (1, Levels::Linear),
            (2, Levels::Logarithmic),
            (8, Levels::Logarithmic),
        ] {
            let mut spec = spec(1, bits, vec![9]);
            spec.activation_levels = levels_of;
            let quantizer = spec.activations();
            let levels = levels(quantizer);
            assert_eq!(levels.len(), 1 << bits);
            for pair in levels.windows(2) {
                let least = least_that_becomes(quantizer, pair[1]);
                assert_eq!(quantizer.value(least, 0.0), pair[1]);
                assert_eq!(quantizer.value(least.next_down(), 0.0), pair[0]);
            }
        }
    }
}
