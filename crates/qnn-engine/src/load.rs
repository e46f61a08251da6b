//! Where data comes from: beside the page, public mirrors, a visitor's files. It fetches and unpacks in pieces,
//! so that training goes on meanwhile; what the bytes mean is `qnn_core::data`.

use js_sys::{Reflect, Uint8Array};
use qnn_core::data::{
    DataError, DataSet, IdxFile, Images, MAX_CLASSES, TrainingData, Unpacker, data_set_from_files,
};
use qnn_protocol::{DataSource, FromEngine, ImageSet, OwnImages, Pixels};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortSignal, ReadableStreamDefaultReader, RequestInit, Response};

use crate::{Slices, now, post, scope};

/// MNIST's files, and how large each is when gzipped, in bytes: what progress is measured by.
const MNIST_FILES: [(&str, usize); 4] = [
    ("train-images-idx3-ubyte.gz", 9_912_422),
    ("train-labels-idx1-ubyte.gz", 28_881),
    ("t10k-images-idx3-ubyte.gz", 1_648_877),
    ("t10k-labels-idx1-ubyte.gz", 4_542),
];
/// Where they are looked for, in this order: beside the page, then where other sites may read them.
const MNIST_PLACES: [&str; 3] = [
    "data/mnist/",
    "https://raw.githubusercontent.com/fgnt/mnist/master/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
];
/// How long a file may take to arrive, in milliseconds.
const PATIENCE: u32 = 120_000;
/// How long unpacking may hold up other work, in milliseconds.
const SLICE: f64 = 10.0;

/// Loads what `source` names. Ends early once the load is `overtaken` by another.
pub async fn load(source: DataSource, overtaken: impl Fn() -> bool) -> Result<DataSet, DataError> {
    let slices = &Slices::new();
    let stop = || overtaken().then(|| DataError("Another load of data was asked for.".into()));
    match source {
        DataSource::Procedural | DataSource::Drawings => {
            Err(DataError("Digits that are drawn need no loading.".into()))
        }
        DataSource::Own(images) => own(*images, &stop).await,
        DataSource::Mnist => {
            let mut refusals = Vec::new();
            for place in MNIST_PLACES {
                match mnist_from(place, slices, &stop).await {
                    Ok(data) => return Ok(data),
                    Err(error) => refusals.push(error.to_string()),
                }
                if let Some(error) = stop() {
                    return Err(error);
                }
            }
            Err(DataError(format!(
                "MNIST could not be had, neither beside the page nor from public mirrors ({}). \
                 Drop its four files onto the page, or go on with procedural digits.",
                refusals.join("; ")
            )))
        }
    }
}

/// The images of a visitor's files.
async fn own(
    images: OwnImages,
    stop: &impl Fn() -> Option<DataError>,
) -> Result<DataSet, DataError> {
    let classes = images.classes;
    let (train, test) = (images.train, images.test);
    let train = own_set(train, classes.len(), stop).await?;
    let test = own_set(test, classes.len(), stop).await?;
    let is_whole = (2..=MAX_CLASSES).contains(&classes.len())
        && (train.width, train.height) == (test.width, test.height)
        && !train.is_empty()
        && !test.is_empty();
    if !is_whole {
        return Err(DataError(format!(
            "{} training and {} test images of {} classes are no data to learn from.",
            train.len(),
            test.len(),
            classes.len()
        )));
    }
    Ok(DataSet {
        name: images.name,
        classes,
        train: TrainingData::own(train),
        test,
    })
}

async fn own_set(
    set: ImageSet,
    classes: usize,
    stop: &impl Fn() -> Option<DataError>,
) -> Result<Images, DataError> {
    let pixels = match set.pixels {
        Pixels::Bytes(bytes) => bytes.into_vec(),
        Pixels::Address(address) => fetch(&address, stop, |_| ()).await?,
    };
    let size = (set.width as usize, set.height as usize);
    Images::checked(size, pixels, set.labels.into_vec(), classes)
}

async fn mnist_from(
    place: &str,
    slices: &Slices,
    stop: &impl Fn() -> Option<DataError>,
) -> Result<DataSet, DataError> {
    let all: usize = MNIST_FILES.iter().map(|(_, size)| size).sum();
    let (mut files, mut done) = (Vec::new(), 0);
    for (name, size) in MNIST_FILES {
        // Fetching counts for four fifths of the work, unpacking for one.
        let share = |part: f32| (done as f32 + size as f32 * part.min(1.0)) / all as f32;
        let bytes = fetch(&format!("{place}{name}"), stop, |received| {
            progress("Fetching MNIST", share(0.8 * received as f32 / size as f32));
        })
        .await?;
        let report = |fraction| progress("Unpacking MNIST", share(0.8 + 0.2 * fraction));
        files.push(unpack(name, bytes, slices, stop, report).await?);
        done += size;
    }
    data_set_from_files(files, Some("MNIST"))
}

fn progress(what: &str, fraction: f32) {
    post(&FromEngine::DataProgress {
        what: what.into(),
        fraction,
    });
}

/// Unpacks and checks a file, letting other work in between.
async fn unpack(
    name: &str,
    bytes: Vec<u8>,
    slices: &Slices,
    stop: &impl Fn() -> Option<DataError>,
    report: impl Fn(f32),
) -> Result<IdxFile, DataError> {
    let mut unpacker = Unpacker::new(name, bytes);
    let mut begun = now();
    loop {
        if let Some(file) = unpacker.advance()? {
            return Ok(file);
        }
        if now() - begun > SLICE {
            report(unpacker.fraction());
            slices.pause().await;
            begun = now();
            if let Some(error) = stop() {
                return Err(error);
            }
        }
    }
}

/// The bytes at an address, relative to the engine's own.
async fn fetch(
    address: &str,
    stop: &impl Fn() -> Option<DataError>,
    report: impl Fn(usize),
) -> Result<Vec<u8>, DataError> {
    let unreachable = |_: JsValue| DataError(format!("{address} cannot be reached"));
    let settings = RequestInit::new();
    settings.set_signal(Some(&AbortSignal::timeout_with_u32(PATIENCE)));
    let response = JsFuture::from(scope().fetch_with_str_and_init(address, &settings)).await;
    let response: Response = response.map_err(unreachable)?.unchecked_into();
    if !response.ok() {
        return Err(DataError(format!(
            "{address} answers {}",
            response.status()
        )));
    }
    let mut bytes = Vec::new();
    let Some(body) = response.body() else {
        return Ok(bytes);
    };
    let reader: ReadableStreamDefaultReader = body.get_reader().unchecked_into();
    loop {
        let piece = JsFuture::from(reader.read()).await.map_err(unreachable)?;
        if let Some(error) = stop() {
            // The rest is of no use; whether it can still be stopped does not matter.
            let _ = reader.cancel();
            return Err(error);
        }
        if Reflect::get(&piece, &"done".into()).is_ok_and(|done| done.is_truthy()) {
            return Ok(bytes);
        }
        let value = Reflect::get(&piece, &"value".into()).map_err(unreachable)?;
        bytes.extend(value.unchecked_into::<Uint8Array>().to_vec());
        report(bytes.len());
    }
}
