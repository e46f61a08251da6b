//! The plot of the race: scales, lines and marks of every network, drawn with whatever pen. What was measured lives in
//! `history`; where and when it is drawn is the chart's.

use wasm_bindgen::JsValue;
use yew::AttrValue;

use super::pen::{Align, Area, Pen, Point, Stroke};
use crate::format;
use crate::history::{Bucket, Evaluation, History};
use crate::language::text;

const LEFT: f64 = 46.0;
const RIGHT: f64 = 12.0;
/// One row of labels of marks.
const LABEL_ROW: f64 = 15.0;
const LABEL_ROWS: usize = 2;
const TITLE: f64 = 24.0;
const BOTTOM_AXIS: f64 = 22.0;
/// The first steps of a network are wild; the scales follow the rest of the run.
const SETTLED_SHARE: f64 = 0.25;
const FEWEST_STEPS: f64 = 50.0;

/// What the horizontal axis shows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Across {
    /// Training steps: the same batches for all.
    #[default]
    Steps,
    /// Seconds that each network alone has trained: what its speed is worth.
    Seconds,
}

/// The colours of a plot.
#[derive(Clone, Debug, PartialEq)]
pub struct Palette {
    /// Of each network, by its number.
    pub networks: Vec<String>,
    pub ink: String,
    pub muted: String,
    pub grid: String,
    pub paper: String,
}

/// A network's line.
pub struct Line<'a> {
    pub history: &'a History,
    /// The number of its colour and shape.
    pub colour: usize,
    /// Whether it is the one that the visitor has chosen: drawn last, with its marks.
    pub is_chosen: bool,
}

/// A plot of a size in CSS pixels.
pub struct Plot<'a> {
    pub width: f64,
    pub height: f64,
    pub across: Across,
    pub palette: &'a Palette,
}

