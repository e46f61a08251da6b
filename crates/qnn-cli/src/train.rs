//! `qnn train`: trains one network, prints how it does after every epoch, and saves it on the way. How a run is stopped and gone
//! on with is `run`'s.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use qnn_core::data::DataSet;
use qnn_core::parallel::Ranks;
use qnn_core::train::Trainer;
use serde::Serialize;

use crate::eval::{Foreign, check_shape};
use crate::exit::Ending;
use crate::plot;
use crate::run::{End, EpochEnd, Place, State, Training};
use crate::settings::{Settings, seconds};
use crate::{
    Clock, EVALUATION_PIECE, FinalReport, Output, check_fit, data_set, files, gpu, signals,
};

/// Training images that show how large the sums of a network from elsewhere become.
const SAMPLES: usize = 1000;
/// Epochs to train where nothing says how many.
pub const EPOCHS: u32 = 5;

#[derive(Args)]
pub struct Train {
    #[command(flatten)]
    settings: Settings,
    /// Epochs to train: 5 by default. With --resume so many more; by default those that an interrupted run still lacks.
    #[arg(long)]
    epochs: Option<u32>,
    /// A folder of IDX files with images and labels, gzipped or not. Without it: procedural digits, endless.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A folder whose test images are used instead of those that belong to the training data.
    #[arg(long, value_name = "DIR")]
    test_data: Option<PathBuf>,
    /// Where to keep the network: after every epoch, every minute, when interrupted, and when it is trained. Until then
    /// FILE.run.json beside it holds what else there is to go on with.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Seconds after which an unfinished network is saved.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds, requires = "save")]
    save_every: Duration,
    /// Goes on from a network that was kept, with its settings, on the same data; from an interrupted run exactly.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["Base", "Varied"])]
    resume: Option<PathBuf>,
    /// Begins where a network stands, under new settings but with its hidden layers: one saved here, or a dense one of another
    /// program, as safetensors or ONNX.
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    from: Option<PathBuf>,
    #[command(flatten)]
    foreign: Foreign,
    /// What trains. The same steps either way, but for how floats are rounded.
    #[arg(long, value_enum, default_value_t = Backend::Processor)]
    backend: Backend,
    /// Draws loss and accuracy by epoch, of training and of the test, after every epoch: FILE.svg or FILE.png.
    #[arg(long, value_name = "FILE", value_parser = plot::file)]
    plot: Option<PathBuf>,
    /// Shares the work with the other processes that mpirun has started, and comes to the same bits as one. Saved after every
    /// epoch.
    #[cfg(feature = "mpi")]
    #[arg(long, conflicts_with = "backend")]
    pub mpi: bool,
    #[command(flatten)]
    pub output: Output,
}

