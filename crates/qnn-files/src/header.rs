//! The safetensors file around the tensors: its header and its metadata. Reading is the `safetensors` crate's; writing is
//! done here, since that crate puts the metadata in another order every time, and the same network should be the same bytes.

use qnn_core::data::MAX_CLASSES;
use qnn_core::spec::NetworkSpec;
use qnn_core::train::{CheckpointError, Progress, Trainer};
use qnn_infer::{FORMAT_VERSION, ParseError};
use safetensors::{Dtype, SafeTensors};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// What the metadata names the format.
const FORMAT: &str = "qnn";
/// Headers are padded to a multiple of it, so that all tensors lie aligned.
const ALIGNMENT: usize = 8;
/// The longest name of a class that is accepted, in characters.
const MAX_CLASS_NAME: usize = 200;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("This is not a safetensors file, or it is cut short or damaged: {0}.")]
    Damaged(#[from] safetensors::SafeTensorError),
    #[error("This safetensors file holds no network of the format qnn.")]
    Foreign,
    #[error("This network is of format version {0}; this program reads version {FORMAT_VERSION}.")]
    Version(String),
    #[error("The {what} in this file cannot be read: {reason}.")]
    Metadata { what: &'static str, reason: String },
    #[error("This file holds a packed network alone; what training goes on from is not in it.")]
    NoTraining,
    #[error(
        "The tensor {0} is missing from this file, or is of another type or shape than the settings say."
    )]
    Tensor(String),
    #[error("This network has {0} weights, too many to be trained on.")]
    Large(usize),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Packed(#[from] ParseError),
}

/// What a file says of itself.
#[derive(Clone, Debug, Serialize)]
pub struct Description {
    pub version: u32,
    pub spec: NetworkSpec,
    /// Pixels of an image.
    pub inputs: usize,
    /// The names of the classes.
    pub classes: Vec<String>,
    /// How far training had come, where it can go on from the file.
    pub progress: Option<Progress>,
    /// Whether a network that answers is in it.
    pub packed: bool,
    pub tensors: Vec<TensorDescription>,
}

/// What a file says of a tensor.
#[derive(Clone, Debug, Serialize)]
pub struct TensorDescription {
    pub name: String,
    pub dtype: String,
    pub shape: Vec<usize>,
    pub bytes: usize,
}

/// A tensor to be written.
pub struct Tensor {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

/// The bytes of a file of the network in a trainer. Classes without a name are given their numbers.
pub fn write(
    trainer: &Trainer,
    classes: &[String],
    progress: Option<Progress>,
    mut tensors: Vec<Tensor>,
) -> Vec<u8> {
    let names: Vec<String> = (0..trainer.classes())
        .map(|class| {
            classes
                .get(class)
                .cloned()
                .unwrap_or_else(|| class.to_string())
        })
        .collect();
    let (spec, inputs) = (trainer.spec(), trainer.inputs());
    // Those of the largest elements first, so that each begins at a multiple of its own.
    tensors.sort_by_key(|tensor| std::cmp::Reverse(tensor.dtype.bitsize()));
    let mut metadata = Map::new();
    metadata.insert("format".into(), FORMAT.into());
    metadata.insert("version".into(), FORMAT_VERSION.to_string().into());
    metadata.insert("inputs".into(), inputs.to_string().into());
    metadata.insert("classes".into(), json!(names).to_string().into());
    // All values of metadata are texts: what is more is JSON in a text.
    metadata.insert("spec".into(), json!(spec).to_string().into());
    if let Some(progress) = progress {
        metadata.insert("progress".into(), json!(progress).to_string().into());
    }
    let mut header = Map::new();
    header.insert("__metadata__".into(), Value::Object(metadata));
    let mut end = 0;
    for tensor in &tensors {
        let begin = end;
        end += tensor.bytes.len();
        let entry = json!({
            "dtype": tensor.dtype.to_string(),
            "shape": tensor.shape,
            "data_offsets": [begin, end],
        });
        header.insert(tensor.name.clone(), entry);
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(ALIGNMENT), b' ');
    let mut file = Vec::with_capacity(8 + header.len() + end);
    file.extend((header.len() as u64).to_le_bytes());
    file.extend(header);
    for tensor in tensors {
        file.extend(tensor.bytes);
    }
    file
}

impl Description {
    /// What `file` says of itself.
    pub fn of(file: &[u8]) -> Result<Description, FileError> {
        let (_, header) = SafeTensors::read_metadata(file)?;
        let metadata = header.metadata().as_ref().ok_or(FileError::Foreign)?;
        let text = |name: &str| metadata.get(name).map(String::as_str);
        if text("format") != Some(FORMAT) {
            return Err(FileError::Foreign);
        }
        let version = text("version").unwrap_or_default();
        if version != FORMAT_VERSION.to_string() {
            return Err(FileError::Version(version.to_string()));
        }
        let unreadable = |what| move |reason: String| FileError::Metadata { what, reason };
        let inputs = text("inputs").unwrap_or_default().parse::<usize>();
        let inputs = inputs.map_err(|error| unreadable("number of inputs")(error.to_string()))?;
        let classes: Vec<String> = parse("names of the classes", text("classes"))?;
        let is_short = |name: &String| name.chars().count() <= MAX_CLASS_NAME;
        if !(2..=MAX_CLASSES).contains(&classes.len()) || !classes.iter().all(is_short) {
            let reason =
                format!("there are 2 to {MAX_CLASSES}, of up to {MAX_CLASS_NAME} characters");
            return Err(unreadable("names of the classes")(reason));
        }
        let spec: NetworkSpec = parse("settings", text("spec"))?;
        spec.validate()
            .map_err(|error| unreadable("settings")(error.to_string()))?;
        let progress = match text("progress") {
            Some(progress) => Some(parse("progress", Some(progress))?),
            None => None,
        };
        let mut tensors: Vec<(usize, TensorDescription)> = header
            .tensors()
            .into_iter()
            .map(|(name, tensor)| {
                let (begin, end) = tensor.data_offsets;
                let description = TensorDescription {
                    name,
                    dtype: tensor.dtype.to_string(),
                    shape: tensor.shape.clone(),
                    bytes: end - begin,
                };
                (begin, description)
            })
            .collect();
        tensors.sort_by_key(|(begin, _)| *begin);
        let packed = match qnn_infer::Network::parse(file) {
            Ok(network) if network.classes() != classes.len() => {
                let reason = format!(
                    "they are {} for {} classes",
                    classes.len(),
                    network.classes()
                );
                return Err(unreadable("names of the classes")(reason));
            }
            Ok(_) => true,
            Err(ParseError::Unpacked) => false,
            Err(error) => return Err(error.into()),
        };
        Ok(Description {
            version: FORMAT_VERSION,
            spec,
            inputs,
            classes,
            progress,
            packed,
            tensors: tensors.into_iter().map(|(_, tensor)| tensor).collect(),
        })
    }
}

/// The JSON in a text of the metadata.
fn parse<'a, T: serde::Deserialize<'a>>(
    what: &'static str,
    text: Option<&'a str>,
) -> Result<T, FileError> {
    serde_json::from_str(text.unwrap_or_default()).map_err(|error| FileError::Metadata {
        what,
        reason: error.to_string(),
    })
}
