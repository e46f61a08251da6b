//! `qnn`: the same networks, specs and data as the page, at native speed. It reads arguments and files, keeps the
//! clock and prints; all mathematics is `qnn_core`'s.

mod bench;
mod cost;
mod eval;
mod exit;
mod export;
mod files;
mod gpu;
mod inspect;
#[cfg(feature = "mpi")]
mod mpi;
mod pages;
mod plot;
mod predict;
mod report;
mod reproduce;
mod run;
mod settings;
mod signals;
mod sweep;
mod train;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bench::{Bench, bench};
use clap::{Args, CommandFactory, Parser, Subcommand};
use eval::{Eval, check_shape, eval};
use export::{Export, export};
use inspect::{Inspect, inspect};
use pages::{Completions, Man, completions, man};
use predict::{Predict, predict};
use qnn_core::cost::weight_bytes;
use qnn_core::data::DataSet;
use qnn_core::packed::Evaluation;
use qnn_core::parallel::{Exchange, Traffic};
use qnn_core::spec::{Bits, NetworkSpec};
use qnn_core::train::Trainer;
use rayon::{ThreadPool, ThreadPoolBuilder};
use report::{Report, report};
use reproduce::{Reproduce, reproduce};
use serde::Serialize;
use settings::Settings;
use sweep::{SweepArguments, sweep};
use train::{Train, train};

/// Procedural digits to test with where no other test images are given.
const PROCEDURAL_TEST_IMAGES: u64 = 10_000;
/// Test images answered at a time.
const EVALUATION_PIECE: usize = 500;

/// Trains and tests quantized neural networks (arXiv:1609.07061).
#[derive(Parser)]
#[command(name = "qnn", version, max_term_width = 100, after_help = exit::CODES)]
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
    /// Prints what a network answers for images.
    Predict(Predict),
    /// Prints what the file of a network holds.
    Inspect(Inspect),
    /// Writes a network as a file that others can use: packed, as ONNX, as Rust, as C.
    Export(Export),
    /// Counts what a network costs: bytes, operations, energy.
    Cost(Box<CostArguments>),
    /// Trains a network for each choice of a grid of settings, here or by a scheduler.
    Sweep(Box<SweepArguments>),
    /// Reports what the jobs of a sweep came to.
    Report(Report),
    /// Trains the networks of named recipes and reports how they did beside the paper's figures.
    Reproduce(Reproduce),
    /// Measures how fast it all is on this machine.
    Bench(Bench),
    /// Prints what a shell needs to complete the commands of qnn.
    Completions(Completions),
    /// Writes the manual's pages of all commands.
    Man(Man),
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
struct Output {
    /// Prints one JSON object a line.
    #[arg(long)]
    json: bool,
    /// Threads to compute with; as many as there are cores by default.
    #[arg(long)]
    threads: Option<usize>,
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
    /// What ranks have sent to each other, where there were some.
    #[serde(skip_serializing_if = "Option::is_none")]
    exchange: Option<Exchange>,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            exit::tell(&error);
            exit::code(&error).into()
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        #[cfg(feature = "mpi")]
        Command::Train(arguments) if arguments.mpi => mpi::train(&arguments),
        Command::Train(arguments) => {
            threads(arguments.output.threads)?.install(|| train(&arguments))
        }
        Command::Eval(arguments) => threads(arguments.output.threads)?.install(|| eval(arguments)),
        Command::Predict(arguments) => {
            threads(arguments.output.threads)?.install(|| predict(&arguments))
        }
        Command::Inspect(arguments) => inspect(&arguments),
        Command::Export(arguments) => export(arguments),
        Command::Cost(arguments) => cost::print(
            &arguments.settings.spec()?,
            arguments.inputs.into(),
            arguments.json,
        ),
        Command::Sweep(arguments) => sweep(*arguments),
        Command::Report(arguments) => report(&arguments),
        Command::Reproduce(arguments) => {
            threads(arguments.output.threads)?.install(|| reproduce(arguments))
        }
        Command::Bench(arguments) => bench(arguments),
        Command::Completions(arguments) => completions(&arguments, Arguments::command()),
        Command::Man(arguments) => man(&arguments, Arguments::command()),
    }
}

/// The threads to work on, the main one not among them: what runs on them hands nothing over where there is but one.
fn threads(count: Option<usize>) -> Result<ThreadPool> {
    ensure!(count != Some(0), "It takes at least one thread.");
    let pool = ThreadPoolBuilder::new().num_threads(count.unwrap_or(0));
    pool.build().context("The threads cannot be started.")
}

fn data_set(folder: Option<&Path>, seed: u32) -> Result<DataSet> {
    match folder {
        Some(folder) => files::data_set(folder),
        None => Ok(DataSet::procedural(seed, PROCEDURAL_TEST_IMAGES)),
    }
}

fn check_fit(trainer: &Trainer, data: &DataSet) -> Result<()> {
    check_shape((trainer.inputs(), trainer.classes()), data)
}

impl Output {
    fn print(&self, report: &impl Serialize, describe: impl Fn() -> String) -> Result<()> {
        print_line(&if self.json {
            serde_json::to_string(report)?
        } else {
            describe()
        })
    }
}

fn print_line(line: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{line}").context("Standard output cannot be written.")
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
            exchange: None,
        }
    }

    fn describe(&self) -> String {
        let answers = format!(
            "{:.2} % of {} test images of {}; weights of {} bytes instead of {}; {:.0} images/s on {} threads",
            100.0 * self.test_accuracy,
            self.test_images,
            self.test_data,
            self.weight_bytes,
            self.float_weight_bytes,
            self.images_per_second,
            self.threads
        );
        match &self.exchange {
            Some(exchange) => answers + "\n" + &describe_exchange(exchange),
            None => answers,
        }
    }
}

fn describe_exchange(exchange: &Exchange) -> String {
    let steps = u64::from(exchange.steps.max(1));
    let Traffic {
        gradients,
        activations,
        weights,
        statistics,
        state,
    } = exchange.sent;
    format!(
        "{} ranks sent {} bytes a step (gradients {}, activations {}, weights {}, statistics {}), all together, and {state} to \
         test and to keep the network; an all-reduce of float32 gradients would send {} a step, {:.1} times as many",
        exchange.ranks,
        exchange.sent_per_step,
        gradients / steps,
        activations / steps,
        weights / steps,
        statistics / steps,
        exchange.float_all_reduce_per_step,
        exchange.float_all_reduce_per_step as f64 / exchange.sent_per_step as f64
    )
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

    fn images_per_second(&self) -> f64 {
        // Nothing done in no time: 0.
        self.images as f64 / self.time.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}
