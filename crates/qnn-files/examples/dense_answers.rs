//! What dense networks of others answer: the original as it was read, and the trainer that is made of it, with weights and
//! activations of 32 bits. `tests/onnx` holds both against ONNX Runtime.
//!
//! ```text
//! dense_answers NETWORK PIXELS ANSWERS [ACTIVATION]
//! ```
//!
//! PIXELS is a safetensors file with the tensor `pixels`, uint8 `[images, inputs]`; ANSWERS becomes one with `original` and
//! `trainer`, float32 `[images, classes]`. ACTIVATION is `hard-tanh` where a file of weights is not of ReLU.

use std::{env, fs};

use qnn_core::spec::{Bits, NetworkSpec};
use qnn_files::{Activation, import_dense};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [network, pixels, answers, rest @ ..] = &arguments[..] else {
        return Err("Which network, which pixels, and where to write the answers?".into());
    };
    let mut dense = import_dense(network, &fs::read(network)?)?;
    match rest {
        [] => {}
        [activation] if activation == "hard-tanh" => dense.set_activation(Activation::Clip {
            lowest: -1.0,
            highest: 1.0,
        }),
        _ => return Err("The activation can be hard-tanh.".into()),
    }
    let file = fs::read(pixels)?;
    let tensors = SafeTensors::deserialize(&file)?;
    let pixels = tensors.tensor("pixels")?;
    let bytes = |logits: Vec<f32>| -> Vec<u8> {
        logits
            .iter()
            .flat_map(|logit| logit.to_le_bytes())
            .collect()
    };
    let shape = vec![pixels.shape()[0], dense.classes()];
    let original = bytes(dense.logits(pixels.data()));
    let spec = NetworkSpec {
        weight_bits: Bits::FLOAT,
        activation_bits: Bits::FLOAT,
        ..NetworkSpec::default()
    };
    let trainer = dense.into_trainer(spec, pixels.data())?;
    let trainer = bytes(trainer.freeze().logits(pixels.data()));
    let file = safetensors::serialize(
        [
            (
                "original",
                TensorView::new(Dtype::F32, shape.clone(), &original)?,
            ),
            ("trainer", TensorView::new(Dtype::F32, shape, &trainer)?),
        ],
        None,
    )?;
    Ok(fs::write(answers, file)?)
}
