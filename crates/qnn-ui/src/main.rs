//! The page of QNN Playground: what is seen, and nothing of what is computed.
//! Networks are trained by an engine in a worker; the two talk by `qnn_protocol` only.

mod answer;
mod app;
mod chart;
mod controls;
mod draw_pad;
mod engine;
mod figures;
mod format;
mod gpu;
mod history;
mod kernels;
mod pixels;
mod test_strip;

fn main() {
    let mount = gloo_utils::document().get_element_by_id("app");
    match mount {
        Some(mount) => yew::Renderer::<app::App>::with_root(mount).render(),
        None => yew::Renderer::<app::App>::new().render(),
    };
}
