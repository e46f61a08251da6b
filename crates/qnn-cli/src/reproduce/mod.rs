//! `qnn reproduce`: trains the networks of named recipes and reports how they did beside what the paper says. Runs can
//! be stopped at any time and go on where they were; finished ones are not trained again. The test set chooses
//! nothing: what is reported is the last epoch.

mod recipes;
mod report;
mod runs;

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use clap::Args;
use serde::Serialize;

use crate::{Output, files, signals};
use recipes::{Recipe, Run, recipes};
use runs::{Report, Workshop};

/// The data that published figures are of, by the name that its checksums earn it.
const MNIST: &str = "MNIST";

#[derive(Args)]
pub struct Reproduce {
    /// The recipes to run, all by default; --list names them.
    recipes: Vec<String>,
    /// Names the recipes and how far each has come.
    #[arg(long)]
    list: bool,
    /// A folder of MNIST's four IDX files, gzipped or not.
    #[arg(long, value_name = "DIR", required_unless_present_any = ["list", "report_only"])]
    data: Option<PathBuf>,
    /// Trains on whatever data is in DIR instead of insisting on MNIST; needs reports of its own.
    #[arg(long, requires = "reports")]
    other_data: bool,
    /// Where the reports are kept; "reports" by default.
    #[arg(long, value_name = "DIR")]
    reports: Option<PathBuf>,
    /// Where unfinished runs are kept.
    #[arg(long, value_name = "DIR", default_value = "target/reproduce")]
    unfinished: PathBuf,
    /// Writes the report of what has been run and trains nothing.
    #[arg(long)]
    report_only: bool,
    /// Trains every run for so many epochs instead of the recipe's; needs reports of its own.
    #[arg(long, requires = "reports", value_parser = clap::value_parser!(u32).range(1..))]
    epochs: Option<u32>,
    /// Draws the charts as PNG files beside the SVG ones too.
    #[arg(long)]
    png: bool,
    #[command(flatten)]
    pub output: Output,
}

/// How far a recipe has come.
#[derive(Serialize)]
struct Listed<'a> {
    name: &'a str,
    title: &'a str,
    runs: usize,
    finished: usize,
}

pub fn reproduce(arguments: Reproduce) -> Result<()> {
    let mut all = recipes();
    if let Some(epochs) = arguments.epochs {
        let runs = all.iter_mut().flat_map(|recipe| &mut recipe.runs);
        runs.for_each(|run| run.epochs = epochs);
    }
    let chosen: Vec<&Recipe> = choose(&all, &arguments.recipes)?;
    let workshop = Workshop {
        reports: arguments.reports.unwrap_or_else(|| "reports".into()),
        unfinished: arguments.unfinished,
    };
    let data = match arguments.data.filter(|_| !arguments.report_only) {
        Some(folder) => Some(files::data_set(&folder)?),
        None => None,
    };
    let name = data.as_ref().map_or(MNIST, |data| &data.name);
    ensure!(
        name == MNIST || arguments.other_data,
        "The data is {name} and not MNIST, of which the published figures are; --other-data trains on it all the same."
    );
    if arguments.list {
        let report = workshop.report()?;
        for recipe in chosen {
            let finished = |run: &&Run| report.find(run, name).is_some();
            let listed = Listed {
                name: recipe.name,
                title: recipe.title,
                runs: recipe.runs.len(),
                finished: recipe.runs.iter().filter(finished).count(),
            };
            arguments.output.print(&listed, || listed.describe())?;
        }
        return Ok(());
    }
    let write =
        |report: &Report| report::write(&workshop.reports, &all, report, name, arguments.png);
    if let Some(data) = &data {
        signals::watch()?;
        for recipe in chosen {
            for run in &recipe.runs {
                if workshop.report()?.find(run, name).is_some() {
                    continue;
                }
                let outcome = workshop.train(recipe.name, run, data)?;
                arguments.output.print(&outcome, || {
                    format!("{:16} {:40} {}", recipe.name, run.label, outcome.summary())
                })?;
                workshop.add(recipe.name, run, outcome, write)?;
            }
        }
    }
    write(&workshop.report()?)
}

impl Listed<'_> {
    fn describe(&self) -> String {
        format!(
            "{:16} {:3} of {:2} runs   {}",
            self.name, self.finished, self.runs, self.title
        )
    }
}

fn choose<'a>(all: &'a [Recipe], names: &[String]) -> Result<Vec<&'a Recipe>> {
    if names.is_empty() {
        return Ok(all.iter().collect());
    }
    let find = |name: &String| match all.iter().find(|recipe| recipe.name == name) {
        Some(recipe) => Ok(recipe),
        None => {
            let known: Vec<&str> = all.iter().map(|recipe| recipe.name).collect();
            bail!("There is no recipe {name}; there are {}.", known.join(", "))
        }
    };
    names.iter().map(find).collect()
}
