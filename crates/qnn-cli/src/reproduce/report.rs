//! The report of all finished runs: Markdown with a table and a plot for each recipe. It reads runs and writes files;
//! it computes nothing but differences.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::recipes::{GRID_BITS, GRID_GRADIENT_BITS, Recipe, Run};
use super::runs::{Outcome, Report};
use crate::files;
use crate::plot::{self, COLOURS, Line};

const GRID_SIZE: (u32, u32) = (760, 400);
/// Writes `reproduction.md` and a plot for each recipe with finished runs on the data set called `data`, as a PNG file too
/// where that is wanted.
pub fn write(
    folder: &Path,
    recipes: &[Recipe],
    report: &Report,
    data: &str,
    png: bool,
) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("{} cannot be made.", folder.display()))?;
    let mut text = format!(
        "# Reproduction\n\n\
         Networks of the paper and around it, trained by `qnn reproduce --data DIR` on all training images of {data} \
         and tested on its test images. The test set chooses nothing: each figure is that of the last epoch, of one \
         run, whose seed stands in `reproduction.json` with its settings and its whole curve. Seconds are of training \
         alone, on machines with other things to do.\n\n",
    );
    goals(&mut text, recipes, report, data)?;
    for recipe in recipes {
        writeln!(text, "## {}\n\n{}\n", recipe.title, recipe.about)?;
        writeln!(text, "`qnn reproduce {} --data DIR`\n", recipe.name)?;
        let finished: Vec<(&Run, &Outcome)> = recipe
            .runs
            .iter()
            .filter_map(|run| Some((run, report.find(run, data)?)))
            .collect();
        if finished.is_empty() {
            let epochs: Vec<u32> = recipe.runs.iter().map(|run| run.epochs).collect();
            writeln!(
                text,
                "Not run yet; runs: {}, epochs: up to {}.\n",
                epochs.len(),
                epochs.iter().max().unwrap_or(&0)
            )?;
            continue;
        }
        let plot = format!("{}.svg", recipe.name);
        let svg = if recipe.name == "bit-grid" {
            grid_tables(&mut text, &finished)?;
            grid_plot(&finished)
        } else {
            table(&mut text, &finished)?;
            curves_plot(&finished)
        };
        let (file, svg) = (folder.join(&plot), svg?);
        plot::save(&file, &svg)?;
        if png {
            plot::save(&file.with_extension("png"), &svg)?;
        }
        writeln!(text, "![{}]({plot})\n", recipe.title)?;
        if finished.len() < recipe.runs.len() {
            writeln!(
                text,
                "{} of {} runs are finished.\n",
                finished.len(),
                recipe.runs.len()
            )?;
        }
    }
    files::save(
        &folder.join("reproduction.md"),
        (text.trim_end().to_owned() + "\n").as_bytes(),
    )
}

/// What was to be reached, and whether it was.
fn goals(text: &mut String, recipes: &[Recipe], report: &Report, data: &str) -> Result<()> {
    let outcomes = |name: &str| -> Vec<(&Run, &Outcome)> {
        let runs = recipes
            .iter()
            .filter(|recipe| recipe.name == name)
            .flat_map(|recipe| &recipe.runs);
        runs.filter_map(|run| Some((run, report.find(run, data)?)))
            .collect()
    };
    writeln!(text, "| goal | reached |\n| --- | --- |")?;
    for (width, limit) in [(1024, 1.5), (2048, 1.4), (4096, 1.0)] {
        let reached = match outcomes(&format!("mnist-{width}")).first() {
            None => "not run yet".into(),
            Some((_, outcome)) => match outcome.test_error_percent {
                Some(error) => verdict(error, limit, "% test error"),
                None => "no: it diverged".into(),
            },
        };
        writeln!(
            text,
            "| 3 x {width} of 1 bit, without augmentation: at most {limit:.1} % test error | {reached} |"
        )?;
    }

    let grid = outcomes("bit-grid");
    let mut distances = Vec::new();
    for gradients in GRID_GRADIENT_BITS {
        for weights in &GRID_BITS[1..] {
            for activations in &GRID_BITS[1..] {
                let error = cell(&grid, *weights, *activations, gradients);
                let floats = cell(&grid, 32, 32, gradients);
                distances.extend(error.zip(floats).map(|(error, floats)| error - floats));
            }
        }
    }
    let all = GRID_GRADIENT_BITS.len() * (GRID_BITS.len() - 1).pow(2);
    let diverged = grid.iter().any(|(_, outcome)| outcome.diverged.is_some());
    let reached = match distances.iter().copied().max_by(f64::total_cmp) {
        _ if diverged => "no: some diverged".into(),
        Some(worst) if distances.len() == all => verdict(worst, 0.5, "points of the worst cell"),
        _ => "not run yet".into(),
    };
    writeln!(
        text,
        "| from 2 bits on, no cell of the grid more than 0.5 points worse than 32/32 bits with the same gradients | {reached} |"
    )?;

    let seeds = outcomes("gradient-bits");
    let reached = match (mean(&seeds, 6), mean(&seeds, 32)) {
        _ if seeds.len() < 6 => "not run yet".into(),
        (Some(six), Some(float)) => verdict(
            six - float,
            0.1,
            &format!("points of difference: {six:.3} % against {float:.3} %"),
        ),
        _ => "no: some diverged".into(),
    };
    writeln!(
        text,
        "| 6-bit gradients within 0.1 points of float ones over three seeds | {reached} |\n"
    )?;
    Ok(())
}

