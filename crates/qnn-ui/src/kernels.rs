//! Which kernels multiply the integers of the network and how fast they are here, by the engine's race; a visitor may
//! overrule it. No result depends on that, so it is no part of the settings.

use qnn_protocol::spec::NetworkSpec;
use qnn_protocol::tune::{KernelSpeed, Tuning, products};
use qnn_protocol::{Choice, Method, ProductKind};
use yew::prelude::*;

use crate::app::Message;
use crate::controls::Choice as List;
use crate::format;

/// What can be chosen: value, name.
const OPTIONS: [(&str, &str, Option<Method>); 5] = [
    ("fastest", "the fastest for each", None),
    ("popcount", "XNOR and popcount", Some(Method::Popcount)),
    ("lookup", "tables of sums", Some(Method::Lookup)),
    ("multiply", "16-bit multiplication", Some(Method::Multiply)),
    (
        "multiply-bytes",
        "8-bit multiplication",
        Some(Method::MultiplyBytes),
    ),
];

/// The heading of speeds.
const SPEED: &str = "10⁹ multiply-adds a second";

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
        .map(|(value, name, _)| ((*value).into(), (*name).into()))
        .collect();
    let on_choice = properties.dispatch.reform(|value: String| {
        let option = OPTIONS.iter().find(|(known, ..)| *known == value);
        Message::ForceKernel(option.and_then(|(.., method)| *method))
    });
    let (rows, columns, terms) = tuning.shape;
    html! {
        <details id="kernels" class="folded">
            <summary>{ "Kernels and their speed here" }</summary>
            <div class="field">
                <label for="kernel">{ "Integers are multiplied by" }</label>
                <List id="kernel" chosen={chosen.map_or("", |(value, ..)| *value)} {options} {on_choice} />
            </div>
            <p class="hint">
                { "Tables of sums: all sums of four numbers stand in a table, and four bits pick one. " }
                { "Every kernel gives the same result; busy machines give other speeds." }
            </p>
            <div class="scrolled" tabindex="0" role="region" aria-label="Kernels">
                <table>
                    <caption>{ "What a training step multiplies, with the speed to expect of one thread" }</caption>
                    <thead>
                        <tr>
                            <th scope="col">{ "Product" }</th>
                            <th scope="col">{ "Bits" }</th>
                            <th scope="col">{ "Kernel" }</th>
                            <th scope="col">{ SPEED }</th>
                        </tr>
                    </thead>
                    <tbody>
                        { for products(&properties.spec, choice).iter().map(|product| html! {
                            <tr key={product.what}>
                                <th scope="row">{ product.what }</th>
                                <td>{ bits(product.bits) }</td>
                                <td>{ name(product.kind) }</td>
                                <td>{ product.giga_macs.map_or("–".into(), |speed| format::speed(speed.into())) }</td>
                            </tr>
                        }) }
                    </tbody>
                </table>
                <table id="kernel-race">
                    <caption>
                        { format!("Measured here on one thread: {rows} rows, {columns} units, {terms} inputs") }
                    </caption>
                    <thead>
                        <tr>
                            <th scope="col">{ "Kernel" }</th>
                            <th scope="col">{ "Bits" }</th>
                            <th scope="col">{ SPEED }</th>
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

fn name(kind: ProductKind) -> &'static str {
    let method = match kind {
        ProductKind::Float => return "float32",
        ProductKind::Integer(method) => Some(method),
    };
    let option = OPTIONS.iter().find(|(.., known)| *known == method);
    option.map_or("", |(_, name, _)| name)
}

/// For instance `4 × 1`.
fn bits((a, b): (u8, u8)) -> String {
    format!("{a}\u{a0}×\u{a0}{b}")
}
