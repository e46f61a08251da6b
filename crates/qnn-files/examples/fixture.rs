//! Writes what tests of other programs hold them against: a network of the format qnn, images, and the answers of
//! `qnn-core`'s kernels to them. It is no tool for users; `qnn` is.
//!
//! `fixture FOLDER [STEPS [IDX-FOLDER]]` trains 784-512-512-10 with 1-bit weights and activations for STEPS batches of 100
//! images, procedural digits or those of four IDX files, and writes `network.safetensors`, `images.bin`
//! (`[images, inputs]`, a byte a pixel) and `answers.bin` (`[images]`, a byte each).

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use qnn_core::data::{DataSet, IdxFile, Unpacker, data_set_from_files};
use qnn_core::loss::argmax;
use qnn_core::spec::{Bits, NetworkSpec};
use qnn_core::train::Trainer;
use qnn_files::write_packed;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("Name a folder to write into.")?;
    let folder = PathBuf::from(folder);
    let steps: u32 = arguments.next().as_deref().unwrap_or("200").parse()?;
    let data = match arguments.next() {
        Some(source) => idx(Path::new(&source))?,
        None => DataSet::procedural(1, 1000),
    };

    let spec = NetworkSpec {
        hidden: vec![512, 512],
        weight_bits: Bits::ONE,
        activation_bits: Bits::ONE,
        ..NetworkSpec::default()
    };
    let mut trainer = Trainer::new(spec, data.test.image_size(), data.classes.len())?;
    for _ in 0..steps {
        trainer.step(&data.train)?;
    }
    let logits = trainer.freeze().logits(&data.test.pixels);
    let answers: Vec<u8> = logits
        .chunks(trainer.classes())
        .map(|logits| argmax(logits) as u8)
        .collect();
    let answers_and_labels = answers.iter().zip(&data.test.labels);
    let right = answers_and_labels.filter(|(a, b)| a == b).count();
    println!(
        "{right} of {} test images of {} are read rightly",
        answers.len(),
        data.name
    );

    fs::create_dir_all(&folder)?;
    fs::write(
        folder.join("network.safetensors"),
        write_packed(&trainer, &data.classes)?,
    )?;
    fs::write(folder.join("images.bin"), &data.test.pixels)?;
    fs::write(folder.join("answers.bin"), answers)?;
    Ok(())
}

/// The data set of the files in a folder.
fn idx(folder: &Path) -> Result<DataSet, Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let bytes = fs::read(entry.path())?;
        files.push(unpack(&entry.file_name().to_string_lossy(), bytes)?);
    }
    Ok(data_set_from_files(files, None)?)
}

fn unpack(name: &str, bytes: Vec<u8>) -> Result<IdxFile, Box<dyn Error>> {
    let mut unpacker = Unpacker::new(name, bytes);
    loop {
        if let Some(file) = unpacker.advance()? {
            return Ok(file);
        }
    }
}