fn verdict(value: f64, limit: f64, what: &str) -> String {
    if value <= limit {
        format!("yes: {value:.2} {what}")
    } else {
        format!("no: {value:.2} {what}, {:.2} too much", value - limit)
    }
}

/// The mean test error of the runs with gradients of so many bits.
fn mean(runs: &[(&Run, &Outcome)], gradient_bits: u8) -> Option<f64> {
    let of_bits = runs
        .iter()
        .filter(|(run, _)| run.spec.gradient_bits.get() == gradient_bits);
    let errors: Option<Vec<f64>> = of_bits
        .map(|(_, outcome)| outcome.test_error_percent)
        .collect();
    let errors = errors.filter(|errors| !errors.is_empty())?;
    Some(errors.iter().sum::<f64>() / errors.len() as f64)
}

fn cell(runs: &[(&Run, &Outcome)], weights: u8, activations: u8, gradients: u8) -> Option<f64> {
    let is_it = |(run, _): &&(&Run, &Outcome)| {
        let spec = &run.spec;
        [spec.weight_bits, spec.activation_bits, spec.gradient_bits].map(|bits| bits.get())
            == [weights, activations, gradients]
    };
    runs.iter()
        .find(is_it)
        .and_then(|(_, outcome)| outcome.test_error_percent)
}

fn table(text: &mut String, runs: &[(&Run, &Outcome)]) -> Result<()> {
    let sampled = runs
        .iter()
        .any(|(_, outcome)| outcome.sampled_test_error_percent.is_some());
    let published = runs.iter().any(|(run, _)| run.published.is_some());
    let mut head = String::from("| run | epochs | seconds | test error |");
    if sampled {
        head += " mean of sampled networks |";
    }
    if published {
        head += " published | difference |";
    }
    writeln!(
        text,
        "{head}\n|{}",
        " --- |".repeat(head.matches('|').count() - 1)
    )?;
    for (run, outcome) in runs {
        let error = match (&outcome.test_error_percent, &outcome.diverged) {
            (Some(error), _) => format!("{error:.2} %"),
            (None, reason) => format!(
                "diverged: {}",
                reason.as_deref().unwrap_or("no reason is known")
            ),
        };
        write!(
            text,
            "| {} | {} | {:.0} | {error} |",
            run.label, outcome.epochs, outcome.seconds
        )?;
        if sampled {
            match outcome.sampled_test_error_percent {
                Some(error) => write!(text, " {error:.2} % |")?,
                None => write!(text, " |")?,
            }
        }
        if published {
            match (run.published, outcome.test_error_percent) {
                (Some(figure), Some(error)) => write!(
                    text,
                    " {:.2} % ({}) | {:+.2} |",
                    figure.test_error,
                    figure.source,
                    error - figure.test_error
                )?,
                _ => write!(text, " | |")?,
            }
        }
        writeln!(text)?;
    }
    writeln!(text)?;
    Ok(())
}

