//! The bits of a network: a unit's weights beside the floats behind them, what flips, how the layer's weights lie, what the
//! layers make of a drawing, and one XNOR and popcount, word by word. The engine counts; here it is drawn.

use std::rc::Rc;

use qnn_protocol::UnitBits;
use qnn_protocol::spec::{Bits as Width, NetworkSpec};
use web_sys::HtmlInputElement;
use yew::prelude::*;

use crate::app::Message;
use crate::controls::Choice;
use crate::format;
use crate::language::text;
use crate::tiles::{Tiles, width_of};

/// Bits of a word in the step-through.
const WORD: usize = 32;
/// Sides of the histogram in its own units.
const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 96.0;

#[derive(Clone, Properties)]
pub struct BitsProperties {
    pub bits: Option<Rc<UnitBits>>,
    pub spec: NetworkSpec,
    /// The layer and the unit that are looked at.
    pub unit: (u32, u32),
    /// Pixels in a row of an image.
    pub width: u32,
    pub classes: Vec<AttrValue>,
    pub dispatch: Callback<Message>,
}

impl PartialEq for BitsProperties {
    fn eq(&self, other: &Self) -> bool {
        let same = match (&self.bits, &other.bits) {
            (Some(one), Some(other)) => Rc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        };
        same && self.unit == other.unit && self.spec == other.spec && self.classes == other.classes
    }
}

#[component]
pub fn Bits(properties: &BitsProperties) -> Html {
    let BitsProperties {
        bits,
        spec,
        unit,
        width,
        classes,
        dispatch,
    } = properties;
    let chooser = chooser(*unit, spec, classes.len(), dispatch);
    let Some(bits) = bits else {
        return html! {
            <>
                { chooser }
                <p class="hint">{ text!("status.nothing_yet") }</p>
            </>
        };
    };
    html! {
        <>
            { chooser }
            <div class="looked-at">
                { weights(bits, spec, *width) }
                { flips(bits) }
                { histogram(bits) }
                { activations(bits, classes) }
                <Counted bits={bits.clone()} spec={spec.clone()} />
                { repetition(bits) }
            </div>
        </>
    }
}

/// Which unit of which layer.
fn chooser(
    (layer, unit): (u32, u32),
    spec: &NetworkSpec,
    classes: usize,
    dispatch: &Callback<Message>,
) -> Html {
    let units: Vec<usize> = spec.hidden.iter().copied().chain([classes]).collect();
    let options: Vec<(AttrValue, AttrValue)> = units
        .iter()
        .enumerate()
        .map(|(number, units)| {
            let name = text!("unit.layer", number = number + 1, units = units);
            (number.to_string().into(), name)
        })
        .collect();
    let layer = layer.min(units.len() as u32 - 1);
    let last = units[layer as usize] as u32 - 1;
    let unit = unit.min(last);
    let on_layer =
        dispatch.reform(|layer: String| Message::LookAtUnit(layer.parse().unwrap_or(0), 0));
    let on_unit = dispatch.reform(move |event: InputEvent| {
        let chosen = event
            .target_dyn_into::<HtmlInputElement>()
            .map_or(0.0, |input| input.value_as_number());
        Message::LookAtUnit(layer, chosen as u32)
    });
    html! {
        <div class="unit-chooser">
            <div class="field">
                <label for="layer">{ text!("unit.choose_layer") }</label>
                <Choice id="layer" chosen={layer.to_string()} {options} on_choice={on_layer} />
            </div>
            <div class="field">
                <label for="unit">{ text!("unit.choose_unit") }<output for="unit">{ unit + 1 }</output></label>
                <input
                    id="unit"
                    type="range"
                    min="0"
                    max={last.to_string()}
                    value={unit.to_string()}
                    aria-valuetext={(unit + 1).to_string()}
                    oninput={on_unit}
                />
            </div>
        </div>
    }
}

/// The unit's weights as the products see them, beside the floats that training moves.
fn weights(bits: &UnitBits, spec: &NetworkSpec, image_width: u32) -> Html {
    let width = if bits.layer == 0 {
        image_width
    } else {
        width_of(bits.latent.len())
    };
    let quantized = if spec.weight_bits == Width::ONE {
        text!("unit.signs")
    } else {
        text!("unit.quantized", bits = spec.weight_bits)
    };
    html! {
        <section class="pictures">
            <figure>
                <Tiles
                    id="unit-weights"
                    {width}
                    values={bits.weights.clone()}
                    marked={bits.flipped.clone()}
                    label={text!("unit.signs_of", number = bits.unit + 1, flipped = bits.flipped.len())}
                />
                <figcaption>{ quantized }</figcaption>
            </figure>
            <figure>
                <Tiles
                    id="unit-latent"
                    {width}
                    values={bits.latent.clone()}
                    label={text!("unit.latent_of", number = bits.unit + 1)}
                />
                <figcaption>{ text!("unit.latent") }</figcaption>
            </figure>
            <p class="hint">{ text!("unit.about_latent") }</p>
        </section>
    }
}

