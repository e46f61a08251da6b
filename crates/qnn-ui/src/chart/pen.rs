//! What a plot is drawn with: a pen for the canvas on the page, and one that writes the same as an SVG file. Neither knows
//! what it draws.

use std::fmt::Write;

use wasm_bindgen::JsValue;
use web_sys::CanvasRenderingContext2d;

pub const FONT_SIZE: f64 = 12.0;
const FONT: &str = "system-ui, sans-serif";

pub type Point = (f64, f64);

/// A line's looks.
#[derive(Clone, Copy)]
pub struct Stroke<'a> {
    pub colour: &'a str,
    pub width: f64,
    /// 0 to 1.
    pub opacity: f64,
    pub dashed: bool,
}

/// Where a text stands by its point: to the right of it, on both sides, to the left.
#[derive(Clone, Copy, PartialEq)]
pub enum Align {
    Start,
    Middle,
    End,
}

/// A rectangle: left, top, width, height.
pub type Area = [f64; 4];

/// Draws on a surface in CSS pixels. Lines outside of the `area`, where there is one, are cut off.
pub trait Pen {
    fn lines(
        &mut self,
        points: &[Point],
        stroke: Stroke,
        area: Option<Area>,
    ) -> Result<(), JsValue>;
    /// A filled shape with a border of another colour.
    fn shape(&mut self, corners: &[Point], fill: &str, border: &str) -> Result<(), JsValue>;
    /// A text whose middle is as high as its point.
    fn text(&mut self, text: &str, at: Point, align: Align, colour: &str) -> Result<(), JsValue>;
    /// How wide a text is, in pixels.
    fn width_of(&self, text: &str) -> f64;
}

pub struct CanvasPen<'a>(pub &'a CanvasRenderingContext2d);

impl CanvasPen<'_> {
    fn trace(&self, points: &[Point]) {
        self.0.begin_path();
        for (x, y) in points {
            self.0.line_to(*x, *y);
        }
    }
}

impl Pen for CanvasPen<'_> {
    fn lines(
        &mut self,
        points: &[Point],
        stroke: Stroke,
        area: Option<Area>,
    ) -> Result<(), JsValue> {
        let context = self.0;
        context.save();
        if let Some([left, top, width, height]) = area {
            context.begin_path();
            context.rect(left, top, width, height);
            context.clip();
        }
        if stroke.dashed {
            context.set_line_dash(&js_sys::Array::of2(&3.into(), &3.into()))?;
        }
        context.set_stroke_style_str(stroke.colour);
        context.set_line_width(stroke.width);
        context.set_global_alpha(stroke.opacity);
        context.set_line_join("round");
        self.trace(points);
        context.stroke();
        context.restore();
        Ok(())
    }

    fn shape(&mut self, corners: &[Point], fill: &str, border: &str) -> Result<(), JsValue> {
        self.trace(corners);
        self.0.close_path();
        self.0.set_fill_style_str(fill);
        self.0.fill();
        self.0.set_stroke_style_str(border);
        self.0.set_line_width(1.0);
        self.0.stroke();
        Ok(())
    }

    fn text(
        &mut self,
        text: &str,
        (x, y): Point,
        align: Align,
        colour: &str,
    ) -> Result<(), JsValue> {
        self.0.set_font(&format!("{FONT_SIZE}px {FONT}"));
        self.0.set_text_baseline("middle");
        self.0.set_text_align(match align {
            Align::Start => "left",
            Align::Middle => "center",
            Align::End => "right",
        });
        self.0.set_fill_style_str(colour);
        self.0.fill_text(text, x, y)
    }

    fn width_of(&self, text: &str) -> f64 {
        self.0.set_font(&format!("{FONT_SIZE}px {FONT}"));
        self.0.measure_text(text).map_or(0.0, |size| size.width())
    }
}

/// Writes an SVG file.
pub struct SvgPen {
    text: String,
    areas: usize,
}

impl SvgPen {
    pub fn new(width: f64, height: f64, ground: &str) -> SvgPen {
        let text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" font-family=\"{FONT}\" font-size=\"{FONT_SIZE}\">\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"{}\"/>\n",
            escaped(ground)
        );
        SvgPen { text, areas: 0 }
    }

    pub fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }

    fn write(&mut self, part: std::fmt::Arguments) {
        // Writing to a string does not fail.
        let _ = self.text.write_fmt(part);
    }
}

impl Pen for SvgPen {
    fn lines(
        &mut self,
        points: &[Point],
        stroke: Stroke,
        area: Option<Area>,
    ) -> Result<(), JsValue> {
        let mut clip = String::new();
        if let Some([left, top, width, height]) = area {
            let number = self.areas;
            self.areas += 1;
            self.write(format_args!(
                "<clipPath id=\"area{number}\"><rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/></clipPath>\n"
            ));
            clip = format!(" clip-path=\"url(#area{number})\"");
        }
        let dashes = if stroke.dashed {
            " stroke-dasharray=\"3 3\""
        } else {
            ""
        };
        self.write(format_args!(
            "<polyline{clip}{dashes} points=\"{}\"",
            listed(points)
        ));
        self.write(format_args!(
            " fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" stroke-opacity=\"{}\" stroke-linejoin=\"round\"/>\n",
            escaped(stroke.colour),
            stroke.width,
            stroke.opacity,
        ));
        Ok(())
    }

    fn shape(&mut self, corners: &[Point], fill: &str, border: &str) -> Result<(), JsValue> {
        let (fill, border) = (escaped(fill), escaped(border));
        self.write(format_args!(
            "<polygon points=\"{}\" fill=\"{fill}\" stroke=\"{border}\"/>\n",
            listed(corners)
        ));
        Ok(())
    }

    fn text(
        &mut self,
        text: &str,
        (x, y): Point,
        align: Align,
        colour: &str,
    ) -> Result<(), JsValue> {
        let anchor = match align {
            Align::Start => "start",
            Align::Middle => "middle",
            Align::End => "end",
        };
        self.write(format_args!(
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" fill=\"{}\">{}</text>\n",
            y + 0.35 * FONT_SIZE,
            escaped(colour),
            escaped(text)
        ));
        Ok(())
    }

    fn width_of(&self, text: &str) -> f64 {
        // A full-width character is as wide as it is high, others about half of that.
        let width = |letter: char| if letter < '\u{2e80}' { 0.55 } else { 1.0 };
        text.chars().map(width).sum::<f64>() * FONT_SIZE
    }
}

fn listed(points: &[Point]) -> String {
    let points = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}"));
    points.collect::<Vec<_>>().join(" ")
}

/// As it may stand in a text or a value of XML.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}
