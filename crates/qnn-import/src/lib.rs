//! The worker that reads and writes a visitor's files: it tells the page what is in them, gives images that an engine can
//! train on and networks that it can go on with, and makes files of networks to take away. It is a program of its own: few
//! visitors need it, and all would wait for its bytes. What files mean is `qnn_core::data`'s and `qnn_files`' business.

use std::error::Error;

use js_sys::Function;
use qnn_core::data::import::{self, ImportError, ImportNote, NamedFile, Opened};
use qnn_core::data::{DataSet, Images, TrainingData, Unpacker, data_set_from_files};
use qnn_core::spec::{Bits, Loss, NetworkSpec};
use qnn_core::train::Trainer;
use qnn_files::{
    import_dense, write_c, write_float_onnx, write_onnx, write_packed, write_rust, write_training,
};
use qnn_infer::Network;
use qnn_protocol::{
    ClassPreview, FromImporter, ImageSet, NetworkFormat, NetworkOrigin, NetworkPreview, OwnImages,
    Pixels, Preview,
};
use serde::Serialize;
use serde_bytes::ByteBuf;
use wasm_bindgen::prelude::*;

/// Examples of each class in a preview, at most, and of all classes together, where each has one.
const EXAMPLES: usize = 8;
const ALL_EXAMPLES: usize = 60;
/// Images that show how large the sums of a network from elsewhere become.
const SAMPLES: u64 = 500;
/// Of networks that have been trained elsewhere: they are to keep what they know.
const GENTLE_LEARNING_RATE: f32 = 0.001;
/// Milliseconds between two words of how far it is.
const PATIENCE: f64 = 50.0;

/// A file of the visitor, as the page's script hands it over.
#[derive(serde::Deserialize)]
struct Offered {
    path: String,
    bytes: ByteBuf,
}

/// Sees to it that the page hears why this program gave up.
#[wasm_bindgen(start)]
pub fn start() {
    std::panic::set_hook(Box::new(|panic| {
        report_error(&js_sys::Error::new(&panic.to_string()));
    }));
}

#[wasm_bindgen]
extern "C" {
    /// Tells the page of an error as if it had been thrown and not caught.
    #[wasm_bindgen(js_name = reportError)]
    fn report_error(error: &js_sys::Error);
}

/// Why files of so many bytes in all are not even to be opened, as a [`FromImporter`]; `undefined` where they are.
#[wasm_bindgen]
pub fn refusal(bytes: f64) -> Result<JsValue, JsValue> {
    if bytes <= import::MAX_UNPACKED_BYTES as f64 {
        return Ok(JsValue::UNDEFINED);
    }
    let limit = import::MAX_UNPACKED_BYTES;
    let message = ImportError::ManyBytes { limit }.to_string();
    told(&FromImporter::Refused { message })
}

fn told(message: &FromImporter) -> Result<JsValue, JsValue> {
    Ok(message.serialize(&serde_wasm_bindgen::Serializer::new())?)
}

/// Reads files, an array of `{ path, bytes }`, and calls `progress` with the share that is done now and then. Gives a
/// [`FromImporter`], `Read` or `Refused`.
#[wasm_bindgen]
pub fn read(files: JsValue, progress: &Function) -> Result<JsValue, JsValue> {
    let files: Vec<Offered> = serde_wasm_bindgen::from_value(files)?;
    if let [file] = &files[..]
        && qnn_files::is_network(&file.path, &file.bytes)
    {
        return told(&open(file).unwrap_or_else(refused));
    }
    let files = files.into_iter().map(|file| NamedFile {
        path: file.path,
        bytes: file.bytes.into_vec(),
    });
    let mut spoke = now();
    let answer = import(files.collect(), |fraction| {
        if now() - spoke > PATIENCE {
            spoke = now();
            // Whether the page hears it makes no difference to the work.
            let _ = progress.call1(&JsValue::NULL, &fraction.into());
        }
    });
    let answer = match answer {
        Ok((preview, images)) => FromImporter::Read {
            preview,
            images: images.into(),
        },
        Err(error) => refused(error),
    };
    told(&answer)
}

fn refused(error: Box<dyn Error>) -> FromImporter {
    FromImporter::Refused {
        message: error.to_string(),
    }
}

/// The network in a file.
fn open(file: &Offered) -> Result<FromImporter, Box<dyn Error>> {
    let (trainer, origin) = if qnn_files::is_foreign(&file.path, &file.bytes) {
        (foreign(file)?, NetworkOrigin::Foreign)
    } else {
        let qnn_files::Opened {
            mut trainer,
            is_whole,
            ..
        } = qnn_files::open(&file.bytes)?;
        let digits = DataSet::procedural(1, SAMPLES).test;
        if !is_whole && trainer.inputs() == digits.image_size() {
            trainer.restate_batch_norm(&digits.pixels);
        }
        let step = trainer.step_count();
        let origin = if is_whole {
            NetworkOrigin::Training { step }
        } else {
            NetworkOrigin::Packed
        };
        (trainer, origin)
    };
    let preview = NetworkPreview {
        spec: trainer.spec().clone(),
        inputs: trainer.inputs() as u32,
        classes: trainer.classes() as u32,
        origin,
    };
    Ok(FromImporter::Network {
        preview: preview.into(),
        checkpoint: trainer.checkpoint(),
    })
}

