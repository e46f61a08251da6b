//! Files in and out: IDX folders, networks. What the bytes mean is `qnn_core`'s and `qnn_files`' business; this finds, reads
//! and writes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use qnn_core::data::{DataSet, IdxFile, Images, Unpacker, data_set_from_files};
use qnn_core::packed::{Evaluation, PackedNetwork};
use qnn_core::spec::{Loss, NetworkSpec};
use qnn_core::train::Trainer;
use qnn_files::{Dense, Opened, begin_anew, import_dense, write_packed};
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

/// A network that was saved, to go on with.
pub fn trainer(path: &Path) -> Result<Trainer> {
    Ok(model(path)?.trainer()?.clone())
}

/// A network that was saved, of whatever kind its file is.
pub fn model(path: &Path) -> Result<Model> {
    let bytes = read(path)?;
    let name = name(path);
    let kind = if qnn_files::is_foreign(&name, &bytes) {
        Kind::Foreign(import_dense(&name, &bytes)?)
    } else {
        let opened = qnn_files::open(&bytes)
            .with_context(|| format!("{} is not a network that can be used.", path.display()))?;
        if opened.is_whole {
            Kind::Trained(Box::new((opened.trainer.freeze(), opened)))
        } else {
            Kind::Packed(Box::new(opened), bytes)
        }
    };
    Ok(Model { name, kind })
}

/// A network that was saved.
pub struct Model {
    name: String,
    kind: Kind,
}

enum Kind {
    /// With what answers.
    Trained(Box<(PackedNetwork, Opened)>),
    /// The file answers; the trainer begins where its answers are.
    Packed(Box<Opened>, Vec<u8>),
    /// Of another program.
    Foreign(Dense),
}

impl Model {
    fn opened(&self) -> Option<&Opened> {
        match &self.kind {
            Kind::Trained(both) => Some(&both.1),
            Kind::Packed(opened, _) => Some(opened),
            Kind::Foreign(_) => None,
        }
    }

    /// What it can be trained on with; a packed network begins where its answers are.
    pub fn trainer(&self) -> Result<&Trainer> {
        let opened = self.opened();
        opened.map(|opened| &opened.trainer).with_context(|| {
            let name = &self.name;
            format!("{name} is a network of another program: begin with `qnn train --from` and that file.")
        })
    }

    /// The network of another program, if it is one, to say more of it than its file does.
    pub fn foreign(&mut self) -> Option<&mut Dense> {
        match &mut self.kind {
            Kind::Foreign(dense) => Some(dense),
            _ => None,
        }
    }

    /// Pixels of an image, and the number of classes.
    pub fn shape(&self) -> (usize, usize) {
        match &self.kind {
            Kind::Foreign(dense) => (dense.inputs(), dense.classes()),
            Kind::Trained(both) => (both.0.inputs(), both.0.classes()),
            Kind::Packed(opened, _) => (opened.trainer.inputs(), opened.trainer.classes()),
        }
    }

    /// The names of the classes; their numbers where the file has none.
    pub fn classes(&self) -> Vec<String> {
        let numbers = || (0..self.shape().1).map(|class| class.to_string()).collect();
        let named = self.opened().and_then(|opened| opened.classes.clone());
        named.unwrap_or_else(numbers)
    }

    /// The file of its packed network.
    pub fn packed(&self) -> Result<Vec<u8>> {
        match &self.kind {
            Kind::Packed(_, bytes) => Ok(bytes.clone()),
            _ => Ok(write_packed(self.trainer()?, &self.classes())?),
        }
    }

    /// The logits, `[images, classes]`, for the pixels, `[images, inputs]`: of a packed file its own answers, not those of a
    /// trainer made of it.
    pub fn logits(&self, pixels: &[u8]) -> Result<Vec<f32>> {
        let file = match &self.kind {
            Kind::Trained(both) => return Ok(both.0.logits(pixels)),
            Kind::Foreign(dense) => return Ok(dense.logits(pixels)),
            Kind::Packed(_, file) => file,
        };
        let network = Network::parse(file)?;
        let mut buffer = vec![0; network.buffer_words()];
        let mut scores = vec![0; network.classes()];
        let mut logits = Vec::new();
        for pixels in pixels.chunks(network.inputs()) {
            network.scores(pixels, &mut buffer, &mut scores)?;
            let unit = network.score_unit();
            logits.extend(scores.iter().map(|score| *score as f32 * unit));
        }
        Ok(logits)
    }

    /// How it does on test images, answered `piece` at a time.
    pub fn evaluate(&self, images: &Images, piece: usize) -> Result<Evaluation> {
        if let Kind::Trained(both) = &self.kind {
            return Ok(both.0.evaluate_all(images, piece));
        }
        let loss = self
            .opened()
            .map_or(Loss::CrossEntropy, |opened| opened.trainer.spec().loss);
        let pieces: Vec<usize> = (0..images.len()).step_by(piece).collect();
        let evaluations = pieces.into_par_iter().map(|first| {
            let range = first..images.len().min(first + piece);
            let logits = self.logits(images.pixels_of(range.clone()))?;
            Ok(Evaluation::of(loss, &logits, &images.labels[range]))
        });
        evaluations.try_reduce(Evaluation::default, |sum, more| Ok(sum + more))
    }

    /// A trainer of `spec` that begins where this network stands, with the hidden layers of that; `pixels` are some hundred
    /// images of the kind that it shall read.
    pub fn begin_anew(self, spec: NetworkSpec, pixels: &[u8]) -> Result<Trainer> {
        match self.kind {
            Kind::Foreign(dense) => Ok(dense.into_trainer(spec, pixels)?),
            Kind::Trained(both) => Ok(begin_anew(&both.1.trainer, spec)?),
            Kind::Packed(mut opened, _) => {
                opened.trainer.restate_batch_norm(pixels);
                Ok(begin_anew(&opened.trainer, spec)?)
            }
        }
    }
}

/// Writes a file whole or not at all: what was there before stays until the new one is complete. What is no
/// plain file, such as a terminal or a pipe, is written to.
pub fn save(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return fs::write(path, bytes);
        }
        // Not that of another process which writes the same file.
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(format!(".{}.unfinished", std::process::id()));
        let written = fs::write(&unfinished, bytes).and_then(|()| fs::rename(&unfinished, path));
        if written.is_err() {
            // A disk that is full should not be left with half a file as well.
            let _ = fs::remove_file(&unfinished);
        }
        written
    };
    write().with_context(|| format!("{} cannot be written.", path.display()))
}
