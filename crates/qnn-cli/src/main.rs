//! `qnn`: the same networks, specs and data as the page, at native speed. It reads arguments and files, keeps the
//! clock and prints; all mathematics is `qnn_core`'s.

mod bench;
mod cost;
mod export;
mod files;
mod gpu;
mod inspect;
mod reproduce;
mod settings;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bench::{Bench, bench};
use clap::{Args, Parser, Subcommand, ValueEnum};
use export::{Export, export};
use indicatif::{ProgressBar, ProgressStyle};
use inspect::{Inspect, inspect};
use qnn_core::cost::weight_bytes;
use qnn_core::data::{DataSet, Images, TrainingData};
use qnn_core::packed::Evaluation;
use qnn_core::spec::{Bits, NetworkSpec};
use qnn_core::train::{StepMetrics, Trainer};
use qnn_files::write_training;
use qnn_gpu::GpuTrainer;
use rayon::{ThreadPool, ThreadPoolBuilder};
use reproduce::{Reproduce, reproduce};
use serde::Serialize;
use settings::Settings;

/// Procedural digits to test with where no other test images are given.
const PROCEDURAL_TEST_IMAGES: u64 = 10_000;
/// Test images answered at a time.
const EVALUATION_PIECE: usize = 500;

/// Trains and tests quantized neural networks (arXiv:1609.07061).
#[derive(Parser)]
#[command(name = "qnn", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Trains a network and prints how it does after every epoch.
    Train(Box<Train>),
    /// Tests a network that `train --save` kept.
    Eval(Eval),
    /// Prints what the file of a network holds.
    Inspect(Inspect),
    /// Writes a network as a file that others can use: packed, as Rust, as C.
    Export(Export),
    /// Counts what a network costs: bytes, operations, energy.
    Cost(Box<CostArguments>),
    /// Trains the networks of named recipes and reports how they did beside the paper's figures.
    Reproduce(Reproduce),
    /// Measures how fast it all is on this machine.
    Bench(Bench),
}

#[derive(Args)]
struct CostArguments {
    #[command(flatten)]
    settings: Settings,
    /// Pixels of an image.
    #[arg(long, default_value_t = 28 * 28, value_parser = clap::value_parser!(u16).range(1..=8192))]
    inputs: u16,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Train {
    #[command(flatten)]
    settings: Settings,
    /// Epochs to train.
    #[arg(long, default_value_t = 5)]
    epochs: u32,
    /// A folder of IDX files with images and labels, gzipped or not. Without it: procedural digits, endless.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A folder whose test images are used instead of those that belong to the training data.
    #[arg(long, value_name = "DIR")]
    test_data: Option<PathBuf>,
    /// Where to keep the trained network.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Goes on from a network that was kept, with its settings, on the same data.
    #[arg(long, value_name = "FILE", conflicts_with = "Settings")]
    resume: Option<PathBuf>,
    /// What trains. The same steps either way, but for how floats are rounded.
    #[arg(long, value_enum, default_value_t = Backend::Processor)]
    backend: Backend,
    #[command(flatten)]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Backend {
    Processor,
    /// Through Vulkan, Metal or DX12.
    Gpu,
}

#[derive(Args)]
struct Eval {
    /// The network, as `train --save` kept it.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// A folder of IDX files with images and labels. Without it: procedural digits.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Answers with the mean of so many networks whose weights are drawn anew, where weights are stochastic.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    samples: Option<u32>,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
struct Output {
    /// Prints one JSON object a line.
    #[arg(long)]
    json: bool,
    /// Threads to compute with; as many as there are cores by default.
    #[arg(long)]
    threads: Option<usize>,
}

/// What is printed after an epoch.
#[derive(Serialize)]
struct EpochReport {
    epoch: u32,
    step: u32,
    /// Means over the epoch's steps.
    train_loss: f32,
    train_accuracy: f32,
    /// The loss of the epoch's last step, for comparison bit by bit.
    last_loss: f32,
    test_loss: f32,
    test_accuracy: f32,
    images_per_second: f64,
}

/// What is printed last.
#[derive(Serialize)]
struct FinalReport<'a> {
    spec: &'a NetworkSpec,
    test_data: &'a str,
    epochs: u32,
    threads: usize,
    weight_bytes: usize,
    float_weight_bytes: usize,
    test_images: usize,
    test_loss: f32,
    test_accuracy: f32,
    images_per_second: f64,
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Train(arguments) => {
            threads(arguments.output.threads)?.install(|| train(*arguments))
        }
        Command::Eval(arguments) => threads(arguments.output.threads)?.install(|| eval(arguments)),
        Command::Inspect(arguments) => inspect(&arguments),
        Command::Export(arguments) => export(arguments),
        Command::Cost(arguments) => cost::print(
            &arguments.settings.spec()?,
            arguments.inputs.into(),
            arguments.json,
        ),
        Command::Reproduce(arguments) => {
            threads(arguments.threads)?.install(|| reproduce(arguments))
        }
        Command::Bench(arguments) => bench(arguments),
    }
}