/// What is trained, on what, and what it is tested with where that is not of the same data.
pub struct Begun {
    pub trainer: Trainer,
    pub data: DataSet,
    pub other: Option<DataSet>,
    /// Of the run that is gone on with.
    pub state: Option<State>,
    /// Epochs to have trained in the end.
    pub until: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Backend {
    Processor,
    /// Through Vulkan, Metal or DX12.
    Gpu,
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

pub fn train(arguments: &Train) -> Result<()> {
    train_among(arguments, begin(arguments)?, Ranks::alone())
}

/// Reads and checks all that training begins with.
pub fn begin(arguments: &Train) -> Result<Begun> {
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
    let trainer = match (resumed, &arguments.from) {
        (Some(trainer), _) => trainer,
        (None, Some(file)) => {
            let mut model = files::model(file)?;
            arguments.foreign.say(&mut model)?;
            check_shape(model.shape(), &data)?;
            let order = data.train.order(spec.seed, 0);
            let samples = SAMPLES.min(data.train.epoch_length());
            let (pixels, _) = data.train.batch(0, &order, 0..samples);
            model.begin_anew(spec, &pixels)?
        }
        (None, None) => Trainer::new(spec, data.test.image_size(), data.classes.len())?,
    };
    check_fit(&trainer, &data)?;
    check_fit(&trainer, other.as_ref().unwrap_or(&data))?;
    let state = match &arguments.resume {
        Some(file) => Place::beside(file).state(&trainer, &data.name)?,
        None => None,
    };
    let until = match (arguments.epochs, &state) {
        (None, Some(state)) if state.until >= trainer.epoch() => state.until,
        (epochs, _) => trainer.epoch().saturating_add(epochs.unwrap_or(EPOCHS)),
    };
    Ok(Begun {
        trainer,
        data,
        other,
        state,
        until,
    })
}

/// Trains, tests and keeps a network. Where `ranks` do so together, the first one prints and keeps it.
pub fn train_among(arguments: &Train, begun: Begun, ranks: Ranks<'_>) -> Result<()> {
    let Begun {
        trainer,
        data,
        other,
        state,
        until,
    } = begun;
    let tested = other.as_ref().unwrap_or(&data);
    let on_gpu = match arguments.backend {
        Backend::Processor => None,
        Backend::Gpu => Some(pollster::block_on(gpu::trainer(&trainer, &data.train))?),
    };
    let (is_first, is_alone) = (ranks.is_first(), ranks.are_one());
    let first_step = trainer.step_count();
    let mut training = Training::new(trainer, state, &data, &tested.test);
    training.share_among(ranks);
    if let Some(on_gpu) = on_gpu {
        training.move_to(on_gpu);
    }
    if is_alone {
        signals::watch()?;
    }
    let place = arguments.save.as_deref().map(Place::beside);
    let saving = place.as_ref().map(|place| (place, arguments.save_every));
    let mut clock = Clock::default();
    let bar = bar(&training);
    let end = training.train(until, saving, |training, end| {
        if !is_first {
            return Ok(());
        }
        show(&bar, training);
        let Some(end) = end else { return Ok(()) };
        clock.images += end.images;
        clock.time += Duration::from_secs_f64(end.seconds);
        if let Some(file) = &arguments.plot {
            plot::save(file, &plot::learning_curve(&training.curve)?)?;
        }
        let report = EpochReport::new(&training.trainer, end);
        bar.suspend(|| arguments.output.print(&report, || report.describe()))
    })?;
    bar.finish_and_clear();
    if let End::Stopped(signal) = end {
        return Err(interrupted(arguments, &training, signal)?.into());
    }
    let steps = training.trainer.step_count() - first_step;
    let weights = training.trainer.weight_count();
    let exchange = training.ranks.exchange(steps, weights);
    if !is_first {
        return Ok(());
    }
    if let Some(place) = &place {
        training.save_network(&place.checkpoint)?;
        place.forget_state();
    }
    let trainer = training.trainer;
    let evaluation = trainer
        .freeze()
        .evaluate_all(&tested.test, EVALUATION_PIECE);
    let report = FinalReport {
        exchange,
        ..FinalReport::new(&trainer, tested, evaluation, &clock)
    };
    arguments.output.print(&report, || report.describe())
}

/// Of the epoch under way, where there is a terminal.
fn bar(training: &Training) -> ProgressBar {
    let template = "{prefix} {bar:40} {pos}/{len} steps, {eta} left, {msg}";
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(training.epoch_steps()).with_style(style)
}

fn show(bar: &ProgressBar, training: &Training) {
    bar.set_prefix(format!("epoch {}", training.trainer.epoch() + 1));
    bar.set_position(training.steps() % training.epoch_steps());
    if let Some(loss) = training.loss() {
        bar.set_message(format!("loss {loss:.4}"));
    }
}

/// What is said of a run that a signal has stopped, and how to go on with it.
fn interrupted(arguments: &Train, training: &Training, signal: i32) -> Result<Ending> {
    let come = format!(
        "Interrupted after step {}, in epoch {}",
        training.steps(),
        training.trainer.epoch() + 1
    );
    let message = match &arguments.save {
        None => format!("{come}; nothing is saved: give --save a file to go on later."),
        Some(file) => {
            let file = file.to_string_lossy();
            let mut words = vec!["qnn", "train", "--resume", &file, "--save", &file];
            let text = |path: &Option<PathBuf>| {
                let path: Option<&Path> = path.as_deref();
                path.map(|path| path.to_string_lossy().into_owned())
            };
            let options = [
                ("--data", text(&arguments.data)),
                ("--test-data", text(&arguments.test_data)),
                ("--plot", text(&arguments.plot)),
            ];
            for (option, value) in &options {
                words.extend(value.iter().flat_map(|value| [*option, value]));
            }
            if arguments.backend == Backend::Gpu {
                words.extend(["--backend", "gpu"]);
            }
            if arguments.output.json {
                words.push("--json");
            }
            let command = shlex::try_join(words)?;
            format!("{come}; saved to {file}. Go on with: {command}")
        }
    };
    Ok(Ending::Interrupted { signal, message })
}

impl EpochReport {
    fn new(trainer: &Trainer, end: &EpochEnd) -> EpochReport {
        EpochReport {
            epoch: trainer.epoch(),
            step: trainer.step_count(),
            train_loss: end.train_loss,
            train_accuracy: end.train_accuracy,
            last_loss: end.last_loss,
            test_loss: end.test.loss(),
            test_accuracy: end.test.accuracy(),
            images_per_second: end.images as f64 / end.seconds.max(f64::MIN_POSITIVE),
        }
    }

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
