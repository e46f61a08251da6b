//! Accuracy and loss over the training steps, drawn on one canvas. What was measured lives in `history`;
//! here are only scales, ink and the moments to draw: once a frame at most, and only when something changed.

use std::cell::RefCell;
use std::rc::Rc;

use gloo_events::EventListener;
use wasm_bindgen::prelude::*;
use web_sys::{CanvasRenderingContext2d, HtmlCanvasElement, MediaQueryList, ResizeObserver};
use yew::prelude::*;

use crate::format;
use crate::history::{Bucket, History};

const FONT: &str = "12px system-ui, sans-serif";
const LEFT: f64 = 46.0;
const RIGHT: f64 = 12.0;
/// One row of labels of marks.
const LABEL_ROW: f64 = 15.0;
const LABEL_ROWS: usize = 2;
const TITLE: f64 = 24.0;
const STEP_AXIS: f64 = 22.0;
/// The first steps of a network are wild; the scales follow the rest of the run.
const SETTLED_SHARE: f64 = 0.25;
const FEWEST_STEPS: u32 = 50;

#[derive(Clone, Properties)]
pub struct ChartProperties {
    pub history: Rc<RefCell<History>>,
    /// Counts the changes of the history.
    pub revision: u32,
    /// The present values in words.
    pub summary: AttrValue,
}

impl PartialEq for ChartProperties {
    fn eq(&self, other: &Self) -> bool {
        self.revision == other.revision && self.summary == other.summary
    }
}

pub enum ChartMessage {
    Resized,
    OtherColours,
}

pub struct Chart {
    canvas: NodeRef,
    surface: Option<Surface>,
    _colours_change: Option<EventListener>,
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

struct Palette {
    train: String,
    test: String,
    ink: String,
    muted: String,
    grid: String,
    paper: String,
}

impl Component for Chart {
    type Message = ChartMessage;
    type Properties = ChartProperties;

    fn create(context: &Context<Self>) -> Self {
        let link = context.link().clone();
        let dark = gloo_utils::window().match_media("(prefers-color-scheme: dark)");
        let colours_change = dark.ok().flatten().map(|dark: MediaQueryList| {
            EventListener::new(&dark, "change", move |_| {
                link.send_message(ChartMessage::OtherColours);
            })
        });
        Chart {
            canvas: NodeRef::default(),
            surface: None,
            _colours_change: colours_change,
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
                ChartMessage::OtherColours => surface.palette = Palette::of(&canvas),
            }
        }
        self.draw(context.props());
        false
    }

    fn changed(&mut self, context: &Context<Self>, before: &ChartProperties) -> bool {
        if context.props().revision != before.revision {
            self.draw(context.props());
        }
        context.props().summary != before.summary
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
        let mut history = properties.history.borrow_mut();
        // Drawing fails only where the browser takes the canvas away; the next frame tries again.
        if surface.draw(&history).is_ok()
            && history.painted_first_point()
            && let Some(performance) = gloo_utils::window().performance()
        {
            let _ = performance.mark("first-point");
        }
    }
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
            palette: Palette::of(canvas),
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

    fn draw(&self, history: &History) -> Result<(), JsValue> {
        let top = LABEL_ROW * LABEL_ROWS as f64;
        let panes = self.height - top - 2.0 * TITLE - STEP_AXIS;
        if self.width < LEFT + RIGHT + 50.0 || panes < 60.0 {
            return Ok(());
        }
        self.context.clear_rect(0.0, 0.0, self.width, self.height);
        self.context.set_font(FONT);
        let steps = Axis {
            low: 0.0,
            high: f64::from(history.last_step().max(FEWEST_STEPS)),
            start: LEFT,
            end: self.width - RIGHT,
        };
        let accuracy_top = top + TITLE;
        let accuracy_bottom = accuracy_top + 0.6 * panes;
        let loss_top = accuracy_bottom + TITLE;
        let loss_bottom = loss_top + 0.4 * panes;
        self.draw_step_axis(&steps, loss_bottom)?;
        self.draw_marks(history, &steps, loss_bottom)?;
        let accuracy = Axis {
            low: lowest_accuracy(history),
            high: 1.0,
            start: accuracy_bottom,
            end: accuracy_top,
        };
        let percent = |value: f64| format!("{:.0} %", 100.0 * value);
        self.draw_pane("Accuracy", &accuracy, percent)?;
        self.draw_traces(
            history,
            &steps,
            &accuracy,
            |bucket| bucket.accuracy,
            |bucket| bucket.smooth_accuracy,
        );
        let tested = history
            .evaluations()
            .iter()
            .map(|point| (point.step, point.accuracy));
        self.draw_tests(tested, &steps, &accuracy)?;
        let loss = Axis {
            low: 0.0,
            high: highest_loss(history),
            start: loss_bottom,
            end: loss_top,
        };
        self.draw_pane("Loss", &loss, |value| format!("{}", value as f32))?;
        self.draw_traces(
            history,
            &steps,
            &loss,
            |bucket| bucket.loss,
            |bucket| bucket.smooth_loss,
        );
        let tested = history
            .evaluations()
            .iter()
            .map(|point| (point.step, point.loss));
        self.draw_tests(tested, &steps, &loss)
    }

