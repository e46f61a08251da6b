//! `qnn report`: what the jobs of a sweep came to, as tables, as JSON and as charts of accuracy over cost. It reads results and
//! counts costs; it trains nothing.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use clap::Args;
use qnn_core::cost::Cost;
use qnn_core::spec::NetworkSpec;
use serde::Serialize;

use crate::exit::Ending;
use crate::plot::{self, Point};
use crate::run::percent;
use crate::sweep::grid::{Sweep, settings};
use crate::sweep::job::{self, JobResult};
use crate::{files, print_line};

#[derive(Args)]
pub struct Report {
    /// The folder of the sweep; the report is written there too: report.md, report.json and the charts bytes and energy, as SVG
    /// and as PNG.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Prints report.json as one object in a line.
    #[arg(long)]
    json: bool,
}

/// What `report.json` holds.
#[derive(Serialize)]
struct Merged<'a> {
    jobs: usize,
    epochs: u32,
    /// The names of the data sets; one, unless somebody mixed them.
    data: Vec<String>,
    missing: Vec<Missing<'a>>,
    networks: Vec<Network>,
    results: &'a [JobResult],
}

#[derive(Serialize)]
struct Missing<'a> {
    index: usize,
    name: &'a str,
}

/// Results that differ by their seed only.
#[derive(Serialize)]
struct Network {
    name: String,
    weight_bits: u8,
    activation_bits: u8,
    hidden: Vec<usize>,
    weight_bytes: usize,
    /// To answer an image, at 45 nm.
    answer_picojoules: f64,
    seeds: Vec<u32>,
    /// Of the seeds, those that diverged, and have no accuracy.
    diverged: Vec<u32>,
    test_accuracy_percent: Option<Spread>,
    /// Whether no other network is both smaller and better, ...
    is_best_by_bytes: bool,
    /// ... or takes less energy and is better.
    is_best_by_energy: bool,
}

/// Over the seeds.
#[derive(Clone, Copy, Serialize)]
struct Spread {
    lowest: f64,
    mean: f64,
    highest: f64,
}

pub fn report(arguments: &Report) -> Result<()> {
    let folder = &arguments.folder;
    let sweep = Sweep::read(folder)?;
    let (mut results, mut missing) = (Vec::new(), Vec::new());
    for job in &sweep.jobs {
        match job::result(folder, job)? {
            Some(result) => results.push(result),
            None => missing.push(Missing {
                index: job.index,
                name: &job.name,
            }),
        }
    }
    let mut data: Vec<String> = results.iter().map(|result| result.data.clone()).collect();
    data.sort();
    data.dedup();
    let merged = Merged {
        jobs: sweep.jobs.len(),
        epochs: sweep.epochs,
        data,
        missing,
        networks: networks(&results)?,
        results: &results,
    };
    let text = serde_json::to_string_pretty(&merged)? + "\n";
    files::save(&folder.join("report.json"), text.as_bytes())?;
    let has_charts = merged.draw(folder)?;
    let text = merged.markdown(has_charts)?;
    files::save(&folder.join("report.md"), text.as_bytes())?;
    print_line(&if arguments.json {
        serde_json::to_string(&merged)?
    } else {
        text
    })?;
    if !merged.missing.is_empty() {
        bail!(Ending::Incomplete(format!(
            "{} of {} jobs have no result yet; `qnn sweep` with the folder alone runs them.",
            merged.missing.len(),
            merged.jobs
        )));
    }
    Ok(())
}

/// The results of each network, over its seeds, in the order of the jobs.
fn networks(results: &[JobResult]) -> Result<Vec<Network>> {
    let without_seed = |result: &JobResult| NetworkSpec {
        seed: 0,
        ..result.spec.clone()
    };
    let mut groups: Vec<(NetworkSpec, Vec<&JobResult>)> = Vec::new();
    for result in results {
        let spec = without_seed(result);
        match groups.iter_mut().find(|group| group.0 == spec) {
            Some(group) => group.1.push(result),
            None => groups.push((spec, vec![result])),
        }
    }
    let mut networks = Vec::new();
    for (spec, results) in groups {
        let first = results[0];
        ensure!(
            results
                .iter()
                .all(|result| { (result.inputs, result.classes) == (first.inputs, first.classes) }),
            "The jobs of {} were run on different data; run one of them anew.",
            settings(&spec)
        );
        let cost = Cost::of(&spec, first.inputs, first.classes);
        let is_diverged = |result: &&&JobResult| result.diverged.is_some();
        networks.push(Network {
            name: settings(&spec),
            weight_bits: spec.weight_bits.get(),
            activation_bits: spec.activation_bits.get(),
            weight_bytes: cost.weight_bytes(),
            answer_picojoules: cost.answer_picojoules(),
            seeds: results.iter().map(|result| result.spec.seed).collect(),
            diverged: results
                .iter()
                .filter(is_diverged)
                .map(|result| result.spec.seed)
                .collect(),
            test_accuracy_percent: spread(&results),
            is_best_by_bytes: false,
            is_best_by_energy: false,
            hidden: spec.hidden,
        });
    }
    let by_bytes = best(&networks, |network| network.weight_bytes as f64);
    let by_energy = best(&networks, |network| network.answer_picojoules);
    for (network, (bytes, energy)) in networks.iter_mut().zip(by_bytes.into_iter().zip(by_energy)) {
        (network.is_best_by_bytes, network.is_best_by_energy) = (bytes, energy);
    }
    Ok(networks)
}

