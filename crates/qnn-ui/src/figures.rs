//! The numbers of the chosen network, large enough to be read from across the room.

use qnn_protocol::cost::{Cost, weight_bytes};
use qnn_protocol::spec::{Bits, NetworkSpec};
use yew::prelude::*;

use crate::format;
use crate::language::text;
use crate::race::{Run, floats};

#[derive(Properties, PartialEq)]
pub struct FiguresProperties {
    pub run: Run,
    /// The number of the network's colour, and its name.
    pub colour: usize,
    pub name: AttrValue,
}

#[component]
pub fn Figures(properties: &FiguresProperties) -> Html {
    let run = properties.run;
    let colour = format!("--accent:var(--network-{})", properties.colour);
    let figure = |id: &'static str, name: AttrValue, value: Option<String>| {
        html! {
            <div class="figure">
                <dt>{ name }</dt>
                <dd {id}>{ value.unwrap_or_else(|| "–".into()) }</dd>
            </div>
        }
    };
    html! {
        <dl class="figures" style={colour}>
            { figure("test-accuracy", text!("figures.accuracy", name = properties.name), run.test_accuracy.map(format::percent)) }
            { figure("epoch", text!("figures.epoch"), Some(format!("{:.2}", run.epoch))) }
            { figure("step-count", text!("figures.step"), Some(format::grouped(run.step.into()))) }
            { figure(
                "images-per-second",
                text!("figures.speed"),
                run.images_per_second.map(|images| format::grouped(images as u64)),
            ) }
        </dl>
    }
}

#[derive(Properties, PartialEq)]
pub struct WeightSizeProperties {
    pub spec: NetworkSpec,
    /// Pixels of an image, and classes.
    pub shape: (usize, usize),
}

/// What the weights take at the chosen bits and the energy of an answer, beside float32.
#[component]
pub fn WeightSize(properties: &WeightSizeProperties) -> Html {
    let WeightSizeProperties {
        spec,
        shape: (inputs, classes),
    } = properties;
    let bytes = |bits| weight_bytes(spec, *inputs, *classes, bits);
    let as_floats = format::bytes(bytes(Bits::FLOAT));
    let quantized = format::bytes(bytes(spec.weight_bits));
    let weights = format::grouped(bytes(Bits::FLOAT) as u64 / 4);
    let times = Bits::FLOAT.get() as f32 / spec.weight_bits.get() as f32;
    let energy = |spec: &NetworkSpec| Cost::of(spec, *inputs, *classes).answer_picojoules();
    let (energy, in_floats) = (energy(spec), energy(&floats(spec.clone())));
    let times = (times * 10.0).round() / 10.0;
    let size = if spec.weight_bits.is_float() {
        text!("size.floats", weights = weights, bytes = as_floats)
    } else {
        text!(
            "size.quantized",
            weights = weights,
            bytes = quantized,
            floats = as_floats,
            times = times
        )
    };
    let energy = if energy < 0.99 * in_floats {
        let (energy, in_floats) = (format::joules(energy), format::joules(in_floats));
        text!("size.less_energy", energy = energy, floats = in_floats)
    } else {
        text!("size.energy", energy = format::joules(energy))
    };
    html! {
        <>
            <p id="weight-bytes" class="weight-size">{ size }</p>
            <p id="energy" class="weight-size">{ energy }</p>
        </>
    }
}
