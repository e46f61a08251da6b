//! Runs the jobs of a sweep on this machine, each in a process of its own, and starts those anew that are killed. A worker
//! ends, with its job saved, when its standard input does: so none outlives the sweep.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Serialize;

use super::grid::{Job, Sweep};
use super::job::{self, JobResult, Told};
use crate::exit::Ending;
use crate::{Output, signals};

/// How often a job that was killed is started anew.
const RESTARTS: u32 = 3;
/// How often the sweep looks for signals.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// How the workers are to be run.
pub struct Workers<'a> {
    /// The folder of the sweep.
    pub folder: &'a Path,
    /// Where the data is now, if not where the sweep says.
    pub data: Option<&'a Path>,
    /// How often an unfinished network is saved.
    pub interval: Duration,
    /// Processes at a time, and threads of each.
    pub count: usize,
    pub threads: usize,
    pub output: &'a Output,
}

/// What is printed last.
#[derive(Default, Serialize)]
struct Summary {
    jobs: usize,
    /// Of these, the ones that diverged.
    done: usize,
    diverged: usize,
    /// How often a job that had been killed was started anew.
    restarts: u32,
    /// Why a job has no result, each.
    failed: Vec<String>,
}

/// What the threads that look after workers share.
struct Shared<'a> {
    sweep: &'a Sweep,
    workers: &'a Workers<'a>,
    state: Mutex<State>,
    bars: MultiProgress,
    total: ProgressBar,
}

struct State {
    waiting: VecDeque<usize>,
    /// The ends of the workers' standard inputs, a place for each; closed when all are to end.
    inputs: Vec<Option<ChildStdin>>,
    stops: bool,
    summary: Summary,
}

/// How a worker ended.
enum Outcome {
    Finished,
    /// By a signal, with whatever was saved last.
    Killed,
    /// What it said.
    Failed(String),
}

/// Runs all jobs that have no result yet.
pub fn run(sweep: &Sweep, workers: &Workers) -> Result<()> {
    let mut state = State {
        waiting: VecDeque::new(),
        inputs: Vec::new(),
        stops: false,
        summary: Summary {
            jobs: sweep.jobs.len(),
            ..Summary::default()
        },
    };
    for job in &sweep.jobs {
        match job::result(workers.folder, job)? {
            Some(result) => state.summary.count(&result),
            None => state.waiting.push_back(job.index),
        }
    }
    let count = workers.count.min(state.waiting.len());
    state.inputs.resize_with(count, || None);
    signals::watch()?;
    let bars = MultiProgress::new();
    let style = ProgressStyle::with_template("all jobs {bar:30} {pos}/{len}, {elapsed}")?;
    let total = bars.add(ProgressBar::new(sweep.jobs.len() as u64).with_style(style));
    total.set_position(state.summary.done as u64);
    let shared = Shared {
        sweep,
        workers,
        state: Mutex::new(state),
        bars,
        total,
    };
    thread::scope(|scope| {
        let shared = &shared;
        let threads: Vec<_> = (0..count)
            .map(|place| scope.spawn(move || shared.look_after(place)))
            .collect();
        while !threads.iter().all(|thread| thread.is_finished()) {
            if signals::received().is_some() {
                shared.stop();
            }
            thread::sleep(LOOK_INTERVAL);
        }
        let results = threads.into_iter().map(|thread| {
            let result = thread.join();
            result.unwrap_or_else(|_| bail!("A thread has failed."))
        });
        results.collect::<Result<()>>()
    })?;
    shared.total.finish_and_clear();
    let summary = shared
        .state
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .summary;
    workers.output.print(&summary, || summary.describe())?;
    summary.ending()
}

