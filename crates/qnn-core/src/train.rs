//! `Trainer`: owns the weights, the optimizer's state and the random state, and trains step by step (paper
//! Algorithm 1). Its result depends on spec, seed and data alone: not on threads, nor on how it is cut into slices.
//! It knows no clock: who calls it decides when.

use std::ops::Range;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::data::{CLASSES, TrainingData};
use crate::kernels::float_product;
use crate::layers::{
    BatchNorm, DenseWeights, Input, Normalized, dense_product, multiplies_integers,
};
use crate::optim::{Parameter, Update, power};
use crate::packed::{PackedLayer, PackedNetwork};
use crate::quant::straight_through;
use crate::spec::{NetworkSpec, SpecError};

/// Multiply-accumulates after which a step may be interrupted: some 10 ms of one thread.
const PART_MACS: usize = 1 << 26;
/// Rows that a piece of a product has at least: the float product packs its other operand anew for each piece.
const MIN_PIECE: usize = 32;
/// What a checkpoint starts with; the last byte is the version of what follows.
const CHECKPOINT_MAGIC: &[u8] = b"QNN checkpoint\x01";

/// A network in training. `serde` keeps all that training depends on; a step under way is not kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trainer {
    spec: NetworkSpec,
    inputs: usize,
    layers: Vec<Layer>,
    progress: Progress,
    #[serde(skip)]
    order: Vec<u32>,
    #[serde(skip)]
    work: Option<Work>,
}

/// How far training has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Progress {
    /// Steps trained.
    step: u32,
    /// Whole epochs trained.
    epoch: u32,
    /// Images of the present epoch that have been trained on.
    position: usize,
    /// Updates since the optimizer was chosen.
    updates: u32,
}

/// A fully connected layer: latent weights, `[units, inputs]`, and batch normalization.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Layer {
    inputs: usize,
    units: usize,
    latent: Parameter,
    batch_norm: BatchNorm,
}

/// What a finished step showed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StepMetrics {
    /// Counts from 1.
    pub step: u32,
    /// The mean loss of the batch, before the update.
    pub loss: f32,
    /// Share of the batch answered rightly, 0 to 1.
    pub accuracy: f32,
    /// Images in the batch.
    pub images: usize,
}

/// A piece of a step, small enough that a visitor who presses pause need not wait.
#[derive(Clone, Debug)]
enum Part {
    Quantize { layer: usize },
    Product { layer: usize, rows: Range<usize> },
    Normalize { layer: usize },
    Loss,
    NormalizeBackward { layer: usize },
    InputGradient { layer: usize, rows: Range<usize> },
    WeightUpdate { layer: usize, units: Range<usize> },
}

/// A step under way.
#[derive(Clone, Debug)]
struct Work {
    /// Parts still to be done, the next one last.
    parts: Vec<Part>,
    update: Update,
    labels: Vec<u8>,
    /// What each layer took in and made of it, as far as the step has come.
    inputs: Vec<Input>,
    weights: Vec<DenseWeights>,
    /// Batch normalization's outputs, `[batch, units]`.
    outputs: Vec<Vec<f32>>,
    normalized: Vec<Normalized>,
    /// The gradient to the outputs, then to the sums, of the layer being done, `[batch, units]`.
    gradient: Vec<f32>,
    /// The gradient to that layer's inputs, `[batch, inputs]`.
    input_gradient: Vec<f32>,
    metrics: StepMetrics,
}

/// Why a checkpoint cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    #[error("This is not a checkpoint, or one of another version.")]
    Foreign,
    #[error("The checkpoint is cut short or damaged.")]
    Damaged,
    #[error("The checkpoint's settings make no sense: {0}")]
    Spec(#[from] SpecError),
}

