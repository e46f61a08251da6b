//! Hands files to the visitor: the chart as SVG and PNG, what was measured as CSV, a network. All are made here, and nothing is
//! sent anywhere.

use std::fmt::Write;

use js_sys::{Array, Uint8Array};
use wasm_bindgen::prelude::*;
use web_sys::{Blob, BlobPropertyBag, HtmlAnchorElement, HtmlCanvasElement, Url};

use crate::history::History;

/// Offers `content` as a file to be saved.
pub fn download(name: &str, kind: &str, content: &JsValue) -> Result<(), JsValue> {
    let properties = BlobPropertyBag::new();
    properties.set_type(kind);
    let blob =
        Blob::new_with_buffer_source_sequence_and_options(&Array::of1(content), &properties)?;
    download_blob(name, &blob)
}

/// Offers a text as a file to be saved.
pub fn download_text(name: &str, kind: &str, text: &str) -> Result<(), JsValue> {
    download(name, kind, &Uint8Array::from(text.as_bytes()))
}

/// Offers what is on a canvas as a PNG file.
pub fn download_png(name: &'static str, canvas: &HtmlCanvasElement) -> Result<(), JsValue> {
    let on_blob = Closure::once_into_js(move |blob: Option<Blob>| {
        if let Some(blob) = blob {
            // A browser that refuses says so itself.
            let _ = download_blob(name, &blob);
        }
    });
    canvas.to_blob(on_blob.unchecked_ref())
}

fn download_blob(name: &str, blob: &Blob) -> Result<(), JsValue> {
    let address = Url::create_object_url_with_blob(blob)?;
    let link: HtmlAnchorElement = gloo_utils::document().create_element("a")?.unchecked_into();
    link.set_href(&address);
    link.set_download(name);
    link.click();
    // The browser has taken hold of the file by then.
    gloo_timers::callback::Timeout::new(10_000, move || {
        let _ = Url::revoke_object_url(&address);
    })
    .forget();
    Ok(())
}

/// What was measured of the networks, each a name and its history: a row a test, and a row a stretch of training steps.
pub fn csv<'a>(networks: impl Iterator<Item = (String, &'a History)>) -> String {
    let mut text = String::from("network,kind,step,seconds,epoch,loss,accuracy\n");
    for (name, history) in networks {
        let name = quoted(&name);
        // Writing to a string does not fail.
        for bucket in history.buckets() {
            let (step, seconds) = (bucket.step, bucket.seconds);
            let (loss, accuracy) = (bucket.loss, bucket.accuracy);
            let _ = writeln!(
                text,
                "{name},training,{step},{seconds:.3},,{loss},{accuracy}"
            );
        }
        for test in history.evaluations() {
            let (step, seconds, epoch) = (test.step, test.seconds, test.epoch);
            let (loss, accuracy) = (test.loss, test.accuracy);
            let _ = writeln!(
                text,
                "{name},test,{step},{seconds:.3},{epoch},{loss},{accuracy}"
            );
        }
    }
    text
}

/// A field of a CSV file.
fn quoted(field: &str) -> String {
    format!("\"{}\"", field.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Evaluation;
    use qnn_protocol::StepPoint;

    #[test]
    fn every_stretch_and_every_test_is_a_row() {
        let mut history = History::default();
        let point = StepPoint {
            step: 1,
            loss: 0.5,
            accuracy: 0.25,
        };
        history.push_steps(&[point], 2.0);
        history.push_evaluation(Evaluation {
            step: 1,
            seconds: 2.0,
            epoch: 0.1,
            loss: 0.75,
            accuracy: 0.125,
        });
        let csv = csv([("W 1, A \"2\"".to_string(), &history)].into_iter());
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!(lines[0].split(',').count(), 7);
        assert_eq!(lines[1], "\"W 1, A \"\"2\"\"\",training,1,2.000,,0.5,0.25");
        assert_eq!(lines[2], "\"W 1, A \"\"2\"\"\",test,1,2.000,0.1,0.75,0.125");
    }
}
