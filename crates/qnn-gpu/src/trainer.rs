//! `GpuTrainer`: a network in training on the GPU. It begins where a [`Trainer`] stands and hands back what it has learned; all
//! of a step stays on the device, and its metrics come back when they come. Steps are those of the processor, but for the
//! rounding of floats: integers are the same integers, and chances are drawn by the same places.

use std::collections::VecDeque;
use std::rc::Rc;

use qnn_core::bits::Encoding;
use qnn_core::data::TrainingData;
use qnn_core::measure::ProductKernel;
use qnn_core::quant::{PIXEL_STEP, Quantizer};
use qnn_core::random::{Purpose, key, place};
use qnn_core::spec::NetworkSpec;
use qnn_core::train::{Batch, Diverged, LayerState, Progress, StepMetrics, Trainer};

use crate::device::{Buffer, Gpu, GpuError};
use crate::passes::{self, Bound, Floats, GpuDropout, NormBuffers, Pass, Planes, StepBuffers};
use crate::products::{Side, Store, Target, in_planes, product_of_floats, product_of_planes};
use crate::readback::Readback;

/// Steps whose metrics the device keeps: as many may be under way.
pub const MOST_STEPS: u32 = 64;
/// Pairs of bit planes up to which a product is one of them; of more, floats are faster, and as exact.
const MOST_PAIRS: usize = 8;
/// Below here float32 holds all whole numbers.
const EXACT: usize = 1 << 24;
/// The shaders' `NOT_FAILED`.
const NOT_FAILED: u32 = u32::MAX;

/// A network in training on the device.
pub struct GpuTrainer {
    gpu: Rc<Gpu>,
    spec: NetworkSpec,
    inputs: usize,
    classes: usize,
    progress: Progress,
    /// Where each of the steps under way began.
    begun: VecDeque<Progress>,
    order: Vec<u32>,
    /// ChaCha's.
    key: [u32; 8],
    layers: Vec<LayerState<Buffer>>,
    plan: Plan,
    /// Steps whose metrics were told, and those that the metrics under way are of.
    told: u32,
    asked: Option<u32>,
    metrics: Readback,
    /// What is still to be told of a step that failed.
    diverged: Option<Diverged>,
    download: Option<Download>,
}

/// All passes of a step for a number of images.
struct Plan {
    images: usize,
    passes: Vec<Pass>,
    pixels: Buffer,
    labels: Buffer,
    shared: StepBuffers,
    /// Loss and right answers of the last steps.
    metrics: Buffer,
}

/// Everything that training takes on the device, but for what was learned.
pub struct PreparedTrainer(GpuTrainer);

impl PreparedTrainer {
    /// For networks of the spec of `trainer` on `data`. Neither is needed any more while the device gets ready.
    pub fn new(
        gpu: Rc<Gpu>,
        trainer: &Trainer,
        data: &TrainingData,
    ) -> impl Future<Output = Result<PreparedTrainer, GpuError>> + use<> {
        let images = trainer.spec().batch_size.min(data.epoch_length());
        let device = gpu.clone();
        let (made, errors) = device.scoped(|| PreparedTrainer::build(gpu, trainer, images));
        async move {
            let found = errors.found(&device, "the network in training").await;
            device.lost().map_or(found, Err)?;
            made
        }
    }

    fn build(gpu: Rc<Gpu>, trainer: &Trainer, images: usize) -> Result<Self, GpuError> {
        let layers = room_for_state(&gpu, trainer)?;
        let spec = trainer.spec().clone();
        let plan = Plan::new(&gpu, trainer, &layers, images)?;
        Ok(PreparedTrainer(GpuTrainer {
            metrics: Readback::new(&gpu, &[&plan.metrics, &plan.shared.failed]),
            gpu,
            key: key(spec.seed),
            spec,
            inputs: trainer.inputs(),
            classes: trainer.classes(),
            progress: trainer.progress(),
            begun: VecDeque::new(),
            order: Vec::new(),
            layers,
            plan,
            told: 0,
            asked: None,
            diverged: None,
            download: None,
        }))
    }