impl Shared<'_> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        let mut state = self.state();
        state.stops = true;
        state.inputs.iter_mut().for_each(|input| drop(input.take()));
    }

    /// Runs one job after the other, in processes whose inputs are at `place`.
    fn look_after(&self, place: usize) -> Result<()> {
        let template = "{prefix} {bar:30} {pos}/{len} steps, {eta} left";
        let style = ProgressStyle::with_template(template)?;
        loop {
            let next = self.state().waiting.pop_front();
            let Some(job) = next.and_then(|index| self.sweep.jobs.get(index)) else {
                return Ok(());
            };
            let bar = self.bars.insert_before(&self.total, ProgressBar::new(0));
            bar.set_style(style.clone());
            bar.set_prefix(job.name.clone());
            let outcome = self.run(job, place, &bar);
            bar.finish_and_clear();
            let Some(outcome) = outcome? else {
                return Ok(());
            };
            match (outcome, job::result(self.workers.folder, job)?) {
                (Outcome::Finished, Some(result)) => {
                    self.state().summary.count(&result);
                    self.bars
                        .suspend(|| self.workers.output.print(&result, || result.describe()))?;
                }
                (Outcome::Failed(reason), _) => self.fail(job, &reason),
                (Outcome::Killed, _) => {
                    self.fail(job, &format!("it was killed {} times", RESTARTS + 1));
                }
                (Outcome::Finished, None) => self.fail(job, "it left no result"),
            }
            self.total.inc(1);
        }
    }

    fn fail(&self, job: &Job, reason: &str) {
        let line = format!("job {}, {}: {reason}", job.index, job.name);
        self.state().summary.failed.push(line);
    }

    /// Runs a job until it is over, started anew where it is killed; none where the sweep is to stop.
    fn run(&self, job: &Job, place: usize, bar: &ProgressBar) -> Result<Option<Outcome>> {
        for attempt in 0..=RESTARTS {
            let Some(mut worker) = self.start(job, place)? else {
                return Ok(None);
            };
            if attempt > 0 {
                self.state().summary.restarts += 1;
            }
            if let Some(output) = worker.stdout.take() {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if let Ok(told) = serde_json::from_str::<Told>(&line) {
                        bar.set_length(told.all_steps);
                        bar.set_position(told.steps);
                    }
                }
            }
            let status = worker.wait().context("A worker cannot be waited for.")?;
            let mut state = self.state();
            state.inputs[place] = None;
            let stops = state.stops || signals::received().is_some();
            drop(state);
            match outcome(status, &self.log(job)) {
                Outcome::Killed if stops => return Ok(None),
                Outcome::Killed => {}
                other => return Ok(Some(other)),
            }
        }
        Ok(Some(Outcome::Killed))
    }

    /// Starts a worker; none where the sweep is to stop.
    fn start(&self, job: &Job, place: usize) -> Result<Option<Child>> {
        let mut state = self.state();
        if state.stops {
            return Ok(None);
        }
        let folder = job::folder(self.workers.folder, job.index);
        fs::create_dir_all(&folder)
            .with_context(|| format!("{} cannot be made.", folder.display()))?;
        let log = self.log(job);
        let log =
            File::create(&log).with_context(|| format!("{} cannot be written.", log.display()))?;
        let program = std::env::current_exe().context("This program's file is not known.")?;
        let mut command = Command::new(program);
        command
            .arg("sweep")
            .arg(self.workers.folder)
            .args(["--worker", "--job", &job.index.to_string()])
            .args(["--threads", &self.workers.threads.to_string()])
            .args([
                "--save-every",
                &self.workers.interval.as_secs_f64().to_string(),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log);
        // Ctrl-C is for the sweep, which then asks its workers to end.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        if let Some(data) = self.workers.data {
            command.arg("--data").arg(data);
        }
        let mut worker = command.spawn().context("A worker cannot be started.")?;
        state.inputs[place] = worker.stdin.take();
        Ok(Some(worker))
    }

    /// What a worker said on standard error.
    fn log(&self, job: &Job) -> std::path::PathBuf {
        job::folder(self.workers.folder, job.index).join("log")
    }
}

fn outcome(status: ExitStatus, log: &Path) -> Outcome {
    match status.code() {
        // 3: it diverged, which is a result.
        Some(0 | 3) => Outcome::Finished,
        None | Some(129 | 130 | 143) => Outcome::Killed,
        Some(code) => {
            let said = fs::read_to_string(log).unwrap_or_default();
            // A backtrace may follow.
            Outcome::Failed(match said.trim().split("\n\n").next() {
                None | Some("") => format!("it ended with code {code}"),
                Some(said) => said.into(),
            })
        }
    }
}

impl Summary {
    fn count(&mut self, result: &JobResult) {
        self.done += 1;
        self.diverged += usize::from(result.diverged.is_some());
    }

    fn describe(&self) -> String {
        let mut text = format!("{} of {} jobs are done", self.done, self.jobs);
        if self.diverged > 0 {
            text += &format!(", {} of them diverged", self.diverged);
        }
        if self.restarts > 0 {
            text += &format!("; started anew after being killed: {}", self.restarts);
        }
        text + "."
    }

    fn ending(&self) -> Result<()> {
        if self.done == self.jobs {
            return Ok(());
        }
        if let Some(signal) = signals::received() {
            bail!(Ending::Interrupted {
                signal,
                message: "Interrupted; what was trained is saved, and `qnn sweep` with the folder alone goes on with it."
                    .into(),
            });
        }
        bail!(Ending::Incomplete(format!(
            "{} of {} jobs have no result:\n{}",
            self.jobs - self.done,
            self.jobs,
            self.failed.join("\n")
        )))
    }
}