impl Plot<'_> {
    /// Draws the lines; the chosen one should come last. Fails where the browser takes the canvas away.
    pub fn draw(&self, lines: &[Line], pen: &mut impl Pen) -> Result<(), JsValue> {
        let top = LABEL_ROW * LABEL_ROWS as f64;
        let panes = self.height - top - 2.0 * TITLE - BOTTOM_AXIS;
        if self.width < LEFT + RIGHT + 50.0 || panes < 60.0 {
            return Ok(());
        }
        let least = match self.across {
            Across::Steps => FEWEST_STEPS,
            Across::Seconds => 1.0,
        };
        let across = Axis {
            low: 0.0,
            high: lines
                .iter()
                .map(|line| self.end_of(line.history))
                .fold(least, f64::max),
            start: LEFT,
            end: self.width - RIGHT,
        };
        let accuracy_top = top + TITLE;
        let accuracy_bottom = accuracy_top + 0.6 * panes;
        let loss_top = accuracy_bottom + TITLE;
        let loss_bottom = loss_top + 0.4 * panes;
        self.draw_bottom_axis(&across, loss_bottom, pen)?;
        if let Some(chosen) = lines.iter().find(|line| line.is_chosen) {
            self.draw_marks(chosen.history, &across, loss_bottom, pen)?;
        }
        let accuracy = Axis {
            low: lowest_accuracy(lines),
            high: 1.0,
            start: accuracy_bottom,
            end: accuracy_top,
        };
        let percent = |value: f64| format!("{:.0} %", 100.0 * value);
        self.draw_pane(&text!("chart.accuracy"), &accuracy, percent, pen)?;
        let loss = Axis {
            low: 0.0,
            high: highest_loss(lines),
            start: loss_bottom,
            end: loss_top,
        };
        self.draw_pane(&text!("chart.loss"), &loss, loss_label, pen)?;
        for line in lines {
            let pane = (&across, &accuracy);
            self.draw_trace(
                line,
                pane,
                |bucket| (bucket.accuracy, bucket.smooth_accuracy),
                pen,
            )?;
            self.draw_trace(
                line,
                (&across, &loss),
                |bucket| (bucket.loss, bucket.smooth_loss),
                pen,
            )?;
        }
        for line in lines {
            self.draw_tests(line, (&across, &accuracy), |test| test.accuracy, pen)?;
            self.draw_tests(line, (&across, &loss), |test| test.loss, pen)?;
        }
        Ok(())
    }

    fn end_of(&self, history: &History) -> f64 {
        match self.across {
            Across::Steps => f64::from(history.last_step()),
            Across::Seconds => f64::from(history.last_seconds()),
        }
    }

    fn place(&self, step: u32, seconds: f32) -> f64 {
        match self.across {
            Across::Steps => f64::from(step),
            Across::Seconds => f64::from(seconds),
        }
    }

    fn draw_bottom_axis(
        &self,
        across: &Axis,
        bottom: f64,
        pen: &mut impl Pen,
    ) -> Result<(), JsValue> {
        for tick in across.ticks(self.width / 90.0) {
            let text = match self.across {
                Across::Steps => format::grouped(tick as u64).into(),
                Across::Seconds => text!("chart.seconds", seconds = tick as f32),
            };
            // Kept inside of the canvas: the last label would stick out.
            let place = across
                .place(tick)
                .min(self.width - 0.5 * pen.width_of(&text));
            pen.text(
                &text,
                (place, bottom + 13.0),
                Align::Middle,
                &self.palette.muted,
            )?;
        }
        Ok(())
    }

    fn draw_pane(
        &self,
        title: &AttrValue,
        axis: &Axis,
        label: impl Fn(f64) -> String,
        pen: &mut impl Pen,
    ) -> Result<(), JsValue> {
        let palette = self.palette;
        pen.text(title, (LEFT, axis.end - 11.0), Align::Start, &palette.ink)?;
        for tick in axis.ticks(axis.length() / 28.0) {
            // Half a pixel on, so that the line fills one row of pixels.
            let place = axis.place(tick).round() + 0.5;
            let stroke = Stroke {
                colour: &palette.grid,
                width: 1.0,
                opacity: 1.0,
                dashed: false,
            };
            pen.lines(&[(LEFT, place), (self.width - RIGHT, place)], stroke, None)?;
            pen.text(
                &label(tick),
                (LEFT - 8.0, place),
                Align::End,
                &palette.muted,
            )?;
        }
        Ok(())
    }

    /// The running average of a network's training steps; and of the chosen one the steps themselves, faint.
    fn draw_trace(
        &self,
        line: &Line,
        (across, values): (&Axis, &Axis),
        value: impl Fn(&Bucket) -> (f32, f32),
        pen: &mut impl Pen,
    ) -> Result<(), JsValue> {
        let buckets = line.history.buckets();
        // No more points than pixels.
        let every = (buckets.len() as f64 / across.length()).ceil().max(1.0) as usize;
        let points = |of: &dyn Fn((f32, f32)) -> f32| -> Vec<Point> {
            let shown = buckets.iter().rev().step_by(every);
            let place = |bucket: &Bucket| {
                let x = across.place(self.place(bucket.step, bucket.seconds));
                (x, values.place(f64::from(of(value(bucket)))))
            };
            shown.map(place).collect()
        };
        let stroke = Stroke {
            colour: self.colour(line),
            width: 1.0,
            opacity: 0.3,
            dashed: false,
        };
        let area = Some(self.area(values));
        if line.is_chosen {
            pen.lines(&points(&|(raw, _)| raw), stroke, area)?;
        }
        let smooth = Stroke {
            width: if line.is_chosen { 2.0 } else { 1.25 },
            opacity: if line.is_chosen { 1.0 } else { 0.6 },
            ..stroke
        };
        pen.lines(&points(&|(_, smooth)| smooth), smooth, area)
    }

    /// The answers to the test set: shapes on a dashed line.
    fn draw_tests(
        &self,
        line: &Line,
        (across, values): (&Axis, &Axis),
        value: impl Fn(&Evaluation) -> f32,
        pen: &mut impl Pen,
    ) -> Result<(), JsValue> {
        let tests = line.history.evaluations();
        let place = |test: &Evaluation| {
            let x = across.place(self.place(test.step, test.seconds));
            (x, values.place(f64::from(value(test))))
        };
        let points: Vec<Point> = tests.iter().map(place).collect();
        let stroke = Stroke {
            colour: self.colour(line),
            width: 1.5,
            opacity: 1.0,
            dashed: true,
        };
        pen.lines(&points, stroke, Some(self.area(values)))?;
        let radius = if points.len() > 60 { 2.5 } else { 4.5 };
        let inside = values.end - 1.0..=values.start + 1.0;
        for point in points.iter().filter(|(_, y)| inside.contains(y)) {
            let corners = shape(line.colour, *point, radius);
            pen.shape(&corners, self.colour(line), &self.palette.paper)?;
        }
        Ok(())
    }

    /// A dashed upright and a label wherever something changed.
    fn draw_marks(
        &self,
        history: &History,
        across: &Axis,
        bottom: f64,
        pen: &mut impl Pen,
    ) -> Result<(), JsValue> {
        let mut row_ends = [LEFT; LABEL_ROWS];
        for mark in history.marks() {
            let x = across.place(self.place(mark.step, mark.seconds)).round() + 0.5;
            let label = mark.label();
            let width = pen.width_of(&label);
            let beyond = x + 4.0 + width > self.width;
            let start = if beyond { x - 4.0 - width } else { x + 4.0 };
            let row = row_ends.iter().position(|end| *end <= start);
            let top = row.map_or(LABEL_ROW * LABEL_ROWS as f64, |row| LABEL_ROW * row as f64);
            let stroke = Stroke {
                colour: &self.palette.muted,
                width: 1.0,
                opacity: 1.0,
                dashed: true,
            };
            pen.lines(&[(x, top + 1.0), (x, bottom)], stroke, None)?;
            if let Some(row) = row {
                let at = (start, top + LABEL_ROW / 2.0);
                pen.text(&label, at, Align::Start, &self.palette.ink)?;
                row_ends[row] = start + width + 8.0;
            }
        }
        Ok(())
    }

    fn colour(&self, line: &Line) -> &str {
        self.palette
            .networks
            .get(line.colour)
            .map_or("", String::as_str)
    }

    /// A pixel more above and below, for the width of the line.
    fn area(&self, values: &Axis) -> Area {
        [
            LEFT,
            values.end - 1.0,
            self.width - LEFT - RIGHT,
            values.length() + 2.0,
        ]
    }
}