    fn draw_step_axis(&self, steps: &Axis, bottom: f64) -> Result<(), JsValue> {
        let context = &self.context;
        context.set_fill_style_str(&self.palette.muted);
        context.set_text_baseline("top");
        context.set_text_align("center");
        for tick in steps.ticks(self.width / 90.0) {
            let text = format::grouped(tick as u64);
            // Kept inside of the canvas: the first and the last label would stick out.
            let place = steps.place(tick).min(self.width - 4.0 * text.len() as f64);
            context.fill_text(&text, place, bottom + 7.0)?;
        }
        Ok(())
    }

    fn draw_pane(
        &self,
        title: &str,
        axis: &Axis,
        label: impl Fn(f64) -> String,
    ) -> Result<(), JsValue> {
        let context = &self.context;
        context.set_text_align("left");
        context.set_text_baseline("bottom");
        context.set_fill_style_str(&self.palette.ink);
        context.fill_text(title, LEFT, axis.end - 4.0)?;
        context.set_text_align("right");
        context.set_text_baseline("middle");
        context.set_fill_style_str(&self.palette.muted);
        context.set_stroke_style_str(&self.palette.grid);
        context.set_line_width(1.0);
        for tick in axis.ticks(axis.length() / 28.0) {
            // Half a pixel on, so that the line fills one row of pixels.
            let place = axis.place(tick).round() + 0.5;
            context.begin_path();
            context.move_to(LEFT, place);
            context.line_to(self.width - RIGHT, place);
            context.stroke();
            context.fill_text(&label(tick), LEFT - 8.0, place)?;
        }
        Ok(())
    }

    /// The training steps, faint, and their running average.
    fn draw_traces(
        &self,
        history: &History,
        steps: &Axis,
        values: &Axis,
        raw: impl Fn(&Bucket) -> f32,
        smooth: impl Fn(&Bucket) -> f32,
    ) {
        let context = &self.context;
        context.save();
        self.clip_to(values);
        context.set_stroke_style_str(&self.palette.train);
        context.set_line_join("round");
        let buckets = history.buckets();
        // No more points than pixels.
        let every = (buckets.len() as f64 / steps.length()).ceil().max(1.0) as usize;
        let line = |value: &dyn Fn(&Bucket) -> f32| {
            context.begin_path();
            for bucket in buckets.iter().rev().step_by(every) {
                context.line_to(
                    steps.place(f64::from(bucket.step)),
                    values.place(f64::from(value(bucket))),
                );
            }
            context.stroke();
        };
        context.set_global_alpha(0.3);
        context.set_line_width(1.0);
        line(&raw);
        context.set_global_alpha(1.0);
        context.set_line_width(2.0);
        line(&smooth);
        context.restore();
    }

    /// The answers to the test set: dots on a line.
    fn draw_tests(
        &self,
        points: impl Iterator<Item = (u32, f32)>,
        steps: &Axis,
        values: &Axis,
    ) -> Result<(), JsValue> {
        let context = &self.context;
        let points: Vec<(f64, f64)> = points
            .map(|(step, value)| (steps.place(f64::from(step)), values.place(f64::from(value))))
            .collect();
        context.save();
        self.clip_to(values);
        context.set_stroke_style_str(&self.palette.test);
        context.set_line_width(1.5);
        context.begin_path();
        for (x, y) in &points {
            context.line_to(*x, *y);
        }
        context.stroke();
        context.restore();
        context.set_fill_style_str(&self.palette.test);
        context.set_stroke_style_str(&self.palette.paper);
        let radius = if points.len() > 60 { 2.0 } else { 4.0 };
        for (x, y) in points
            .iter()
            .filter(|(_, y)| (values.end - 1.0..=values.start + 1.0).contains(y))
        {
            context.begin_path();
            context.arc(*x, *y, radius, 0.0, std::f64::consts::TAU)?;
            context.fill();
            context.stroke();
        }
        Ok(())
    }

