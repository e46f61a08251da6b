//! A picture of values from -1 to 1, a tile each: blue above zero, orange below, the paler the smaller; marked ones in ink.
//! Written on a canvas of its own size, magnified by the style sheet, and never read back.

use wasm_bindgen::{Clamped, JsCast, JsValue};
use web_sys::{CanvasRenderingContext2d, HtmlCanvasElement, ImageData};
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct TilesProperties {
    /// Tiles in a row.
    pub width: u32,
    /// Row by row, in [-1, 1].
    pub values: Vec<f32>,
    /// The places of those that are marked.
    #[prop_or_default]
    pub marked: Vec<u32>,
    pub label: AttrValue,
    #[prop_or_default]
    pub id: Option<AttrValue>,
}

#[component]
pub fn Tiles(properties: &TilesProperties) -> Html {
    let canvas = use_node_ref();
    let width = properties.width.max(1);
    let height = (properties.values.len() as u32).div_ceil(width).max(1);
    use_effect_with(
        (width, properties.values.clone(), properties.marked.clone()),
        {
            let canvas = canvas.clone();
            move |(width, values, marked): &(u32, Vec<f32>, Vec<u32>)| {
                if let Some(canvas) = canvas.cast::<HtmlCanvasElement>() {
                    // Fails only where the browser takes the canvas away.
                    let _ = paint(&canvas, *width, values, marked);
                }
            }
        },
    );
    html! {
        <canvas
            ref={canvas}
            id={properties.id.clone()}
            class="tiles"
            width={width.to_string()}
            height={height.to_string()}
            role="img"
            aria-label={properties.label.clone()}
        />
    }
}

/// Tiles in a row that make about a square of `count`, or a picture twice as wide as it is high.
pub fn width_of(count: usize) -> u32 {
    let side = (count as f64).sqrt();
    // Powers of two fill a rectangle.
    let width = 2f64.powf(side.log2().ceil());
    if (count as f64 / width).fract() == 0.0 {
        width as u32
    } else {
        side.ceil() as u32
    }
}

fn paint(
    canvas: &HtmlCanvasElement,
    width: u32,
    values: &[f32],
    marked: &[u32],
) -> Result<(), JsValue> {
    let style = gloo_utils::window().get_computed_style(canvas)?;
    let colour = |name: &str| {
        let value = style
            .as_ref()
            .and_then(|style| style.get_property_value(name).ok());
        read_colour(&value.unwrap_or_default())
    };
    let (plus, minus, ink) = (colour("--train"), colour("--test"), colour("--ink"));
    let rows = values.len().div_ceil(width as usize);
    let mut pixels = vec![0; rows * width as usize * 4];
    for (pixel, value) in pixels.chunks_exact_mut(4).zip(values) {
        let [red, green, blue] = if *value >= 0.0 { plus } else { minus };
        let opacity = (255.0 * value.abs().min(1.0)) as u8;
        pixel.copy_from_slice(&[red, green, blue, opacity]);
    }
    for place in marked {
        if let Some(pixel) = pixels.chunks_exact_mut(4).nth(*place as usize) {
            pixel.copy_from_slice(&[ink[0], ink[1], ink[2], 255]);
        }
    }
    let image = ImageData::new_with_u8_clamped_array(Clamped(&pixels), width)?;
    canvas
        .get_context("2d")?
        .ok_or("no 2d context")?
        .dyn_into::<CanvasRenderingContext2d>()?
        .put_image_data(&image, 0.0, 0.0)
}

/// The parts of a colour written `#rrggbb`; black where it is written otherwise.
fn read_colour(text: &str) -> [u8; 3] {
    let digits = text.trim().strip_prefix('#').unwrap_or_default();
    let part = |place: usize| {
        let pair = digits.get(2 * place..2 * place + 2);
        pair.and_then(|pair| u8::from_str_radix(pair, 16).ok())
    };
    [0, 1, 2].map(|place| part(place).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_read() {
        assert_eq!(read_colour(" #1d6ab0"), [0x1d, 0x6a, 0xb0]);
        assert_eq!(read_colour("#é"), [0, 0, 0]);
    }

    #[test]
    fn units_make_rectangles() {
        assert_eq!(width_of(512), 32);
        assert_eq!(width_of(1024), 32);
        assert_eq!(width_of(784), 28);
        assert_eq!(width_of(10), 4);
    }
}