impl Trainer {
    /// A new network for images of `inputs` pixels: latent weights uniform in [-1, 1] (the authors' Theano code).
    pub fn new(spec: NetworkSpec, inputs: usize) -> Result<Trainer, SpecError> {
        spec.validate()?;
        let mut random = ChaCha8Rng::seed_from_u64(u64::from(spec.seed));
        let layers = spec
            .layer_shapes(inputs, CLASSES)
            .into_iter()
            .map(|(inputs, units)| {
                let mut uniform = || (random.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0;
                let latent = (0..inputs * units).map(|_| uniform()).collect();
                Layer {
                    inputs,
                    units,
                    latent: Parameter::new(latent),
                    batch_norm: BatchNorm::new(units),
                }
            })
            .collect();
        Ok(Trainer {
            spec,
            inputs,
            layers,
            progress: Progress::default(),
            order: Vec::new(),
            work: None,
        })
    }

    /// The present settings.
    pub fn spec(&self) -> &NetworkSpec {
        &self.spec
    }

    /// Pixels of an image.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// The latent weights of a layer, `[units, inputs]`, in [-1, 1].
    pub fn latent_weights(&self, layer: usize) -> &[f32] {
        &self.layers[layer].latent.values
    }

    /// Latent weights of all layers.
    pub fn weight_count(&self) -> usize {
        self.layers
            .iter()
            .map(|layer| layer.latent.values.len())
            .sum()
    }

    /// Steps trained.
    pub fn step_count(&self) -> u32 {
        self.progress.step
    }

    /// Whole epochs trained.
    pub fn epoch(&self) -> u32 {
        self.progress.epoch
    }

    /// Epochs trained on `data`, with the fraction of the present one.
    pub fn epochs(&self, data: &TrainingData) -> f32 {
        self.progress.epoch as f32 + self.progress.position as f32 / data.epoch_length() as f32
    }

    /// Whether a step has begun and not ended.
    pub fn is_within_step(&self) -> bool {
        self.work.is_some()
    }

    /// Goes on under other settings, keeping what was learned; to be called between steps. The hidden layers
    /// must be the same. Where another optimizer is chosen, it starts without memory.
    pub fn reconfigure(&mut self, spec: NetworkSpec) -> Result<(), SpecError> {
        spec.validate()?;
        assert!(
            spec.same_shape(&self.spec),
            "the network's shape cannot change"
        );
        if spec.optimizer != self.spec.optimizer {
            self.progress.updates = 0;
            for layer in &mut self.layers {
                layer.latent.forget_momentum();
                layer.batch_norm.forget_momentum();
            }
        }
        self.spec = spec;
        Ok(())
    }

    /// To be called between steps when `before` is not trained on any more, but other data: an epoch begins.
    /// The one that ends counts if more than half of it was trained.
    pub fn data_changed(&mut self, before: &TrainingData) {
        self.order.clear();
        if self.progress.position > before.epoch_length() / 2 {
            self.progress.epoch += 1;
        }
        self.progress.position = 0;
    }

    /// Trains one whole step on `data`.
    pub fn step(&mut self, data: &TrainingData) -> StepMetrics {
        loop {
            if let Some(metrics) = self.advance(data) {
                return metrics;
            }
        }
    }

    /// Does the next part of a step on `data`, beginning one if none is under way.
    /// What the step showed when that was its last part.
    pub fn advance(&mut self, data: &TrainingData) -> Option<StepMetrics> {
        let mut work = match self.work.take() {
            Some(work) => work,
            None => self.begin(data),
        };
        if let Some(part) = work.parts.pop() {
            self.perform(part, &mut work);
        }
        if work.parts.is_empty() {
            self.progress.step += 1;
            return Some(work.metrics);
        }
        self.work = Some(work);
        None
    }

    /// Takes the next batch and lists the step's parts.
    fn begin(&mut self, data: &TrainingData) -> Work {
        assert_eq!(data.image_size(), self.inputs, "images of another size");
        let length = data.epoch_length();
        let batch = self.spec.batch_size.min(length);
        if self.progress.position.saturating_add(batch) > length {
            // The batch or the data has become another since the last step.
            self.progress.epoch += 1;
            self.progress.position = 0;
            self.order.clear();
        }
        if self.order.is_empty() {
            self.order = data.order(self.spec.seed, self.progress.epoch);
        }
        let positions = self.progress.position..self.progress.position + batch;
        let (pixels, labels) = data.batch(self.progress.epoch, &self.order, positions.clone());
        self.progress.updates += 1;
        let decay = power(
            f64::from(self.spec.learning_rate_decay),
            self.progress.epoch,
        );
        let learning_rate = (f64::from(self.spec.learning_rate) * decay) as f32;
        let update = Update::new(self.spec.optimizer, learning_rate, self.progress.updates);
        self.progress.position = positions.end;
        if self.progress.position + batch > length {
            // Images that do not fill a batch wait for another epoch's shuffle.
            self.progress.epoch += 1;
            self.progress.position = 0;
            self.order.clear();
        }

        let mut parts = Vec::new();
        for (layer, Layer { inputs, units, .. }) in self.layers.iter().enumerate() {
            parts.push(Part::Quantize { layer });
            let rows = pieces(batch, inputs * units);
            parts.extend(rows.map(|rows| Part::Product { layer, rows }));
            parts.push(Part::Normalize { layer });
        }
        parts.push(Part::Loss);
        for (layer, Layer { inputs, units, .. }) in self.layers.iter().enumerate().rev() {
            parts.push(Part::NormalizeBackward { layer });
            if layer > 0 {
                let rows = pieces(batch, inputs * units);
                parts.extend(rows.map(|rows| Part::InputGradient { layer, rows }));
            }
            let units = pieces(*units, inputs * batch);
            parts.extend(units.map(|units| Part::WeightUpdate { layer, units }));
        }
        parts.reverse();
        Work {
            parts,
            update,
            labels,
            inputs: vec![Input::pixels(self.inputs, pixels, self.spec.weight_bits)],
            weights: Vec::new(),
            outputs: Vec::new(),
            normalized: Vec::new(),
            gradient: Vec::new(),
            input_gradient: Vec::new(),
            metrics: StepMetrics {
                step: self.progress.step + 1,
                loss: 0.0,
                accuracy: 0.0,
                images: batch,
            },
        }
    }

    fn perform(&mut self, part: Part, work: &mut Work) {
        let batch = work.labels.len();
        let last = self.layers.len() - 1;
        match part {
            Part::Quantize { layer } => {
                let Layer { units, latent, .. } = &self.layers[layer];
                let (bits, input_bits) = (self.spec.weight_bits, self.spec.input_bits(layer));
                let weights = DenseWeights::quantize(*units, &latent.values, bits, input_bits);
                work.weights.push(weights);
                work.outputs.push(vec![0.0; batch * units]);
            }
            Part::Product { layer, rows } => {
                let Layer { units, latent, .. } = &self.layers[layer];
                let sums = &mut work.outputs[layer][rows.start * units..rows.end * units];
                let (input, weights) = (&work.inputs[layer], &work.weights[layer]);
                dense_product(input, rows, weights, &latent.values, sums);
            }
            Part::Normalize { layer } => {
                let Layer {
                    units, batch_norm, ..
                } = &mut self.layers[layer];
                let outputs = &mut work.outputs[layer];
                work.normalized.push(batch_norm.forward(outputs));
                if layer < last {
                    let (bits, weight_bits) = (self.spec.activation_bits, self.spec.weight_bits);
                    work.inputs
                        .push(Input::activations(*units, outputs, bits, weight_bits));
                }
            }
            Part::Loss => {
                let logits = &work.outputs[last];
                let outcome = self.spec.loss.of(logits, &work.labels);
                work.metrics.loss = outcome.loss;
                work.metrics.accuracy = outcome.correct as f32 / batch as f32;
                work.gradient = outcome.gradient;
            }
            Part::NormalizeBackward { layer } => {
                if layer < last {
                    // What the layer above left is the gradient to the quantized activations.
                    work.gradient = std::mem::take(&mut work.input_gradient);
                    for (gradient, output) in work.gradient.iter_mut().zip(&work.outputs[layer]) {
                        *gradient = straight_through(*output, *gradient);
                    }
                }
                let Layer {
                    inputs, batch_norm, ..
                } = &mut self.layers[layer];
                batch_norm.backward(&work.normalized[layer], &mut work.gradient, work.update);
                // Below the first layer are the pixels, which do not learn.
                if layer > 0 {
                    work.input_gradient = vec![0.0; batch * *inputs];
                }
            }
            Part::InputGradient { layer, rows } => {
                let Layer {
                    inputs,
                    units,
                    latent,
                    ..
                } = &self.layers[layer];
                let (gradient, weights) = (&work.gradient, &work.weights[layer]);
                float_product(
                    *units,
                    *inputs,
                    |row, unit| gradient[(rows.start + row) * units + unit],
                    |unit, input| weights.value(latent.values[unit * inputs + input]),
                    &mut work.input_gradient[rows.start * inputs..rows.end * inputs],
                );
            }
            Part::WeightUpdate { layer, units: rows } => {
                let Layer {
                    inputs,
                    units,
                    latent,
                    ..
                } = &mut self.layers[layer];
                let (gradient, input) = (&work.gradient, &work.inputs[layer]);
                let mut to_weights = vec![0.0; rows.len() * *inputs];
                float_product(
                    batch,
                    *inputs,
                    |unit, image| gradient[image * *units + rows.start + unit],
                    |image, column| input.value(image, column),
                    &mut to_weights,
                );
                // The gradient to the quantized weight moves the latent one, which is clipped (Algorithm 1).
                let range = rows.start * *inputs..rows.end * *inputs;
                latent.update(work.update, range.clone(), &to_weights);
                for weight in &mut latent.values[range] {
                    *weight = weight.clamp(-1.0, 1.0);
                }
            }
        }
    }

    /// The network as it stands, frozen for answering.
    pub fn freeze(&self) -> PackedNetwork {
        let layers = self.layers.iter().enumerate().map(|(index, layer)| {
            let (scale, shift) = layer.batch_norm.affine();
            let (bits, input_bits) = (self.spec.weight_bits, self.spec.input_bits(index));
            PackedLayer {
                inputs: layer.inputs,
                weights: DenseWeights::quantize(
                    layer.units,
                    &layer.latent.values,
                    bits,
                    input_bits,
                ),
                latent: if multiplies_integers(bits, input_bits) {
                    Vec::new()
                } else {
                    layer.latent.values.clone()
                },
                scale,
                shift,
            }
        });
        PackedNetwork {
            weight_bits: self.spec.weight_bits,
            activation_bits: self.spec.activation_bits,
            loss: self.spec.loss,
            layers: layers.collect(),
        }
    }

    /// All that is needed to go on from here, as bytes; to be called between steps.
    pub fn checkpoint(&self) -> Vec<u8> {
        let mut bytes = CHECKPOINT_MAGIC.to_vec();
        // Writing to memory what derives from plain numbers cannot fail.
        bytes.extend(postcard::to_allocvec(self).unwrap_or_default());
        bytes
    }

    /// The trainer that a checkpoint was made of.
    pub fn restore(checkpoint: &[u8]) -> Result<Trainer, CheckpointError> {
        let bytes = checkpoint
            .strip_prefix(CHECKPOINT_MAGIC)
            .ok_or(CheckpointError::Foreign)?;
        let trainer: Trainer = postcard::from_bytes(bytes).map_err(|_| CheckpointError::Damaged)?;
        trainer.spec.validate()?;
        let shapes = trainer.spec.layer_shapes(trainer.inputs, CLASSES);
        let fits = |(layer, (inputs, units)): (&Layer, (usize, usize))| {
            (layer.inputs, layer.units) == (inputs, units)
                && inputs
                    .checked_mul(units)
                    .is_some_and(|length| layer.latent.has_length(length))
                && layer.batch_norm.has_units(units)
        };
        let Progress {
            step,
            epoch,
            updates,
            ..
        } = trainer.progress;
        if [step, epoch, updates]
            .iter()
            .any(|count| *count > u32::MAX / 2)
            || trainer.inputs == 0
            || trainer.layers.len() != shapes.len()
            || !trainer.layers.iter().zip(shapes).all(fits)
        {
            return Err(CheckpointError::Damaged);
        }
        Ok(trainer)
    }
}

/// Cuts `0..count` so that each piece has about [`PART_MACS`], at `macs` for each of the count.
fn pieces(count: usize, macs: usize) -> impl Iterator<Item = Range<usize>> {
    let length = (PART_MACS / macs.max(1)).max(MIN_PIECE);
    (0..count)
        .step_by(length)
        .map(move |start| start..count.min(start + length))
}
