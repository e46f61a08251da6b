//! What every network of the race costs, drawn beside 32 bits: memory, operations and energy, for an answer and for training.
//! The counts are `qnn_core::cost`'s.

use qnn_protocol::cost::{Cost, ProductCost};
use qnn_protocol::spec::NetworkSpec;
use yew::prelude::*;

use crate::format;
use crate::language::text;
use crate::leaderboard::swatch;
use crate::race::floats;

/// A network, and what it is to be.
#[derive(Clone, PartialEq)]
pub struct Priced {
    pub colour: usize,
    pub name: AttrValue,
    pub spec: NetworkSpec,
}

#[derive(Clone, PartialEq, Properties)]
pub struct CostsProperties {
    pub networks: Vec<Priced>,
    /// Pixels of an image, and classes.
    pub shape: (usize, usize),
}

/// A thing that is counted: its name, how it is written, and how much each network takes, and it would at 32 bits.
struct Meter {
    name: AttrValue,
    written: fn(f64) -> String,
    counts: Vec<(f64, f64)>,
}

#[component]
pub fn Costs(properties: &CostsProperties) -> Html {
    let CostsProperties {
        networks,
        shape: (inputs, classes),
    } = properties;
    let cost = |spec: &NetworkSpec| Cost::of(spec, *inputs, *classes);
    let costs: Vec<(Cost, Cost)> = networks
        .iter()
        .map(|one| (cost(&one.spec), cost(&floats(one.spec.clone()))))
        .collect();
    let meter = |name, written, count: &dyn Fn(&Cost) -> f64| Meter {
        name,
        written,
        counts: costs
            .iter()
            .map(|(cost, in_floats)| (count(cost), count(in_floats)))
            .collect(),
    };
    let bytes = |bytes: f64| format::bytes(bytes as usize);
    let operations = |count: f64| format::grouped(count as u64);
    let products = |of: fn(&Cost) -> ProductCost| {
        [
            meter(text!("costs.xnor_popcounts"), operations, &|cost| {
                of(cost).xnor_popcounts as f64
            }),
            meter(text!("costs.integer_macs"), operations, &|cost| {
                of(cost).integer_macs as f64
            }),
            meter(text!("costs.float_macs"), operations, &|cost| {
                of(cost).float_macs as f64
            }),
        ]
    };
    let answer: Vec<Meter> = [
        vec![meter(text!("costs.weights"), bytes, &|cost| {
            cost.weight_bytes() as f64
        })],
        products(Cost::answer).into(),
        vec![meter(
            text!("costs.energy"),
            format::joules,
            &Cost::answer_picojoules,
        )],
    ]
    .into_iter()
    .flatten()
    .collect();
    let training: Vec<Meter> = [
        vec![meter(text!("costs.latent"), bytes, &|cost| {
            cost.training_bytes() as f64
        })],
        products(Cost::training).into(),
        vec![meter(
            text!("costs.energy"),
            format::joules,
            &Cost::training_picojoules,
        )],
    ]
    .into_iter()
    .flatten()
    .collect();
    html! {
        <div class="costs">
            { group("costs-answer", text!("costs.answer"), &answer, networks) }
            { group("costs-training", text!("costs.training"), &training, networks) }
            <p class="hint">{ text!("costs.about") }</p>
        </div>
    }
}

fn group(id: &'static str, heading: AttrValue, meters: &[Meter], networks: &[Priced]) -> Html {
    html! {
        <section {id} aria-label={heading.clone()}>
            <h3>{ heading.clone() }</h3>
            { for meters.iter().filter(|meter| meter.most() > 0.0).map(|meter| html! {
                <div class="meter" key={meter.name.to_string()}>
                    <h4>{ &meter.name }</h4>
                    <ul>
                        { for networks.iter().zip(&meter.counts).map(|(one, counts)| view_count(one, *counts, meter)) }
                    </ul>
                </div>
            }) }
        </section>
    }
}

/// A network's bar, in front of that of the same network in float32.
fn view_count(one: &Priced, (count, in_floats): (f64, f64), meter: &Meter) -> Html {
    let width = |count: f64| format!("width:{:.2}%", 100.0 * count / meter.most());
    let colour = format!("background:var(--network-{});{}", one.colour, width(count));
    html! {
        <li>
            { swatch(one.colour) }
            <span>{ &one.name }</span>
            <span class="bar beside-floats">
                <span class="floats" style={width(in_floats)} />
                <span style={colour} />
            </span>
            <span>
                { (meter.written)(count) }
                if let Some(times) = fewer(count, in_floats) {
                    <small>{ text!("costs.fewer", times = times) }</small>
                }
            </span>
        </li>
    }
}

/// How many times less than in float32, where it is less.
fn fewer(count: f64, in_floats: f64) -> Option<String> {
    let times = in_floats / count;
    (times.is_finite() && times >= 1.05).then(|| format::three_digits(times))
}

impl Meter {
    fn most(&self) -> f64 {
        let counts = self.counts.iter();
        counts.fold(0.0, |most, (count, in_floats)| {
            most.max(*count).max(*in_floats)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_is_said_and_more_is_not() {
        assert_eq!(fewer(2.0, 64.0).as_deref(), Some("32"));
        assert_eq!(fewer(64.0, 64.0), None);
        assert_eq!(fewer(0.0, 64.0), None);
    }
}
