//! The pad: strokes by mouse, touch, pen or keyboard, as points of the unit square with y pointing down and the width of the
//! pen, which follows its pressure; an eraser takes ink away where it passes.
//! It draws them for the visitor's eye only; the engine draws its own picture of them.

use gloo_render::{AnimationFrame, request_animation_frame};
use qnn_protocol::{Point, Stroke};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{CanvasRenderingContext2d, Element, HtmlCanvasElement};
use yew::prelude::*;

use crate::language::text;

/// Pixels of the canvas, twice what the style sheet shows, so that strokes are sharp on fine screens.
const SIDE: f64 = 560.0;
/// Width of the pen, the pad being 1 wide.
const PEN: f64 = 0.07;
/// How far an arrow key moves the pen.
const KEY_STEP: f32 = 0.04;
/// Points closer than this are one.
const SAME_POINT: f32 = 0.004;

/// Radius of the eraser, the pad being 1 wide.
const ERASER: f32 = 0.06;
/// What can be undone, at most.
const MOST_UNDONE: usize = 100;

/// A place on the pad.
type Place = (f32, f32);
pub type Strokes = Vec<Stroke>;

#[derive(Properties, PartialEq)]
pub struct DrawPadProperties {
    /// What is on the pad when it appears.
    pub strokes: Strokes,
    /// Told all strokes whenever they changed, at most once a frame.
    pub on_drawing: Callback<Strokes>,
}

pub enum PadMessage {
    PenDown(PointerEvent),
    PenMove(PointerEvent),
    PenUp,
    Key(KeyboardEvent),
    Focus(bool),
    Erase(bool),
    Undo,
    Clear,
    Frame,
}

pub struct DrawPad {
    canvas: NodeRef,
    strokes: Strokes,
    /// The strokes as they were before each change.
    before: Vec<Strokes>,
    /// Whether the pen erases.
    erases: bool,
    /// Where the eraser passed last.
    rubbed: Option<Place>,
    /// The pointer whose pen is down.
    pointer: Option<i32>,
    /// The pen that the arrow keys move.
    key_pen: KeyPen,
    strokes_changed: bool,
    frame: Option<AnimationFrame>,
}

struct KeyPen {
    place: Place,
    down: bool,
    shown: bool,
}

impl Component for DrawPad {
    type Message = PadMessage;
    type Properties = DrawPadProperties;

    fn create(context: &Context<Self>) -> Self {
        if !context.props().strokes.is_empty() {
            context.link().send_message(PadMessage::PenUp);
        }
        DrawPad {
            canvas: NodeRef::default(),
            strokes: context.props().strokes.clone(),
            before: Vec::new(),
            erases: false,
            rubbed: None,
            pointer: None,
            key_pen: KeyPen {
                place: (0.5, 0.5),
                down: false,
                shown: false,
            },
            strokes_changed: false,
            frame: None,
        }
    }

    fn update(&mut self, context: &Context<Self>, message: PadMessage) -> bool {
        let was_empty = self.strokes.is_empty();
        let could_undo = !self.before.is_empty();
        match message {
            PadMessage::PenDown(event) => self.pen_down(&event),
            PadMessage::PenMove(event) => self.pen_move(&event),
            PadMessage::PenUp => self.pointer = None,
            PadMessage::Key(event) => self.key(&event),
            PadMessage::Focus(shown) => {
                self.key_pen.shown = shown && self.pointer.is_none();
                self.key_pen.down &= shown;
            }
            PadMessage::Erase(erases) => {
                self.erases = erases;
                return true;
            }
            PadMessage::Undo => self.undo(),
            PadMessage::Clear => self.clear(),
            PadMessage::Frame => {
                self.frame = None;
                // Fails only where the browser takes the canvas away.
                let _ = self.paint();
                if std::mem::take(&mut self.strokes_changed) {
                    context.props().on_drawing.emit(self.strokes.clone());
                }
                return false;
            }
        }
        if self.frame.is_none() {
            let link = context.link().clone();
            self.frame = Some(request_animation_frame(move |_| {
                link.send_message(PadMessage::Frame);
            }));
        }
        was_empty != self.strokes.is_empty() || could_undo == self.before.is_empty()
    }

