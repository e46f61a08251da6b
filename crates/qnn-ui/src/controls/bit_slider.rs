//! The slider of a bit width, with a picture of the values that so many bits can tell apart.

use qnn_protocol::spec::{Bits, Levels};
use web_sys::HtmlInputElement;
use yew::prelude::*;

use crate::language::text;

#[derive(Properties, PartialEq)]
pub struct BitSliderProperties {
    pub id: &'static str,
    pub label: AttrValue,
    pub bits: Bits,
    pub levels: Levels,
    /// Whether these are the bits of a gradient, which has a zero and no single bit.
    #[prop_or_default]
    pub gradient: bool,
    pub on_choice: Callback<Bits>,
}

#[component]
pub fn BitSlider(properties: &BitSliderProperties) -> Html {
    let bits = properties.bits;
    let widths = &Bits::ALL[usize::from(properties.gradient)..];
    let place = widths.iter().position(|known| *known == bits);
    let oninput = {
        let on_choice = properties.on_choice.clone();
        move |event: InputEvent| {
            let place = event
                .target_dyn_into::<HtmlInputElement>()
                .map(|slider| slider.value_as_number() as usize);
            if let Some(bits) = place.and_then(|place| widths.get(place)) {
                on_choice.emit(*bits);
            }
        }
    };
    let about = format!("{}-values", properties.id);
    let levels = levels(bits, properties.levels, properties.gradient);
    html! {
        <div class="bit-slider">
            <label for={properties.id}>
                { &properties.label }
                <output for={properties.id}>{ name(bits) }</output>
            </label>
            <div class="slider">
                <input
                    id={properties.id}
                    type="range"
                    min="0"
                    max={(widths.len() - 1).to_string()}
                    step="1"
                    value={place.unwrap_or(0).to_string()}
                    aria-valuetext={name(bits)}
                    aria-describedby={about.clone()}
                    {oninput}
                />
                <div class="ticks" aria-hidden="true">
                    { for widths.iter().map(|known| html! {
                        <span class={classes!((*known == bits).then_some("chosen"))}>{ known.to_string() }</span>
                    }) }
                </div>
            </div>
            <div class="levels">
                <svg viewBox="-3 0 518 12" preserveAspectRatio="none" aria-hidden="true">
                    <path class="line" d="M0 6H512" />
                    <path d={strokes(&levels)} />
                </svg>
                <p id={about}>{ values(bits, properties.levels, &levels, properties.gradient) }</p>
            </div>
        </div>
    }
}

fn name(bits: Bits) -> AttrValue {
    match bits.get() {
        1 => text!("bits.one"),
        32 => "float32".into(),
        bits => text!("bits.several", bits = bits),
    }
}

/// The values that can be told apart, in [-1, 1] (of gradients as shares of the largest of a row); none of float32.
fn levels(bits: Bits, levels: Levels, gradient: bool) -> Vec<f32> {
    let half = 1_i32 << (bits.get().min(8) - 1);
    let powers = |count: i32| {
        (0..count)
            .map(|exponent| 0.5_f32.powi(exponent))
            .flat_map(|x| [-x, x])
    };
    match levels {
        _ if bits.is_float() => Vec::new(),
        _ if bits == Bits::ONE => vec![-1.0, 1.0],
        Levels::Linear if gradient => {
            let largest = half - 1;
            (-largest..=largest)
                .map(|level| level as f32 / largest as f32)
                .collect()
        }
        Levels::Logarithmic if gradient => powers(half - 1).chain([0.0]).collect(),
        Levels::Linear => (-half..half)
            .map(|level| level as f32 / half as f32)
            .collect(),
        Levels::Logarithmic => powers(half).collect(),
    }
}

fn values(bits: Bits, kind: Levels, levels: &[f32], gradient: bool) -> AttrValue {
    if bits.is_float() {
        return text!("bits.any_value");
    }
    if bits == Bits::ONE {
        return text!("bits.signs");
    }
    let count = levels.len();
    match (kind, gradient) {
        (Levels::Linear, true) => text!("bits.gradient_values", count = count),
        (Levels::Logarithmic, true) => text!("bits.gradient_powers", count = count),
        (Levels::Logarithmic, false) => text!("bits.powers", count = count),
        (Levels::Linear, false) => {
            let largest = levels
                .iter()
                .fold(0.0, |largest: f32, level| largest.max(*level));
            text!("bits.values", count = count, largest = largest)
        }
    }
}

/// A stroke for each value, from -1 at the left to +1 at the right of a box of 512 x 12; the box where all count.
fn strokes(levels: &[f32]) -> String {
    if levels.is_empty() {
        return "M0 0H512V12H0z".into();
    }
    levels
        .iter()
        .map(|level| format!("M{} 0v12", 256.0 * (level + 1.0)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_values_as_the_bits_tell_apart() {
        for bits in &Bits::ALL[..8] {
            for kind in [Levels::Linear, Levels::Logarithmic] {
                let all = 1 << bits.get();
                assert_eq!(levels(*bits, kind, false).len(), all);
                if *bits != Bits::ONE {
                    assert_eq!(levels(*bits, kind, true).len(), all - 1);
                }
            }
        }
        assert_eq!(
            levels(Bits::ALL[1], Levels::Linear, false),
            [-1.0, -0.5, 0.0, 0.5]
        );
        assert_eq!(levels(Bits::ALL[1], Levels::Linear, true), [-1.0, 0.0, 1.0]);
    }
}