/// How many signs the last step changed, layer by layer.
fn flips(bits: &UnitBits) -> Html {
    html! {
        <section>
            <h3>{ text!("flips.heading") }</h3>
            <table id="flips">
                <thead>
                    <tr>
                        <th scope="col">{ text!("flips.layer") }</th>
                        <th scope="col">{ text!("flips.flipped") }</th>
                        <th scope="col">{ text!("flips.weights") }</th>
                    </tr>
                </thead>
                <tbody>
                    { for bits.flips.iter().zip(&bits.layer_weights).enumerate().map(|(layer, (flips, weights))| html! {
                        <tr key={layer}>
                            <th scope="row">{ layer + 1 }</th>
                            <td>{ format::grouped((*flips).into()) }</td>
                            <td>{ format::grouped((*weights).into()) }</td>
                        </tr>
                    }) }
                </tbody>
            </table>
            <p class="hint">{ text!("flips.about", flipped = bits.flipped.len()) }</p>
        </section>
    }
}

/// Where the layer's latent weights lie between the clips.
fn histogram(bits: &UnitBits) -> Html {
    let most = bits.histogram.iter().copied().max().unwrap_or(0).max(1);
    let gap = WIDTH / bits.histogram.len().max(1) as f64;
    let clipped =
        100.0 * f64::from(bits.clipped) / f64::from(bits.layer_weights[bits.layer as usize].max(1));
    let clipped = format!("{clipped:.1}");
    html! {
        <section>
            <h3>{ text!("histogram.heading", number = bits.layer + 1) }</h3>
            <svg
                id="histogram"
                class="histogram"
                viewBox={format!("0 -4 {WIDTH} {}", HEIGHT + 22.0)}
                role="img"
                aria-label={text!("histogram.label", percent = clipped)}
            >
                { for bits.histogram.iter().enumerate().map(|(bin, count)| {
                    let height = HEIGHT * f64::from(*count) / f64::from(most);
                    let class = if 2 * bin < bits.histogram.len() { "minus" } else { "plus" };
                    html! {
                        <rect
                            {class}
                            x={format!("{:.2}", gap * bin as f64)}
                            y={format!("{:.2}", HEIGHT - height)}
                            width={format!("{:.2}", 0.9 * gap)}
                            height={format!("{height:.2}")}
                        />
                    }
                }) }
                <line class="axis-line" x1="0" x2={WIDTH.to_string()} y1={HEIGHT.to_string()} y2={HEIGHT.to_string()} />
                <text x="0" y={(HEIGHT + 15.0).to_string()}>{ "−1" }</text>
                <text x={(WIDTH / 2.0).to_string()} y={(HEIGHT + 15.0).to_string()} text-anchor="middle">{ "0" }</text>
                <text x={WIDTH.to_string()} y={(HEIGHT + 15.0).to_string()} text-anchor="end">{ "+1" }</text>
            </svg>
            <p class="hint">{ text!("histogram.about", percent = clipped) }</p>
        </section>
    }
}

/// What the layers make of the drawing, or of a test image.
fn activations(bits: &UnitBits, classes: &[AttrValue]) -> Html {
    let hidden = bits.activations.len().saturating_sub(1);
    let of = if bits.of_drawing {
        text!("activations.of_drawing")
    } else {
        text!("activations.of_test_image")
    };
    html! {
        <section>
            <h3>{ text!("activations.heading") }</h3>
            <p class="hint">{ of }</p>
            <div id="activations" class="pictures">
                { for bits.activations[..hidden].iter().enumerate().map(|(layer, values)| {
                    let on = values.iter().filter(|value| **value > 0.0).count();
                    html! {
                        <figure key={layer}>
                            <Tiles
                                width={width_of(values.len())}
                                values={values.clone()}
                                label={text!("activations.label", number = layer + 1, on = on, units = values.len())}
                            />
                            <figcaption>{ text!("activations.caption", number = layer + 1, on = on, units = values.len()) }</figcaption>
                        </figure>
                    }
                }) }
            </div>
            if let Some(logits) = bits.activations.last() {
                <ol class="logits" aria-label={text!("activations.logits")}>
                    { for logits.iter().zip(classes).map(|(logit, class)| html! {
                        <li><span>{ class }</span>{ format!("{logit:.1}") }</li>
                    }) }
                </ol>
            }
        </section>
    }
}

#[derive(Clone, Properties)]
struct CountedProperties {
    bits: Rc<UnitBits>,
    spec: NetworkSpec,
}

impl PartialEq for CountedProperties {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.bits, &other.bits) && self.spec == other.spec
    }
}

/// What a step through a unit's words has counted.
#[derive(Debug, PartialEq)]
struct Count {
    /// Pairs that agree in each word.
    words: Vec<usize>,
}

impl Count {
    fn of(inputs: &[f32], weights: &[f32]) -> Count {
        let pairs: Vec<bool> = inputs
            .iter()
            .zip(weights)
            .map(|(input, weight)| (*input >= 0.0) == (*weight >= 0.0))
            .collect();
        let agreeing = |word: &[bool]| word.iter().filter(|agree| **agree).count();
        Count {
            words: pairs.chunks(WORD).map(agreeing).collect(),
        }
    }