    fn view(&self, context: &Context<Self>) -> Html {
        let link = context.link();
        let empty = self.strokes.is_empty();
        let erases = self.erases;
        let side = SIDE.to_string();
        html! {
            <div class="draw-pad">
                <div class="paper">
                    <canvas
                        ref={self.canvas.clone()}
                        id="pad"
                        width={side.clone()}
                        height={side}
                        tabindex="0"
                        role="application"
                        aria-label={text!("pad.label")}
                        class={classes!(self.erases.then_some("erases"))}
                        onpointerdown={link.callback(PadMessage::PenDown)}
                        onpointermove={link.callback(PadMessage::PenMove)}
                        onpointerup={link.callback(|_| PadMessage::PenUp)}
                        onpointercancel={link.callback(|_| PadMessage::PenUp)}
                        onkeydown={link.callback(PadMessage::Key)}
                        onfocus={link.callback(|_| PadMessage::Focus(true))}
                        onblur={link.callback(|_| PadMessage::Focus(false))}
                    />
                    if empty {
                        <p aria-hidden="true">{ text!("pad.draw") }</p>
                    }
                </div>
                <div class="beside" role="group" aria-label={text!("pad.tools")}>
                    <button
                        id="erase"
                        type="button"
                        aria-pressed={self.erases.to_string()}
                        onclick={link.callback(move |_| PadMessage::Erase(!erases))}
                    >
                        { text!("pad.erase") }
                    </button>
                    <button id="undo" type="button" disabled={self.before.is_empty()} onclick={link.callback(|_| PadMessage::Undo)}>
                        { text!("pad.undo") }
                    </button>
                    <button id="clear" type="button" disabled={empty} onclick={link.callback(|_| PadMessage::Clear)}>
                        { text!("pad.clear") }
                    </button>
                </div>
            </div>
        }
    }
}

impl DrawPad {
    fn pen_down(&mut self, event: &PointerEvent) {
        if !matches!(event.button(), 0 | 5) || self.pointer.is_some() {
            return;
        }
        if let Some(canvas) = self.canvas.cast::<Element>() {
            // Without capture a stroke ends at the border of the pad, which is no harm.
            let _ = canvas.set_pointer_capture(event.pointer_id());
        }
        self.pointer = Some(event.pointer_id());
        self.key_pen.shown = false;
        self.key_pen.down = false;
        if let Some(place) = self.place_of(event) {
            // The other end of some pens is an eraser: the sixth button.
            self.begin_stroke(place, width_of(event), event.buttons() & 32 != 0);
        }
    }

    fn pen_move(&mut self, event: &PointerEvent) {
        if self.pointer != Some(event.pointer_id()) {
            return;
        }
        let between = event.get_coalesced_events();
        if between.length() == 0 {
            self.pen_to(event);
        }
        for event in between.iter() {
            self.pen_to(event.unchecked_ref());
        }
    }

    fn pen_to(&mut self, event: &PointerEvent) {
        if let Some(place) = self.place_of(event) {
            self.extend_stroke(place, width_of(event));
        }
    }

    fn key(&mut self, event: &KeyboardEvent) {
        let (right, down) = match event.key().as_str() {
            "ArrowLeft" => (-KEY_STEP, 0.0),
            "ArrowRight" => (KEY_STEP, 0.0),
            "ArrowUp" => (0.0, -KEY_STEP),
            "ArrowDown" => (0.0, KEY_STEP),
            " " | "Enter" => {
                event.prevent_default();
                self.key_pen.shown = true;
                self.key_pen.down = !self.key_pen.down;
                if self.key_pen.down {
                    self.begin_stroke(self.key_pen.place, 1.0, false);
                }
                return;
            }
            "Backspace" => {
                event.prevent_default();
                return self.undo();
            }
            "Delete" => return self.clear(),
            _ => return,
        };
        event.prevent_default();
        let (x, y) = self.key_pen.place;
        self.key_pen.shown = true;
        self.key_pen.place = ((x + right).clamp(0.0, 1.0), (y + down).clamp(0.0, 1.0));
        if self.key_pen.down {
            self.extend_stroke(self.key_pen.place, 1.0);
        }
    }

