//! The panel to share and to save: the link of the race, and what can be taken away as files. What is in the files is `take`'s.

use qnn_protocol::NetworkFormat;
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::HtmlInputElement;
use yew::prelude::*;

use crate::app::Message;
use crate::language::text;

/// What can be taken away.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum File {
    ChartSvg,
    ChartPng,
    Measurements,
    Network(NetworkFormat),
}

#[derive(Properties, PartialEq)]
pub struct ShareProperties {
    pub link: AttrValue,
    /// Whether the race trains on images of the visitor, which no link can carry.
    pub has_own_images: bool,
    /// The name of the chosen network, where there is a checkpoint to take.
    pub network: Option<AttrValue>,
    pub dispatch: Callback<Message>,
}

#[component]
pub fn Share(properties: &ShareProperties) -> Html {
    let ShareProperties {
        link,
        has_own_images,
        network,
        dispatch,
    } = properties;
    let copied = use_state(|| false);
    let on_copy = {
        let (link, copied) = (link.clone(), copied.clone());
        move |_: MouseEvent| {
            let copied = copied.clone();
            let writing = gloo_utils::window()
                .navigator()
                .clipboard()
                .write_text(&link);
            spawn_local(async move { copied.set(JsFuture::from(writing).await.is_ok()) });
        }
    };
    let on_focus = |event: FocusEvent| {
        if let Some(input) = event.target_dyn_into::<HtmlInputElement>() {
            input.select();
        }
    };
    let take = |file: File, name: AttrValue| {
        html! {
            <button type="button" onclick={dispatch.reform(move |_: MouseEvent| Message::Take(file))}>{ name }</button>
        }
    };
    let formats = [
        (NetworkFormat::Training, text!("share.training")),
        (NetworkFormat::Packed, text!("share.packed")),
        (NetworkFormat::Onnx, AttrValue::from("ONNX")),
        (NetworkFormat::Rust, text!("share.rust")),
        (NetworkFormat::C, text!("share.c")),
    ];
    html! {
        <section id="share-panel" class="card share" aria-labelledby="share-heading">
            <h2 id="share-heading">{ text!("share.heading") }</h2>
            <div class="field">
                <label for="link">{ text!("share.link") }</label>
                <div class="linked">
                    <input id="link" type="text" readonly=true value={link.clone()} onfocus={on_focus} />
                    <button id="copy" type="button" onclick={on_copy}>{ text!("share.copy") }</button>
                </div>
                <p class="hint" role="status">
                    { if *copied { text!("share.copied") } else { text!("share.about") } }
                    if *has_own_images {
                        { " " }{ text!("share.own") }
                    }
                </p>
            </div>
            <div class="files" role="group" aria-label={text!("share.files")}>
                { take(File::ChartSvg, text!("share.svg")) }
                { take(File::ChartPng, text!("share.png")) }
                { take(File::Measurements, text!("share.csv")) }
            </div>
            if let Some(name) = network {
                <div class="files" role="group" aria-labelledby="network-files">
                    <h3 id="network-files">{ text!("share.network", name = name) }</h3>
                    { for formats.into_iter().map(|(format, name)| take(File::Network(format), name)) }
                    <p class="hint">{ text!("share.about_network") }</p>
                </div>
            }
        </section>
    }
}
