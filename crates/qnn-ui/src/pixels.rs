//! A small grey picture on a canvas of its own size, magnified by the style sheet. Written, never read
//! back: browsers put noise into what is read from a canvas.

use wasm_bindgen::{Clamped, JsCast, JsValue};
use web_sys::{CanvasRenderingContext2d, HtmlCanvasElement, ImageData};
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct PixelsProperties {
    pub width: u32,
    pub height: u32,
    /// `[height, width]`, 0 is paper, 255 is ink.
    pub ink: Vec<u8>,
    pub label: AttrValue,
}

#[component]
pub fn Pixels(properties: &PixelsProperties) -> Html {
    let canvas = use_node_ref();
    use_effect_with((properties.width, properties.ink.clone()), {
        let canvas = canvas.clone();
        move |(width, ink): &(u32, Vec<u8>)| {
            if let Some(canvas) = canvas.cast::<HtmlCanvasElement>() {
                // An engine that sends pixels of another size gets no picture.
                let _ = paint(&canvas, *width, ink);
            }
        }
    });
    html! {
        <canvas
            ref={canvas}
            class="pixels"
            width={properties.width.to_string()}
            height={properties.height.to_string()}
            role="img"
            aria-label={properties.label.clone()}
        />
    }
}

/// Black ink on a transparent ground; the style sheet turns it white where the page is dark.
fn paint(canvas: &HtmlCanvasElement, width: u32, ink: &[u8]) -> Result<(), JsValue> {
    let colours: Vec<u8> = ink.iter().flat_map(|ink| [0, 0, 0, *ink]).collect();
    let image = ImageData::new_with_u8_clamped_array(Clamped(&colours), width)?;
    canvas
        .get_context("2d")?
        .ok_or("no 2d context")?
        .dyn_into::<CanvasRenderingContext2d>()?
        .put_image_data(&image, 0.0, 0.0)
}