    fn begin_stroke(&mut self, (x, y): Place, width: f32, erases: bool) {
        self.remember();
        if self.erases || erases {
            self.rubbed = Some((x, y));
            self.erase((x, y), (x, y));
        } else {
            self.rubbed = None;
            self.strokes.push(vec![(x, y, width)]);
            self.strokes_changed = true;
        }
    }

    fn extend_stroke(&mut self, (x, y): Place, width: f32) {
        if let Some(before) = self.rubbed {
            self.rubbed = Some((x, y));
            return self.erase(before, (x, y));
        }
        let Some(stroke) = self.strokes.last_mut() else {
            return;
        };
        let far = stroke
            .last()
            .is_none_or(|last| (last.0 - x).abs().max((last.1 - y).abs()) > SAME_POINT);
        if far {
            stroke.push((x, y, width));
            self.strokes_changed = true;
        }
    }

    fn erase(&mut self, from: Place, to: Place) {
        let left = erased(&self.strokes, from, to);
        self.strokes_changed |= left != self.strokes;
        self.strokes = left;
    }

    /// Before a change: what it may be undone to.
    fn remember(&mut self) {
        if self.before.len() == MOST_UNDONE {
            self.before.remove(0);
        }
        self.before.push(self.strokes.clone());
    }

    fn undo(&mut self) {
        self.pointer = None;
        self.key_pen.down = false;
        if let Some(before) = self.before.pop() {
            self.strokes = before;
            self.strokes_changed = true;
        }
    }

    fn clear(&mut self) {
        self.pointer = None;
        self.key_pen.down = false;
        if !self.strokes.is_empty() {
            self.remember();
            self.strokes.clear();
            self.strokes_changed = true;
        }
    }

    fn place_of(&self, event: &PointerEvent) -> Option<Place> {
        let box_ = self.canvas.cast::<Element>()?.get_bounding_client_rect();
        let share = |offset: f64, length: f64| (offset / length.max(1.0)).clamp(0.0, 1.0) as f32;
        Some((
            share(f64::from(event.client_x()) - box_.left(), box_.width()),
            share(f64::from(event.client_y()) - box_.top(), box_.height()),
        ))
    }

    fn paint(&self) -> Result<(), JsValue> {
        let Some(canvas) = self.canvas.cast::<HtmlCanvasElement>() else {
            return Ok(());
        };
        let context = canvas
            .get_context("2d")?
            .ok_or("no 2d context")?
            .dyn_into::<CanvasRenderingContext2d>()?;
        context.clear_rect(0.0, 0.0, SIDE, SIDE);
        context.set_line_cap("round");
        context.set_line_join("round");
        for stroke in &self.strokes {
            trace(&context, stroke);
        }
        if self.key_pen.shown {
            let (x, y) = on_canvas(self.key_pen.place);
            context.set_line_width(4.0);
            context.begin_path();
            context.arc(x, y, 0.5 * PEN * SIDE, 0.0, std::f64::consts::TAU)?;
            context.stroke();
        }
        Ok(())
    }
}

/// The width of the pen by its pressure: of what knows no pressure the usual one, which a pen has at half its pressure.
fn width_of(event: &PointerEvent) -> f32 {
    match event.pointer_type().as_str() {
        "pen" => (0.4 + 1.2 * event.pressure()).clamp(0.4, 1.6),
        _ => 1.0,
    }
}

