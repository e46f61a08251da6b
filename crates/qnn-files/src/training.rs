//! What training goes on from as tensors: latent weights, batch normalization, the optimizer's memory. A file of them
//! holds the packed network too where there is one, so that whoever only wants answers need not train.

use qnn_core::spec::NetworkSpec;
use qnn_core::train::{CheckpointError, LayerState, Progress, Trainer};
use safetensors::{Dtype, SafeTensors};

use crate::header::{self, Description, FileError, Tensor};
use crate::packed;

/// The names of the parts of a layer's state.
const PARTS: LayerState<&str> = LayerState {
    latent: [
        "latent_weight",
        "latent_weight.first_moment",
        "latent_weight.second_moment",
    ],
    gamma: ["gamma", "gamma.first_moment", "gamma.second_moment"],
    beta: ["beta", "beta.first_moment", "beta.second_moment"],
    running: ["running_mean", "running_variance"],
};

/// The shape of each part of a layer.
fn shapes(inputs: usize, units: usize) -> LayerState<Vec<usize>> {
    let of_units = || vec![units];
    let of_weights = || vec![units, inputs];
    LayerState {
        latent: [of_weights(), of_weights(), of_weights()],
        gamma: [of_units(), of_units(), of_units()],
        beta: [of_units(), of_units(), of_units()],
        running: [of_units(), of_units()],
    }
}

/// A file that training goes on from exactly; to be called between steps. `classes` are the names of the classes.
pub fn write_training(trainer: &Trainer, classes: &[String]) -> Vec<u8> {
    // Networks of floats have no packed form, and need none.
    let mut tensors = packed::tensors(&trainer.freeze()).unwrap_or_default();
    let layers = trainer
        .spec()
        .layer_shapes(trainer.inputs(), trainer.classes());
    for (index, (state, (inputs, units))) in trainer.state().zip(layers).enumerate() {
        let parts = PARTS.parts().zip(shapes(inputs, units).parts());
        for ((part, shape), values) in parts.zip(state.parts()) {
            tensors.push(Tensor {
                name: name(index, part),
                dtype: Dtype::F32,
                shape,
                bytes: values
                    .iter()
                    .flat_map(|value| value.to_le_bytes())
                    .collect(),
            });
        }
    }
    let progress = Some(trainer.progress());
    header::write(trainer, classes, progress, tensors)
}

/// The trainer that a file was made of, and what the file says of itself.
pub fn read_trainer(file: &[u8]) -> Result<(Trainer, Description), FileError> {
    let description = Description::of(file)?;
    let progress = description.progress.ok_or(FileError::NoTraining)?;
    let tensors = SafeTensors::deserialize(file)?;
    let (inputs, classes) = (description.inputs, description.classes.len());
    // Sizes are checked before memory is taken for them: the file must hold as much.
    let layers = description.spec.layer_shapes(inputs, classes);
    for (index, (inputs, units)) in layers.into_iter().enumerate() {
        for (part, shape) in PARTS.parts().zip(shapes(inputs, units).parts()) {
            let name = name(index, part);
            let fits = tensors
                .tensor(&name)
                .is_ok_and(|tensor| tensor.dtype() == Dtype::F32 && tensor.shape() == shape);
            if !fits {
                return Err(FileError::Tensor(name));
            }
        }
    }
    let spec = description.spec.clone();
    let trainer = Trainer::from_state(spec, inputs, classes, progress, |layer, state| {
        for (part, values) in PARTS.parts().zip(state.parts()) {
            if let Ok(tensor) = tensors.tensor(&name(layer, part)) {
                let (numbers, _) = tensor.data().as_chunks();
                for (value, bytes) in values.iter_mut().zip(numbers) {
                    *value = f32::from_le_bytes(*bytes);
                }
            }
        }
    })?;
    Ok((trainer, description))
}

/// A trainer of `spec` that begins where another one stands, with the hidden layers of that and an optimizer without memory.
pub fn begin_anew(from: &Trainer, spec: NetworkSpec) -> Result<Trainer, CheckpointError> {
    let hidden = from.spec().hidden.clone();
    let spec = NetworkSpec { hidden, ..spec };
    let states: Vec<LayerState<&[f32]>> = from.state().collect();
    let (inputs, classes) = (from.inputs(), from.classes());
    Trainer::from_state(
        spec,
        inputs,
        classes,
        Progress::default(),
        |layer, state| {
            let known = &states[layer];
            let ([latent, ..], [gamma, ..], [beta, ..]) = (state.latent, state.gamma, state.beta);
            let [mean, variance] = state.running;
            latent.copy_from_slice(known.latent[0]);
            gamma.copy_from_slice(known.gamma[0]);
            beta.copy_from_slice(known.beta[0]);
            mean.copy_from_slice(known.running[0]);
            variance.copy_from_slice(known.running[1]);
        },
    )
}

fn name(layer: usize, part: &str) -> String {
    format!("layers.{layer}.{part}")
}
