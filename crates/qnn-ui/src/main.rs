//! The page of QNN Playground: what is seen, and nothing of what is computed.
//! Networks are trained by an engine in a worker; the two talk by `qnn_protocol` only.

mod address;
mod answers;
mod app;
mod bits;
mod chart;
mod controls;
mod costs;
mod draw_pad;
mod engine;
mod figures;
mod files;
mod format;
mod gpu;
mod history;
mod keep;
mod kept;
mod kernels;
mod language;
mod leaderboard;
mod lessons;
mod map;
mod mistakes;
mod names;
mod own_data;
mod pixels;
mod problems;
mod race;
mod roofline;
mod share;
mod source;
mod tabs;
mod take;
mod teach;
mod test_strip;
mod tiles;
mod view;

fn main() {
    language::begin();
    let mount = gloo_utils::document().get_element_by_id("app");
    match mount {
        Some(mount) => yew::Renderer::<app::App>::with_root(mount).render(),
        None => yew::Renderer::<app::App>::new().render(),
    };
}
