//! Files in and out: IDX folders, kept networks. What the bytes mean is `qnn_core`'s; this finds, reads and writes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use qnn_core::data::{DataSet, IdxFile, Unpacker, data_set_from_files};
use qnn_core::train::Trainer;

/// The data set of the IDX files in a folder: the files with "idx" in their names, or all there are.
/// Of a file that is there both gzipped and not, the plain one is taken.
pub fn data_set(folder: &Path) -> Result<DataSet> {
    let entries = fs::read_dir(folder)
        .with_context(|| format!("The folder {} cannot be read.", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    paths.retain(|path| path.is_file());
    let is_idx = |path: &&PathBuf| name(path).contains("idx");
    if paths.iter().any(|path| is_idx(&path)) {
        paths.retain(|path| is_idx(&path));
    }
    let all = paths.clone();
    paths.retain(|path| {
        path.extension().is_none_or(|end| end != "gz") || !all.contains(&path.with_extension(""))
    });
    paths.sort();
    if paths.is_empty() || paths.len() > 4 {
        bail!(
            "The folder {} has {} files; a data set is two of images and two of labels.",
            folder.display(),
            paths.len()
        );
    }
    let files = paths
        .iter()
        .map(|path| unpack(path))
        .collect::<Result<Vec<IdxFile>>>()?;
    Ok(data_set_from_files(files, None)?)
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn unpack(path: &Path) -> Result<IdxFile> {
    let bytes = fs::read(path).with_context(|| format!("{} cannot be read.", path.display()))?;
    let mut unpacker = Unpacker::new(&name(path), bytes);
    loop {
        if let Some(file) = unpacker.advance()? {
            return Ok(file);
        }
    }
}

/// A network that was kept.
pub fn trainer(path: &Path) -> Result<Trainer> {
    let bytes = fs::read(path).with_context(|| format!("{} cannot be read.", path.display()))?;
    Trainer::restore(&bytes)
        .with_context(|| format!("{} is not a network that can be used.", path.display()))
}

/// Writes a file whole or not at all: what was there before stays until the new one is complete.
pub fn save(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let written = fs::write(&unfinished, bytes).and_then(|()| fs::rename(&unfinished, path));
    if written.is_err() {
        // A disk that is full should not be left with half a file as well.
        let _ = fs::remove_file(&unfinished);
    }
    written.with_context(|| format!("{} cannot be written.", path.display()))
}
