//! Which kernels multiply the integers of the network and how fast they are here, by the engine's race; a visitor may
//! overrule it. No result depends on that, so it is no part of the settings.

use qnn_protocol::spec::NetworkSpec;
use qnn_protocol::tune::{KernelSpeed, Tuning, products};
use qnn_protocol::{Choice, Method, ProductKind};
use yew::prelude::*;

use crate::app::Message;
use crate::controls::Choice as List;
use crate::format;
use crate::language::text;

/// What can be chosen.
const OPTIONS: [(&str, Option<Method>); 5] = [
    ("fastest", None),
    ("popcount", Some(Method::Popcount)),
    ("lookup", Some(Method::Lookup)),
    ("multiply", Some(Method::Multiply)),
    ("multiply-bytes", Some(Method::MultiplyBytes)),
];

/// How the engine's kernels raced, and which one was forced, if one was.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineKernels {
    pub tuning: Tuning,
    pub forced: Option<Method>,
}

#[derive(Properties, PartialEq)]
pub struct KernelsProperties {
    pub kernels: EngineKernels,
    pub spec: NetworkSpec,
    pub dispatch: Callback<Message>,
}

#[component]
pub fn Kernels(properties: &KernelsProperties) -> Html {
    let EngineKernels { tuning, forced } = &properties.kernels;
    let choice = Choice {
        costs: tuning.costs,
        forced: *forced,
    };
    let chosen = OPTIONS.iter().find(|(.., method)| method == forced);
    let is_here = |method: &Option<Method>| {
        let mut speeds = tuning.speeds.iter();
        method.is_none_or(|method| speeds.any(|speed| speed.method == method))
    };
    let options: Vec<(AttrValue, AttrValue)> = OPTIONS
        .iter()
        .filter(|(.., method)| is_here(method))
        .map(|(value, method)| ((*value).into(), method_name(*method)))
        .collect();
    let on_choice = properties.dispatch.reform(|value: String| {
        let option = OPTIONS.iter().find(|(known, ..)| *known == value);
        Message::ForceKernel(option.and_then(|(.., method)| *method))
    });
    let (rows, columns, terms) = tuning.shape;
    html! {
        <details id="kernels" class="folded">
            <summary>{ text!("kernels.heading") }</summary>
            <div class="field">
                <label for="kernel">{ text!("kernels.choose") }</label>
                <List id="kernel" chosen={chosen.map_or("", |(value, ..)| *value)} {options} {on_choice} />
            </div>
            <p class="hint">
                { text!("kernels.about") }
            </p>
            <div class="scrolled" tabindex="0" role="region" aria-label={text!("kernels.tables")}>
                <table>
                    <caption>{ text!("kernels.products") }</caption>
                    <thead>
                        <tr>
                            <th scope="col">{ text!("kernels.product") }</th>
                            <th scope="col">{ text!("kernels.bits") }</th>
                            <th scope="col">{ text!("kernels.kernel") }</th>
                            <th scope="col">{ text!("kernels.speed") }</th>
                        </tr>
                    </thead>
                    <tbody>
                        { for products(&properties.spec, choice).iter().map(|product| html! {
                            <tr key={product.what}>
                                <th scope="row">{ product_name(product.what) }</th>
                                <td>{ bits(product.bits) }</td>
                                <td>{ name(product.kind) }</td>
                                <td>{ product.giga_macs.map_or("–".into(), |speed| format::speed(speed.into())) }</td>
                            </tr>
                        }) }
                    </tbody>
                </table>
                <table id="kernel-race">
                    <caption>
                        { text!("kernels.race", rows = rows, units = columns, inputs = terms) }
                    </caption>
                    <thead>
                        <tr>
                            <th scope="col">{ text!("kernels.kernel") }</th>
                            <th scope="col">{ text!("kernels.bits") }</th>
                            <th scope="col">{ text!("kernels.speed") }</th>
                        </tr>
                    </thead>
                    <tbody>{ for tuning.speeds.iter().map(speed) }</tbody>
                </table>
            </div>
        </details>
    }
}

fn speed(speed: &KernelSpeed) -> Html {
    html! {
        <tr key={bits(speed.bits)}>
            <th scope="row">
                { name(ProductKind::Integer(speed.method)) }
                <small>{ &speed.kernel }</small>
            </th>
            <td>{ bits(speed.bits) }</td>
            <td>{ format::speed(speed.giga_macs.into()) }</td>
        </tr>
    }
}

fn name(kind: ProductKind) -> AttrValue {
    match kind {
        ProductKind::Float => "float32".into(),
        ProductKind::Integer(method) => method_name(Some(method)),
    }
}

/// What a way to multiply is called; the fastest one where none is given.
fn method_name(method: Option<Method>) -> AttrValue {
    match method {
        None => text!("kernels.fastest"),
        Some(Method::Popcount) => text!("kernels.popcount"),
        Some(Method::Lookup) => text!("kernels.lookup"),
        Some(Method::Multiply) => text!("kernels.multiply"),
        Some(Method::MultiplyBytes) => text!("kernels.multiply_bytes"),
    }
}

fn product_name(what: &'static str) -> AttrValue {
    match what {
        "pixels by weights" => text!("kernels.pixels_by_weights"),
        "activations by weights" => text!("kernels.activations_by_weights"),
        "gradients by weights" => text!("kernels.gradients_by_weights"),
        "gradients by activations" => text!("kernels.gradients_by_activations"),
        "gradients by pixels" => text!("kernels.gradients_by_pixels"),
        what => what.into(),
    }
}

/// For instance `4 × 1`.
fn bits((a, b): (u8, u8)) -> String {
    format!("{a}\u{a0}×\u{a0}{b}")
}
