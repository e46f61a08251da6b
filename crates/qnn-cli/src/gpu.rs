//! `qnn bench --gpu`: the paper's comparison of kernels on the adapter that there is, and training beside the processor; as a
//! table, as JSON and as a report. What is timed is `qnn_gpu`'s.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use qnn_core::data::{DIGITS, DataSet, TrainingData};
use qnn_core::kernels::Choice;
use qnn_core::measure::{
    GpuReport, ProductKernel, Subject, Summary, TrainingSpeed, Trial, TrialReport,
};
use qnn_core::threads::team;
use qnn_core::train::Trainer;
use qnn_gpu::{
    Gpu, GpuTrainer, Request, Rounds, compare_networks, compare_products, compared_spec,
    training_speed,
};
use serde::{Deserialize, Serialize};

use crate::{data_set, files};

/// Units of the three hidden layers of a small network, whose training is timed beside that of the paper's.
const SMALL: usize = 512;
/// Milliseconds that the processor's training is timed for.
const PROCESSOR_TIME: f64 = 2000.0;
const REPORT: &str = "gpu.json";

#[derive(Args)]
pub struct GpuBench {
    /// Measures the GPU instead: the paper's product and network by every kernel, and training.
    #[arg(long)]
    gpu: bool,
    /// A folder of IDX files: its training images teach the network, its test images are answered. Without it: procedural
    /// digits.
    #[arg(long, value_name = "DIR", requires = "gpu")]
    data: Option<PathBuf>,
    /// Rows, columns and terms of the product; the paper's 8192 where that does not take too long.
    #[arg(long, requires = "gpu")]
    side: Option<NonZero<usize>>,
    /// Test images to answer; all that do not take too long by default.
    #[arg(long, requires = "gpu")]
    images: Option<NonZero<usize>>,
    /// Units of each of the network's three hidden layers; the paper's has 4096.
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u16).range(1..=4096), requires = "gpu")]
    units: u16,
    /// Steps that the network is trained for.
    #[arg(long, default_value_t = 100, requires = "gpu")]
    steps: u32,
    /// How often everything is timed.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..), requires = "gpu")]
    rounds: u32,
    /// Writes gpu.md and gpu.json to a folder.
    #[arg(long, value_name = "DIR", requires = "gpu")]
    reports: Option<PathBuf>,
    /// A browser's figures, as the page's engine gives them, for the report.
    #[arg(long, value_name = "FILE", requires = "reports")]
    browser: Option<PathBuf>,
}

/// What `gpu.json` holds.
#[derive(Default, Serialize, Deserialize)]
struct Reports {
    native: Option<GpuReport>,
    browser: Option<GpuReport>,
}

impl GpuBench {
    pub fn is_wanted(&self) -> bool {
        self.gpu
    }
}

pub fn bench(arguments: &GpuBench, json: Option<&Path>) -> Result<()> {
    let report = pollster::block_on(measure(arguments))?;
    writeln!(std::io::stdout(), "{}", table(&report)?)
        .context("Standard output cannot be written.")?;
    if let Some(file) = json {
        files::save(file, serde_json::to_string(&report)?.as_bytes())?;
    }
    if let Some(folder) = &arguments.reports {
        let browser = arguments.browser.as_deref().map(read).transpose()?;
        write_reports(folder, report, browser)?;
    }
    Ok(())
}

fn read<T: for<'a> Deserialize<'a>>(file: &Path) -> Result<T> {
    let text = fs::read(file).with_context(|| format!("{} cannot be read.", file.display()))?;
    serde_json::from_slice(&text)
        .with_context(|| format!("{} does not hold such figures.", file.display()))
}

async fn measure(arguments: &GpuBench) -> Result<GpuReport> {
    let gpu = Rc::new(Gpu::open(Request::default()).await?);
    let begun = Instant::now();
    let now = || begun.elapsed().as_secs_f64() * 1e3;
    let bar = ProgressBar::new(1000)
        .with_style(ProgressStyle::with_template("{prefix} {bar:40} {elapsed}")?);
    let progress = |share: f32| bar.set_position((1000.0 * share) as u64);
    bar.set_prefix("the fastest tiles");
    let race = gpu.race(&now).await?;
    let rounds = Rounds {
        most: arguments.rounds as usize,
        patience: f64::INFINITY,
    };

    let side = match arguments.side {
        Some(side) => side,
        None => NonZero::new(race.side()).context("A product has a side.")?,
    };
    bar.set_prefix(format!("a product of {side}"));
    let product = compare_products(&gpu, &race, side, rounds, &now, &progress).await?;

    let data = data_set(arguments.data.as_deref(), 1)?;
    let units = usize::from(arguments.units);
    bar.set_prefix("training of the network");
    let mut trainer = Trainer::new(
        compared_spec(units),
        data.test.image_size(),
        data.classes.len(),
    )?;
    for step in 0..arguments.steps {
        progress(step as f32 / arguments.steps as f32);
        team(|| trainer.step(&data.train))?;
    }
    let images = arguments.images;
    let images = images.map_or_else(|| race.images(trainer.weight_count()), NonZero::get);
    let images = data.test.first(images);
    let network = trainer.freeze();
    drop(trainer);
    bar.set_prefix(format!("{} answers of the network", images.len()));
    let network = compare_networks(&gpu, &race, &network, &images, rounds, &now, &progress).await?;

    let mut training = Vec::new();
    for units in [SMALL.min(units), units] {
        bar.set_prefix(format!("training of 3 x {units}"));
        training.push(speed(&gpu, units, arguments.rounds, &now).await?);
    }
    bar.finish_and_clear();
    Ok(gpu.report(&race, vec![network, product], training))
}