/// The corners of the shape that stands for a network: colours alone do not tell them apart for every eye.
pub fn shape(number: usize, (x, y): Point, radius: f64) -> Vec<Point> {
    let (corners, turn) = match number {
        0 => (24, 0.0),
        1 => (4, 0.125),
        2 => (3, -0.25),
        3 => (4, 0.0),
        _ => (3, 0.25),
    };
    let corner = |index: usize| {
        let angle = std::f64::consts::TAU * (index as f64 / f64::from(corners) + turn);
        // Shapes of few corners are a little larger, so that all look alike.
        let radius = if corners < 5 { 1.25 * radius } else { radius };
        (x + radius * angle.cos(), y + radius * angle.sin())
    };
    (0..corners as usize).map(corner).collect()
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

/// The parts of the runs that the scales follow.
fn settled<'a>(lines: &'a [Line]) -> impl Iterator<Item = &'a Bucket> {
    lines.iter().flat_map(|line| {
        let first = SETTLED_SHARE * f64::from(line.history.last_step());
        let buckets = line.history.buckets().iter();
        buckets.filter(move |bucket| f64::from(bucket.step) >= first)
    })
}

fn lowest_accuracy(lines: &[Line]) -> f64 {
    let lowest = settled(lines)
        .map(|bucket| bucket.smooth_accuracy)
        .reduce(f32::min);
    [0.9, 0.8, 0.5]
        .into_iter()
        .find(|low| lowest.is_some_and(|lowest| *low + 0.01 <= f64::from(lowest)))
        .unwrap_or(0.0)
}

fn highest_loss(lines: &[Line]) -> f64 {
    let highest = settled(lines)
        .map(|bucket| bucket.smooth_loss)
        .fold(0.0, f32::max);
    if highest > 0.0 {
        1.25 * f64::from(highest)
    } else {
        1.0
    }
}

/// A loss beside its axis, where there is room for some six letters.
fn loss_label(loss: f64) -> String {
    if loss == 0.0 || loss >= 0.001 {
        format!("{}", loss as f32)
    } else {
        format!("{:e}", loss as f32)
    }
}

#[cfg(test)]
mod tests {
    use qnn_protocol::StepPoint;

    use super::super::pen::SvgPen;
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

    #[test]
    fn every_network_is_drawn_on_one_scale_of_steps_or_of_seconds() {
        let run = |seconds: f32| {
            let mut history = History::default();
            let point = |step| StepPoint {
                step,
                loss: 1.0,
                accuracy: 0.5,
            };
            history.push_steps(&(1..=100).map(point).collect::<Vec<_>>(), seconds);
            history
        };
        let (slow, fast) = (run(10.0), run(2.0));
        let palette = Palette {
            networks: vec!["red<".into(), "blue".into()],
            ink: "black".into(),
            muted: "grey".into(),
            grid: "silver".into(),
            paper: "white".into(),
        };
        let rightmost = |across| {
            let plot = Plot {
                width: 600.0,
                height: 400.0,
                across,
                palette: &palette,
            };
            let line = |history, colour| Line {
                history,
                colour,
                is_chosen: colour == 0,
            };
            let mut pen = SvgPen::new(600.0, 400.0, "white");
            plot.draw(&[line(&slow, 1), line(&fast, 0)], &mut pen)
                .unwrap();
            let svg = pen.finish();
            assert!(svg.contains("red&lt;") && svg.ends_with("</svg>\n"));
            // The last steps come first in a line.
            ["blue", "red&lt;"].map(|colour| {
                let line = svg
                    .lines()
                    .find(|line| line.contains(&format!("stroke=\"{colour}\"")));
                let points = line.unwrap().split("points=\"").nth(1).unwrap();
                points.split(',').next().unwrap().parse::<f64>().unwrap()
            })
        };
        assert_eq!(rightmost(Across::Steps), [588.0, 588.0]);
        let [slow, fast] = rightmost(Across::Seconds);
        assert!(slow == 588.0 && (fast - (LEFT + 0.2 * (588.0 - LEFT))).abs() < 0.1);
    }
}