/// The threads to work on, the main one not among them: what runs on them hands nothing over where there is but one.
fn threads(count: Option<usize>) -> Result<ThreadPool> {
    ensure!(count != Some(0), "It takes at least one thread.");
    let pool = ThreadPoolBuilder::new().num_threads(count.unwrap_or(0));
    pool.build().context("The threads cannot be started.")
}

fn train(arguments: Train) -> Result<()> {
    let resumed = arguments
        .resume
        .as_deref()
        .map(files::trainer)
        .transpose()?;
    let spec = match &resumed {
        Some(trainer) => trainer.spec().clone(),
        None => arguments.settings.spec()?,
    };
    let data = data_set(arguments.data.as_deref(), spec.seed)?;
    let other = arguments
        .test_data
        .as_deref()
        .map(files::data_set)
        .transpose()?;
    let tested = other.as_ref().unwrap_or(&data);
    let mut trainer = match resumed {
        Some(trainer) => trainer,
        None => Trainer::new(spec, data.test.image_size(), data.classes.len())?,
    };
    check_fit(&trainer, &data)?;
    check_fit(&trainer, tested)?;

    let mut on_gpu = match arguments.backend {
        Backend::Processor => None,
        Backend::Gpu => Some(pollster::block_on(gpu::trainer(&trainer, &data.train))?),
    };
    let mut clock = Clock::default();
    for epoch in trainer.epoch()..trainer.epoch() + arguments.epochs {
        let trainers = (&mut trainer, on_gpu.as_mut());
        let report = train_epoch(trainers, &data.train, &tested.test, epoch, &mut clock)?;
        arguments.output.print(&report, || report.describe())?;
    }
    if let Some(file) = &arguments.save {
        files::save(file, &write_training(&trainer, &data.classes))?;
    }
    let evaluation = trainer
        .freeze()
        .evaluate_all(&tested.test, EVALUATION_PIECE);
    let report = FinalReport::new(&trainer, tested, evaluation, &clock);
    arguments.output.print(&report, || report.describe())
}

fn eval(arguments: Eval) -> Result<()> {
    let model = files::model(&arguments.model)?;
    let trainer = model.trainer();
    let data = data_set(arguments.data.as_deref(), trainer.spec().seed)?;
    check_fit(trainer, &data)?;
    ensure!(
        arguments.samples.is_none() || trainer.spec().weights().is_stochastic(),
        "The weights of this network are not stochastic: all samples would be the same."
    );
    let mut clock = Clock::default();
    let evaluation = match arguments.samples {
        Some(count) => {
            let networks = trainer.freeze_samples(count);
            clock.time(|| networks.evaluate_all(&data.test, EVALUATION_PIECE))
        }
        None => clock.time(|| model.evaluate(&data.test, EVALUATION_PIECE))?,
    };
    clock.images += evaluation.images;
    let report = FinalReport::new(trainer, &data, evaluation, &clock);
    arguments.output.print(&report, || report.describe())
}

