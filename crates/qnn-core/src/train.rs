//! `Trainer`: owns the weights and the optimizer's state, and trains step by step (paper Algorithm 1). Its result
//! depends on spec, seed and data alone: not on threads or ranks, nor on how it is cut into slices: what is left to
//! chance is drawn by step and place. It knows no clock: who calls it decides when.

use std::ops::Range;

use rand_chacha::rand_core::Rng;
use serde::{Deserialize, Serialize};

use crate::bits::{BitMatrix, BitTile, BitTiles, Encoding, TILE_COLUMNS, TILE_ROWS, pack_row};
use crate::data::{MAX_CLASSES, MAX_IMAGE_SIZE, TrainingData};
use crate::kernels::{Choice, sign_bits};
use crate::layers::{
    BatchNorm, Dropout, Form, Normalized, NotFinite, Operand, ProductKind, are_finite, largest,
    transpose,
};
use crate::optim::{Group, Parameter, ParameterPart, Update, group_of, power};
use crate::packed::{PackedLayer, PackedNetwork, SampledNetworks};
use crate::parallel::{Kind, Ranks, Shared};
use crate::quant::{PIXEL_STEP, Quantizer};
use crate::random::{Chances, Purpose, initialization};
use crate::spec::{Bits, LearningRateScale, NetworkSpec, SpecError};
use crate::threads;

/// Multiply-accumulates after which a step may be interrupted: some 10 ms of one thread.
const PART_MACS: usize = 1 << 26;
/// Rows that a piece of a product has a multiple of: the tiles of packed weights; and the float product packs its other
/// operand anew for each piece.
const MIN_PIECE: usize = TILE_ROWS;
/// What a checkpoint starts with; a byte with the version of what follows comes next.
const CHECKPOINT_MAGIC: &[u8] = b"QNN checkpoint";
const CHECKPOINT_VERSION: u8 = 3;

/// A network in training. `serde` keeps all that training depends on; a step under way is not kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trainer {
    spec: NetworkSpec,
    inputs: usize,
    classes: usize,
    layers: Vec<Layer>,
    progress: Progress,
    #[serde(skip)]
    choice: Choice,
    #[serde(skip)]
    order: Vec<u32>,
    #[serde(skip)]
    work: Option<Work>,
    /// Memory of steps that are over.
    #[serde(skip)]
    room: Vec<Vec<f32>>,
}

/// How far training has come: what the next batch is follows from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
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
    /// The quantized weights of this rank's units, where the last update made them on its way.
    #[serde(skip)]
    weights: Option<Operand>,
}

/// What a step trains on, and how it moves the weights.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Steps trained before: what is left to chance in this one is drawn by it.
    pub step: u32,
    /// `[images, inputs]`.
    pub pixels: Vec<u8>,
    pub labels: Vec<u8>,
    pub update: Update,
}

/// All that training changes in a layer, each kind of number in a `T`, for instance a slice or a buffer.
#[derive(Clone, Copy, Debug)]
pub struct LayerState<T> {
    /// The latent weights, `[units, inputs]`, and the optimizer's two means of each.
    pub latent: [T; 3],
    /// The same of batch normalization's gamma and beta, `[units]`.
    pub gamma: [T; 3],
    pub beta: [T; 3],
    /// The running mean and variance, `[units]`.
    pub running: [T; 2],
}

impl<T> LayerState<T> {
    /// All parts, in their order.
    pub fn parts(self) -> impl Iterator<Item = T> {
        let parameters = self.latent.into_iter().chain(self.gamma).chain(self.beta);
        parameters.chain(self.running)
    }

    /// The same with another thing for each part.
    pub fn map<U>(self, mut to: impl FnMut(T) -> U) -> LayerState<U> {
        LayerState {
            latent: self.latent.map(&mut to),
            gamma: self.gamma.map(&mut to),
            beta: self.beta.map(&mut to),
            running: self.running.map(&mut to),
        }
    }
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
    PrepareInputGradient { layer: usize },
    InputGradient { layer: usize, rows: Range<usize> },
    PrepareWeightUpdate { layer: usize },
    WeightUpdate { layer: usize, units: Range<usize> },
}

/// A step under way.
#[derive(Clone, Debug)]
struct Work {
    /// Parts still to be done, the next one last.
    parts: Vec<Part>,
    update: Update,
    labels: Vec<u8>,
    /// The images of the batch that are this rank's: all, unless the batch is shared.
    images: Range<usize>,
    /// What each layer took in, `[batch, inputs]`, and made of it, as far as the step has come.
    inputs: Vec<Operand>,
    weights: Vec<Operand>,
    /// Batch normalization's outputs, `[images, units]`.
    outputs: Vec<Vec<f32>>,
    normalized: Vec<Normalized>,
    /// The gradient to the outputs, then to the sums, of the layer being done, `[images, units]`.
    gradient: Vec<f32>,
    /// The largest magnitude of each unit in it, where the batch is shared.
    largest: Option<Vec<f32>>,
    /// The gradient to that layer's inputs, `[images, inputs]`.
    input_gradient: Vec<f32>,
    /// Both sides of the backward product under way: the gradient, quantized, and what it is multiplied with.
    backward: Option<(Operand, Operand)>,
    /// The tiles of the layer's new weights, as far as they are updated.
    new_weights: Vec<BitTile>,
    metrics: StepMetrics,
}

