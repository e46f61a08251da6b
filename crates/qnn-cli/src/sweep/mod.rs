//! `qnn sweep`: turns a grid of settings into jobs that know nothing of each other, and runs them here or writes what a
//! scheduler needs to run them elsewhere. What they come to, `report` says.

pub mod grid;
pub mod job;
mod scheduler;
mod workers;

use std::num::NonZero;
use std::path::PathBuf;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use clap::Args;

use crate::exit::Ending;
use crate::settings::seconds;
use crate::{Output, signals, threads};
use grid::{Grid, Sweep};
use job::Manner;
use scheduler::Scheduling;
use workers::Workers;

#[derive(Args)]
pub struct SweepArguments {
    /// The folder of the sweep: its jobs, what they are at and what they came to. Without a grid, the one that was begun there
    /// goes on.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// A folder of IDX files with images and labels, gzipped or not. Without it: procedural digits, endless. Given again, it
    /// says where the same data is now.
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    #[command(flatten)]
    grid: Grid,
    /// Processes that run jobs at the same time; one for each core by default.
    #[arg(long, value_name = "NUMBER", conflicts_with = "scheduler")]
    workers: Option<NonZero<usize>>,
    /// Runs one job and no other, from where it was stopped if it was: what schedulers call.
    #[arg(long, value_name = "INDEX", conflicts_with_all = ["Base", "Axes"])]
    job: Option<usize>,
    /// Seconds after which an unfinished network is saved.
    #[arg(long, value_name = "SECONDS", default_value = "20", value_parser = seconds)]
    save_every: Duration,
    /// A sweep's process is at the other end of standard input and output.
    #[arg(long, hide = true, requires = "job")]
    worker: bool,
    #[command(flatten)]
    scheduling: Scheduling,
    #[command(flatten)]
    output: Output,
}

pub fn sweep(arguments: SweepArguments) -> Result<()> {
    if let Some(index) = arguments.job {
        return run_job(&arguments, index);
    }
    ensure!(
        arguments.output.threads != Some(0),
        "It takes at least one thread."
    );
    let sweep = begin_or_go_on(&arguments)?;
    if arguments.scheduling.is_wanted() {
        return arguments.scheduling.write(
            &arguments.folder,
            &sweep,
            arguments.data.as_deref(),
            arguments.save_every,
            arguments.output.json,
        );
    }
    let cores = available_parallelism().map_or(1, NonZero::get);
    let threads = arguments.output.threads.unwrap_or(cores);
    let count = arguments.workers.map_or(threads, NonZero::get);
    workers::run(
        &sweep,
        &Workers {
            folder: &arguments.folder,
            data: arguments.data.as_deref(),
            interval: arguments.save_every,
            count,
            threads: (threads / count).max(1),
            output: &arguments.output,
        },
    )
}

/// The sweep that the grid describes, or the one that is there.
fn begin_or_go_on(arguments: &SweepArguments) -> Result<Sweep> {
    let folder = &arguments.folder;
    if arguments.grid.is_empty() {
        return Sweep::read(folder);
    }
    let sweep = arguments.grid.sweep(arguments.data.as_deref())?;
    if Sweep::is_in(folder) {
        let there = Sweep::read(folder)?;
        if !there.is_same(&sweep) {
            bail!(
                "{} has a sweep of another grid, of {} jobs; choose another folder, or leave the grid away to go on with that.",
                folder.display(),
                there.jobs.len()
            );
        }
        return Ok(there);
    }
    sweep.write(folder)?;
    Ok(sweep)
}

fn run_job(arguments: &SweepArguments, index: usize) -> Result<()> {
    if arguments.worker {
        signals::terminate_when_input_ends();
    }
    let sweep = Sweep::read(&arguments.folder)?;
    let manner = Manner {
        folder: &arguments.folder,
        data: arguments.data.as_deref(),
        interval: arguments.save_every,
        is_worker: arguments.worker,
    };
    let pool = threads(arguments.output.threads)?;
    let result = pool.install(|| job::run(&sweep, index, &manner))?;
    if !arguments.worker {
        arguments.output.print(&result, || result.describe())?;
    }
    match result.diverged {
        Some(reason) => bail!(Ending::Diverged(reason)),
        None => Ok(()),
    }
}