/// A network on the GPU, trained as far as `trainer`; what it runs on is said on standard error.
pub async fn trainer(trainer: &Trainer, data: &TrainingData) -> Result<GpuTrainer> {
    let gpu = Rc::new(Gpu::open(Request::default()).await?);
    let begun = Instant::now();
    gpu.race(&|| begun.elapsed().as_secs_f64() * 1e3).await?;
    let kind = if gpu.is_software() {
        ", a program on the processor"
    } else {
        ""
    };
    eprintln!("Training on {}{kind}.", gpu.name());
    Ok(GpuTrainer::new(gpu, trainer, data).await?)
}

async fn speed(
    gpu: &Rc<Gpu>,
    units: usize,
    rounds: u32,
    now: &dyn Fn() -> f64,
) -> Result<TrainingSpeed> {
    let spec = compared_spec(units);
    let (hidden, batch_size) = (spec.hidden.clone(), spec.batch_size);
    let subject = Subject::Step { spec: spec.clone() };
    let mut operation = subject.prepare(Choice::default())?;
    team(|| operation.run());
    let milliseconds = team(|| {
        let begun = Instant::now();
        let now = || begun.elapsed().as_secs_f64() * 1e3;
        operation.time(&now, PROCESSOR_TIME)
    });
    drop(operation);
    // As the processor's: drawn before, not meanwhile.
    let data = DataSet::procedural(1, 4 * batch_size as u64).test;
    let data = &TrainingData::Images(data);
    let trainer = Trainer::new(spec, data.image_size(), DIGITS)?;
    let mut trainer = GpuTrainer::new(gpu.clone(), &trainer, data).await?;
    let mut speeds = Vec::new();
    // As long a run as the adapter can do in a second or so.
    training_speed(&mut trainer, data, 1, now).await?;
    let one = training_speed(&mut trainer, data, 1, now).await?;
    let steps = (one / batch_size as f64).clamp(2.0, 500.0) as u32;
    for _ in 0..rounds {
        speeds.push(training_speed(&mut trainer, data, steps, now).await?);
    }
    Ok(TrainingSpeed {
        hidden,
        batch_size,
        gpu: Summary::of(speeds).median,
        processor: Summary::of(vec![batch_size as f64 * 1e3 / milliseconds]).median,
    })
}

fn write_reports(folder: &Path, native: GpuReport, browser: Option<GpuReport>) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("{} cannot be made.", folder.display()))?;
    let file = folder.join(REPORT);
    let before: Reports = if file.exists() {
        read(&file)?
    } else {
        Reports::default()
    };
    let reports = Reports {
        native: Some(native),
        browser: browser.or(before.browser),
    };
    files::save(
        &file,
        (serde_json::to_string_pretty(&reports)? + "\n").as_bytes(),
    )?;
    files::save(&folder.join("gpu.md"), markdown(&reports)?.as_bytes())
}

fn markdown(reports: &Reports) -> Result<String> {
    let mut text = String::from(
        "# The paper's kernel on a GPU\n\n\
         The paper compares a product of signs in bit planes (XOR, and a count of ones) with a product of float32: with a \
         kernel that is not optimized, a thread a sum (*naive*), and with the best there was (there cuBLAS; here *tiled*, \
         our float32 product in tiles that the threads of a workgroup share). Times are medians, speed-ups medians of the \
         ratios of times taken in the same round, each with its quartiles. Operands are packed before the time begins; \
         what packing both takes stands beside it. A network's time is from its pixels to its logits, both on the \
         device; all its layers but the first multiply signs, the first 8-bit pixels. Our naive kernel shares nothing \
         between its threads, which read neighbouring numbers; the authors' keeps tiles of 16 x 16 in shared memory, and \
         no more than that, so that 7 and 23 were harder to reach for them.\n\n",
    );
    for (report, how) in [
        (&reports.native, "Native"),
        (&reports.browser, "In a browser"),
    ] {
        if let Some(report) = report {
            writeln!(text, "## {how}\n\n{}", table(report)?)?;
        }
    }
    text +=
        "`./dev bench --gpu` measures both and writes this page; `qnn bench --gpu` the first.\n";
    Ok(text)
}