    /// A dashed upright and a label wherever something changed.
    fn draw_marks(&self, history: &History, steps: &Axis, bottom: f64) -> Result<(), JsValue> {
        let context = &self.context;
        let dashes = js_sys::Array::of2(&3.into(), &3.into());
        context.set_text_baseline("middle");
        context.set_fill_style_str(&self.palette.ink);
        context.set_stroke_style_str(&self.palette.muted);
        context.set_line_width(1.0);
        let mut row_ends = [LEFT; LABEL_ROWS];
        for mark in history.marks() {
            let x = steps.place(f64::from(mark.step)).round() + 0.5;
            let label = mark.label();
            let width = context.measure_text(&label)?.width();
            let beyond = x + 4.0 + width > self.width;
            let start = if beyond { x - 4.0 - width } else { x + 4.0 };
            let row = row_ends.iter().position(|end| *end <= start);
            let top = row.map_or(LABEL_ROW * LABEL_ROWS as f64, |row| LABEL_ROW * row as f64);
            context.set_line_dash(&dashes)?;
            context.begin_path();
            context.move_to(x, top + 1.0);
            context.line_to(x, bottom);
            context.stroke();
            context.set_line_dash(&js_sys::Array::new())?;
            if let Some(row) = row {
                context.set_text_align("left");
                context.fill_text(&label, start, top + LABEL_ROW / 2.0)?;
                row_ends[row] = start + width + 8.0;
            }
        }
        Ok(())
    }

    fn clip_to(&self, values: &Axis) {
        self.context.begin_path();
        // A pixel more above and below, for the width of the line.
        self.context.rect(
            LEFT,
            values.end - 1.0,
            self.width - LEFT - RIGHT,
            values.length() + 2.0,
        );
        self.context.clip();
    }
}

impl Palette {
    fn of(canvas: &HtmlCanvasElement) -> Palette {
        let style = gloo_utils::window()
            .get_computed_style(canvas)
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
            train: colour("--train"),
            test: colour("--test"),
            ink: colour("--ink"),
            muted: colour("--muted"),
            grid: colour("--grid"),
            paper: colour("--paper"),
        }
    }
}

/// Values from `low` to `high` on pixels from `start` to `end`.
struct Axis {
    low: f64,
    high: f64,
    start: f64,
    end: f64,
}

impl Axis {
    fn length(&self) -> f64 {
        (self.end - self.start).abs()
    }

    fn place(&self, value: f64) -> f64 {
        self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)
    }

    /// Round values, about `count` of them.
    fn ticks(&self, count: f64) -> impl Iterator<Item = f64> {
        let gap = round_gap((self.high - self.low) / count.max(1.0));
        let first = (self.low / gap).ceil() as i64;
        let last = (self.high / gap + 1e-6).floor() as i64;
        (first..=last).map(move |tick| tick as f64 * gap)
    }
}

/// The least of 1, 2, 5, 10, 20, 50 ... and their tenths that is not below `gap`.
fn round_gap(gap: f64) -> f64 {
    let power = 10_f64.powf(gap.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|round| *round >= gap * 0.999)
        .unwrap_or(gap)
}

/// The part of the run that the scales follow.
fn settled(history: &History) -> impl Iterator<Item = &Bucket> {
    let first = SETTLED_SHARE * f64::from(history.last_step());
    history
        .buckets()
        .iter()
        .filter(move |bucket| f64::from(bucket.step) >= first)
}

fn lowest_accuracy(history: &History) -> f64 {
    let lowest = settled(history)
        .map(|bucket| bucket.smooth_accuracy)
        .fold(1.0, f32::min);
    [0.9, 0.8, 0.5]
        .into_iter()
        .find(|low| *low + 0.01 <= f64::from(lowest) && !history.buckets().is_empty())
        .unwrap_or(0.0)
}

fn highest_loss(history: &History) -> f64 {
    let highest = settled(history)
        .map(|bucket| bucket.smooth_loss)
        .fold(0.0, f32::max);
    if highest > 0.0 {
        1.25 * f64::from(highest)
    } else {
        1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let axis = Axis {
            low: 0.9,
            high: 1.0,
            start: 100.0,
            end: 0.0,
        };
        let ticks: Vec<f64> = axis.ticks(5.0).collect();
        assert_eq!(ticks.len(), 6);
        assert!((ticks[0] - 0.9).abs() < 1e-9 && (ticks[5] - 1.0).abs() < 1e-9);
        assert!((axis.place(0.95) - 50.0).abs() < 1e-9);
    }

    #[test]
    fn gaps_are_one_two_or_five() {
        assert_eq!(round_gap(3.0), 5.0);
        assert_eq!(round_gap(0.7), 1.0);
        assert_eq!(round_gap(120.0), 200.0);
    }
}