    /// Whether steps of `trainer` on `data` are those that this was made for.
    pub fn fits(&self, trainer: &Trainer, data: &TrainingData) -> bool {
        let images = trainer.spec().batch_size.min(data.epoch_length());
        self.0.spec == *trainer.spec()
            && self.0.inputs == trainer.inputs()
            && self.0.classes == trainer.classes()
            && self.0.plan.images == images
    }

    /// Goes on from where `trainer` stands, which must be between steps and which this must [fit](Self::fits).
    pub fn begin(self, trainer: &Trainer) -> GpuTrainer {
        let mut begun = self.0;
        let parts = trainer.state().flat_map(LayerState::parts);
        for (part, numbers) in begun.parts().zip(parts) {
            begun.gpu.write(part, bytemuck::cast_slice(numbers));
        }
        begun.progress = trainer.progress();
        begun.told = trainer.step_count();
        begun
    }
}

/// What was learned, on its way back.
struct Download {
    progress: Progress,
    readback: Readback,
}

/// Why training on the device ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrainingError {
    #[error(transparent)]
    Gpu(#[from] GpuError),
    #[error(transparent)]
    Diverged(#[from] Diverged),
}

impl GpuTrainer {
    /// Takes over from `trainer`, which must be between steps, for training on `data`.
    pub async fn new(
        gpu: Rc<Gpu>,
        trainer: &Trainer,
        data: &TrainingData,
    ) -> Result<GpuTrainer, GpuError> {
        let prepared = PreparedTrainer::new(gpu, trainer, data).await?;
        Ok(prepared.begin(trainer))
    }

    /// Steps begun, those under way among them.
    pub fn step_count(&self) -> u32 {
        self.progress.step_count()
    }

    /// Epochs begun on `data`, with the fraction of the present one.
    pub fn epochs(&self, data: &TrainingData) -> f32 {
        self.progress.epochs(data)
    }

    /// Steps whose metrics have not come back yet.
    pub fn steps_under_way(&self) -> u32 {
        self.step_count() - self.told
    }

    /// Whether one more step may begin.
    pub fn has_room(&self) -> bool {
        self.steps_under_way() < MOST_STEPS
    }

    /// Begins a step on `data`. Panics where there is no [room](Self::has_room), or where batches of `data` have another
    /// length than those that this trainer was made for.
    pub fn step(&mut self, data: &TrainingData) {
        assert!(self.has_room(), "too many steps under way");
        let (spec, inputs) = (&self.spec, self.inputs);
        self.begun.push_back(self.progress);
        let batch = self
            .progress
            .next_batch(spec, inputs, &mut self.order, data);
        self.progress.end_step();
        let Batch {
            step,
            pixels,
            labels,
            update,
        } = batch;
        assert_eq!(labels.len(), self.plan.images, "batches of another length");
        let labels: Vec<u32> = labels.into_iter().map(u32::from).collect();
        self.gpu.write(&self.plan.pixels, &pixels);
        self.gpu
            .write(&self.plan.labels, bytemuck::cast_slice(&labels));
        let mut words = self.key.to_vec();
        words.extend([step, update.rate().to_bits(), step % MOST_STEPS]);
        self.gpu
            .write(&self.plan.shared.step, bytemuck::cast_slice(&words));
        self.gpu.submit(&self.plan.passes, None, |_| ());
        self.ask_metrics();
    }

    /// Asks for the metrics of the steps that are not told yet, unless some are under way.
    fn ask_metrics(&mut self) {
        if self.asked.is_some() || self.steps_under_way() == 0 {
            return;
        }
        let parts = [&self.plan.metrics, &self.plan.shared.failed];
        self.gpu
            .submit([], None, |encoder| self.metrics.copy(encoder, &parts));
        self.metrics.begin();
        self.asked = Some(self.step_count());
    }

    /// The metrics of the steps that have come to an end since the last call. Where one has failed, the call after the one that
    /// gives those before it says so; the network is then where it was before that step, but for the layers above the failure.
    pub fn take_metrics(&mut self) -> Result<Vec<StepMetrics>, TrainingError> {
        if let Some(diverged) = self.diverged.take() {
            return Err(diverged.into());
        }
        self.gpu.look();
        if let Some(error) = self.gpu.lost() {
            return Err(error.into());
        }
        let Some(last) = self.asked else {
            return Ok(Vec::new());
        };
        if !self.metrics.is_over() {
            return Ok(Vec::new());
        }
        let (mut numbers, mut failed): (Vec<[f32; 2]>, _) = (Vec::new(), NOT_FAILED);
        self.metrics.take(&self.gpu, |index, bytes| match index {
            0 => numbers = bytemuck::pod_collect_to_vec(bytes),
            _ => failed = bytemuck::pod_read_unaligned(&bytes[..4]),
        })?;
        self.asked = None;
        let diverged = (failed != NOT_FAILED).then(|| self.diverged(failed));
        let over = diverged.as_ref().map_or(last, |diverged| diverged.step - 1);
        let images = self.plan.images;
        let metrics = (self.told..over).map(|step| {
            let [loss, correct] = numbers[(step % MOST_STEPS) as usize];
            StepMetrics {
                step: step + 1,
                loss,
                accuracy: correct / images as f32,
                images,
            }
        });
        let metrics: Vec<StepMetrics> = metrics.collect();
        self.begun.drain(..metrics.len());
        self.told = over;
        match diverged {
            Some(diverged) => {
                // The steps after it did nothing.
                self.progress = self.begun.drain(..).next().unwrap_or(self.progress);
                self.order.clear();
                if metrics.is_empty() {
                    return Err(diverged.into());
                }
                self.diverged = Some(diverged);
            }
            // Those of the steps since, also if nobody trains on.
            None => self.ask_metrics(),
        }
        Ok(metrics)
    }

    /// What the device wrote of a failure: its step modulo 2^24, and its place.
    fn diverged(&self, failed: u32) -> Diverged {
        let (layer, what) = Failure::of(failed & 0xff, self.layers.len());
        let step = (self.step_count() & !0xff_ffff) | failed >> 8;
        Diverged {
            step: step + 1,
            layer: layer + 1,
            what,
        }
    }

    /// Asks for all that was learned up to the last step begun, unless that is under way already.
    pub fn begin_download(&mut self) {
        if self.download.is_some() {
            return;
        }
        let buffers: Vec<&Buffer> = self.parts().collect();
        let mut readback = Readback::new(&self.gpu, &buffers);
        self.gpu
            .submit([], None, |encoder| readback.copy(encoder, &buffers));
        readback.begin();
        self.download = Some(Download {
            progress: self.progress,
            readback,
        });
    }

    /// Whether a download is under way.
    pub fn downloads(&self) -> bool {
        self.download.is_some()
    }

    /// Writes what was asked for into `trainer` if it has come; whether it has.
    pub fn take_download(&mut self, trainer: &mut Trainer) -> Result<bool, GpuError> {
        self.gpu.look();
        if let Some(error) = self.gpu.lost() {
            return Err(error);
        }
        let over = |download: &mut Download| download.readback.is_over();
        let Some(download) = self.download.take_if(over) else {
            return Ok(false);
        };
        // Part by part: all of a large network at once would not fit the memory of a browser's tab.
        let (mut index, mut outcome) = (0, Ok(()));
        trainer.take_up(download.progress, |_, state| {
            for part in state.parts() {
                let taken = download.readback.take_part(&self.gpu, index, |bytes| {
                    let bytes = &bytes[..size_of_val(part)];
                    bytemuck::cast_slice_mut(part).copy_from_slice(bytes);
                });
                outcome = outcome.clone().and(taken);
                index += 1;
            }
        });
        outcome?;
        Ok(true)
    }

    /// Waits for all steps; their metrics.
    pub async fn settle(&mut self) -> Result<Vec<StepMetrics>, TrainingError> {
        let mut metrics = Vec::new();
        while self.asked.is_some() || self.diverged.is_some() {
            self.gpu.arrival(&self.metrics).await;
            metrics.extend(self.take_metrics()?);
        }
        Ok(metrics)
    }

    /// Waits for all steps and for what they have taught, and writes it into `trainer`.
    pub async fn finish(
        &mut self,
        trainer: &mut Trainer,
    ) -> Result<Vec<StepMetrics>, TrainingError> {
        let metrics = self.settle().await?;
        // One that is under way may be of earlier steps.
        self.download = None;
        self.begin_download();
        if let Some(download) = &self.download {
            self.gpu.arrival(&download.readback).await;
        }
        self.take_download(trainer)?;
        Ok(metrics)
    }

    fn parts(&self) -> impl Iterator<Item = &Buffer> {
        self.layers.iter().flat_map(|state| {
            let LayerState {
                latent,
                gamma,
                beta,
                running,
            } = state;
            latent.iter().chain(gamma).chain(beta).chain(running)
        })
    }
}

/// Room for the state of a trainer's layers.
fn room_for_state(gpu: &Gpu, trainer: &Trainer) -> Result<Vec<LayerState<Buffer>>, GpuError> {
    let layers = trainer.state().map(|state| {
        let LayerState {
            latent,
            gamma,
            beta,
            running,
        } = state.map(|part| gpu.large_zeros("a layer's state", part.len()));
        let [a, b, c] = latent;
        let latent = [a?, b?, c?];
        let [a, b, c] = gamma;
        let gamma = [a?, b?, c?];
        let [a, b, c] = beta;
        let beta = [a?, b?, c?];
        let [a, b] = running;
        Ok(LayerState {
            latent,
            gamma,
            beta,
            running: [a?, b?],
        })
    });
    layers.collect()
}

/// The places of a step where what is not a number may show, in their order.
#[derive(Clone, Copy)]
enum Failure {
    Sums,
    Logits,
    ToOutputs,
    ToSums,
    ToWeights,
}

impl Failure {
    /// What the shaders write for it.
    fn place(self, layer: usize, layers: usize) -> u32 {
        let backward = layers + 1 + 3 * (layers - 1 - layer);
        let place = match self {
            Failure::Sums => layer,
            Failure::Logits => layers,
            Failure::ToOutputs => backward,
            Failure::ToSums => backward + 1,
            Failure::ToWeights => backward + 2,
        };
        place as u32
    }

    /// The layer and what of it was no number.
    fn of(place: u32, layers: usize) -> (usize, &'static str) {
        let place = place as usize;
        if place < layers {
            return (place, "sums");
        }
        if place == layers {
            return (layers - 1, "logits");
        }
        let backward = place - layers - 1;
        let what = [
            "gradients to the outputs",
            "gradients to the sums",
            "gradients to the weights",
        ];
        (layers - 1 - backward / 3, what[backward % 3])
    }
}

/// One side of a product: whole numbers or floats, packed as well where the product is one of bit planes.
#[derive(Clone)]
struct Factor {
    levels: Floats,
    is_transposed: bool,
    planes: Option<Planes>,
    units: Floats,
}

/// What a level is worth: floats are worth themselves.
fn worth(quantizer: Quantizer) -> f32 {
    quantizer.encoding().map_or(1.0, |_| quantizer.step())
}

/// Both encodings where the product of such integers is one of bit planes.
fn plane_encodings(
    a: Option<Encoding>,
    b: Option<Encoding>,
    terms: usize,
) -> [Option<Encoding>; 2] {
    let Some((a, b)) = in_planes(a, b) else {
        return [None; 2];
    };
    let largest = |encoding: Encoding| usize::from(encoding.range().1.unsigned_abs()) + 1;
    let is_exact = largest(a) * largest(b) * terms <= EXACT;
    let in_planes = a.digits() * b.digits() <= MOST_PAIRS || !is_exact;
    [a, b].map(|encoding| in_planes.then_some(encoding))
}

impl Plan {
    fn new(
        gpu: &Gpu,
        trainer: &Trainer,
        states: &[LayerState<Buffer>],
        images: usize,
    ) -> Result<Plan, GpuError> {
        let (spec, inputs) = (trainer.spec(), trainer.inputs());
        let shared = StepBuffers {
            step: gpu.uniform(&[0; 12]),
            failed: gpu.filled("what failed", &[NOT_FAILED])?,
        };
        let plan = Plan {
            images,
            passes: Vec::new(),
            pixels: gpu.zeros("the pixels", (images * inputs).div_ceil(4))?,
            labels: gpu.zeros("the labels", images)?,
            shared,
            metrics: gpu.zeros("the metrics", 2 * MOST_STEPS as usize)?,
        };
        let shapes = spec.layer_shapes(inputs, trainer.classes());
        let largest = shapes.iter().map(|(inputs, units)| inputs * units).max();
        let mut builder = Builder {
            to_weights: gpu.large_zeros("the gradient to the weights", largest.unwrap_or(0))?,
            gpu,
            spec,
            shapes,
            plan,
        };
        builder.build(states)?;
        Ok(builder.plan)
    }
}

/// What the forward pass of a layer leaves for the backward pass.
struct Forward {
    /// Forward, and for the gradient to the weights.
    input_levels: Floats,
    input_encoding: Option<Encoding>,
    input_unit: f32,
    weight_levels: Floats,
    outputs: Floats,
    normalized: Floats,
    statistics: Buffer,
    /// What was left out of the inputs.
    dropout: Option<GpuDropout>,
}

/// Lists the passes of a step.
struct Builder<'a> {
    gpu: &'a Gpu,
    spec: &'a NetworkSpec,
    shapes: Vec<(usize, usize)>,
    plan: Plan,
    /// Room for the gradient to the weights of the layer being done.
    to_weights: Buffer,
}

