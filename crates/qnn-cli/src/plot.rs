//! Charts as SVG files, and as PNG files drawn from these. It knows lines and points; what they mean, its callers know.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use epaint_default_fonts::UBUNTU_LIGHT;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::fontdb::{Database, Family, Query};
use resvg::usvg::{Options, Tree};

use crate::files;
use crate::run::Epoch;

const SIZE: (u32, u32) = (760, 420);
/// Dots of a PNG file for each of the SVG's pixels, a side.
const PNG_SCALE: f32 = 2.0;
/// Colours that are told apart without red and green (Okabe and Ito).
pub const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
];

pub type Drawing = Result<(), Box<dyn std::error::Error>>;
pub type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// What a chart's file is, by its name.
enum Format {
    Svg,
    Png,
}

impl Format {
    /// Refuses other names.
    fn of(file: &Path) -> Result<Format> {
        let end = file.extension().unwrap_or_default().to_ascii_lowercase();
        match end.to_str() {
            Some("svg") => Ok(Format::Svg),
            Some("png") => Ok(Format::Png),
            _ => bail!(
                "{} is no chart's name; let it end in .svg or .png",
                file.display()
            ),
        }
    }
}

/// The file of a chart as an argument, refused where its name asks for another format.
pub fn file(text: &str) -> Result<PathBuf, String> {
    let file = PathBuf::from(text);
    Format::of(&file).map_err(|error| error.to_string())?;
    Ok(file)
}

/// Writes a chart in the format that the file's name asks for.
pub fn save(file: &Path, svg: &str) -> Result<()> {
    match Format::of(file)? {
        Format::Svg => files::save(file, svg.as_bytes()),
        Format::Png => files::save(file, &png(svg, fonts(true))?),
    }
}

/// Fonts for all text of a chart: the system's, and one of our own where it has none.
fn fonts(systems: bool) -> Database {
    let mut fonts = Database::new();
    if systems {
        fonts.load_system_fonts();
    }
    fonts.load_font_data(UBUNTU_LIGHT.to_vec());
    let is_there = |name: &&str| {
        let families = [Family::Name(name)];
        let query = Query {
            families: &families,
            ..Query::default()
        };
        fonts.query(&query).is_some()
    };
    let names = ["Liberation Sans", "DejaVu Sans", "Arial", "Helvetica"];
    let name = names.into_iter().find(is_there).unwrap_or("Ubuntu");
    fonts.set_sans_serif_family(name);
    fonts
}

fn png(svg: &str, fonts: Database) -> Result<Vec<u8>> {
    let options = Options {
        fontdb: Arc::new(fonts),
        ..Options::default()
    };
    let tree = Tree::from_str(svg, &options).context("The chart cannot be drawn.")?;
    let size = tree
        .size()
        .to_int_size()
        .scale_by(PNG_SCALE)
        .context("The chart is too large.")?;
    let mut pixels = Pixmap::new(size.width(), size.height()).context("The chart is too large.")?;
    let scale = Transform::from_scale(PNG_SCALE, PNG_SCALE);
    resvg::render(&tree, scale, &mut pixels.as_mut());
    pixels.encode_png().context("The chart cannot be packed.")
}

/// An SVG image of what is drawn on white.
pub fn drawn(size: (u32, u32), draw: impl FnOnce(&Canvas) -> Drawing) -> Result<String> {
    let mut svg = String::new();
    let canvas = SVGBackend::with_string(&mut svg, size).into_drawing_area();
    let result = canvas
        .fill(&WHITE)
        .map_err(Into::into)
        .and_then(|()| draw(&canvas))
        .and_then(|()| canvas.present().map_err(Into::into));
    drop(canvas);
    result.map_err(|error| anyhow!("The chart cannot be drawn: {error}."))?;
    Ok(svg)
}

/// A line of a chart over the epochs, from the first on.
pub struct Line {
    pub label: String,
    pub values: Vec<f64>,
}

/// Lines over the epochs, what lies above the range pressed to its edge.
pub fn lines(lines: &[Line], what: &str, range: Range<f64>) -> Result<String> {
    drawn(SIZE, |canvas| draw_lines(canvas, lines, what, range))
}