/// What is left of strokes where the eraser has passed from one place to another: strokes that it cuts fall into pieces.
fn erased(strokes: &[Stroke], from: Place, to: Place) -> Strokes {
    let length = (to.0 - from.0).hypot(to.1 - from.1);
    // The eraser in steps so small that nothing is left between two.
    let steps = (length / (0.5 * ERASER)).ceil().max(1.0) as usize;
    let is_erased = |point: &Point| {
        (0..=steps).any(|step| {
            let share = step as f32 / steps as f32;
            let (x, y) = (
                from.0 + share * (to.0 - from.0),
                from.1 + share * (to.1 - from.1),
            );
            (point.0 - x).hypot(point.1 - y) < ERASER
        })
    };
    let pieces = strokes.iter().flat_map(|stroke| {
        let stroke = with_points_between(stroke);
        let pieces = stroke.split(is_erased).map(<[Point]>::to_vec);
        pieces.collect::<Vec<_>>()
    });
    let touched = strokes
        .iter()
        .any(|stroke| with_points_between(stroke).iter().any(is_erased));
    if touched {
        pieces.filter(|piece| !piece.is_empty()).collect()
    } else {
        strokes.to_vec()
    }
}

/// A stroke with points so close that the eraser meets one wherever it meets the line.
fn with_points_between(stroke: &[Point]) -> Stroke {
    let mut points: Stroke = stroke.first().copied().into_iter().collect();
    for pair in stroke.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        let steps = ((to.0 - from.0).hypot(to.1 - from.1) / (0.5 * ERASER))
            .ceil()
            .max(1.0);
        points.extend((1..=steps as usize).map(|step| {
            let between = |from: f32, to: f32| from + (to - from) * step as f32 / steps;
            (
                between(from.0, to.0),
                between(from.1, to.1),
                between(from.2, to.2),
            )
        }));
    }
    points
}

fn on_canvas((x, y): Place) -> (f64, f64) {
    (f64::from(x) * SIDE, f64::from(y) * SIDE)
}

/// Draws a smooth line: curves from the middle of one piece to the middle of the next, each as wide as the pen was there.
fn trace(context: &CanvasRenderingContext2d, stroke: &[Point]) {
    let at = |point: &Point| on_canvas((point.0, point.1));
    let Some(first) = stroke.first() else {
        return;
    };
    let mut start = at(first);
    let mut last = first;
    let pen = |width: f32| context.set_line_width(PEN * SIDE * f64::from(width));
    for next in &stroke[1..] {
        let (corner, end) = (at(last), at(next));
        let middle = ((corner.0 + end.0) / 2.0, (corner.1 + end.1) / 2.0);
        pen(last.2);
        context.begin_path();
        context.move_to(start.0, start.1);
        context.quadratic_curve_to(corner.0, corner.1, middle.0, middle.1);
        context.stroke();
        (start, last) = (middle, next);
    }
    // A line of no length is a dot under a round pen.
    pen(last.2);
    context.begin_path();
    context.move_to(start.0, start.1);
    context.line_to(at(last).0, at(last).1);
    context.stroke();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eraser_cuts_a_stroke_in_two_and_leaves_others_alone() {
        let across = vec![(0.1, 0.5, 1.0), (0.9, 0.5, 1.0)];
        let far = vec![(0.1, 0.9, 1.0)];
        let strokes = vec![across, far.clone()];
        let left = erased(&strokes, (0.5, 0.2), (0.5, 0.8));
        assert_eq!(left.len(), 3);
        assert!(
            left[0].iter().all(|point| point.0 < 0.5) && left[1].iter().all(|point| point.0 > 0.5)
        );
        assert_eq!(left[2], far);
        assert_eq!(erased(&strokes, (0.5, 0.1), (0.5, 0.1)), strokes);
        assert!(erased(&[far], (0.1, 0.9), (0.1, 0.9)).is_empty());
    }
}
