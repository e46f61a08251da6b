//! The slider of a bit width, with a picture of the values that so many bits can tell apart.

use qnn_protocol::spec::Bits;
use web_sys::HtmlInputElement;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct BitSliderProperties {
    pub id: &'static str,
    pub label: &'static str,
    pub bits: Bits,
    pub on_choice: Callback<Bits>,
}

#[component]
pub fn BitSlider(properties: &BitSliderProperties) -> Html {
    let bits = properties.bits;
    let place = Bits::ALL.iter().position(|known| *known == bits);
    let oninput = {
        let on_choice = properties.on_choice.clone();
        move |event: InputEvent| {
            let place = event
                .target_dyn_into::<HtmlInputElement>()
                .map(|slider| slider.value_as_number() as usize);
            if let Some(bits) = place.and_then(|place| Bits::ALL.get(place)) {
                on_choice.emit(*bits);
            }
        }
    };
    let about = format!("{}-values", properties.id);
    html! {
        <div class="bit-slider">
            <label for={properties.id}>
                { properties.label }
                <output for={properties.id}>{ name(bits) }</output>
            </label>
            <div class="slider">
                <input
                    id={properties.id}
                    type="range"
                    min="0"
                    max={(Bits::ALL.len() - 1).to_string()}
                    step="1"
                    value={place.unwrap_or(0).to_string()}
                    aria-valuetext={name(bits)}
                    aria-describedby={about.clone()}
                    {oninput}
                />
                <div class="ticks" aria-hidden="true">
                    { for Bits::ALL.iter().map(|known| html! {
                        <span class={classes!((*known == bits).then_some("chosen"))}>{ known.to_string() }</span>
                    }) }
                </div>
            </div>
            <div class="levels">
                <svg viewBox="-3 0 518 12" preserveAspectRatio="none" aria-hidden="true">
                    <path class="line" d="M0 6H512" />
                    <path d={levels(bits)} />
                </svg>
                <p id={about}>{ values(bits) }</p>
            </div>
        </div>
    }
}

fn name(bits: Bits) -> String {
    match bits.get() {
        1 => "1 bit".into(),
        32 => "float32".into(),
        bits => format!("{bits} bits"),
    }
}

fn values(bits: Bits) -> String {
    if bits.is_float() {
        "any value: not quantized".into()
    } else if bits == Bits::ONE {
        "2 values: −1 and +1".into()
    } else {
        format!(
            "{} values from −1 to +{}",
            1_u32 << bits.get(),
            1.0 - step(bits)
        )
    }
}

/// The distance of neighbouring values of the linear quantizer.
fn step(bits: Bits) -> f32 {
    2.0 / (1_u32 << bits.get()) as f32
}

/// A stroke for each value, from -1 at the left to +1 at the right of a box of 512 x 12.
fn levels(bits: Bits) -> String {
    if bits.is_float() {
        return "M0 0H512V12H0z".into();
    }
    if bits == Bits::ONE {
        return "M0 0v12M512 0v12".into();
    }
    (0..1_u32 << bits.get())
        .map(|level| format!("M{} 0v12", 256.0 * step(bits) * level as f32))
        .collect()
}