/// As Markdown, which is read well enough as it is.
fn table(report: &GpuReport) -> Result<String> {
    let mut text = format!("Adapter: **{}**", report.adapter);
    if report.is_software {
        text += ", a program on the processor: its figures say nothing of a GPU's";
    }
    let clock = if report.by_timestamps {
        "by the device's timestamps"
    } else {
        "by a clock beside the device"
    };
    let [signs, floats] = report.limits;
    writeln!(
        text,
        ". Timed {clock}. The same inner loops on what never leaves the registers do {signs:.0} G multiply-accumulates of \
         signs a second and {floats:.0} G of floats, which is what shares of a peak are reckoned by.\n"
    )?;
    for trial in &report.trials {
        trial_table(&mut text, report, trial)?;
    }
    writeln!(
        text,
        "Training, 1-bit weights and activations, 6-bit gradients, images a second:\n\n\
         | hidden layers | batch | GPU | processor |\n| --- | --- | --- | --- |"
    )?;
    for speed in &report.training {
        let hidden: Vec<String> = speed.hidden.iter().map(usize::to_string).collect();
        writeln!(
            text,
            "| {} | {} | {} | {} |",
            hidden.join("-"),
            speed.batch_size,
            speed.gpu,
            speed.processor
        )?;
    }
    Ok(text)
}

fn trial_table(text: &mut String, report: &GpuReport, trial: &TrialReport) -> Result<()> {
    let (title, size, paper) = match &trial.trial {
        Trial::Product { side } => (
            format!("Signs, {side} x {side} times {side} x {side}"),
            *side == qnn_gpu::PAPER_SIDE,
            [23.0, 3.4].map(Some),
        ),
        Trial::Network {
            layers: sizes,
            images,
        } => {
            let layers: Vec<String> = sizes.iter().map(usize::to_string).collect();
            (
                format!("{}, {images} images", layers.join("-")),
                *images == qnn_gpu::PAPER_IMAGES && sizes[1..] == [4096, 4096, 4096, 10],
                [Some(7.0), None],
            )
        }
    };
    let note = if size {
        ""
    } else {
        " (smaller than the paper's)"
    };
    let correct = trial.kernels.iter().any(|times| times.correct.is_some());
    let (heading, line) = if correct {
        (" right answers |", " --- |")
    } else {
        ("", "")
    };
    writeln!(
        text,
        "{title}{note}:\n\n| kernel | milliseconds | G multiply-accumulates a second | share of peak |{heading}\n\
         | --- | --- | --- | --- |{line}"
    )?;
    for times in &trial.kernels {
        let (name, peak) = match times.kernel {
            ProductKernel::Planes => ("XNOR", report.limits[0]),
            ProductKernel::Naive => ("float32, naive", report.limits[1]),
            ProductKernel::Tiled => ("float32, tiled", report.limits[1]),
        };
        let speed = trial.giga_macs(times.kernel).unwrap_or(f64::NAN);
        write!(
            text,
            "| {name} | {} | {speed:.1} | {:.2} |",
            Summary::of(times.milliseconds.clone()),
            speed / peak
        )?;
        if let Some(correct) = times.correct {
            write!(text, " {correct} |")?;
        }
        writeln!(text)?;
    }
    if let Some(packing) = &trial.packing {
        writeln!(
            text,
            "\nPacking both operands: {} milliseconds.",
            Summary::of(packing.clone())
        )?;
    }
    let same = match (trial.agree, correct) {
        (true, true) => "All kernels give the same answers.",
        (true, false) => "All kernels give the same sums.",
        (false, _) => "**The kernels do not agree.**",
    };
    writeln!(
        text,
        "\n{same}\n\n| XNOR is faster than | times | paper |\n| --- | --- | --- |"
    )?;
    let others = [
        (ProductKernel::Naive, "float32, naive"),
        (ProductKernel::Tiled, "float32, tiled"),
    ];
    for ((kernel, name), paper) in others.into_iter().zip(paper) {
        let speed_up = trial.speed_up_over(kernel).context("Nothing was timed.")?;
        let paper = paper.map_or(String::new(), |paper: f64| paper.to_string());
        writeln!(text, "| {name} | {speed_up} | {paper} |")?;
    }
    writeln!(text)?;
    Ok(())
}