fn draw_lines(canvas: &Canvas, lines: &[Line], what: &str, range: Range<f64>) -> Drawing {
    let longest = lines.iter().map(|line| line.values.len()).max();
    let longest = longest.unwrap_or(1).max(2);
    let highest = range.end;
    let decimals = if highest - range.start < 1.0 { 2 } else { 1 };
    let mut chart = ChartBuilder::on(canvas)
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d(1.0..longest as f64, range)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_labels(longest.min(11))
        .x_desc("epoch")
        .y_desc(what)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.decimals$}"))
        .draw()?;
    for (index, line) in lines.iter().enumerate() {
        let style = COLOURS[index % COLOURS.len()].stroke_width(2);
        let values = line.values.iter().map(|value| value.min(highest));
        let points: Vec<(f64, f64)> = (1..).map(f64::from).zip(values).collect();
        // A line of one point is not seen.
        if let [point] = points[..] {
            chart.draw_series([Circle::new(point, 3, style.filled())])?;
        }
        // Where there are more lines than colours, the later ones are drawn with dashes.
        if index < COLOURS.len() {
            chart.draw_series(LineSeries::new(points, style))?
        } else {
            chart.draw_series(DashedLineSeries::new(points, 6, 4, style))?
        }
        .label(line.label.clone())
        .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.85))
        .border_style(TRANSPARENT)
        .draw()?;
    Ok(())
}

/// The loss and the accuracy of a run by epoch, of training and of the test, beside each other.
pub fn learning_curve(curve: &[Epoch]) -> Result<String> {
    let line = |label: &str, value: fn(&Epoch) -> f64| Line {
        label: label.into(),
        values: curve.iter().map(value).collect(),
    };
    let losses = [
        line("training", |epoch| epoch.train_loss.into()),
        line("test", |epoch| epoch.test_loss.into()),
    ];
    let accuracies = [
        line("training", |epoch| 100.0 - epoch.train_error_percent),
        line("test", |epoch| 100.0 - epoch.test_error_percent),
    ];
    let values = |lines: &[Line]| -> Vec<f64> {
        lines.iter().flat_map(|line| line.values.clone()).collect()
    };
    let highest_loss = values(&losses).into_iter().fold(0.0, f64::max);
    let lowest_accuracy = values(&accuracies).into_iter().fold(100.0, f64::min);
    drawn((2 * SIZE.0, SIZE.1), |canvas| {
        let (left, right) = canvas.split_horizontally(SIZE.0);
        draw_lines(&left, &losses, "loss", 0.0..(1.05 * highest_loss).max(1e-3))?;
        draw_lines(
            &right,
            &accuracies,
            "accuracy, %",
            (lowest_accuracy - 1.0).max(0.0)..100.0,
        )
    })
}

/// A point of a chart of accuracies over costs, of several runs.
pub struct Point {
    /// What its colour stands for.
    pub group: String,
    /// What stands beside it.
    pub label: String,
    pub cost: f64,
    /// The lowest, the mean and the highest, percent.
    pub accuracies: [f64; 3],
    /// Whether no other is both cheaper and better.
    pub is_best: bool,
}