    fn up_to(&self, word: usize) -> usize {
        self.words[..word].iter().sum()
    }
}

/// The unit's sum of one image, word by word: XNOR, popcount, and the threshold that batch normalization has become.
#[component]
fn Counted(properties: &CountedProperties) -> Html {
    let CountedProperties { bits, spec } = properties;
    let shown = use_state(|| 1_usize);
    let is_binary =
        bits.layer > 0 && spec.weight_bits == Width::ONE && spec.activation_bits == Width::ONE;
    let heading = html! { <h3>{ text!("xnor.heading") }</h3> };
    if !is_binary {
        return html! {
            <section>
                { heading }
                <p class="hint">{ text!("xnor.only_signs") }</p>
            </section>
        };
    }
    let count = Count::of(&bits.inputs, &bits.weights);
    let all = count.words.len();
    let word = (*shown).clamp(1, all.max(1));
    let range = (word - 1) * WORD..(word * WORD).min(bits.inputs.len());
    let signs = |values: &[f32]| -> Vec<bool> {
        values[range.clone()]
            .iter()
            .map(|value| *value >= 0.0)
            .collect()
    };
    let (inputs, weights) = (signs(&bits.inputs), signs(&bits.weights));
    let agree: Vec<bool> = inputs.iter().zip(&weights).map(|(a, b)| a == b).collect();
    let agreed = count.up_to(word);
    let terms = range.end;
    let sum = 2 * agreed as i64 - terms as i64;
    let set = |word: usize| {
        let shown = shown.clone();
        move |_: MouseEvent| shown.set(word)
    };
    html! {
        <section>
            { heading }
            <p class="hint">{ text!("xnor.about") }</p>
            <table id="xnor" class="words">
                <tbody>
                    { word_row(text!("xnor.inputs"), &inputs) }
                    { word_row(text!("xnor.weights"), &weights) }
                    { word_row(text!("xnor.agree"), &agree) }
                </tbody>
            </table>
            <p id="xnor-count" role="status">
                { text!("xnor.count", word = word, words = all, here = count.words.get(word - 1).copied().unwrap_or(0),
                    agreed = agreed, terms = terms, sum = sum) }
                if word == all {
                    if let Some(threshold) = &bits.threshold {
                        { " " }
                        { text!("xnor.threshold", least = threshold.least,
                            above = signed(threshold.above), output = signed(output(sum, threshold))) }
                    }
                }
            </p>
            <div class="beside">
                <button type="button" onclick={set(1)} disabled={word == 1}>{ text!("xnor.first") }</button>
                <button type="button" onclick={set(word + 1)} disabled={word == all}>{ text!("xnor.next") }</button>
                <button type="button" onclick={set(all)} disabled={word == all}>{ text!("xnor.all") }</button>
            </div>
        </section>
    }
}

fn output(sum: i64, threshold: &qnn_protocol::SumThreshold) -> i32 {
    if sum >= i64::from(threshold.least) {
        threshold.above
    } else {
        -threshold.above
    }
}

fn signed(sign: i32) -> &'static str {
    if sign > 0 { "+1" } else { "−1" }
}

fn word_row(name: AttrValue, bits: &[bool]) -> Html {
    let digits: String = bits
        .iter()
        .map(|bit| if *bit { '1' } else { '0' })
        .collect();
    html! {
        <tr>
            <th scope="row">{ name }</th>
            <td>
                <span class="unseen">{ digits }</span>
                <span class="word" aria-hidden="true">
                    { for bits.iter().map(|bit| html! {
                        <i class={if *bit { "plus" } else { "minus" }}>{ if *bit { "1" } else { "0" } }</i>
                    }) }
                </span>
            </td>
        </tr>
    }
}

/// How often the layer's weights repeat.
fn repetition(bits: &UnitBits) -> Html {
    html! {
        <section>
            <h3>{ text!("words.heading", number = bits.layer + 1) }</h3>
            <ul id="words" class="facts">
                { for bits.words.iter().map(|words| html! {
                    <li key={words.bits}>
                        { text!("words.distinct", bits = words.bits, distinct = format::grouped(words.distinct.into()),
                            words = format::grouped(words.words.into()),
                            possible = format::grouped(1_u64 << words.bits)) }
                    </li>
                }) }
            </ul>
            <p class="hint">{ text!("words.about") }</p>
        </section>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_add_up_to_the_product_of_signs() {
        let sign = |bit: bool| if bit { 1.0 } else { -1.0 };
        let inputs: Vec<f32> = (0..75).map(|i| sign(i % 3 == 0)).collect();
        let weights: Vec<f32> = (0..75).map(|i| sign(i % 7 < 3)).collect();
        let count = Count::of(&inputs, &weights);
        assert_eq!(count.words.len(), 3);
        let sum: f32 = inputs.iter().zip(&weights).map(|(a, b)| a * b).sum();
        assert_eq!(2 * count.up_to(3) as i64 - 75, sum as i64);
        let agree = inputs[..32].iter().zip(&weights).filter(|(a, b)| a == b);
        assert_eq!(count.words[0], agree.count());
    }
}
