//! The pad: strokes by mouse, touch, pen or keyboard, as points of the unit square with y pointing down.
//! It draws them for the visitor's eye only; the engine draws its own picture of them.

use gloo_render::{AnimationFrame, request_animation_frame};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{CanvasRenderingContext2d, Element, HtmlCanvasElement};
use yew::prelude::*;

/// Pixels of the canvas, twice what the style sheet shows, so that strokes are sharp on fine screens.
const SIDE: f64 = 560.0;
/// Width of the pen, the pad being 1 wide.
const PEN: f64 = 0.07;
/// How far an arrow key moves the pen.
const KEY_STEP: f32 = 0.04;
/// Points closer than this are one.
const SAME_POINT: f32 = 0.004;

const LABEL: &str = "Drawing pad. Draw a digit with mouse, finger or pen. With the keyboard: arrow keys \
    move the pen, space or enter puts it down and lifts it, backspace undoes, delete clears.";

pub type Point = (f32, f32);
pub type Strokes = Vec<Vec<Point>>;

#[derive(Properties, PartialEq)]
pub struct DrawPadProperties {
    /// Told all strokes whenever they changed, at most once a frame.
    pub on_drawing: Callback<Strokes>,
}

pub enum PadMessage {
    PenDown(PointerEvent),
    PenMove(PointerEvent),
    PenUp,
    Key(KeyboardEvent),
    Focus(bool),
    Undo,
    Clear,
    Frame,
}

pub struct DrawPad {
    canvas: NodeRef,
    strokes: Strokes,
    /// The pointer whose pen is down.
    pointer: Option<i32>,
    /// The pen that the arrow keys move.
    key_pen: KeyPen,
    strokes_changed: bool,
    frame: Option<AnimationFrame>,
}

struct KeyPen {
    place: Point,
    down: bool,
    shown: bool,
}

impl Component for DrawPad {
    type Message = PadMessage;
    type Properties = DrawPadProperties;

    fn create(_: &Context<Self>) -> Self {
        DrawPad {
            canvas: NodeRef::default(),
            strokes: Strokes::new(),
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
        match message {
            PadMessage::PenDown(event) => self.pen_down(&event),
            PadMessage::PenMove(event) => self.pen_move(&event),
            PadMessage::PenUp => self.pointer = None,
            PadMessage::Key(event) => self.key(&event),
            PadMessage::Focus(shown) => {
                self.key_pen.shown = shown && self.pointer.is_none();
                self.key_pen.down &= shown;
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
        was_empty != self.strokes.is_empty()
    }

    fn view(&self, context: &Context<Self>) -> Html {
        let link = context.link();
        let empty = self.strokes.is_empty();
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
                        aria-label={LABEL}
                        onpointerdown={link.callback(PadMessage::PenDown)}
                        onpointermove={link.callback(PadMessage::PenMove)}
                        onpointerup={link.callback(|_| PadMessage::PenUp)}
                        onpointercancel={link.callback(|_| PadMessage::PenUp)}
                        onkeydown={link.callback(PadMessage::Key)}
                        onfocus={link.callback(|_| PadMessage::Focus(true))}
                        onblur={link.callback(|_| PadMessage::Focus(false))}
                    />
                    if empty {
                        <p aria-hidden="true">{ "Draw a digit" }</p>
                    }
                </div>
                <div class="beside">
                    <button id="undo" type="button" onclick={link.callback(|_| PadMessage::Undo)}>{ "Undo" }</button>
                    <button id="clear" type="button" onclick={link.callback(|_| PadMessage::Clear)}>{ "Clear" }</button>
                </div>
            </div>
        }
    }
}

impl DrawPad {
    fn pen_down(&mut self, event: &PointerEvent) {
        if event.button() != 0 || self.pointer.is_some() {
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
            self.begin_stroke(place);
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
            self.extend_stroke(place);
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
                    self.begin_stroke(self.key_pen.place);
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
            self.extend_stroke(self.key_pen.place);
        }
    }

    fn begin_stroke(&mut self, place: Point) {
        self.strokes.push(vec![place]);
        self.strokes_changed = true;
    }

    fn extend_stroke(&mut self, place: Point) {
        let Some(stroke) = self.strokes.last_mut() else {
            return;
        };
        let far = stroke
            .last()
            .is_none_or(|last| (last.0 - place.0).abs().max((last.1 - place.1).abs()) > SAME_POINT);
        if far {
            stroke.push(place);
            self.strokes_changed = true;
        }
    }

    fn undo(&mut self) {
        self.pointer = None;
        self.key_pen.down = false;
        self.strokes_changed |= self.strokes.pop().is_some();
    }

    fn clear(&mut self) {
        self.pointer = None;
        self.key_pen.down = false;
        self.strokes_changed |= !self.strokes.is_empty();
        self.strokes.clear();
    }

    fn place_of(&self, event: &PointerEvent) -> Option<Point> {
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
        context.set_line_width(PEN * SIDE);
        for stroke in &self.strokes {
            context.begin_path();
            trace(&context, stroke);
            context.stroke();
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

fn on_canvas((x, y): Point) -> (f64, f64) {
    (f64::from(x) * SIDE, f64::from(y) * SIDE)
}

/// A smooth line: curves from the middle of one piece to the middle of the next.
fn trace(context: &CanvasRenderingContext2d, stroke: &[Point]) {
    let mut points = stroke.iter().copied().map(on_canvas);
    let Some(mut last) = points.next() else {
        return;
    };
    context.move_to(last.0, last.1);
    for next in points {
        let middle = ((last.0 + next.0) / 2.0, (last.1 + next.1) / 2.0);
        context.quadratic_curve_to(last.0, last.1, middle.0, middle.1);
        last = next;
    }
    // A line of no length is a dot under a round pen.
    context.line_to(last.0, last.1);
}