/// A network of another program's, which begins here with 32 bits.
fn foreign(file: &Offered) -> Result<Trainer, Box<dyn Error>> {
    let dense = import_dense(&file.path, &file.bytes)?;
    let digits = DataSet::procedural(1, SAMPLES).test;
    if dense.inputs() != digits.image_size() {
        return Err(format!(
            "This network reads images of {} numbers; here only those of {} can be opened, others by the command line.",
            dense.inputs(),
            digits.image_size()
        )
        .into());
    }
    let spec = NetworkSpec {
        weight_bits: Bits::FLOAT,
        activation_bits: Bits::FLOAT,
        loss: Loss::CrossEntropy,
        learning_rate: GENTLE_LEARNING_RATE,
        ..NetworkSpec::default()
    };
    Ok(dense.into_trainer(spec, &digits.pixels)?)
}

/// The file of a network, of an engine's `checkpoint`, as a [`NetworkFormat`]; `classes` are the names of its classes. Gives a
/// [`FromImporter`], `Written` or `Refused`.
#[wasm_bindgen]
pub fn write(checkpoint: &[u8], format: JsValue, classes: Vec<String>) -> Result<JsValue, JsValue> {
    let format = serde_wasm_bindgen::from_value(format)?;
    let written = written(checkpoint, format, &classes);
    told(&written.map_or_else(refused, |file| FromImporter::Written {
        file: ByteBuf::from(file),
    }))
}

fn written(
    checkpoint: &[u8],
    format: NetworkFormat,
    classes: &[String],
) -> Result<Vec<u8>, Box<dyn Error>> {
    let trainer = Trainer::restore(checkpoint)?;
    if format == NetworkFormat::Training {
        return Ok(write_training(&trainer, classes));
    }
    if format == NetworkFormat::Onnx && !trainer.spec().is_packable() {
        return Ok(write_float_onnx(&trainer, classes));
    }
    let packed = write_packed(&trainer, classes)?;
    let network = Network::parse(&packed)?;
    Ok(match format {
        NetworkFormat::Onnx => write_onnx(&network, trainer.spec(), classes),
        NetworkFormat::Training | NetworkFormat::Packed => packed,
        NetworkFormat::Rust => write_rust(&network, classes).into_bytes(),
        NetworkFormat::C => write_c(&network, classes).into_bytes(),
    })
}

/// Milliseconds by the worker's clock.
fn now() -> f64 {
    js_sys::Date::now()
}

/// What is in the files; or a sentence about what is wrong with them.
fn import(
    files: Vec<NamedFile>,
    mut progress: impl FnMut(f32),
) -> Result<(Preview, OwnImages), Box<dyn Error>> {
    let (data, notes) = match import::open(files)? {
        Opened::Idx(files) => {
            let count = files.len() as f32;
            let mut unpacked = Vec::new();
            for (place, file) in files.into_iter().enumerate() {
                let mut unpacker = Unpacker::new(&file.path, file.bytes);
                unpacked.push(loop {
                    if let Some(file) = unpacker.advance()? {
                        break file;
                    }
                    progress((place as f32 + unpacker.fraction()) / count);
                });
            }
            let data = data_set_from_files(unpacked, None)?;
            (data, Vec::new())
        }
        Opened::Other(mut importer) => loop {
            if let Some(imported) = importer.advance()? {
                let data = DataSet {
                    name: "your files".into(),
                    classes: imported.classes,
                    train: TrainingData::Images(imported.train),
                    test: imported.test,
                };
                break (data, imported.notes);
            }
            progress(importer.fraction());
        },
    };
    let TrainingData::Images(train) = data.train else {
        unreachable!("files hold images");
    };
    let preview = preview(&data.name, &data.classes, &train, &data.test, &notes);
    let images = OwnImages {
        name: data.name,
        classes: data.classes,
        train: set(train),
        test: set(data.test),
    };
    Ok((preview, images))
}

fn set(images: Images) -> ImageSet {
    ImageSet {
        width: images.width as u32,
        height: images.height as u32,
        pixels: Pixels::Bytes(ByteBuf::from(images.pixels)),
        labels: ByteBuf::from(images.labels),
    }
}

fn preview(
    name: &str,
    classes: &[String],
    train: &Images,
    test: &Images,
    notes: &[ImportNote],
) -> Preview {
    let each = (ALL_EXAMPLES / classes.len()).clamp(1, EXAMPLES);
    let class = |(label, name): (usize, &String)| {
        let of_class = |images: &Images| {
            let labels = images.labels.iter();
            labels.filter(|own| usize::from(**own) == label).count() as u32
        };
        let mine = (0..train.len()).filter(|place| usize::from(train.labels[*place]) == label);
        let examples = mine.take(each);
        ClassPreview {
            name: name.clone(),
            train: of_class(train),
            test: of_class(test),
            examples: examples
                .map(|place| ByteBuf::from(train.pixels_of(place..place + 1)))
                .collect(),
        }
    };
    Preview {
        name: name.into(),
        width: train.width as u32,
        height: train.height as u32,
        classes: classes.iter().enumerate().map(class).collect(),
        notes: notes.iter().map(ToString::to_string).collect(),
    }
}