fn spread(results: &[&JobResult]) -> Option<Spread> {
    let errors: Vec<f64> = results
        .iter()
        .filter_map(|result| result.test_error_percent)
        .collect();
    if errors.is_empty() {
        return None;
    }
    // The smallest error is the highest accuracy.
    let accuracy = |error: f64| percent(1.0 - error / 100.0);
    Some(Spread {
        lowest: accuracy(errors.iter().copied().fold(0.0, f64::max)),
        mean: accuracy(errors.iter().sum::<f64>() / errors.len() as f64),
        highest: accuracy(errors.iter().copied().fold(100.0, f64::min)),
    })
}

/// Which networks are on the Pareto front: none other costs as little or less and is better, or costs less and is as good.
fn best(networks: &[Network], cost: impl Fn(&Network) -> f64) -> Vec<bool> {
    let points: Vec<Option<(f64, f64)>> = networks
        .iter()
        .map(|network| Some((cost(network), network.test_accuracy_percent?.mean)))
        .collect();
    let is_beaten = |(cost, accuracy): (f64, f64)| {
        points.iter().flatten().any(|&(other_cost, other)| {
            (other_cost <= cost && other > accuracy) || (other_cost < cost && other >= accuracy)
        })
    };
    points
        .iter()
        .map(|point| point.is_some_and(|point| !is_beaten(point)))
        .collect()
}

impl Merged<'_> {
    /// Draws the charts; whether there was anything to draw.
    fn draw(&self, folder: &Path) -> Result<bool> {
        let chart =
            |name: &str, what: &str, cost: fn(&Network) -> f64, is_best: fn(&Network) -> bool| {
                let point = |network: &Network| {
                    let spread = network.test_accuracy_percent?;
                    let widths: Vec<String> = network.hidden.iter().map(usize::to_string).collect();
                    let bits = format!("{}/{}", network.weight_bits, network.activation_bits);
                    Some(Point {
                        label: format!("{bits}, {}", widths.join("x")),
                        group: format!("{bits} bits"),
                        cost: cost(network),
                        accuracies: [spread.lowest, spread.mean, spread.highest],
                        is_best: is_best(network),
                    })
                };
                let points: Vec<Point> = self.networks.iter().filter_map(point).collect();
                if points.is_empty() {
                    return Ok(false);
                }
                let svg = plot::costs(&points, what)?;
                for end in ["svg", "png"] {
                    plot::save(&folder.join(format!("{name}.{end}")), &svg)?;
                }
                Ok::<bool, anyhow::Error>(true)
            };
        let bytes = chart(
            "bytes",
            "bytes of the weights",
            |network| network.weight_bytes as f64,
            |network| network.is_best_by_bytes,
        )?;
        let energy = chart(
            "energy",
            "picojoules per answer",
            |network| network.answer_picojoules,
            |network| network.is_best_by_energy,
        )?;
        Ok(bytes && energy)
    }

    fn markdown(&self, has_charts: bool) -> Result<String> {
        let mut text = format!(
            "# Sweep\n\n{} of {} jobs have a result, of {} on {}. Accuracies are those of the last epoch, means over the \
             seeds with the lowest and the highest; bits are of weights / activations; energies are those of an answer at 45 nm, \
             as `qnn cost` counts them. A star marks what no other network beats: none is both cheaper and better.\n\n",
            self.results.len(),
            self.jobs,
            match self.epochs {
                1 => "one epoch".into(),
                epochs => format!("{epochs} epochs"),
            },
            if self.data.is_empty() {
                "no data yet".into()
            } else {
                self.data.join(", ")
            },
        );
        text += "| network | seeds | test accuracy | lowest to highest | bytes of weights | picojoules per answer |\n\
                 | --- | --- | --- | --- | --- | --- |\n";
        for network in &self.networks {
            let star = |is_best: bool| if is_best { " *" } else { "" };
            let (mean, range) = match network.test_accuracy_percent {
                Some(Spread {
                    lowest,
                    mean,
                    highest,
                }) => (
                    format!("{mean:.2} %"),
                    format!("{lowest:.2} to {highest:.2}"),
                ),
                None => ("diverged".into(), String::new()),
            };
            write!(text, "| {} | {}", network.name, network.seeds.len())?;
            if !network.diverged.is_empty() {
                write!(text, ", {} diverged", network.diverged.len())?;
            }
            writeln!(
                text,
                " | {mean} | {range} | {}{} | {:.0}{} |",
                network.weight_bytes,
                star(network.is_best_by_bytes),
                network.answer_picojoules,
                star(network.is_best_by_energy)
            )?;
        }
        if has_charts {
            text += "\n![Test accuracy over the bytes of the weights](bytes.svg)\n\n\
                     ![Test accuracy over the energy of an answer](energy.svg)\n";
        }
        if !self.missing.is_empty() {
            writeln!(text, "\nMissing:\n")?;
            for job in &self.missing {
                writeln!(text, "- job {}: {}", job.index, job.name)?;
            }
        }
        Ok(text)
    }
}
