//! The numbers of the run, large enough to be read from across the room.

use qnn_protocol::cost::{Cost, weight_bytes};
use qnn_protocol::spec::{Bits, NetworkSpec};
use yew::prelude::*;

use crate::format;

/// Classes of every data set there is.
const CLASSES: usize = 10;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Run {
    pub step: u32,
    pub epoch: f32,
    pub images_per_second: Option<f32>,
    pub test_accuracy: Option<f32>,
}

#[derive(Properties, PartialEq)]
pub struct FiguresProperties {
    pub run: Run,
}

#[component]
pub fn Figures(properties: &FiguresProperties) -> Html {
    let run = properties.run;
    let figure = |id: &'static str, name: &'static str, value: Option<String>| {
        html! {
            <div class="figure">
                <dt>{ name }</dt>
                <dd {id}>{ value.unwrap_or_else(|| "–".into()) }</dd>
            </div>
        }
    };
    html! {
        <dl class="figures">
            { figure("test-accuracy", "Test accuracy", run.test_accuracy.map(format::percent)) }
            { figure("epoch", "Epoch", Some(format!("{:.2}", run.epoch))) }
            { figure("step-count", "Step", Some(format::grouped(run.step.into()))) }
            { figure(
                "images-per-second",
                "Images a second",
                run.images_per_second.map(|images| format::grouped(images as u64)),
            ) }
        </dl>
    }
}

#[derive(Properties, PartialEq)]
pub struct WeightSizeProperties {
    pub spec: NetworkSpec,
    pub inputs: usize,
}

/// What the weights take at the chosen bits and the energy of an answer, beside float32.
#[component]
pub fn WeightSize(properties: &WeightSizeProperties) -> Html {
    let WeightSizeProperties { spec, inputs } = properties;
    let bytes = |bits| weight_bytes(spec, *inputs, CLASSES, bits);
    let floats = format::bytes(bytes(Bits::FLOAT));
    let quantized = format::bytes(bytes(spec.weight_bits));
    let weights = format::grouped(bytes(Bits::FLOAT) as u64 / 4);
    let times = Bits::FLOAT.get() as f32 / spec.weight_bits.get() as f32;
    let energy = |spec: &NetworkSpec| Cost::of(spec, *inputs, CLASSES).answer_picojoules();
    let all_floats = energy(&NetworkSpec {
        weight_bits: Bits::FLOAT,
        activation_bits: Bits::FLOAT,
        ..spec.clone()
    });
    let energy = energy(spec);
    html! {
        <>
            <p id="weight-bytes" class="weight-size">
                if spec.weight_bits.is_float() {
                    { format!("{weights} weights in ") }<strong>{ floats }</strong>{ ": float32" }
                } else {
                    { format!("{weights} weights in ") }<strong>{ quantized }</strong>
                    { format!(" instead of {floats}: ") }
                    <strong>{ format!("{} × smaller", (times * 10.0).round() / 10.0) }</strong>
                }
            </p>
            <p id="energy" class="weight-size">
                { "An answer takes " }<strong>{ format::joules(energy) }</strong>
                if energy < 0.99 * all_floats {
                    { format!(" instead of {}, ", format::joules(all_floats)) }
                } else {
                    { ", " }
                }
                { "counted for a chip of 45 nm" }
            </p>
        </>
    }
}