/// Points over their costs, which grow by factors, with whiskers from the lowest to the highest; the best ones are joined.
pub fn costs(points: &[Point], what: &str) -> Result<String> {
    let fold = |values: &dyn Fn(&Point) -> f64, start: f64, fold: fn(f64, f64) -> f64| {
        points.iter().map(values).fold(start, fold)
    };
    let costs = fold(&|point| point.cost, f64::INFINITY, f64::min)
        ..fold(&|point| point.cost, 0.0, f64::max);
    let lowest = fold(&|point| point.accuracies[0], 100.0, f64::min);
    let highest = fold(&|point| point.accuracies[2], 0.0, f64::max);
    let room = (0.08 * (highest - lowest)).max(0.2);
    let mut groups: Vec<&str> = Vec::new();
    for point in points {
        if !groups.contains(&&*point.group) {
            groups.push(&point.group);
        }
    }
    drawn((SIZE.0, 500), |canvas| {
        let mut chart = ChartBuilder::on(canvas)
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(52)
            .build_cartesian_2d(
                (costs.start / 1.5..costs.end * 2.5).log_scale(),
                lowest - room..highest + room,
            )?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc(what)
            .y_desc("test accuracy, %")
            .x_label_formatter(&|x| with_prefix(*x))
            .y_label_formatter(&|y| format!("{y:.1}"))
            .draw()?;
        let mut best: Vec<(f64, f64)> = points
            .iter()
            .filter(|point| point.is_best)
            .map(|point| (point.cost, point.accuracies[1]))
            .collect();
        best.sort_by(|a, b| a.0.total_cmp(&b.0));
        let grey = BLACK.mix(0.45).stroke_width(2);
        chart
            .draw_series(LineSeries::new(best, grey))?
            .label("Pareto front")
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], grey));
        for (index, group) in groups.iter().enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            // Where there are more groups than colours, the later ones are rings.
            let dot = if index < COLOURS.len() {
                colour.filled()
            } else {
                colour.stroke_width(2)
            };
            let of_group = || points.iter().filter(|point| point.group == **group);
            chart
                .draw_series(
                    of_group().map(|point| Circle::new((point.cost, point.accuracies[1]), 4, dot)),
                )?
                .label((*group).to_owned())
                .legend(move |(x, y)| Circle::new((x + 9, y), 4, dot));
            chart.draw_series(of_group().map(|point| {
                let [lowest, _, highest] = point.accuracies;
                PathElement::new([(point.cost, lowest), (point.cost, highest)], colour)
            }))?;
            for end in [0, 2] {
                chart.draw_series(of_group().map(|point| {
                    let ends = EmptyElement::at((point.cost, point.accuracies[end]));
                    ends + PathElement::new([(-4, 0), (4, 0)], colour)
                }))?;
            }
            chart.draw_series(of_group().map(|point| {
                let style = ("sans-serif", 11)
                    .into_font()
                    .color(&colour)
                    .pos(Pos::new(HPos::Left, VPos::Center));
                let place = EmptyElement::at((point.cost, point.accuracies[1]));
                place + Text::new(point.label.clone(), (7, 0), style)
            }))?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE.mix(0.85))
            .border_style(TRANSPARENT)
            .draw()?;
        Ok(())
    })
}

/// A number with a letter for its thousands: 20 k.
fn with_prefix(number: f64) -> String {
    let (value, prefix) = match number {
        ..1e3 => (number, ""),
        ..1e6 => (number / 1e3, " k"),
        ..1e9 => (number / 1e6, " M"),
        _ => (number / 1e9, " G"),
    };
    format!("{}{prefix}", (value * 10.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn svg(text: &str) -> String {
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="90" height="40"><rect width="90" height="40" fill="white"/>
               <text x="5" y="25" font-family="sans-serif" font-size="16" fill="black">{text}</text></svg>"#
        )
    }

    #[test]
    fn text_is_drawn_with_or_without_fonts_of_the_system() {
        for systems in [true, false] {
            let [with, without] =
                ["epoch 12", ""].map(|text| png(&svg(text), fonts(systems)).unwrap());
            assert!(with.starts_with(b"\x89PNG"));
            assert!(with.len() > without.len() + 100, "{systems}");
        }
    }

    #[test]
    fn numbers_are_short() {
        let texts = [1.0, 999.0, 20_480.0, 1.25e6, 3e9].map(with_prefix);
        assert_eq!(texts, ["1", "999", "20.5 k", "1.3 M", "3 G"]);
    }

    #[test]
    fn a_curve_of_one_epoch_is_drawn() {
        let epoch = Epoch {
            train_loss: 0.5,
            train_error_percent: 12.0,
            test_loss: 0.4,
            test_error_percent: 10.0,
        };
        let svg = learning_curve(&[epoch]).unwrap();
        assert_eq!(svg.matches("<circle").count(), 4, "{svg}");
        assert!(svg.contains("accuracy, %") && svg.contains("loss"));
    }
}
