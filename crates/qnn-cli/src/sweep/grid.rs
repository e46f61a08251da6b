//! A grid of settings and the jobs it comes to: what stands in `sweep.json`. Nothing is trained here.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use qnn_core::spec::{Bits, Levels, NetworkSpec, Rounding};
use serde::{Deserialize, Serialize};

use crate::files;
use crate::settings::{Base, bits};

/// The file that makes a folder one of a sweep.
const SWEEP: &str = "sweep.json";
const VERSION: u32 = 1;
/// Jobs that make no sense of which a refusal names no more.
const NAMED: usize = 8;
/// A product of many lists is soon more than anybody can train.
const MAX_JOBS: usize = 100_000;

/// What a sweep varies, and what it does not. Every job is one choice of each list.
#[derive(Args, Clone, Default, PartialEq)]
pub struct Grid {
    #[command(flatten)]
    base: Base,
    #[command(flatten)]
    axes: Axes,
}

#[derive(Args, Clone, Default, PartialEq)]
struct Axes {
    /// Epochs of every job; 5 by default.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    epochs: Option<u32>,
    /// Bits of weights and activations, the same of both, such as 1,2,4,8,32.
    #[arg(long, value_delimiter = ',', value_parser = bits, conflicts_with_all = ["weight_bits", "activation_bits"])]
    bits: Vec<Bits>,
    /// Bits of the weights, each with each of --activation-bits.
    #[arg(long, value_delimiter = ',', value_parser = bits)]
    weight_bits: Vec<Bits>,
    /// Bits of the activations.
    #[arg(long, value_delimiter = ',', value_parser = bits)]
    activation_bits: Vec<Bits>,
    /// Widths of the hidden layers, such as 128,256x256,512x512.
    #[arg(long, value_delimiter = ',')]
    widths: Vec<Widths>,
    /// Seeds, such as 1,2,3 or 1..5, which is 1 to 5.
    #[arg(long, value_delimiter = ',', value_parser = seeds)]
    seeds: Vec<Seeds>,
    /// Quantizers of weights and activations: their levels and their rounding.
    #[arg(long, value_delimiter = ',')]
    quantizers: Vec<QuantizerName>,
}

/// The hidden layers of a network, written 256x256.
#[derive(Clone, PartialEq)]
struct Widths(Vec<usize>);

impl std::str::FromStr for Widths {
    type Err = String;
    fn from_str(text: &str) -> Result<Widths, String> {
        let widths: Result<_, _> = text.split('x').map(str::parse).collect();
        widths
            .map(Widths)
            .map_err(|_| format!("{text} is no list of widths like 256x256"))
    }
}

impl fmt::Display for Widths {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths: Vec<String> = self.0.iter().map(usize::to_string).collect();
        formatter.write_str(&widths.join("x"))
    }
}

type Seeds = std::ops::RangeInclusive<u32>;

fn seeds(text: &str) -> Result<Seeds, String> {
    let number = |text: &str| text.parse().ok();
    let range = match text.split_once("..") {
        Some((first, last)) => number(first).zip(number(last)),
        None => number(text).map(|seed| (seed, seed)),
    };
    match range {
        Some((first, last)) if first <= last => Ok(first..=last),
        _ => Err(format!(
            "{text} is no seed, and no range of seeds like 1..5"
        )),
    }
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum QuantizerName {
    LinearDeterministic,
    LinearStochastic,
    LogarithmicDeterministic,
    LogarithmicStochastic,
}

impl QuantizerName {
    fn parts(self) -> (Levels, Rounding) {
        match self {
            QuantizerName::LinearDeterministic => (Levels::Linear, Rounding::Deterministic),
            QuantizerName::LinearStochastic => (Levels::Linear, Rounding::Stochastic),
            QuantizerName::LogarithmicDeterministic => {
                (Levels::Logarithmic, Rounding::Deterministic)
            }
            QuantizerName::LogarithmicStochastic => (Levels::Logarithmic, Rounding::Stochastic),
        }
    }
}

/// All jobs of a sweep, as `sweep.json` holds them.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Sweep {
    pub version: u32,
    /// The folder of the data as it was given, made absolute; procedural digits without.
    pub data: Option<PathBuf>,
    /// Epochs of every job.
    pub epochs: u32,
    pub jobs: Vec<Job>,
}

/// A network to be trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its place in the sweep, from 0.
    pub index: usize,
    /// What sets it apart there.
    pub name: String,
    pub spec: NetworkSpec,
}

impl Grid {
    /// Whether nothing was said of a grid.
    pub fn is_empty(&self) -> bool {
        *self == Grid::default()
    }