fn grid_tables(text: &mut String, runs: &[(&Run, &Outcome)]) -> Result<()> {
    for gradients in GRID_GRADIENT_BITS {
        writeln!(
            text,
            "Test error in percent, gradients of {gradients} bits; weights down, activations across; – where it is not run or diverged:\n"
        )?;
        let columns: String = GRID_BITS.iter().map(|bits| format!(" {bits} |")).collect();
        writeln!(
            text,
            "| bits |{columns}\n|{}",
            " --- |".repeat(GRID_BITS.len() + 1)
        )?;
        for weights in GRID_BITS {
            let cells = GRID_BITS.iter().map(|activations| {
                match cell(runs, weights, *activations, gradients) {
                    Some(error) => format!(" {error:.2} |"),
                    None => " – |".into(),
                }
            });
            writeln!(text, "| **{weights}** |{}", cells.collect::<String>())?;
        }
        writeln!(text)?;
    }
    Ok(())
}

/// Test error over the epochs, a line a run.
fn curves_plot(runs: &[(&Run, &Outcome)]) -> Result<String> {
    let line = |(run, outcome): &(&Run, &Outcome)| Line {
        label: run.label.clone(),
        values: outcome
            .curve
            .iter()
            .map(|epoch| epoch.test_error_percent)
            .collect(),
    };
    let lines: Vec<Line> = runs.iter().map(line).collect();
    let values = || lines.iter().flat_map(|line| line.values.iter().copied());
    // The first epochs of the worst run would press all others flat.
    let lowest = values().fold(100.0, f64::min);
    let highest = values().fold(0.0, f64::max).min(lowest * 4.0 + 1.0);
    plot::lines(&lines, "test error, %", lowest * 0.9..highest)
}

/// Two squares of cells, each as dark as its error is large.
fn grid_plot(runs: &[(&Run, &Outcome)]) -> Result<String> {
    let errors = || {
        runs.iter()
            .filter_map(|(_, outcome)| outcome.test_error_percent)
    };
    let (lowest, highest) = (errors().fold(100.0, f64::min), errors().fold(0.0, f64::max));
    plot::drawn(GRID_SIZE, |canvas| {
        let bits = || (0..GRID_BITS.len() as i32 - 1).into_segmented();
        for (area, gradients) in canvas.split_evenly((1, 2)).iter().zip(GRID_GRADIENT_BITS) {
            let mut chart = ChartBuilder::on(area)
                .caption(
                    format!("test error, %; {gradients}-bit gradients"),
                    ("sans-serif", 16),
                )
                .margin(10)
                .x_label_area_size(32)
                .y_label_area_size(40)
                .build_cartesian_2d(bits(), bits())?;
            let name = |at: &SegmentValue<i32>| match at {
                SegmentValue::CenterOf(index) => GRID_BITS
                    .get(*index as usize)
                    .map_or(String::new(), |bits| bits.to_string()),
                _ => String::new(),
            };
            chart
                .configure_mesh()
                .disable_mesh()
                .x_desc("bits of the activations")
                .y_desc("bits of the weights")
                .x_label_formatter(&name)
                .y_label_formatter(&name)
                .draw()?;
            for (row, weights) in (0..).zip(GRID_BITS) {
                for (column, activations) in (0..).zip(GRID_BITS) {
                    let Some(error) = cell(runs, weights, activations, gradients) else {
                        continue;
                    };
                    let share = (error - lowest) / (highest - lowest).max(0.01);
                    let shade = COLOURS[0].mix(0.1 + 0.8 * share);
                    let corner = |step: i32| {
                        (
                            SegmentValue::Exact(column + step),
                            SegmentValue::Exact(row + step),
                        )
                    };
                    chart.draw_series([Rectangle::new([corner(0), corner(1)], shade.filled())])?;
                    let ink = if share > 0.5 { WHITE } else { BLACK };
                    let style = ("sans-serif", 15)
                        .into_font()
                        .color(&ink)
                        .pos(Pos::new(HPos::Center, VPos::Center));
                    let centre = (SegmentValue::CenterOf(column), SegmentValue::CenterOf(row));
                    chart.draw_series([Text::new(format!("{error:.2}"), centre, style)])?;
                }
            }
        }
        Ok(())
    })
}
