//! `qnn reproduce`: trains the networks of named recipes and reports how they did beside what the paper says. Runs can
//! be stopped at any time and go on where they were; finished ones are not trained again. The test set chooses
//! nothing: what is reported is the last epoch.

mod recipes;
mod report;
mod runs;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use qnn_core::data::DataSet;

use crate::files;
use recipes::{Recipe, recipes};
use runs::{Report, Workshop};

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
    /// Where the reports are kept.
    #[arg(long, value_name = "DIR", default_value = "reports")]
    reports: PathBuf,
    /// Where unfinished runs are kept.
    #[arg(long, value_name = "DIR", default_value = "target/reproduce")]
    unfinished: PathBuf,
    /// Writes the report of what has been run and trains nothing.
    #[arg(long)]
    report_only: bool,
    /// Trains every run for so many epochs instead of the recipe's.
    #[arg(long)]
    epochs: Option<u32>,
    /// Threads to compute with; as many as there are cores by default.
    #[arg(long)]
    pub threads: Option<usize>,
}

pub fn reproduce(arguments: Reproduce) -> Result<()> {
    let mut all = recipes();
    if let Some(epochs) = arguments.epochs {
        let runs = all.iter_mut().flat_map(|recipe| &mut recipe.runs);
        runs.for_each(|run| run.epochs = epochs);
    }
    let chosen: Vec<&Recipe> = choose(&all, &arguments.recipes)?;
    let workshop = Workshop::new(&arguments.reports, &arguments.unfinished);
    if arguments.list {
        let report = workshop.report()?;
        for recipe in chosen {
            let finished = recipe.runs.iter().filter(|run| report.find(run).is_some());
            println!(
                "{:16} {:3} of {:2} runs   {}",
                recipe.name,
                finished.count(),
                recipe.runs.len(),
                recipe.title
            );
        }
        return Ok(());
    }
    if let Some(folder) = arguments.data.as_deref().filter(|_| !arguments.report_only) {
        let data = files::data_set(folder)?;
        for recipe in chosen {
            train(&workshop, recipe, &data, &all)?;
        }
    }
    let report: Report = workshop.report()?;
    report::write(&arguments.reports, &all, &report)
}

/// Trains the runs of a recipe that are not finished, and brings the report up to date after each.
fn train(workshop: &Workshop, recipe: &Recipe, data: &DataSet, all: &[Recipe]) -> Result<()> {
    for run in &recipe.runs {
        if workshop.report()?.find(run).is_some() {
            continue;
        }
        let result = workshop.train(recipe.name, run, data)?;
        println!("{:16} {:40} {}", recipe.name, run.label, result.summary());
        let report = workshop.add(result)?;
        report::write(workshop.reports(), all, &report)?;
    }
    Ok(())
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