    /// The jobs that the grid comes to, on the data in a folder.
    ///
    /// # Errors
    ///
    /// One that names the jobs which make no sense.
    pub fn sweep(&self, data: Option<&Path>) -> Result<Sweep> {
        let jobs = self.jobs()?;
        let problems: Vec<String> = jobs
            .iter()
            .filter_map(|job| Some(format!("{}: {}", job.name, job.spec.problems().first()?)))
            .collect();
        if !problems.is_empty() {
            let more = match problems.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!("\nand {more} more"),
            };
            let named = problems.len().min(NAMED);
            bail!(
                "{} of the grid's {} jobs make no sense; leave out what is wrong:\n{}{more}",
                problems.len(),
                jobs.len(),
                problems[..named].join("\n")
            );
        }
        let mut names = HashSet::new();
        if let Some(job) = jobs.iter().find(|job| !names.insert(&job.name)) {
            bail!(
                "The grid has this job twice: {}. Name each value once.",
                job.name
            );
        }
        Ok(Sweep {
            version: VERSION,
            data: data
                .map(|folder| {
                    std::path::absolute(folder)
                        .with_context(|| format!("{} is no folder.", folder.display()))
                })
                .transpose()?,
            epochs: self.axes.epochs.unwrap_or(crate::train::EPOCHS),
            jobs,
        })
    }

    /// The product of all lists; what is not listed is as in the settings to start from.
    fn jobs(&self) -> Result<Vec<Job>> {
        let axes = &self.axes;
        let mut specs = vec![self.base.spec()?];
        if axes.bits.is_empty() {
            specs = vary(&specs, &axes.weight_bits, |spec, bits| {
                spec.weight_bits = *bits
            })?;
            specs = vary(&specs, &axes.activation_bits, |spec, bits| {
                spec.activation_bits = *bits;
            })?;
        } else {
            specs = vary(&specs, &axes.bits, |spec, bits| {
                (spec.weight_bits, spec.activation_bits) = (*bits, *bits);
            })?;
        }
        specs = vary(&specs, &axes.widths, |spec, widths| {
            spec.hidden.clone_from(&widths.0);
        })?;
        specs = vary(&specs, &axes.quantizers, |spec, quantizer| {
            (spec.weight_levels, spec.weight_rounding) = quantizer.parts();
            (spec.activation_levels, spec.activation_rounding) = quantizer.parts();
        })?;
        let seeds: Vec<u32> = axes
            .seeds
            .iter()
            .cloned()
            .flatten()
            .take(MAX_JOBS + 1)
            .collect();
        specs = vary(&specs, &seeds, |spec, seed| spec.seed = *seed)?;
        let job = |(index, spec): (usize, NetworkSpec)| Job {
            index,
            name: format!("{}, seed {}", settings(&spec), spec.seed),
            spec,
        };
        Ok(specs.into_iter().enumerate().map(job).collect())
    }
}

/// Each spec with each of the values; unchanged where there is none.
fn vary<T>(
    specs: &[NetworkSpec],
    values: &[T],
    set: impl Fn(&mut NetworkSpec, &T),
) -> Result<Vec<NetworkSpec>> {
    if values.is_empty() {
        return Ok(specs.to_vec());
    }
    let count = specs.len().saturating_mul(values.len());
    ensure!(
        count <= MAX_JOBS,
        "The grid has more than {MAX_JOBS} jobs; make its lists shorter."
    );
    let varied = specs.iter().flat_map(|spec| {
        values.iter().map(|value| {
            let mut spec = spec.clone();
            set(&mut spec, value);
            spec
        })
    });
    Ok(varied.collect())
}

/// What is said of a network in a sweep: all that a sweep can vary, but for the seed.
pub fn settings(spec: &NetworkSpec) -> String {
    let quantizer = |levels: Levels, rounding: Rounding| format!("{levels} {rounding}");
    let weights = quantizer(spec.weight_levels, spec.weight_rounding);
    let activations = quantizer(spec.activation_levels, spec.activation_rounding);
    let quantizers = if weights == activations {
        weights
    } else {
        format!("{weights}/{activations}")
    };
    format!(
        "{}/{} bits, {}, {quantizers}",
        spec.weight_bits,
        spec.activation_bits,
        Widths(spec.hidden.clone())
    )
}

impl Sweep {
    /// Whether a folder has a sweep.
    pub fn is_in(folder: &Path) -> bool {
        folder.join(SWEEP).exists()
    }

    /// The sweep in a folder.
    pub fn read(folder: &Path) -> Result<Sweep> {
        let file = folder.join(SWEEP);
        ensure!(
            file.exists(),
            "{} has no {SWEEP}; begin a sweep there with `qnn sweep {} --bits 1,2`, for instance.",
            folder.display(),
            folder.display()
        );
        let text =
            fs::read(&file).with_context(|| format!("{} cannot be read.", file.display()))?;
        let sweep: Sweep = serde_json::from_slice(&text)
            .with_context(|| format!("{} does not describe a sweep.", file.display()))?;
        ensure!(
            sweep.version == VERSION,
            "{} is of version {}; this program reads version {VERSION}.",
            file.display(),
            sweep.version
        );
        Ok(sweep)
    }

    pub fn write(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)
            .with_context(|| format!("{} cannot be made.", folder.display()))?;
        let text = serde_json::to_string_pretty(self)? + "\n";
        files::save(&folder.join(SWEEP), text.as_bytes())
    }

    /// Whether another grid comes to the same: its data may have moved.
    pub fn is_same(&self, other: &Sweep) -> bool {
        (self.epochs, &self.jobs) == (other.epochs, &other.jobs)
    }
}
