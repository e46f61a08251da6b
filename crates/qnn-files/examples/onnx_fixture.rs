//! Networks, trained for a moment, as files of all kinds, with images and what `qnn_infer` and `qnn_core` answer to them:
//! what `tests/onnx` holds ONNX Runtime against.
//!
//! ```text
//! onnx_fixture FOLDER [HIDDEN [STEPS]]     hidden layers such as 512,512
//! ```
//!
//! It trains on the IDX files in `mnist` in the folder QNN_DATA_DIR, else on procedural digits.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

use qnn_core::data::{DataSet, Unpacker, data_set_from_files};
use qnn_core::spec::{Bits, Levels, NetworkSpec};
use qnn_core::train::Trainer;
use qnn_files::{write_float_onnx, write_onnx, write_packed};
use qnn_infer::Network;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Networks by name: bits of weights, bits of activations, levels of both.
const NETWORKS: [(&str, u8, u8, Levels); 9] = [
    ("1-bit", 1, 1, Levels::Linear),
    ("2-bit", 2, 2, Levels::Linear),
    ("4-bit", 4, 4, Levels::Linear),
    ("8-bit", 8, 8, Levels::Linear),
    ("7-bit-weights", 7, 3, Levels::Linear),
    ("1-bit-weights", 1, 6, Levels::Linear),
    ("logarithmic-3-bit", 3, 3, Levels::Logarithmic),
    ("logarithmic-5-bit", 5, 5, Levels::Logarithmic),
    ("float", 32, 32, Levels::Linear),
];

fn main() -> Outcome<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let folder = arguments.first().ok_or("Which folder shall it write to?")?;
    let hidden = arguments.get(1).map_or("131,61", String::as_str);
    let hidden: Vec<usize> = hidden
        .split(',')
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let steps: usize = arguments.get(2).map_or(Ok(100), |steps| steps.parse())?;
    let data = match env::var_os("QNN_DATA_DIR") {
        Some(folder) => mnist(&Path::new(&folder).join("mnist"))?,
        None => DataSet::procedural(3, 2000),
    };
    let images = data.test.len();
    let shape = vec![images, data.test.image_size()];
    let pixels = TensorView::new(Dtype::U8, shape, &data.test.pixels)?;
    let labels = TensorView::new(Dtype::U8, vec![images], &data.test.labels)?;
    let path = |name: String| PathBuf::from(folder).join(name);
    write_tensors(
        &path("images.safetensors".into()),
        [("pixels", pixels), ("labels", labels)],
    )?;
    for (name, weights, activations, levels) in NETWORKS {
        let spec = NetworkSpec {
            hidden: hidden.clone(),
            weight_bits: Bits::new(weights)?,
            weight_levels: levels,
            activation_bits: Bits::new(activations)?,
            activation_levels: levels,
            ..NetworkSpec::default()
        };
        let mut trainer = Trainer::new(spec, data.test.image_size(), data.classes.len())?;
        for _ in 0..steps {
            trainer.step(&data.train)?;
        }
        // Training leaves most gammas positive; units that fall are to be tested too.
        trainer.take_up(trainer.progress(), |layer, state| {
            if layer == 0 {
                state.gamma[0]
                    .iter_mut()
                    .step_by(7)
                    .for_each(|gamma| *gamma = -*gamma);
            }
        });
        write_network(&trainer, &data, |end| path(format!("{name}.{end}")))?;
    }
    Ok(())
}

/// The files of one network.
fn write_network(trainer: &Trainer, data: &DataSet, path: impl Fn(&str) -> PathBuf) -> Outcome<()> {
    let test = &data.test;
    let shape = vec![test.len(), trainer.classes()];
    fs::write(path("float.onnx"), write_float_onnx(trainer, &data.classes))?;
    let logits = trainer.freeze().logits(&test.pixels);
    let logits: Vec<u8> = logits
        .iter()
        .flat_map(|logit| logit.to_le_bytes())
        .collect();
    let logits = TensorView::new(Dtype::F32, shape.clone(), &logits)?;
    if trainer
        .spec()
        .weights()
        .encoding()
        .is_none_or(|weights| weights.digits() > 8)
    {
        return write_tensors(&path("answers.safetensors"), [("logits", logits)]);
    }
    let file = write_packed(trainer, &data.classes)?;
    let network = Network::parse(&file)?;
    fs::write(
        path("onnx"),
        write_onnx(&network, trainer.spec(), &data.classes),
    )?;
    let mut buffer = vec![0; network.buffer_words()];
    let (mut scores, mut answers) = (Vec::new(), Vec::new());
    let mut of_image = vec![0; network.classes()];
    for pixels in test.pixels.chunks(network.inputs()) {
        network.scores(pixels, &mut buffer, &mut of_image)?;
        scores.extend(of_image.iter().flat_map(|score| score.to_le_bytes()));
        answers.extend((network.predict(pixels, &mut buffer)? as i64).to_le_bytes());
    }
    fs::write(path("safetensors"), &file)?;
    let scores = TensorView::new(Dtype::I32, shape, &scores)?;
    let answers = TensorView::new(Dtype::I64, vec![test.len()], &answers)?;
    let tensors = [("logits", logits), ("scores", scores), ("labels", answers)];
    write_tensors(&path("answers.safetensors"), tensors)
}

fn write_tensors<const COUNT: usize>(
    path: &Path,
    tensors: [(&str, TensorView<'_>); COUNT],
) -> Outcome<()> {
    let bytes = safetensors::serialize(HashMap::from(tensors), None)?;
    Ok(fs::write(path, bytes)?)
}

/// The data set of the IDX files in a folder, gzipped or not.
fn mnist(folder: &Path) -> Outcome<DataSet> {
    let mut files = Vec::new();
    for name in [
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ] {
        let plain = folder.join(name);
        let gzipped = folder.join(format!("{name}.gz"));
        let bytes = fs::read(if plain.is_file() { plain } else { gzipped })?;
        let mut unpacker = Unpacker::new(name, bytes);
        files.push(loop {
            if let Some(file) = unpacker.advance()? {
                break file;
            }
        });
    }
    Ok(data_set_from_files(files, None)?)
}
