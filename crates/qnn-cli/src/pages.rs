//! `qnn completions` and `qnn man`: what shells and `man` should know of the commands, made from their definitions.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Command};
use clap_complete::Shell;

#[derive(Args)]
pub struct Completions {
    shell: Shell,
}

#[derive(Args)]
pub struct Man {
    /// The folder to write the pages to: qnn.1 and one for each command.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub fn completions(arguments: &Completions, mut command: Command) -> Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "qnn", &mut text);
    std::io::stdout()
        .write_all(&text)
        .context("Standard output cannot be written.")
}

pub fn man(arguments: &Man, command: Command) -> Result<()> {
    let folder = &arguments.folder;
    fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(command, folder))
        .with_context(|| format!("The pages cannot be written to {}.", folder.display()))
}