/// Training came upon what is not a number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "Training has diverged in step {step}: not all {what} of layer {layer} are finite. Lower the learning rate and begin anew."
)]
pub struct Diverged {
    /// Counts from 1.
    pub step: u32,
    /// Counts from 1.
    pub layer: usize,
    /// For instance "gradients to the weights".
    pub what: &'static str,
}

/// Why a checkpoint cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    #[error("This is not a checkpoint.")]
    Foreign,
    #[error("This checkpoint is of version {0}; this program reads version {CHECKPOINT_VERSION}.")]
    Version(u8),
    #[error("The checkpoint is cut short or damaged.")]
    Damaged,
    #[error("The checkpoint's settings make no sense: {0}")]
    Spec(#[from] SpecError),
}

impl Progress {
    /// Steps trained.
    pub fn step_count(&self) -> u32 {
        self.step
    }

    /// Epochs trained on `data`, with the fraction of the present one.
    pub fn epochs(&self, data: &TrainingData) -> f32 {
        self.epoch as f32 + self.position as f32 / data.epoch_length() as f32
    }

    /// Takes the next batch of images of `inputs` pixels; that its step is over, [`end_step`](Self::end_step) says. `order`
    /// is that of the epoch's images, empty where it is still to be drawn.
    pub fn next_batch(
        &mut self,
        spec: &NetworkSpec,
        inputs: usize,
        order: &mut Vec<u32>,
        data: &TrainingData,
    ) -> Batch {
        assert_eq!(data.image_size(), inputs, "images of another size");
        let length = data.epoch_length();
        let batch = spec.batch_size.min(length);
        if self.position.saturating_add(batch) > length {
            // The batch or the data has become another since the last step.
            self.begin_epoch(order);
        }
        if order.is_empty() {
            *order = data.order(spec.seed, self.epoch);
        }
        let positions = self.position..self.position + batch;
        let (pixels, labels) = data.batch(self.epoch, order, positions.clone());
        self.updates += 1;
        let decay = power(
            f64::from(spec.learning_rate_decay),
            self.epoch / spec.decay_epochs,
        );
        let learning_rate = (f64::from(spec.learning_rate) * decay) as f32;
        let update = Update::new(spec.optimizer, learning_rate, self.updates);
        self.position = positions.end;
        if self.position + batch > length {
            // Images that do not fill a batch wait for another epoch's shuffle.
            self.begin_epoch(order);
        }
        Batch {
            step: self.step,
            pixels,
            labels,
            update,
        }
    }

    /// Counts a step that is over.
    pub fn end_step(&mut self) {
        self.step += 1;
    }

    fn begin_epoch(&mut self, order: &mut Vec<u32>) {
        self.epoch += 1;
        self.position = 0;
        order.clear();
    }
}

