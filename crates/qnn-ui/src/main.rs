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

use gloo_render::request_animation_frame;
use gloo_timers::callback::Timeout;

fn main() {
    language::begin();
    if gloo_utils::document().hidden() {
        show(); // Nothing is painted in the background.
    } else {
        // The words that the page came with are painted first: on a slow machine the rest takes a while.
        let painted = request_animation_frame(|_| {
            Timeout::new(0, show).forget();
        });
        std::mem::forget(painted); // To drop it would cancel it.
    }
}

fn show() {
    let mount = gloo_utils::document().get_element_by_id("app");
    match mount {
        Some(mount) => yew::Renderer::<app::App>::with_root(mount).render(),
        None => yew::Renderer::<app::App>::new().render(),
    };
}
