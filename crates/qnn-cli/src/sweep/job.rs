//! One job of a sweep, in its folder: run once, by one process at a time, however often that is killed. Who calls it, a worker,
//! a scheduler or a person, makes no difference.

use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use qnn_core::spec::NetworkSpec;
use serde::{Deserialize, Serialize};

use super::grid::{Job, Sweep};
use crate::exit::{Ending, is_divergence};
use crate::run::{End, Epoch, Place, Training};
use crate::{data_set, files, signals};

/// How often a worker says how far it is, and looks whether its job is free.
const TELL_INTERVAL: Duration = Duration::from_millis(100);

/// What a finished job came to: its `result.json`.
#[derive(Clone, Serialize, Deserialize)]
pub struct JobResult {
    pub index: usize,
    pub name: String,
    pub spec: NetworkSpec,
    /// The data set's name.
    pub data: String,
    /// Pixels of an image, and classes.
    pub inputs: usize,
    pub classes: usize,
    pub epochs: u32,
    /// After the last epoch; none where training diverged.
    pub test_error_percent: Option<f64>,
    pub diverged: Option<String>,
    pub curve: Vec<Epoch>,
    pub threads: usize,
    /// Of training, not counting the tests.
    pub seconds: f64,
}

/// What a worker says on its way, a line each.
#[derive(Serialize, Deserialize)]
pub struct Told {
    pub steps: u64,
    pub all_steps: u64,
}

/// How a job is to be run.
pub struct Manner<'a> {
    /// The folder of the sweep.
    pub folder: &'a Path,
    /// Where the data is now, if not where the sweep says.
    pub data: Option<&'a Path>,
    /// How often the unfinished network is saved.
    pub interval: Duration,
    /// Whether a sweep's process is at the other end of standard input and output.
    pub is_worker: bool,
}

/// The folder of a job.
pub fn folder(sweep: &Path, index: usize) -> PathBuf {
    sweep.join("jobs").join(index.to_string())
}

/// What a job came to, if it has.
pub fn result(sweep: &Path, job: &Job) -> Result<Option<JobResult>> {
    let file = folder(sweep, job.index).join("result.json");
    if !file.exists() {
        return Ok(None);
    }
    let text = fs::read(&file).with_context(|| format!("{} cannot be read.", file.display()))?;
    let result: JobResult = serde_json::from_slice(&text).with_context(|| {
        format!(
            "{} is damaged; remove it to run the job anew.",
            file.display()
        )
    })?;
    if result.spec != job.spec {
        bail!(
            "{} is of another network than the job; remove it to run the job anew.",
            file.display()
        );
    }
    Ok(Some(result))
}

/// Runs a job to its end, from where it was stopped if it was; what it came to, also if that was known before.
///
/// # Errors
///
/// Among others [`Ending::Interrupted`], with the job saved.
pub fn run(sweep: &Sweep, index: usize, manner: &Manner) -> Result<JobResult> {
    let Some(job) = sweep.jobs.get(index) else {
        bail!(
            "There is no job {index}; the sweep's jobs are 0 to {}.",
            sweep.jobs.len().saturating_sub(1)
        );
    };
    signals::watch()?;
    let folder = folder(manner.folder, index);
    fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made.", folder.display()))?;
    // Held until the end.
    let _lock = lock(&folder, manner)?;
    let place = Place {
        checkpoint: folder.join("checkpoint"),
        state: folder.join("run.json"),
    };
    if let Some(result) = result(manner.folder, job)? {
        // It may have been killed before it did so itself.
        place.forget();
        return Ok(result);
    }
    let data = data_set(manner.data.or(sweep.data.as_deref()), job.spec.seed)?;
    let mut training = Training::resume_or_begin(&place, &job.spec, &data)?;
    let all_steps = training.epoch_steps() * u64::from(sweep.epochs);
    let template = "{prefix} {bar:30} {pos}/{len} steps, {eta} left";
    let bar = ProgressBar::new(all_steps)
        .with_style(ProgressStyle::with_template(template)?)
        .with_prefix(job.name.clone());
    let mut told = None;
    let end = training.train(
        sweep.epochs,
        Some((&place, manner.interval)),
        |training, _| {
            bar.set_position(training.steps());
            let is_due = told.is_none_or(|told: Instant| told.elapsed() >= TELL_INTERVAL);
            if manner.is_worker && is_due {
                told = Some(Instant::now());
                let steps = training.steps();
                let line = serde_json::to_string(&Told { steps, all_steps })?;
                // Where nobody listens any more, the end of standard input says so too.
                let _ = writeln!(std::io::stdout(), "{line}");
            }
            Ok(())
        },
    );
    bar.finish_and_clear();
    let diverged = match end {
        Ok(End::Done) => None,
        Ok(End::Stopped(signal)) => return Err(interrupted(signal, job).into()),
        Err(error) if is_divergence(&error) => Some(error.to_string()),
        Err(error) => return Err(error),
    };
    let test_error = training.curve.last().map(|epoch| epoch.test_error_percent);
    let result = JobResult {
        index,
        name: job.name.clone(),
        spec: job.spec.clone(),
        data: data.name.clone(),
        inputs: training.trainer.inputs(),
        classes: training.trainer.classes(),
        epochs: sweep.epochs,
        test_error_percent: test_error.filter(|_| diverged.is_none()),
        diverged,
        curve: training.curve.clone(),
        threads: rayon::current_num_threads(),
        seconds: training.seconds,
    };
    let text = serde_json::to_string_pretty(&result)? + "\n";
    files::save(&folder.join("result.json"), text.as_bytes())?;
    place.forget();
    Ok(result)
}

fn interrupted(signal: i32, job: &Job) -> Ending {
    Ending::Interrupted {
        signal,
        message: format!(
            "Job {} is interrupted and saved; the same command goes on with it.",
            job.index
        ),
    }
}

/// Takes the job for this process, whose number then stands in the lock. A worker waits for it: the process that has it may be
/// about to end.
fn lock(folder: &Path, manner: &Manner) -> Result<File> {
    let file = folder.join("lock");
    let opened = File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .open(&file);
    let mut lock = opened.with_context(|| format!("{} cannot be made.", file.display()))?;
    loop {
        match lock.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if manner.is_worker && signals::received().is_none() => {
                thread::sleep(TELL_INTERVAL);
            }
            Err(TryLockError::WouldBlock) => bail!(
                "Another process is running the job in {}: number {}. Wait for it, or end it.",
                folder.display(),
                fs::read_to_string(&file).unwrap_or_default()
            ),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("{} cannot be locked.", file.display()));
            }
        }
    }
    lock.set_len(0)
        .and_then(|()| write!(lock, "{}", std::process::id()))
        .with_context(|| format!("{} cannot be written.", file.display()))?;
    Ok(lock)
}

impl JobResult {
    /// A line for the terminal.
    pub fn describe(&self) -> String {
        let outcome = match (self.test_error_percent, &self.diverged) {
            (Some(error), _) => format!("{:.2} % test accuracy", 100.0 - error),
            (None, reason) => format!("diverged: {}", reason.as_deref().unwrap_or_default()),
        };
        format!(
            "{:>4}  {}: {outcome} in {:.1} s",
            self.index, self.name, self.seconds
        )
    }
}
