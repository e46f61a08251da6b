//! Accuracy and loss of the race, drawn on one canvas: once a frame at most, and only when something changed. What is drawn
//! is `plot`'s; here are only the canvas and its moments.

mod pen;
mod plot;

use std::cell::RefCell;
use std::rc::Rc;

use gloo_events::EventListener;
use wasm_bindgen::prelude::*;
use web_sys::{
    CanvasRenderingContext2d, Element, HtmlCanvasElement, MediaQueryList, ResizeObserver,
};
use yew::prelude::*;

use crate::history::History;
use pen::{CanvasPen, SvgPen};
pub use plot::{Across, shape};
use plot::{Line, Palette, Plot};
use qnn_protocol::MAX_NETWORKS;

/// A network's line: what was measured, the number of its colour, and whether it is the chosen one.
#[derive(Clone)]
pub struct Trace {
    pub history: Rc<RefCell<History>>,
    pub colour: usize,
    pub is_chosen: bool,
}

#[derive(Clone, Properties)]
pub struct ChartProperties {
    /// The chosen one last.
    pub traces: Vec<Trace>,
    pub across: Across,
    /// Counts the changes of the histories, and of what is chosen.
    pub revision: u32,
    /// The present values in words.
    pub summary: AttrValue,
}

impl PartialEq for ChartProperties {
    fn eq(&self, other: &Self) -> bool {
        (self.revision, self.across, &self.summary)
            == (other.revision, other.across, &other.summary)
    }
}

pub enum ChartMessage {
    Resized,
    OtherColours,
}

pub struct Chart {
    canvas: NodeRef,
    surface: Option<Surface>,
    _colours_change: Vec<EventListener>,
}

/// The canvas as it stands: its pen, its size in CSS pixels, its colours.
struct Surface {
    context: CanvasRenderingContext2d,
    width: f64,
    height: f64,
    palette: Palette,
    observer: ResizeObserver,
    _on_resize: Closure<dyn FnMut()>,
}

impl Component for Chart {
    type Message = ChartMessage;
    type Properties = ChartProperties;

    fn create(context: &Context<Self>) -> Self {
        let queries = ["(prefers-color-scheme: dark)", "(forced-colors: active)"];
        let listen = |query: &str| {
            let link = context.link().clone();
            let query: MediaQueryList = gloo_utils::window().match_media(query).ok().flatten()?;
            let tell = move |_: &web_sys::Event| link.send_message(ChartMessage::OtherColours);
            Some(EventListener::new(&query, "change", tell))
        };
        Chart {
            canvas: NodeRef::default(),
            surface: None,
            _colours_change: queries.into_iter().filter_map(listen).collect(),
        }
    }

    fn rendered(&mut self, context: &Context<Self>, first: bool) {
        if first {
            self.surface = self.canvas.cast().and_then(|canvas: HtmlCanvasElement| {
                Surface::on(&canvas, context.link().callback(|()| ChartMessage::Resized)).ok()
            });
        }
    }

    fn update(&mut self, context: &Context<Self>, message: ChartMessage) -> bool {
        if let (Some(canvas), Some(surface)) = (self.canvas.cast(), &mut self.surface) {
            match message {
                ChartMessage::Resized => surface.fit(&canvas),
                ChartMessage::OtherColours => surface.palette = palette_of(&canvas),
            }
        }
        self.draw(context.props());
        false
    }

    fn changed(&mut self, context: &Context<Self>, before: &ChartProperties) -> bool {
        let now = context.props();
        if (now.revision, now.across) != (before.revision, before.across) {
            self.draw(now);
        }
        now.summary != before.summary
    }

    fn view(&self, context: &Context<Self>) -> Html {
        html! {
            <canvas
                ref={self.canvas.clone()}
                id="chart"
                role="img"
                aria-label={context.props().summary.clone()}
            />
        }
    }