impl Trainer {
    /// A new network for images of `inputs` pixels in `classes` classes: latent weights uniform in [-1, 1] (the authors'
    /// Theano code). Panics where there are fewer than 2 or more than [`MAX_CLASSES`] classes.
    pub fn new(spec: NetworkSpec, inputs: usize, classes: usize) -> Result<Trainer, SpecError> {
        spec.validate()?;
        let mut random = initialization(spec.seed);
        let mut uniform = || (random.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0;
        let shapes = spec.layer_shapes(inputs, classes);
        let latent = shapes
            .iter()
            .map(|(inputs, units)| (0..inputs * units).map(|_| uniform()).collect())
            .collect();
        Trainer::with_latent_weights(spec, inputs, classes, latent)
    }

    /// A new network whose latent weights stand at `latent`, for each layer `[units, inputs]`, clipped to [-1, 1].
    /// Panics where they are of another shape than the spec's, or where there are fewer than 2 or more than [`MAX_CLASSES`]
    /// classes.
    pub fn with_latent_weights(
        spec: NetworkSpec,
        inputs: usize,
        classes: usize,
        latent: Vec<Vec<f32>>,
    ) -> Result<Trainer, SpecError> {
        spec.validate()?;
        assert!(
            (2..=MAX_CLASSES).contains(&classes),
            "2 to {MAX_CLASSES} classes"
        );
        let shapes = spec.layer_shapes(inputs, classes);
        assert_eq!(shapes.len(), latent.len(), "weights for every layer");
        let layers = shapes
            .into_iter()
            .zip(latent)
            .map(|((inputs, units), mut latent)| {
                assert_eq!(
                    latent.len(),
                    inputs * units,
                    "as many weights as the layer has"
                );
                clip(&mut latent);
                Layer {
                    inputs,
                    units,
                    latent: Parameter::new(latent),
                    batch_norm: BatchNorm::new(units),
                    weights: None,
                }
            })
            .collect();
        Ok(Trainer {
            spec,
            inputs,
            classes,
            layers,
            progress: Progress::default(),
            choice: Choice::default(),
            order: Vec::new(),
            work: None,
            room: Vec::new(),
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

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The latent weights of a layer, `[units, inputs]`, in [-1, 1].
    pub fn latent_weights(&self, layer: usize) -> &[f32] {
        &self.layers[layer].latent.values
    }

    /// The signs of those weights, `[units, inputs]`.
    pub fn signs(&self, layer: usize) -> BitMatrix {
        let layer = &self.layers[layer];
        BitMatrix::from_signs(layer.units, layer.inputs, &layer.latent.values)
    }

    /// The batch normalization of a layer.
    pub fn batch_norm(&self, layer: usize) -> &BatchNorm {
        &self.layers[layer].batch_norm
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

    /// How far training has come.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// All that training changes, layer by layer.
    pub fn state(&self) -> impl Iterator<Item = LayerState<&[f32]>> {
        self.layers.iter().map(|layer| {
            let (gamma, beta, running) = layer.batch_norm.state();
            let latent = layer.latent.state();
            LayerState {
                latent,
                gamma,
                beta,
                running,
            }
        })
    }

    /// Takes up what was trained elsewhere, up to `progress`: `write` is handed each part, with the number of its layer.
    /// To be called between steps.
    pub fn take_up(
        &mut self,
        progress: Progress,
        mut write: impl FnMut(usize, LayerState<&mut [f32]>),
    ) {
        for (index, layer) in self.layers.iter_mut().enumerate() {
            let (gamma, beta, running) = layer.batch_norm.state_mut();
            let latent = layer.latent.state_mut();
            write(
                index,
                LayerState {
                    latent,
                    gamma,
                    beta,
                    running,
                },
            );
        }
        self.progress = progress;
        self.order.clear();
        self.forget_weights();
    }

    /// Whole epochs trained.
    pub fn epoch(&self) -> u32 {
        self.progress.epoch
    }

    /// Epochs trained on `data`, with the fraction of the present one.
    pub fn epochs(&self, data: &TrainingData) -> f32 {
        self.progress.epochs(data)
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
        self.forget_weights();
        Ok(())
    }

    /// Chooses the integer kernels anew, which changes no result; to be called between steps.
    pub fn choose_kernels(&mut self, choice: Choice) {
        self.choice = choice;
        self.forget_weights();
    }

    /// Makes the next step quantize the weights itself.
    fn forget_weights(&mut self) {
        for layer in &mut self.layers {
            layer.weights = None;
        }
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

    /// Trains one whole step on `data`. A step that diverges ends where that shows. All numbers of the network stay
    /// finite, but the running statistics of the layers that it came through have moved, and what lies above the
    /// place named has learned from the batch.
    pub fn step(&mut self, data: &TrainingData) -> Result<StepMetrics, Diverged> {
        self.step_among(data, &mut Ranks::alone())
    }

    /// The same among `ranks`, whose trainers and data must be alike: all of them are to call this. Each rank moves the
    /// weights of its own units alone, until [`gather`](Self::gather) makes the trainers alike again.
    pub fn step_among(
        &mut self,
        data: &TrainingData,
        ranks: &mut Ranks<'_>,
    ) -> Result<StepMetrics, Diverged> {
        threads::team(|| {
            loop {
                if let Some(metrics) = self.advance_among(data, ranks)? {
                    return Ok(metrics);
                }
            }
        })
    }

    /// Hands the weights of each rank's units, and what the optimizer remembers of them, to all ranks. To be called by all of
    /// them, between steps, before anything else than [`step_among`](Self::step_among) is done.
    pub fn gather(&mut self, ranks: &mut Ranks<'_>) {
        for layer in &mut self.layers {
            let (inputs, shared) = (layer.inputs, Shared::Units(layer.units));
            let own = ranks.own(shared);
            for part in layer.latent.state_mut() {
                let own = part[own.start * inputs..own.end * inputs].to_vec();
                let all = ranks.gather_floats(Kind::State, shared, inputs, &own);
                part[..all.len()].copy_from_slice(&all);
            }
        }
        self.forget_weights();
    }

    /// Does the next part of a step on `data`, beginning one if none is under way.
    /// What the step showed when that was its last part.
    pub fn advance(&mut self, data: &TrainingData) -> Result<Option<StepMetrics>, Diverged> {
        self.advance_among(data, &mut Ranks::alone())
    }

    fn advance_among(
        &mut self,
        data: &TrainingData,
        ranks: &mut Ranks<'_>,
    ) -> Result<Option<StepMetrics>, Diverged> {
        let mut work = match self.work.take() {
            Some(work) => work,
            None => self.begin(data, ranks),
        };
        if let Some(part) = work.parts.pop() {
            self.perform(part, &mut work, ranks)?;
        }
        if work.parts.is_empty() {
            self.progress.end_step();
            self.room = work.outputs;
            self.room.push(work.gradient);
            return Ok(Some(work.metrics));
        }
        self.work = Some(work);
        Ok(None)
    }

    /// Takes the next batch and lists the step's parts.
    fn begin(&mut self, data: &TrainingData, ranks: &Ranks<'_>) -> Work {
        let Batch {
            step,
            pixels,
            labels,
            update,
        } = self
            .progress
            .next_batch(&self.spec, self.inputs, &mut self.order, data);
        let batch = labels.len();
        let images = ranks.own(Shared::Images(batch));
        let mut parts = Vec::new();
        for (layer, Layer { inputs, units, .. }) in self.layers.iter().enumerate() {
            parts.push(Part::Quantize { layer });
            let rows = pieces(images.len(), inputs * units);
            parts.extend(rows.map(|rows| Part::Product { layer, rows }));
            parts.push(Part::Normalize { layer });
        }
        parts.push(Part::Loss);
        for (layer, Layer { inputs, units, .. }) in self.layers.iter().enumerate().rev() {
            parts.push(Part::NormalizeBackward { layer });
            // Below the first layer are the pixels, which do not learn.
            if layer > 0 {
                parts.push(Part::PrepareInputGradient { layer });
                let rows = pieces(images.len(), inputs * units);
                parts.extend(rows.map(|rows| Part::InputGradient { layer, rows }));
            }
            parts.push(Part::PrepareWeightUpdate { layer });
            if ranks.are_one() {
                let units = pieces(*units, inputs * batch);
                parts.extend(units.map(|units| Part::WeightUpdate { layer, units }));
            } else {
                // Ranks agree on the outcome: all have as many parts, however many units.
                let units = 0..ranks.own(Shared::Units(*units)).len();
                parts.push(Part::WeightUpdate { layer, units });
            }
        }
        parts.reverse();
        Work {
            parts,
            update,
            labels,
            images,
            inputs: vec![Operand::pixels(
                self.forward_kind(0).a(),
                self.inputs,
                &pixels,
                self.dropout(0, 0).as_ref(),
            )],
            weights: Vec::new(),
            outputs: Vec::new(),
            normalized: Vec::new(),
            gradient: Vec::new(),
            largest: None,
            input_gradient: Vec::new(),
            backward: None,
            new_weights: Vec::new(),
            metrics: StepMetrics {
                step: step + 1,
                loss: 0.0,
                accuracy: 0.0,
                images: batch,
            },
        }
    }

    /// How a layer's inputs are multiplied with its weights in training.
    fn forward_kind(&self, layer: usize) -> ProductKind {
        ProductKind::of(
            self.choice,
            self.spec.input_encoding(layer, true),
            self.spec.weights().encoding(),
        )
    }

    /// The chances of the step under way, where something is `stochastic`: for a matrix of `columns` columns, from row
    /// `first_row` on.
    fn chances(
        &self,
        stochastic: bool,
        layer: usize,
        purpose: Purpose,
        columns: usize,
        first_row: usize,
    ) -> Option<Chances> {
        let (seed, step) = (self.spec.seed, self.progress.step);
        stochastic
            .then(|| Chances::new(seed, step, layer, purpose, columns).part(first_row, 0..columns))
    }

    /// Which inputs of a layer are left out, from image `first_image` on.
    fn dropout(&self, layer: usize, first_image: usize) -> Option<Dropout> {
        let (share, inputs) = (self.spec.dropout(layer), self.layers[layer].inputs);
        self.chances(share > 0.0, layer, Purpose::Dropout, inputs, first_image)
            .map(|chances| Dropout::new(share, chances))
    }

    /// Memory for `length` numbers, which are to be written over.
    fn numbers(&mut self, length: usize) -> Vec<f32> {
        let mut numbers = self.room.pop().unwrap_or_default();
        numbers.resize(length, 0.0);
        numbers
    }

    fn perform(
        &mut self,
        part: Part,
        work: &mut Work,
        ranks: &mut Ranks<'_>,
    ) -> Result<(), Diverged> {
        let (batch, images) = (work.labels.len(), work.images.len());
        let first_image = work.images.start;
        let last = self.layers.len() - 1;
        let step = self.progress.step + 1;
        let diverged = |layer: usize, what: &'static str| {
            move |_: NotFinite| Diverged {
                step,
                layer: layer + 1,
                what,
            }
        };
        match part {
            Part::Quantize { layer } => {
                let form = self.forward_kind(layer).b();
                let quantizer = self.spec.weights();
                let Layer { inputs, units, .. } = self.layers[layer];
                let shared = Shared::Units(units);
                let own = ranks.own(shared);
                let chances = self.chances(
                    quantizer.is_stochastic(),
                    layer,
                    Purpose::Weights,
                    inputs,
                    own.start,
                );
                let ready = self.layers[layer].weights.take();
                let latent = &self.layers[layer].latent.values;
                let quantize = || {
                    // Of all units, so that ranks agree: an update leaves none that is not.
                    are_finite(latent)?;
                    Ok(Operand::quantized(
                        ranks.form_of_own(form),
                        quantizer,
                        inputs,
                        &latent[own.start * inputs..own.end * inputs],
                        chances.as_ref(),
                        None,
                    ))
                };
                let weights = ready.map_or_else(quantize, Ok);
                let weights = weights.map_err(diverged(layer, "weights"))?;
                let unit = quantizer.step();
                let weights = ranks.gather(Kind::Weights, shared, form, weights, unit);
                work.weights.push(weights);
                work.outputs.push(self.numbers(images * units));
            }
            Part::Product { layer, rows } => {
                let units = self.layers[layer].units;
                let sums = &mut work.outputs[layer][rows.start * units..rows.end * units];
                let rows = first_image + rows.start..first_image + rows.end;
                work.inputs[layer].product(rows, &work.weights[layer], sums);
            }
            Part::Normalize { layer } => {
                let outputs = &mut work.outputs[layer];
                let normalized = self.layers[layer]
                    .batch_norm
                    .forward(self.spec.normalization, outputs, batch, ranks)
                    .map_err(diverged(layer, "sums"))?;
                work.normalized.push(normalized);
                if layer < last {
                    let quantizer = self.spec.activations();
                    let units = self.layers[layer].units;
                    let chances = self.chances(
                        quantizer.is_stochastic(),
                        layer + 1,
                        Purpose::Activations,
                        units,
                        first_image,
                    );
                    let dropout = self.dropout(layer + 1, first_image);
                    let form = self.forward_kind(layer + 1).a();
                    let own = Operand::quantized(
                        ranks.form_of_own(form),
                        quantizer,
                        units,
                        outputs,
                        chances.as_ref(),
                        dropout.as_ref(),
                    );
                    let unit = quantizer.step() * dropout.as_ref().map_or(1.0, Dropout::scale);
                    let shared = Shared::Images(batch);
                    let inputs = ranks.gather(Kind::Activations, shared, form, own, unit);
                    work.inputs.push(inputs);
                }
            }
            Part::Loss => {
                // Few enough that each rank computes the loss of the whole batch.
                let (own, shared) = (&work.outputs[last], Shared::Images(batch));
                let logits = ranks.gather_floats(Kind::Statistics, shared, self.classes, own);
                let outcome = self.spec.loss.of(&logits, &work.labels);
                are_finite(&[outcome.loss]).map_err(diverged(last, "logits"))?;
                work.metrics.loss = outcome.loss;
                work.metrics.accuracy = outcome.correct as f32 / batch as f32;
                work.gradient = outcome.gradient;
                work.gradient.truncate(work.images.end * self.classes);
                work.gradient.drain(..first_image * self.classes);
            }
            Part::NormalizeBackward { layer } => {
                if layer < last {
                    // What the layer above left is the gradient to its inputs.
                    let above = std::mem::take(&mut work.input_gradient);
                    self.room.push(std::mem::replace(&mut work.gradient, above));
                    if let Some(dropout) = self.dropout(layer + 1, first_image) {
                        let units = self.layers[layer].units;
                        threads::for_each_row(&mut work.gradient, units, |row, gradient| {
                            gradient.iter_mut().for_each(|g| *g *= dropout.scale());
                            dropout.apply(row, gradient, 0.0);
                        });
                    }
                }
                let outputs = (layer < last).then_some(work.outputs[layer].as_slice());
                self.layers[layer]
                    .batch_norm
                    .backward(
                        self.spec.normalization,
                        &work.normalized[layer],
                        outputs,
                        &mut work.gradient,
                        work.update,
                        ranks,
                    )
                    .map_err(diverged(layer, "gradients to the outputs"))?;
                work.largest = ranks.largest(self.layers[layer].units, &work.gradient);
                are_finite(work.largest.as_ref().unwrap_or(&work.gradient))
                    .map_err(diverged(layer, "gradients to the sums"))?;
            }
            Part::PrepareInputGradient { layer } => {
                let Layer { inputs, units, .. } = self.layers[layer];
                let weights = &work.weights[layer];
                let quantizer = self.spec.gradients();
                let kind = ProductKind::of(self.choice, quantizer.encoding(), weights.encoding());
                let chances = self.chances(
                    quantizer.is_stochastic(),
                    layer,
                    Purpose::GradientRows,
                    units,
                    first_image,
                );
                let gradient = Operand::gradients(
                    kind.a(),
                    quantizer,
                    units,
                    &work.gradient,
                    chances.as_ref(),
                );
                work.backward = Some((gradient, weights.transposed(kind.b())));
                work.input_gradient = self.numbers(images * inputs);
            }
            Part::InputGradient { layer, rows } => {
                let inputs = self.layers[layer].inputs;
                if let Some((gradient, weights)) = &work.backward {
                    let out = &mut work.input_gradient[rows.start * inputs..rows.end * inputs];
                    gradient.product(rows, weights, out);
                }
            }
            Part::PrepareWeightUpdate { layer } => {
                let units = self.layers[layer].units;
                let input = &work.inputs[layer];
                let quantizer = self.spec.gradients();
                let kind = ProductKind::of(self.choice, quantizer.encoding(), input.encoding());
                let chances = self.chances(
                    quantizer.is_stochastic(),
                    layer,
                    Purpose::GradientUnits,
                    batch,
                    0,
                );
                let chances = chances.map(|chances| chances.part(0, work.images.clone()));
                let gradient = transpose(images, units, &work.gradient);
                let largest_of = |unit: usize| match &work.largest {
                    Some(largest) => largest[unit],
                    None => largest(&gradient[unit * images..][..images]),
                };
                let own = Operand::gradients_within(
                    ranks.form_of_own(kind.a()),
                    quantizer,
                    images,
                    &gradient,
                    largest_of,
                    chances.as_ref(),
                );
                let gradient = ranks.exchange_gradients((units, batch), kind.a(), own, |unit| {
                    quantizer.unit(largest_of(unit))
                });
                let input = input.transposed(kind.b());
                // The same on all ranks.
                let largest_unit = match &work.largest {
                    Some(all) if kind != ProductKind::Float => quantizer.unit(largest(all)),
                    _ => gradient.largest_unit(),
                };
                gradient
                    .product_is_finite(largest_unit, &input)
                    .map_err(diverged(layer, "gradients to the weights"))?;
                work.backward = Some((gradient, input));
            }
            Part::WeightUpdate { layer, units } => {
                if let Some((gradient, input)) = &work.backward {
                    let quantizer = self.spec.weights();
                    let form = self.forward_kind(layer).b();
                    let packs = form == Form::Tiles && !quantizer.is_stochastic();
                    let Layer {
                        inputs, units: all, ..
                    } = self.layers[layer];
                    let own = ranks.own(Shared::Units(all));
                    let scale = self.spec.learning_rate_scale.of(inputs, all);
                    let layer_update = LayerUpdate {
                        update: work.update.scaled(scale),
                        packed: packs.then_some(quantizer),
                        inputs,
                    };
                    let latent = &mut self.layers[layer].latent;
                    let latent = latent.part(own.start * inputs..own.end * inputs);
                    let tiles = layer_update.perform(latent, gradient, input, units.clone());
                    // Products of integers have been found finite before.
                    let encoding = self.spec.gradients().encoding();
                    let tiles = match encoding.and(work.inputs[layer].encoding()) {
                        Some(_) => tiles,
                        None => ranks.agree(tiles),
                    };
                    let tiles = tiles.map_err(diverged(layer, "gradients to the weights"))?;
                    work.new_weights.extend(tiles);
                    if units.end == own.len() {
                        let tiles = std::mem::take(&mut work.new_weights);
                        let encoding = quantizer.encoding().filter(|_| packs);
                        self.layers[layer].weights = encoding.map(|encoding| {
                            Operand::tiles(
                                BitTiles::of_tiles(encoding, own.len(), inputs, tiles),
                                quantizer.step(),
                            )
                        });
                    }
                }
            }
        }
        Ok(())
    }

    /// The network as it stands, frozen for answering: rounded deterministically.
    pub fn freeze(&self) -> PackedNetwork {
        self.freeze_with(self.spec.weights().deterministic(), |_, _| None)
    }

    /// `count` networks whose weights are drawn as training draws them, anew for each.
    pub fn freeze_samples(&self, count: u32) -> SampledNetworks {
        let sample = |index: u32| {
            // Steps that training does not come to.
            let step = u32::MAX - index;
            self.freeze_with(self.spec.weights(), |layer, inputs| {
                Some(Chances::new(
                    self.spec.seed,
                    step,
                    layer,
                    Purpose::Weights,
                    inputs,
                ))
            })
        };
        SampledNetworks((0..count).map(sample).collect())
    }

    fn freeze_with(
        &self,
        weights: Quantizer,
        chances: impl Fn(usize, usize) -> Option<Chances>,
    ) -> PackedNetwork {
        let last = self.layers.len() - 1;
        let layers = self.layers.iter().enumerate().map(|(index, layer)| {
            let inputs = self.spec.input_encoding(index, false);
            let kind = ProductKind::of(self.choice, inputs, weights.encoding());
            let weights = Operand::quantized(
                kind.b(),
                weights,
                layer.inputs,
                &layer.latent.values,
                chances(index, layer.inputs).as_ref(),
                None,
            );
            let input_step = match index {
                0 => PIXEL_STEP,
                _ => self.spec.activations().step(),
            };
            let activations = (index < last).then(|| self.spec.activations().deterministic());
            let affine = layer.batch_norm.affine(self.spec.normalization);
            PackedLayer::new(kind, inputs, input_step, weights, affine, activations)
        });
        PackedNetwork {
            loss: self.spec.loss,
            layers: layers.collect(),
        }
    }

    /// Restates batch normalization by the means and variances that the sums have for `pixels`, `[images, inputs]`, so that
    /// training, which normalizes over batches, goes on from where the answers stand. They stay what they are, but for the
    /// rounding of float32; those of signs exactly. For networks whose running statistics are not their own.
    pub fn restate_batch_norm(&mut self, pixels: &[u8]) {
        let mut statistics: Vec<Vec<(f32, f32)>> = Vec::new();
        self.freeze().pass(pixels, |layer, input| {
            let (images, units) = (input.rows(), layer.units());
            let mut sums = vec![0.0; images * units];
            input.product(0..images, layer.weights(), &mut sums);
            statistics.push(
                (0..units)
                    .map(|unit| mean_and_variance(&sums[unit..], units))
                    .collect(),
            );
        });
        let signs = self.spec.activation_bits == Bits::ONE;
        let last = self.layers.len() - 1;
        for (index, (layer, statistics)) in self.layers.iter_mut().zip(statistics).enumerate() {
            let (normalization, only_signs) = (self.spec.normalization, signs && index < last);
            layer
                .batch_norm
                .restate(normalization, &statistics, only_signs);
        }
        self.forget_weights();
    }

    /// All that is needed to go on from here, as bytes; to be called between steps.
    pub fn checkpoint(&self) -> Vec<u8> {
        let mut bytes = CHECKPOINT_MAGIC.to_vec();
        bytes.push(CHECKPOINT_VERSION);
        // Writing to memory what derives from plain numbers cannot fail.
        bytes.extend(postcard::to_allocvec(self).unwrap_or_default());
        bytes
    }

    /// Whether bytes are a checkpoint, of whatever version.
    pub fn is_checkpoint(bytes: &[u8]) -> bool {
        bytes.starts_with(CHECKPOINT_MAGIC)
    }

    /// The trainer that a checkpoint was made of.
    pub fn restore(checkpoint: &[u8]) -> Result<Trainer, CheckpointError> {
        let bytes = match checkpoint.strip_prefix(CHECKPOINT_MAGIC) {
            None => return Err(CheckpointError::Foreign),
            Some([CHECKPOINT_VERSION, bytes @ ..]) => bytes,
            Some([version, ..]) => return Err(CheckpointError::Version(*version)),
            Some([]) => return Err(CheckpointError::Damaged),
        };
        let trainer: Trainer = postcard::from_bytes(bytes).map_err(|_| CheckpointError::Damaged)?;
        trainer.check()?;
        Ok(trainer)
    }

    /// A trainer that has come as far as `progress`, for images of `inputs` pixels in `classes` classes: `write` is handed
    /// each part of its state, with the number of its layer.
    pub fn from_state(
        spec: NetworkSpec,
        inputs: usize,
        classes: usize,
        progress: Progress,
        write: impl FnMut(usize, LayerState<&mut [f32]>),
    ) -> Result<Trainer, CheckpointError> {
        spec.validate()?;
        if !is_possible(inputs, classes) {
            return Err(CheckpointError::Damaged);
        }
        let shapes = spec.layer_shapes(inputs, classes).into_iter();
        let zeros = shapes
            .map(|(inputs, units)| vec![0.0; inputs * units])
            .collect();
        let mut trainer = Trainer::with_latent_weights(spec, inputs, classes, zeros)?;
        trainer.take_up(progress, write);
        trainer.check()?;
        Ok(trainer)
    }

    /// Refuses what no training leads to.
    fn check(&self) -> Result<(), CheckpointError> {
        self.spec.validate()?;
        let shapes = self.spec.layer_shapes(self.inputs, self.classes);
        let fits = |(layer, (inputs, units)): (&Layer, (usize, usize))| {
            (layer.inputs, layer.units) == (inputs, units)
                && inputs
                    .checked_mul(units)
                    .is_some_and(|length| layer.latent.is_sound(length))
                && layer.batch_norm.has_units(units)
        };
        let Progress {
            step,
            epoch,
            updates,
            ..
        } = self.progress;
        if [step, epoch, updates]
            .iter()
            .any(|count| *count > u32::MAX / 2)
            || !is_possible(self.inputs, self.classes)
            || self.layers.len() != shapes.len()
            || !self.layers.iter().zip(shapes).all(fits)
        {
            return Err(CheckpointError::Damaged);
        }
        Ok(())
    }
}

/// Of every `step`th of the numbers.
fn mean_and_variance(numbers: &[f32], step: usize) -> (f32, f32) {
    let numbers = || numbers.iter().step_by(step).map(|x| f64::from(*x));
    let count = numbers().count().max(1) as f64;
    let mean = numbers().sum::<f64>() / count;
    let variance = numbers().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
    (mean as f32, variance as f32)
}

/// Whether there are images of `inputs` pixels in `classes` classes.
fn is_possible(inputs: usize, classes: usize) -> bool {
    (1..=MAX_IMAGE_SIZE).contains(&inputs) && (2..=MAX_CLASSES).contains(&classes)
}

impl LearningRateScale {
    /// The factor of a layer's learning rate.
    pub fn of(self, inputs: usize, units: usize) -> f32 {
        match self {
            LearningRateScale::Equal => 1.0,
            LearningRateScale::Glorot => ((inputs + units) as f32 / 1.5).sqrt(),
        }
    }
}

/// How the weights of a layer are updated: the gradient to the quantized weights moves the latent ones, which are
/// clipped (Algorithm 1). What is read of the memory once is done with: the row of the gradient is a block's sums, and
/// the new weights are packed while they are in the cache.
struct LayerUpdate {
    update: Update,
    /// How the new weights are packed, where the next step takes them so.
    packed: Option<Quantizer>,
    inputs: usize,
}

impl LayerUpdate {
    /// Updates the weights of `units`, rows of the gradient and of `latent`, `[rows, inputs]`, along the product of both
    /// operands; the tiles of the new ones.
    fn perform(
        &self,
        mut latent: ParameterPart<'_>,
        gradient: &Operand,
        input: &Operand,
        units: Range<usize>,
    ) -> Result<Vec<BitTile>, NotFinite> {
        let inputs = self.inputs;
        let floats = if gradient.units().is_empty() || input.units().is_empty() {
            let mut to_weights = vec![0.0; units.len() * inputs];
            gradient.product(units.clone(), input, &mut to_weights);
            are_finite(&to_weights)?;
            Some(to_weights)
        } else {
            None
        };
        let mut bands = vec![self.new_tiles(); units.len().div_ceil(TILE_ROWS)];
        let latent = latent.part(units.start * inputs..units.end * inputs);
        let pieces = latent.chunks(TILE_ROWS * inputs).zip(&mut bands);
        threads::for_each(pieces, |band, (mut latent, tiles)| {
            let first = band * TILE_ROWS;
            let rows = first..units.len().min(first + TILE_ROWS);
            let of_unit = |row: usize| (row - first) * inputs..(row - first + 1) * inputs;
            match &floats {
                Some(floats) => {
                    for row in rows {
                        let to_weights = &floats[row * inputs..][..inputs];
                        let to_weights = |group| group_of(to_weights, group);
                        self.update_unit(row - first, latent.part(of_unit(row)), to_weights, tiles);
                    }
                }
                None => {
                    let rows = units.start + rows.start..units.start + rows.end;
                    gradient.for_each_row(rows, input, |row, to_weights| {
                        let row = row - units.start;
                        let to_weights = |group| to_weights.group(group);
                        self.update_unit(row - first, latent.part(of_unit(row)), to_weights, tiles);
                    });
                }
            }
        });
        Ok(bands.concat())
    }

    /// Updates the weights of a unit, row `row` of its band, and packs the new ones.
    #[inline(always)]
    fn update_unit(
        &self,
        row: usize,
        mut latent: ParameterPart<'_>,
        to_weights: impl Fn(usize) -> Group,
        tiles: &mut [BitTile],
    ) {
        let packed = self
            .packed
            .and_then(|quantizer| Some((quantizer, quantizer.encoding()?)));
        if let Some((_, Encoding::Sign)) = packed {
            latent.update(self.update, to_weights, 1.0, |group, weights| {
                tiles[group].0[row] = sign_bits(weights);
            });
            if let (Some(last), rest @ 1..) = (tiles.last_mut(), self.inputs % TILE_COLUMNS) {
                last.0[row] &= (1 << rest) - 1;
            }
            return;
        }
        latent.update(self.update, to_weights, 1.0, |_, _| {});
        if let Some((quantizer, encoding)) = packed {
            let mut integers = vec![0; self.inputs];
            quantizer.integers(latent.values, &[], &mut integers);
            pack_row(encoding, row, &integers, tiles);
        }
    }

    /// Tiles for a band of 32 units; none where the weights are not packed.
    fn new_tiles(&self) -> Vec<BitTile> {
        let digits = self
            .packed
            .and_then(Quantizer::encoding)
            .map_or(0, |encoding| encoding.digits());
        vec![BitTile::ZERO; digits * self.inputs.div_ceil(TILE_COLUMNS)]
    }
}

/// Clips latent weights to [-1, 1].
fn clip(latent: &mut [f32]) {
    for weight in latent {
        *weight = weight.clamp(-1.0, 1.0);
    }
}

/// Cuts `0..count` so that each piece has about [`PART_MACS`], at `macs` for each of the count.
fn pieces(count: usize, macs: usize) -> impl Iterator<Item = Range<usize>> {
    let length = (PART_MACS / macs.max(1) / MIN_PIECE * MIN_PIECE).max(MIN_PIECE);
    (0..count)
        .step_by(length)
        .map(move |start| start..count.min(start + length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::values;
    use crate::quant::GradientQuantizer;
    use crate::spec::{Bits, Levels, Optimizer, Rounding};

    /// A step is cut into parts where the visitor may pause; the weights and their bits do not depend on the cut.
    #[test]
    fn an_update_in_parts_is_the_update_at_once() {
        let (units, inputs, batch) = (90, 70, 20);
        let (levels, rounding) = (Levels::Linear, Rounding::Deterministic);
        for (gradient_bits, weight_bits) in [(6, 1), (6, 3), (32, 1)] {
            let bits = |bits| Bits::new(bits).unwrap();
            let quantizer = |of| Quantizer {
                bits: bits(of),
                levels,
                rounding,
            };
            let gradients = GradientQuantizer {
                bits: bits(gradient_bits),
                levels,
                rounding,
            };
            let sign = quantizer(1);
            let kind = ProductKind::of(Choice::default(), gradients.encoding(), sign.encoding());
            let gradient =
                Operand::gradients(kind.a(), gradients, batch, &values(units * batch, 1), None);
            let input = Operand::quantized(
                kind.b(),
                sign,
                batch,
                &values(inputs * batch, 2),
                None,
                None,
            );
            let weights = quantizer(weight_bits);
            let layer_update = LayerUpdate {
                update: Update::new(Optimizer::Adam, 0.1, 1),
                packed: Some(weights),
                inputs,
            };
            let latent = Parameter::new(values(units * inputs, 3));
            let update = |parts: &[Range<usize>]| {
                let mut latent = latent.clone();
                let perform = |units: &Range<usize>| {
                    layer_update
                        .perform(latent.part(0..90 * 70), &gradient, &input, units.clone())
                        .unwrap()
                };
                let tiles: Vec<Vec<BitTile>> = parts.iter().map(perform).collect();
                (latent.values, tiles.concat())
            };
            let at_once = update(std::slice::from_ref(&(0..units)));
            assert_eq!(update(&[0..32, 32..64, 64..units]), at_once);
            // The bits are those of the new weights.
            let (updated, tiles) = at_once;
            let encoding = weights.encoding().unwrap();
            let expected = BitTiles::pack(encoding, units, inputs, |row, out| {
                weights.integers(&updated[row * inputs..][..inputs], &[], out);
            });
            assert_eq!(BitTiles::of_tiles(encoding, units, inputs, tiles), expected);
            // All weights of a unit of the last part have moved against their gradient.
            let expected = |input_of: usize| -> f32 {
                (0..batch)
                    .map(|image| gradient.value(units - 1, image) * input.value(input_of, image))
                    .sum()
            };
            for (place, (before, after)) in latent
                .values
                .iter()
                .zip(&updated)
                .enumerate()
                .skip((units - 1) * inputs)
            {
                let slope = expected(place % inputs);
                let moved = after - before;
                assert!(after.abs() == 1.0 || slope.abs() < 1e-3 || moved * slope < 0.0);
            }
        }
    }
}
