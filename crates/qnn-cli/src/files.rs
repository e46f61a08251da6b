//! Files in and out: IDX folders, networks. What the bytes mean is `qnn_core`'s and `qnn_files`' business; this finds, reads
//! and writes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use qnn_core::data::{DataSet, IdxFile, Images, Unpacker, data_set_from_files};
use qnn_core::packed::Evaluation;
use qnn_core::train::Trainer;
use qnn_files::{Opened, write_packed};
use qnn_infer::Network;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

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
    let bytes = read(path)?;
    let mut unpacker = Unpacker::new(&name(path), bytes);
    loop {
        if let Some(file) = unpacker.advance()? {
            return Ok(file);
        }
    }
}

/// The bytes of a file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("{} cannot be read.", path.display()))
}

/// A network that was saved, of whatever kind its file is.
pub fn model(path: &Path) -> Result<Model> {
    let bytes = read(path)?;
    let opened = qnn_files::open(&bytes)
        .with_context(|| format!("{} is not a network that can be used.", path.display()))?;
    Ok(Model { bytes, opened })
}

/// A network that was saved, to go on with.
pub fn trainer(path: &Path) -> Result<Trainer> {
    Ok(model(path)?.opened.trainer)
}

/// A network that was saved.
pub struct Model {
    bytes: Vec<u8>,
    opened: Opened,
}

impl Model {
    /// The trainer; of a packed network one that begins where its answers are.
    pub fn trainer(&self) -> &Trainer {
        &self.opened.trainer
    }

    /// The names of the classes; their numbers where the file has none.
    pub fn classes(&self) -> Vec<String> {
        let numbers = || (0..self.opened.trainer.classes()).map(|class| class.to_string());
        self.opened
            .classes
            .clone()
            .unwrap_or_else(|| numbers().collect())
    }

    /// The file of its packed network.
    pub fn packed(&self) -> Result<Vec<u8>> {
        if self.opened.is_whole {
            return Ok(write_packed(&self.opened.trainer, &self.classes())?);
        }
        Ok(self.bytes.clone())
    }

    /// How the network does on test images: the file's own answers, not those of a trainer made of it.
    pub fn evaluate(&self, images: &Images, piece: usize) -> Result<Evaluation> {
        if self.opened.is_whole {
            return Ok(self.opened.trainer.freeze().evaluate_all(images, piece));
        }
        let network = Network::parse(&self.bytes)?;
        let pieces: Vec<usize> = (0..images.len()).step_by(piece).collect();
        let evaluations = pieces.into_par_iter().map(|first| {
            let range = first..images.len().min(first + piece);
            let logits = logits(&network, images.pixels_of(range.clone()))?;
            let loss = self.opened.trainer.spec().loss;
            Ok(Evaluation::of(loss, &logits, &images.labels[range]))
        });
        evaluations.try_reduce(Evaluation::default, |sum, more| Ok(sum + more))
    }
}

/// The logits that a packed network gives, `[images, classes]`, for the pixels, `[images, inputs]`.
pub fn logits(network: &Network<'_>, pixels: &[u8]) -> Result<Vec<f32>> {
    let mut buffer = vec![0; network.buffer_words()];
    let mut scores = vec![0; network.classes()];
    let mut logits = Vec::new();
    for pixels in pixels.chunks(network.inputs()) {
        network.scores(pixels, &mut buffer, &mut scores)?;
        logits.extend(
            scores
                .iter()
                .map(|score| *score as f32 * network.score_unit()),
        );
    }
    Ok(logits)
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