impl Builder<'_> {
    fn build(&mut self, states: &[LayerState<Buffer>]) -> Result<(), GpuError> {
        let (gpu, images, last) = (self.gpu, self.plan.images, states.len() - 1);
        let mut forward: Vec<Forward> = Vec::new();
        for (layer, state) in states.iter().enumerate() {
            let made = self.forward(layer, state, forward.last())?;
            forward.push(made);
        }
        let mut gradient = self.floats("the gradient", images, self.shapes[last].1)?;
        let outcomes = gpu.zeros("the outcomes", 2 * images)?;
        let place = Failure::Logits.place(last, states.len());
        let passes = passes::loss(
            (gpu, &self.plan.shared),
            self.spec.loss,
            &forward[last].outputs,
            &self.plan.labels,
            &gradient,
            [&outcomes, &self.plan.metrics],
            place,
        );
        self.plan.passes.extend(passes);
        for (layer, state) in states.iter().enumerate().rev() {
            let above = forward.get(layer + 1);
            let hidden = above.map(|above| above.dropout.as_ref());
            let below = self.backward(layer, state, &forward[layer], hidden, &gradient)?;
            if let Some(below) = below {
                gradient = below;
            }
        }
        Ok(())
    }

    fn floats(&self, what: &str, rows: usize, columns: usize) -> Result<Floats, GpuError> {
        Floats::new(self.gpu, what, rows, columns)
    }

    /// The chances of a matrix, where they are `wanted`.
    fn chances(
        &mut self,
        wanted: bool,
        layer: usize,
        purpose: Purpose,
        rows: usize,
        columns: usize,
    ) -> Result<Option<Floats>, GpuError> {
        if !wanted {
            return Ok(None);
        }
        let chances = self.floats("chances", rows, columns)?;
        let place = place(layer, purpose);
        let pass = passes::chances(self.gpu, place, &self.plan.shared.step, &chances);
        self.plan.passes.push(pass);
        Ok(Some(chances))
    }

    /// What is left out of the inputs of a layer.
    fn dropout(&mut self, layer: usize) -> Result<Option<GpuDropout>, GpuError> {
        let (share, images) = (self.spec.dropout(layer), self.plan.images);
        let inputs = self.shapes[layer].0;
        let chances = self.chances(share > 0.0, layer, Purpose::Dropout, images, inputs)?;
        Ok(chances.map(|chances| GpuDropout { share, chances }))
    }

    /// A side of a product; packed where the `other` encoding is given, that of the other side of a product of bit planes.
    /// `is_transposed`: the columns of `levels` are its rows.
    fn factor(
        &mut self,
        levels: &Floats,
        encoding: Option<Encoding>,
        is_transposed: bool,
        other: Option<Encoding>,
        units: Floats,
    ) -> Result<Factor, GpuError> {
        let (rows, columns) = if is_transposed {
            (levels.columns, levels.rows)
        } else {
            (levels.rows, levels.columns)
        };
        let planes = match encoding.zip(other) {
            Some((encoding, other)) => {
                let planes = Planes::new(self.gpu, "bit planes", encoding, rows, columns)?;
                let passes = planes.pack(self.gpu, levels, is_transposed, other);
                self.plan.passes.extend(passes);
                Some(planes)
            }
            None => None,
        };
        Ok(Factor {
            levels: levels.clone(),
            is_transposed,
            planes,
            units,
        })
    }

    /// As many of the same unit.
    fn units(&self, rows: usize, unit: f32) -> Result<Floats, GpuError> {
        Floats::of(self.gpu, "units", 1, &vec![unit; rows])
    }

    fn product(&mut self, a: &Factor, b: &Factor, target: Target<'_>) {
        let pass = match (&a.planes, &b.planes) {
            (Some(a_planes), Some(b_planes)) => {
                let units: [&dyn Bound; 2] = [&a.units, &b.units];
                let store = Store::Numbers { units, target };
                product_of_planes(self.gpu, a_planes, b_planes, store)
            }
            _ => {
                let [a, b] = [a, b].map(|factor| Side {
                    numbers: &factor.levels,
                    is_transposed: factor.is_transposed,
                    units: &factor.units,
                });
                product_of_floats(self.gpu, ProductKernel::Tiled, a, b, target)
            }
        };
        self.plan.passes.push(pass);
    }

    fn norm<'a>(&self, state: &'a LayerState<Buffer>, forward: &'a Forward) -> NormBuffers<'a> {
        let [running_mean, running_variance] = &state.running;
        NormBuffers {
            normalization: self.spec.normalization,
            gamma: &state.gamma[0],
            beta: &state.beta[0],
            running: [running_mean, running_variance],
            statistics: &forward.statistics,
            normalized: &forward.normalized,
        }
    }

    /// The forward pass of a layer, on what the one below gives.
    fn forward(
        &mut self,
        layer: usize,
        state: &LayerState<Buffer>,
        below: Option<&Forward>,
    ) -> Result<Forward, GpuError> {
        let (gpu, images) = (self.gpu, self.plan.images);
        let (inputs, units) = self.shapes[layer];
        let dropout = self.dropout(layer)?;
        let scale = dropout.as_ref().map_or(1.0, GpuDropout::scale);
        let input_levels = self.floats("the inputs", images, inputs)?;
        let input_encoding = self.spec.input_encoding(layer, true);
        let input_unit = match below {
            None => {
                let bytes = &self.plan.pixels;
                let pass = passes::pixels(gpu, bytes, dropout.as_ref(), &input_levels);
                self.plan.passes.push(pass);
                PIXEL_STEP * scale
            }
            Some(below) => {
                let quantizer = self.spec.activations();
                let wanted = quantizer.is_stochastic();
                let chances = self.chances(wanted, layer, Purpose::Activations, images, inputs)?;
                self.plan.passes.push(passes::quantize(
                    gpu,
                    quantizer,
                    &below.outputs,
                    chances.as_ref(),
                    dropout.as_ref(),
                    &input_levels,
                ));
                input_encoding.map_or(1.0, |_| quantizer.step() * scale)
            }
        };
        let quantizer = self.spec.weights();
        let latent = Floats::in_buffer(state.latent[0].clone(), units, inputs);
        let weight_levels = Floats::large(gpu, "the weights", units, inputs)?;
        let encoding = quantizer.encoding();
        let [of_input, of_weights] = plane_encodings(input_encoding, encoding, inputs);
        let input_units = self.units(images, input_unit)?;
        let weight_units = self.units(units, worth(quantizer))?;
        let a = self.factor(
            &input_levels,
            input_encoding,
            false,
            of_weights,
            input_units,
        )?;
        let outputs = self.floats("the outputs", images, units)?;
        let all_chances = match quantizer.is_stochastic() {
            true => Some(Floats::large(gpu, "chances", units, inputs)?),
            false => None,
        };
        for piece in gpu.pieces(units, inputs) {
            let chances = all_chances.as_ref().map(|all| all.some_rows(&piece));
            if let Some(chances) = &chances {
                let place = place(layer, Purpose::Weights);
                let pass = passes::chances(gpu, place, &self.plan.shared.step, chances);
                self.plan.passes.push(pass);
            }
            let levels = weight_levels.some_rows(&piece);
            self.plan.passes.push(passes::quantize(
                gpu,
                quantizer,
                &latent.some_rows(&piece),
                chances.as_ref(),
                None,
                &levels,
            ));
            let b = self.factor(&levels, encoding, false, of_input, weight_units.clone())?;
            let target = Target {
                out: &outputs,
                first_column: piece.start,
                adds: false,
            };
            self.product(&a, &b, target);
        }
        let forward = Forward {
            input_levels,
            input_encoding,
            input_unit,
            weight_levels,
            normalized: self.floats("the normalized sums", images, units)?,
            statistics: gpu.zeros("the statistics", 2 * units)?,
            outputs,
            dropout,
        };
        let place = Failure::Sums.place(layer, self.shapes.len());
        let norm = self.norm(state, &forward);
        let passes = norm.forward(gpu, &self.plan.shared, &forward.outputs, place);
        self.plan.passes.extend(passes);
        Ok(forward)
    }

    /// The backward pass of a layer, from the gradient to its outputs to that to its inputs, and its update.
    fn backward(
        &mut self,
        layer: usize,
        state: &LayerState<Buffer>,
        forward: &Forward,
        hidden: Option<Option<&GpuDropout>>,
        gradient: &Floats,
    ) -> Result<Option<Floats>, GpuError> {
        let (gpu, images, layers) = (self.gpu, self.plan.images, self.shapes.len());
        let (inputs, units) = self.shapes[layer];
        let place = |failure: Failure| failure.place(layer, layers);
        let to_gamma = gpu.zeros("the gradient to gamma", units)?;
        let to_beta = gpu.zeros("the gradient to beta", units)?;
        let passes = self.norm(state, forward).backward(
            (gpu, &self.plan.shared),
            &forward.outputs,
            hidden,
            gradient,
            [&to_gamma, &to_beta],
            [place(Failure::ToOutputs), place(Failure::ToSums)],
        );
        self.plan.passes.extend(passes);
        let row = |of: &Buffer| Floats::in_buffer(of.clone(), 1, units);
        for (to, parameter) in [(&to_gamma, &state.gamma), (&to_beta, &state.beta)] {
            let (free, parameter) = ((1.0, f32::MAX), parameter.each_ref().map(row));
            self.optimize(
                free,
                &row(to),
                parameter.each_ref(),
                place(Failure::ToOutputs),
            );
        }

        let quantizer = self.spec.gradients();
        let (stochastic, encoding) = (quantizer.is_stochastic(), quantizer.encoding());
        let weights = self.spec.weights();
        let mut to_inputs = None;
        // Below the first layer are the pixels, which do not learn.
        if layer > 0 {
            let chances = self.chances(stochastic, layer, Purpose::GradientRows, images, units)?;
            let [of_gradient, of_weights] = plane_encodings(encoding, weights.encoding(), units);
            let (levels, row_units) = self.gradients(gradient, chances.as_ref())?;
            let step = self.units(inputs, worth(weights))?;
            let out = self.floats("the gradient", images, inputs)?;
            for piece in gpu.pieces(units, inputs) {
                let of_piece = levels.some_columns(&piece);
                let a = self.factor(&of_piece, encoding, false, of_weights, row_units.clone())?;
                let of_piece = forward.weight_levels.some_rows(&piece);
                let b = self.factor(
                    &of_piece,
                    weights.encoding(),
                    true,
                    of_gradient,
                    step.clone(),
                )?;
                let target = Target {
                    adds: piece.start > 0,
                    ..Target::all(&out)
                };
                self.product(&a, &b, target);
            }
            to_inputs = Some(out);
        }

        let transposed = self.floats("the gradient, transposed", units, images)?;
        let pass = passes::transpose(gpu, gradient, &transposed);
        self.plan.passes.push(pass);
        let chances = self.chances(stochastic, layer, Purpose::GradientUnits, units, images)?;
        let [of_gradient, of_input] = plane_encodings(encoding, forward.input_encoding, images);
        let (levels, row_units) = self.gradients(&transposed, chances.as_ref())?;
        let step = self.units(inputs, forward.input_unit)?;
        let (of_inputs, of_encoding) = (&forward.input_levels, forward.input_encoding);
        let b = self.factor(of_inputs, of_encoding, true, of_gradient, step)?;
        let to_weights = Floats::in_buffer(self.to_weights.clone(), units, inputs);
        let latent = state
            .latent
            .clone()
            .map(|part| Floats::in_buffer(part, units, inputs));
        let clipped = (self.spec.learning_rate_scale.of(inputs, units), 1.0);
        for piece in gpu.pieces(units, inputs) {
            let of_piece = levels.some_rows(&piece);
            let units = row_units.some_rows(&piece);
            let a = self.factor(&of_piece, encoding, false, of_input, units)?;
            let gradient = to_weights.some_rows(&piece);
            self.product(&a, &b, Target::all(&gradient));
            let latent = latent.each_ref().map(|part| part.some_rows(&piece));
            self.optimize(
                clipped,
                &gradient,
                latent.each_ref(),
                place(Failure::ToWeights),
            );
        }
        Ok(to_inputs)
    }

    /// Gradients, quantized with a unit for each row; and these.
    fn gradients(
        &mut self,
        gradient: &Floats,
        chances: Option<&Floats>,
    ) -> Result<(Floats, Floats), GpuError> {
        let (gpu, quantizer) = (self.gpu, self.spec.gradients());
        let levels = self.floats("the quantized gradient", gradient.rows, gradient.columns)?;
        let units = self.floats("units", gradient.rows, 1)?;
        let pass = passes::quantize_gradients(gpu, quantizer, gradient, chances, &levels, &units);
        self.plan.passes.push(pass);
        Ok((levels, units))
    }

    fn optimize(
        &mut self,
        scale_and_limit: (f32, f32),
        gradient: &Floats,
        parameter: [&Floats; 3],
        failure: u32,
    ) {
        self.plan.passes.push(passes::optimize(
            (self.gpu, &self.plan.shared),
            self.spec.optimizer,
            scale_and_limit,
            gradient,
            parameter,
            failure,
        ));
    }
}
