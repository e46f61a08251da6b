//! `qnn cost`: the counts of `qnn_core::cost` as a table or as JSON.

use std::io::Write;

use anyhow::{Context, Result};
use qnn_core::cost::{Cost, LayerCost, ProductCost};
use qnn_core::data::DIGITS;
use qnn_core::spec::NetworkSpec;
use serde::Serialize;

/// A network's costs and their totals, for charts.
#[derive(Serialize)]
struct Totals<'a> {
    spec: &'a NetworkSpec,
    layers: &'a [LayerCost],
    weight_bytes: usize,
    input_bytes: usize,
    training_bytes: u64,
    answer: ProductCost,
    training: ProductCost,
    answer_picojoules: f64,
    training_picojoules: f64,
}

/// Prints what a network of `spec` costs for images of `inputs` pixels in ten classes.
pub fn print(spec: &NetworkSpec, inputs: usize, json: bool) -> Result<()> {
    let cost = Cost::of(spec, inputs, DIGITS);
    let text = if json {
        serde_json::to_string(&Totals {
            spec,
            layers: &cost.layers,
            weight_bytes: cost.weight_bytes(),
            input_bytes: cost.input_bytes(),
            training_bytes: cost.training_bytes(),
            answer: cost.answer(),
            training: cost.training(),
            answer_picojoules: cost.answer_picojoules(),
            training_picojoules: cost.training_picojoules(),
        })?
    } else {
        table(&cost)
    };
    writeln!(std::io::stdout(), "{text}").context("Standard output cannot be written.")
}

fn table(cost: &Cost) -> String {
    let mut lines = vec![format!(
        "{:24} {:>14} {:>14} {:>14} {:>14} {:>10}",
        "for one image", "MACs", "XNOR-popcounts", "integer MACs", "float MACs", "nJ"
    )];
    let mut line = |what: String, cost: ProductCost| {
        lines.push(format!(
            "{what:24} {:>14} {:>14} {:>14} {:>14} {:>10.1}",
            cost.macs,
            cost.xnor_popcounts,
            cost.integer_macs,
            cost.float_macs,
            cost.picojoules / 1000.0
        ));
    };
    for (index, layer) in cost.layers.iter().enumerate() {
        let name = format!("{} x {}", layer.inputs, layer.units);
        line(format!("{name}, answer"), layer.answer);
        line(format!("{name}, forward"), layer.forward);
        if index > 0 {
            line(format!("{name}, to inputs"), layer.input_gradient);
        }
        line(format!("{name}, to weights"), layer.weight_gradient);
    }
    line("all, answer".into(), cost.answer());
    line("all, training".into(), cost.training());
    lines.push(format!(
        "\nweights {} bytes, activations {} bytes an image, latent weights and optimizer {} bytes\n\
         energy at 45 nm with memory: {:.1} nJ an answer, which fetches every weight for itself; {:.1} nJ an image trained, \
         whose minibatch shares them",
        cost.weight_bytes(),
        cost.input_bytes(),
        cost.training_bytes(),
        cost.answer_picojoules() / 1000.0,
        cost.training_picojoules() / 1000.0
    ));
    lines.join("\n")
}