    fn destroy(&mut self, _: &Context<Self>) {
        if let Some(surface) = &self.surface {
            surface.observer.disconnect();
        }
    }
}

impl Chart {
    fn draw(&self, properties: &ChartProperties) {
        let Some(surface) = &self.surface else {
            return;
        };
        surface
            .context
            .clear_rect(0.0, 0.0, surface.width, surface.height);
        let plot = Plot {
            width: surface.width,
            height: surface.height,
            across: properties.across,
            palette: &surface.palette,
        };
        // Drawing fails only where the browser takes the canvas away; the next frame tries again.
        let mut pen = CanvasPen(&surface.context);
        if with_lines(&properties.traces, |lines| plot.draw(lines, &mut pen)).is_ok() {
            let painted = |trace: &Trace| trace.history.borrow_mut().painted_first_point();
            if properties.traces.iter().any(painted)
                && let Some(performance) = gloo_utils::window().performance()
            {
                let _ = performance.mark("first-point");
            }
        }
    }
}

/// The chart as an SVG file of this size, in the colours of the page.
pub fn svg(
    traces: &[Trace],
    across: Across,
    (width, height): (f64, f64),
    page: &Element,
) -> String {
    let palette = palette_of(page);
    let mut pen = SvgPen::new(width, height, &palette.paper);
    let plot = Plot {
        width,
        height,
        across,
        palette: &palette,
    };
    // This pen does not fail.
    let _ = with_lines(traces, |lines| plot.draw(lines, &mut pen));
    pen.finish()
}

fn with_lines<T>(traces: &[Trace], draw: impl FnOnce(&[Line]) -> T) -> T {
    let histories: Vec<_> = traces.iter().map(|trace| trace.history.borrow()).collect();
    let lines: Vec<Line> = traces
        .iter()
        .zip(&histories)
        .map(|(trace, history)| Line {
            history,
            colour: trace.colour,
            is_chosen: trace.is_chosen,
        })
        .collect();
    draw(&lines)
}

impl Surface {
    fn on(canvas: &HtmlCanvasElement, resized: Callback<()>) -> Result<Surface, JsValue> {
        let context = canvas
            .get_context("2d")?
            .ok_or("no 2d context")?
            .dyn_into::<CanvasRenderingContext2d>()
            .map_err(|_| "no 2d context")?;
        let on_resize = Closure::<dyn FnMut()>::new(move || resized.emit(()));
        let observer = ResizeObserver::new(on_resize.as_ref().unchecked_ref())?;
        observer.observe(canvas);
        Ok(Surface {
            context,
            width: 0.0,
            height: 0.0,
            palette: palette_of(canvas),
            observer,
            _on_resize: on_resize,
        })
    }

    /// Gives the canvas as many pixels as it takes on the screen.
    fn fit(&mut self, canvas: &HtmlCanvasElement) {
        let ratio = gloo_utils::window().device_pixel_ratio();
        let device_pixels = |length: f64| (length * ratio).round() as u32;
        self.width = f64::from(canvas.client_width());
        self.height = f64::from(canvas.client_height());
        canvas.set_width(device_pixels(self.width));
        canvas.set_height(device_pixels(self.height));
        let _ = self.context.set_transform(ratio, 0.0, 0.0, ratio, 0.0, 0.0);
    }
}

fn palette_of(element: &Element) -> Palette {
    let style = gloo_utils::window()
        .get_computed_style(element)
        .ok()
        .flatten();
    let colour = |name: &str| {
        style
            .as_ref()
            .and_then(|style| style.get_property_value(name).ok())
            .map(|value| value.trim().to_string())
            .unwrap_or_default()
    };
    Palette {
        networks: (0..MAX_NETWORKS)
            .map(|number| colour(&format!("--network-{number}")))
            .collect(),
        ink: colour("--ink"),
        muted: colour("--muted"),
        grid: colour("--grid"),
        paper: colour("--paper"),
    }
}