/// Trains an epoch, on the GPU where that is given, with a progress bar where there is a terminal, then tests.
fn train_epoch(
    (trainer, on_gpu): (&mut Trainer, Option<&mut GpuTrainer>),
    data: &TrainingData,
    test: &Images,
    epoch: u32,
    clock: &mut Clock,
) -> Result<EpochReport> {
    let template = "{prefix} {bar:40} {pos}/{len} images, {eta} left, {msg}";
    let bar = ProgressBar::new(data.epoch_length() as u64)
        .with_style(ProgressStyle::with_template(template)?);
    bar.set_prefix(format!("epoch {}", epoch + 1));
    let mut epoch_clock = Clock::default();
    let (mut loss, mut accuracy, mut last_loss, mut steps) = (0.0, 0.0, 0.0, 0.0);
    let mut count = |metrics: StepMetrics| {
        loss += metrics.loss;
        accuracy += metrics.accuracy;
        last_loss = metrics.loss;
        steps += 1.0;
        bar.inc(metrics.images as u64);
        bar.set_message(format!("loss {:.4}", metrics.loss));
        metrics.images
    };
    match on_gpu {
        None => {
            while trainer.epoch() == epoch {
                let metrics = epoch_clock.time(|| trainer.step(data))?;
                epoch_clock.images += count(metrics);
            }
        }
        Some(on_gpu) => {
            let mut images = 0;
            epoch_clock.time(|| -> Result<()> {
                while on_gpu.epochs(data) < (epoch + 1) as f32 {
                    let mut all = on_gpu.take_metrics()?;
                    if !on_gpu.has_room() {
                        all.extend(pollster::block_on(on_gpu.settle())?);
                    }
                    images += all.into_iter().map(&mut count).sum::<usize>();
                    on_gpu.step(data);
                }
                let all = pollster::block_on(on_gpu.finish(trainer))?;
                images += all.into_iter().map(&mut count).sum::<usize>();
                Ok(())
            })?;
            epoch_clock.images += images;
        }
    }
    bar.finish_and_clear();
    clock.add(&epoch_clock);
    let evaluation = trainer.freeze().evaluate_all(test, EVALUATION_PIECE);
    Ok(EpochReport {
        epoch: trainer.epoch(),
        step: trainer.step_count(),
        train_loss: loss / steps,
        train_accuracy: accuracy / steps,
        last_loss,
        test_loss: evaluation.loss(),
        test_accuracy: evaluation.accuracy(),
        images_per_second: epoch_clock.images_per_second(),
    })
}

fn data_set(folder: Option<&Path>, seed: u32) -> Result<DataSet> {
    match folder {
        Some(folder) => files::data_set(folder),
        None => Ok(DataSet::procedural(seed, PROCEDURAL_TEST_IMAGES)),
    }
}

fn check_fit(trainer: &Trainer, data: &DataSet) -> Result<()> {
    ensure!(
        trainer.inputs() == data.test.image_size(),
        "The network reads images of {} pixels; those of {} have {}.",
        trainer.inputs(),
        data.name,
        data.test.image_size()
    );
    ensure!(
        data.classes.len() <= trainer.classes(),
        "The network tells {} classes apart; {} has {}.",
        trainer.classes(),
        data.name,
        data.classes.len()
    );
    Ok(())
}

impl Output {
    fn print(&self, report: &impl Serialize, describe: impl Fn() -> String) -> Result<()> {
        let line = if self.json {
            serde_json::to_string(report)?
        } else {
            describe()
        };
        print_line(&line)
    }
}

fn print_line(line: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{line}").context("Standard output cannot be written.")
}

impl EpochReport {
    fn describe(&self) -> String {
        format!(
            "epoch {:>3}   loss {:.4}   training {:.2} %   test {:.2} %   {:.0} images/s",
            self.epoch,
            self.train_loss,
            100.0 * self.train_accuracy,
            100.0 * self.test_accuracy,
            self.images_per_second
        )
    }
}

impl<'a> FinalReport<'a> {
    fn new(
        trainer: &'a Trainer,
        tested: &'a DataSet,
        evaluation: Evaluation,
        clock: &Clock,
    ) -> Self {
        let spec = trainer.spec();
        let bytes = |bits| weight_bytes(spec, trainer.inputs(), trainer.classes(), bits);
        FinalReport {
            spec,
            test_data: &tested.name,
            epochs: trainer.epoch(),
            threads: rayon::current_num_threads(),
            weight_bytes: bytes(spec.weight_bits),
            float_weight_bytes: bytes(Bits::FLOAT),
            test_images: evaluation.images,
            test_loss: evaluation.loss(),
            test_accuracy: evaluation.accuracy(),
            images_per_second: clock.images_per_second(),
        }
    }

    fn describe(&self) -> String {
        format!(
            "{:.2} % of {} test images of {}; weights of {} bytes instead of {}; {:.0} images/s on {} threads",
            100.0 * self.test_accuracy,
            self.test_images,
            self.test_data,
            self.weight_bytes,
            self.float_weight_bytes,
            self.images_per_second,
            self.threads
        )
    }
}

/// Adds up work and the time it took.
#[derive(Default)]
struct Clock {
    images: usize,
    time: Duration,
}

impl Clock {
    fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let result = work();
        self.time += begun.elapsed();
        result
    }

    fn add(&mut self, other: &Clock) {
        self.time += other.time;
        self.images += other.images;
    }

    fn images_per_second(&self) -> f64 {
        // Nothing done in no time: 0.
        self.images as f64 / self.time.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}
