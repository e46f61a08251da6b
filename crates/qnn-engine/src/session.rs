//! What the page's messages do to the network, in slices of time. No browser here: the clock is handed in, messages
//! are handed out. Where the network trains on the GPU, its trainer here is where it was when it was last brought back.

use std::rc::Rc;
use std::sync::Arc;

use qnn_core::data::{DIGITS, DataError, DataSet, TrainingData, rasterize};
use qnn_core::kernels::{Choice, Method};
use qnn_core::layers::ProductKind;
use qnn_core::loss::{argmax, softmax};
use qnn_core::packed::{Evaluation, PackedNetwork};
use qnn_core::spec::NetworkSpec;
use qnn_core::train::{Diverged, StepMetrics, Trainer};
use qnn_core::tune::{Tuner, products};
use qnn_gpu::{Gpu, GpuError, PreparedTrainer, Race as TileRace, TrainingError};
use qnn_protocol::{
    DataSource, DataSummary, DrawnAnswer, FromEngine, GpuSpeeds, GpuState, StepPoint, Subject,
    TestDigit, ToEngine,
};
use send_wrapper::SendWrapper;
use serde_bytes::ByteBuf;

use crate::gpu::OnGpu;

/// A slice of work, in milliseconds: within the 100 that a visitor may have to wait, with room for its last part.
const SLICE: f64 = 12.0;
/// Progress is told once a frame at most, in milliseconds.
const FRAME: f64 = 16.0;
/// How often answers follow a network that learns, in milliseconds.
const ANSWER_INTERVAL: f64 = 200.0;
/// How long the training speed is averaged, in milliseconds of training.
const SPEED_WINDOW: f64 = 1000.0;
/// Multiply-accumulates of the test images answered at a time, between two looks at the clock: some 10 ms of one thread.
const EVALUATION_MACS: usize = 1 << 26;
/// Test images shown.
const STRIP_LENGTH: usize = 24;
/// Procedural digits to test with.
const PROCEDURAL_TEST_IMAGES: u64 = 1000;
/// Latent weights above which no checkpoint is kept: it would hold up training, and twice the memory.
const CHECKPOINT_WEIGHTS: usize = 1 << 22;
/// When the rounds of the kernels' race are due after its beginning, in milliseconds: by the last ones a browser has
/// compiled the kernels as well as it can. Each takes some 10.
const ROUNDS: [f64; 5] = [0.0, 300.0, 1000.0, 3000.0, 10_000.0];
/// The most latent weights that fit the engine's memory, with the optimizer's state beside them, and the most where
/// the quantized ones of all layers take 16 or 32 bits each as well, in a step and in each network that answers.
const MAX_WEIGHTS: usize = 40_000_000;
const MAX_WIDE_WEIGHTS: usize = 16_000_000;
/// The most that leave room for the paper's network beside them.
const MAX_WEIGHTS_BESIDE: usize = 8_000_000;

/// What a session cannot do by itself.
pub enum Request {
    Load(DataSource),
    Measure(Subject, f64),
    ListKernels,
    /// Opens the GPU where there is none, and lets its tiles race where they have not.
    PrepareGpu,
    CompareGpu,
    CancelComparison,
}

/// Whether there is more to do at once, or first something must come from the GPU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    Busy,
    Waiting,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Mode {
    #[default]
    Paused,
    OneStep,
    Training,
}

/// All that the engine knows.
#[derive(Default)]
pub struct Session {
    mode: Mode,
    spec: NetworkSpec,
    data: Option<Arc<DataSet>>,
    trainer: Option<Trainer>,
    /// Settings, data and kernels that wait for the end of the step under way.
    pending: Option<NetworkSpec>,
    pending_data: Option<DataSet>,
    pending_choice: bool,
    choice: Choice,
    race: Option<Race>,
    /// Of the thread that opened it: elsewhere it is only seen that it is there.
    gpu: Option<SendWrapper<Rc<Gpu>>>,
    is_gpu_ready: bool,
    is_comparing: bool,
    /// Whether the network is to train on the GPU, and whether it is being made there.
    wants_gpu: bool,
    is_moving: bool,
    /// Made on the GPU, for the end of the step under way.
    moved: Option<SendWrapper<PreparedTrainer>>,
    on_gpu: Option<SendWrapper<OnGpu>>,
    /// How far it is there, for all threads.
    standing: Standing,
    /// Whether the next network that is brought back is to be tested.
    test_is_due: bool,
    evaluation: Option<RunningEvaluation>,
    /// The step at which the network, its settings or the data last became others.
    changed: u32,
    answers: Answers,
    drawing: Option<Vec<u8>>,
    speed: Speed,
    /// Steps not told yet, and when the last were.
    steps: Vec<StepPoint>,
    told: f64,
    messages: Vec<FromEngine>,
}

/// What is known of a network that trains on the GPU.
#[derive(Clone, Copy, Default)]
struct Standing {
    /// Steps that are over.
    step: u32,
    epoch: f32,
    /// Whether anything is under way there, or is to be brought back.
    is_busy: bool,
}

/// How the kernels race on a network.
struct Race {
    /// Pixels of an image, and the hidden layers.
    shape: (usize, Vec<usize>),
    tuner: Tuner,
    /// When it began, and how many rounds are over.
    begun: f64,
    rounds: usize,
}

/// A test under way.
struct RunningEvaluation {
    network: PackedNetwork,
    /// Weights of the network: what an image costs.
    weights: usize,
    sum: Evaluation,
    step: u32,
    epoch: f32,
}

/// The network that answers drawings and the strip. It may be a little behind the one that learns.
#[derive(Default)]
struct Answers {
    network: Option<PackedNetwork>,
    step: u32,
    frozen: f64,
}

/// Images a second, over the training of about the last second.
#[derive(Default)]
struct Speed {
    images: f64,
    milliseconds: f64,
    latest: f32,
    /// Whether settings have changed since.
    outdated: bool,
}

impl Speed {
    /// Counts a part's time, and the images of the step that it ended.
    fn count(&mut self, images: usize, milliseconds: f64) {
        self.milliseconds += milliseconds;
        self.images += images as f64;
        if images == 0 {
            return;
        }
        if std::mem::take(&mut self.outdated) {
            // This step was the last under other settings.
            *self = Speed::default();
        } else if self.latest == 0.0 || self.milliseconds >= SPEED_WINDOW {
            self.latest = (self.images * 1000.0 / self.milliseconds.max(f64::MIN_POSITIVE)) as f32;
            if self.milliseconds >= SPEED_WINDOW {
                *self = Speed {
                    latest: self.latest,
                    ..Speed::default()
                };
            }
        }
    }
}

impl Session {
    /// Does what the page asks, but for what needs the browser, which is handed back.
    pub fn receive(&mut self, message: ToEngine) -> Option<Request> {
        match message {
            ToEngine::Configure { spec } => self.configure(spec),
            ToEngine::Train => self.set_mode(Mode::Training),
            ToEngine::Pause => self.set_mode(Mode::Paused),
            ToEngine::Step => self.set_mode(Mode::OneStep),
            ToEngine::Reset => {
                self.drop_trainer();
                self.make_trainer();
            }
            ToEngine::UseData {
                source: DataSource::Procedural,
            } => self.use_data(DataSet::procedural(self.spec.seed, PROCEDURAL_TEST_IMAGES)),
            ToEngine::UseData { source } => return Some(Request::Load(source)),
            ToEngine::Draw { strokes } => {
                self.drawing = rasterize(&strokes);
                if self.drawing.is_none() {
                    self.messages.push(FromEngine::Answer { answer: None });
                } else {
                    // Where there is no network yet, the answer comes with it.
                    self.answer_drawing();
                }
            }
            ToEngine::Restore { checkpoint } => self.restore(&checkpoint),
            ToEngine::ForceKernel { method } => self.force_kernel(method),
            ToEngine::UseGpu { wanted } => return self.use_gpu(wanted),
            ToEngine::CompareGpu => return Some(Request::CompareGpu),
            ToEngine::CancelComparison => return Some(Request::CancelComparison),
            ToEngine::ListKernels => return Some(Request::ListKernels),
            ToEngine::Measure {
                subject,
                milliseconds,
            } => {
                return Some(Request::Measure(subject, milliseconds));
            }
        }
        None
    }

    /// Takes up data that was loaded; where that failed, the present data stays.
    pub fn loaded(&mut self, loaded: Result<DataSet, DataError>) {
        match loaded {
            Ok(data) => self.use_data(data),
            Err(error) => self.refuse(error.to_string()),
        }
    }

    /// Messages for the page since the last call.
    pub fn take_messages(&mut self) -> Vec<FromEngine> {
        std::mem::take(&mut self.messages)
    }

    /// Whether [`work`](Self::work) has anything to do.
    pub fn has_work(&self) -> bool {
        self.data.is_some()
            && self.trainer.as_ref().is_some_and(|trainer| {
                self.trains()
                    || self.moved.is_some()
                    || self.evaluation.is_some()
                    || self.is_behind(trainer)
            })
    }

    /// Whether the answers are of another network than the present one.
    fn is_behind(&self, trainer: &Trainer) -> bool {
        self.answers.network.is_none() || self.answers.step != trainer.step_count()
    }

    /// Whether there is training to do: a step that has begun is ended also when training is to pause, and what the GPU has
    /// learned is brought back.
    fn trains(&self) -> bool {
        let Some(trainer) = &self.trainer else {
            return false;
        };
        self.mode != Mode::Paused
            || trainer.is_within_step()
            || (self.on_gpu.is_some() && self.standing.is_busy)
    }

    /// The processor's work for a slice of time by the clock `now`, in milliseconds.
    pub fn work(&mut self, now: &impl Fn() -> f64) {
        let start = now();
        let mut time = start;
        while time - start < SLICE && self.has_work() {
            let before = time;
            if self.evaluation.is_some() {
                self.evaluate_piece();
                time = now();
            } else if self.on_gpu.is_some() {
                // That is another function's, which comes between two slices.
                self.refresh_answers(time);
                break;
            } else if self.trains() {
                let images = self.train_part();
                time = now();
                self.speed.count(images, time - before);
            }
            self.refresh_answers(time);
            time = now();
        }
        if self.on_gpu.is_none() {
            self.race(now, time);
        }
        if time - self.told >= FRAME || self.mode == Mode::Paused {
            self.tell_steps();
            self.told = time;
        }
    }

    /// Runs a round of the kernels' race where one is due, and takes the fastest ones. A network of another shape begins
    /// another race.
    fn race(&mut self, now: &impl Fn() -> f64, time: f64) {
        let Some(trainer) = &self.trainer else { return };
        let shape = (trainer.inputs(), trainer.spec().hidden.clone());
        let Some(race) = self.race.as_mut().filter(|race| race.shape == shape) else {
            self.race = Some(Race {
                shape,
                tuner: Tuner::new(trainer.spec(), trainer.inputs(), trainer.classes()),
                begun: time,
                rounds: 0,
            });
            return;
        };
        let due = |due: &f64| time - race.begun >= *due;
        if !ROUNDS.get(race.rounds).is_some_and(due) {
            return;
        }
        race.tuner.round(now);
        race.rounds += 1;
        if let Some(tuning) = race.tuner.tuning() {
            self.choose(Choice {
                costs: tuning.costs,
                ..self.choice
            });
        }
        self.tell_kernels();
    }

    fn force_kernel(&mut self, method: Option<Method>) {
        let choice = Choice {
            forced: method,
            ..self.choice
        };
        if let Some(message) = self.choose(choice) {
            self.messages.push(FromEngine::KernelRefused { message });
        }
        self.tell_kernels();
    }

    /// Takes other kernels from the next step on, unless the network would not fit the memory with them: why not.
    fn choose(&mut self, choice: Choice) -> Option<String> {
        let refusal = too_large(&self.spec, self.shape(), choice);
        if refusal.is_none() {
            // The weights are packed anew only where that is for something.
            let kinds = |choice| products(&self.spec, choice).map(|product| product.kind);
            self.pending_choice |= kinds(choice) != kinds(self.choice);
            self.choice = choice;
            self.apply_pending();
        }
        refusal
    }

    fn tell_kernels(&mut self) {
        if let Some(tuning) = self.race.as_ref().and_then(|race| race.tuner.tuning()) {
            self.messages.push(FromEngine::Tuned {
                tuning,
                forced: self.choice.forced,
            });
        }
    }

    fn refuse(&mut self, message: String) {
        self.messages.push(FromEngine::Refused { message });
    }

    fn configure(&mut self, spec: NetworkSpec) {
        let problem = spec.validate().err().map(|error| error.to_string());
        let problem = problem.or_else(|| too_large(&spec, self.shape(), self.choice));
        let problem = problem.or_else(|| self.too_large_beside(&spec));
        if let Some(message) = problem {
            let spec = self.spec.clone();
            return self
                .messages
                .push(FromEngine::SpecRefused { message, spec });
        }
        let keeps = spec.same_shape(&self.spec) && spec.seed == self.spec.seed;
        self.spec = spec.clone();
        if keeps && self.trainer.is_some() {
            self.pending = Some(spec);
            self.apply_pending();
        } else {
            self.drop_trainer();
            self.reseed_data();
            self.make_trainer();
        }
    }

    /// Draws the procedural digits, where they are in use, from the present seed.
    fn reseed_data(&mut self) {
        let is_procedural = |data: &DataSet| matches!(data.train, TrainingData::Procedural(_));
        if self.data.as_deref().is_some_and(is_procedural) {
            let data = DataSet::procedural(self.spec.seed, PROCEDURAL_TEST_IMAGES);
            self.data = Some(Arc::new(data));
        }
    }

    /// Pixels of an image, and the number of classes; of the usual ones where there is no data yet.
    fn shape(&self) -> (usize, usize) {
        self.data
            .as_ref()
            .map_or((28 * 28, DIGITS), |data| shape_of(data))
    }

    /// Takes up settings and data that waited, unless a step is under way, or what the GPU has learned is to come back first.
    fn apply_pending(&mut self) {
        let waits = self.pending.is_some() || self.pending_data.is_some();
        if let Some(on_gpu) = &mut self.on_gpu {
            on_gpu.is_leaving |= waits;
            self.standing.is_busy |= waits;
            return;
        }
        let Some(trainer) = self
            .trainer
            .as_mut()
            .filter(|trainer| !trainer.is_within_step())
        else {
            return;
        };
        if std::mem::take(&mut self.pending_choice) {
            trainer.choose_kernels(self.choice);
            self.answers.network = None;
            self.speed.outdated = true;
        }
        if let Some(spec) = self.pending.take() {
            let outcome = trainer.reconfigure(spec);
            self.changed = trainer.step_count();
            self.answers.network = None;
            self.speed.outdated = true;
            if let Err(error) = outcome {
                self.refuse(error.to_string());
            }
        }
        if let Some(data) = self.pending_data.take() {
            self.use_data(data);
        }
    }

    fn restore(&mut self, checkpoint: &[u8]) {
        let trainer = match Trainer::restore(checkpoint) {
            Ok(trainer) => trainer,
            Err(error) => return self.refuse(error.to_string()),
        };
        let shape = (trainer.inputs(), trainer.classes());
        if self.data.is_some() && self.shape() != shape {
            return self.refuse(
                "The checkpoint is of a network for images of another size, or other classes."
                    .into(),
            );
        }
        if let Some(refusal) = too_large(trainer.spec(), shape, self.choice) {
            return self.refuse(refusal);
        }
        self.drop_trainer();
        if trainer.spec().seed != self.spec.seed {
            self.spec = trainer.spec().clone();
            self.reseed_data();
        }
        self.spec = trainer.spec().clone();
        self.trainer = Some(trainer);
        self.network_changed();
    }

    fn set_mode(&mut self, mode: Mode) {
        if self.mode != mode {
            self.mode = mode;
            self.tell_steps();
            self.tell_state();
        }
    }

    fn use_data(&mut self, data: DataSet) {
        if self.on_gpu.is_some() || self.trainer.as_ref().is_some_and(Trainer::is_within_step) {
            self.pending_data = Some(data);
            self.apply_pending();
            return;
        }
        let summary = DataSummary {
            name: data.name.clone(),
            train_images: match &data.train {
                TrainingData::Images(images) => Some(images.len() as u32),
                TrainingData::Procedural(_) => None,
            },
            test_images: data.test.len() as u32,
            width: data.test.width as u32,
            height: data.test.height as u32,
        };
        self.messages.push(FromEngine::DataReady { data: summary });
        if let Some(trainer) = &mut self.trainer {
            // A network restored before its data came goes on where it was.
            if let Some(before) = &self.data {
                trainer.data_changed(&before.train);
                self.changed = trainer.step_count();
            }
            // Images of another size need another first layer, other classes another last one.
            if (trainer.inputs(), trainer.classes()) != shape_of(&data) {
                self.drop_trainer();
            }
        }
        self.data = Some(Arc::new(data));
        self.evaluation = None;
        self.make_trainer();
        self.apply_pending();
        self.answers.network = None;
    }

    /// Forgets the network, wherever it trains, and settings that waited for it.
    fn drop_trainer(&mut self) {
        self.trainer = None;
        self.pending = None;
        if self.on_gpu.take().is_some() {
            self.tell_backend(None);
        }
    }

    /// A new network, where there is none and there is data.
    fn make_trainer(&mut self) {
        // A step that was under way is gone: nothing needs to wait any more.
        if self.trainer.is_none()
            && let Some(data) = self.pending_data.take()
        {
            return self.use_data(data);
        }
        let (None, Some(data)) = (&self.trainer, &self.data) else {
            return;
        };
        if let Some(refusal) = too_large(&self.spec, shape_of(data), self.choice) {
            return self.refuse(refusal);
        }
        match Trainer::new(
            self.spec.clone(),
            data.test.image_size(),
            data.classes.len(),
        ) {
            Ok(trainer) => {
                self.trainer = Some(trainer);
                self.network_changed();
            }
            Err(error) => self.refuse(error.to_string()),
        }
    }

    fn network_changed(&mut self) {
        if let Some(trainer) = &mut self.trainer {
            trainer.choose_kernels(self.choice);
        }
        self.evaluation = None;
        self.steps.clear();
        self.answers.network = None;
        self.speed = Speed::default();
        self.changed = self.trainer.as_ref().map_or(0, Trainer::step_count);
        self.tell_state();
    }

    fn tell_state(&mut self) {
        let epoch = self.epoch();
        self.messages.push(FromEngine::State {
            training: self.mode == Mode::Training,
            step: self.step_count(),
            epoch,
        });
    }

    fn tell_steps(&mut self) {
        if !self.steps.is_empty() {
            self.messages.push(FromEngine::Progress {
                steps: std::mem::take(&mut self.steps),
                epoch: self.epoch(),
                images_per_second: self.speed.latest,
            });
        }
    }

    /// Steps trained.
    fn step_count(&self) -> u32 {
        match (&self.on_gpu, &self.trainer) {
            (Some(_), _) => self.standing.step,
            (None, Some(trainer)) => trainer.step_count(),
            (None, None) => 0,
        }
    }

    fn epoch(&self) -> f32 {
        match (&self.on_gpu, &self.trainer, &self.data) {
            (Some(_), ..) => self.standing.epoch,
            (None, Some(trainer), Some(data)) => trainer.epochs(&data.train),
            _ => 0.0,
        }
    }

    /// Does a part of a training step; the images of the step that it ended.
    fn train_part(&mut self) -> usize {
        let (Some(trainer), Some(data)) = (&mut self.trainer, &self.data) else {
            return 0;
        };
        let metrics = match trainer.advance(&data.train) {
            Ok(Some(metrics)) => metrics,
            Ok(None) => return 0,
            Err(diverged) => {
                self.diverged(diverged);
                self.apply_pending();
                return 0;
            }
        };
        let epoch_ended = trainer.epochs(&data.train).fract() == 0.0;
        if self.note_step(metrics) || epoch_ended {
            self.begin_evaluation();
        }
        self.apply_pending();
        if self.mode == Mode::OneStep {
            self.set_mode(Mode::Paused);
        }
        metrics.images
    }

    fn diverged(&mut self, diverged: Diverged) {
        self.set_mode(Mode::Paused);
        self.refuse(diverged.to_string());
    }

    /// Notes a step for the page; whether a test is due: often while the network learns fast and after a change, then a few
    /// times an epoch.
    fn note_step(&mut self, metrics: StepMetrics) -> bool {
        self.steps.push(StepPoint {
            step: metrics.step,
            loss: metrics.loss,
            accuracy: metrics.accuracy,
        });
        let since = metrics.step.saturating_sub(self.changed);
        matches!(since, 20 | 50 | 100) || metrics.step.is_multiple_of(200)
    }

    /// Takes up the GPU that was opened; or why there is none.
    pub fn gpu_opened(&mut self, opened: Result<Rc<Gpu>, GpuState>) {
        match opened {
            Err(state) => {
                self.messages.push(FromEngine::Gpu { state });
                self.wants_gpu = false;
                self.tell_backend(None);
            }
            Ok(gpu) => {
                self.is_gpu_ready = false;
                self.gpu = Some(SendWrapper::new(gpu.clone()));
                self.tell_gpu(&gpu, None);
            }
        }
    }

    /// Takes note that the GPU's tiles have raced, or need not.
    pub fn gpu_ready(&mut self, raced: Result<Option<TileRace>, GpuError>) {
        match (raced, self.gpu()) {
            (Ok(race), Some(gpu)) => {
                self.is_gpu_ready = true;
                self.tell_gpu(&gpu, race);
            }
            (Err(error), _) => self.give_up_gpu(error),
            (Ok(_), None) => {}
        }
    }

    fn tell_gpu(&mut self, gpu: &Gpu, race: Option<TileRace>) {
        self.messages.push(FromEngine::Gpu {
            state: GpuState::Present {
                adapter: gpu.name(),
                is_software: gpu.is_software(),
                speeds: race.map(|race| GpuSpeeds {
                    planes: race.planes[0].giga_macs,
                    floats: race.floats[0].giga_macs,
                    limits: race.limits,
                }),
            },
        });
    }

    /// The GPU, unless it was lost.
    pub fn gpu(&self) -> Option<Rc<Gpu>> {
        let gpu = self.gpu.as_deref().filter(|gpu| gpu.lost().is_none());
        gpu.cloned()
    }

    /// The GPU, the data and how the processor's kernels are chosen, for a comparison; or, in a sentence, why there can be none.
    pub fn begin_comparison(&mut self) -> Result<(Rc<Gpu>, Arc<DataSet>, Choice), String> {
        let gpu = self.gpu().ok_or("There is no GPU to compare on.")?;
        let data = self.data.as_ref().ok_or("There is no data yet.")?;
        self.is_comparing = true;
        if let Some(refusal) = self.too_large_beside(&self.spec) {
            self.is_comparing = false;
            return Err(refusal);
        }
        Ok((gpu, data.clone(), self.choice))
    }

    /// Takes note that the comparison is over.
    pub fn compared(&mut self) {
        self.is_comparing = false;
    }

    /// Why a network does not fit the memory beside that of a comparison, if one is under way.
    fn too_large_beside(&self, spec: &NetworkSpec) -> Option<String> {
        let is_too_large = self.is_comparing && weights(spec, self.shape()) > MAX_WEIGHTS_BESIDE;
        is_too_large.then(|| {
            "There is no memory for so large a network beside the comparison of the GPU's kernels: choose a smaller one, or wait."
                .into()
        })
    }

    fn use_gpu(&mut self, wanted: bool) -> Option<Request> {
        self.wants_gpu = wanted;
        if !wanted {
            self.moved = None;
            if let Some(on_gpu) = &mut self.on_gpu {
                on_gpu.is_leaving = true;
                self.standing.is_busy = true;
            }
        }
        self.tell_backend(None);
        let is_ready = self.is_gpu_ready && self.gpu().is_some();
        (wanted && !is_ready).then_some(Request::PrepareGpu)
    }

    /// Begins to make the network on the GPU where it is to train there and does not. While that takes, it trains here.
    pub fn begin_move(
        &mut self,
    ) -> Option<impl Future<Output = Result<PreparedTrainer, GpuError>> + use<>> {
        let is_there = self.is_moving || self.moved.is_some() || self.on_gpu.is_some();
        if !self.wants_gpu || !self.is_gpu_ready || is_there {
            return None;
        }
        let (Some(gpu), Some(trainer), Some(data)) = (self.gpu(), &self.trainer, &self.data) else {
            return None;
        };
        self.is_moving = true;
        Some(PreparedTrainer::new(gpu, trainer, &data.train))
    }

    /// Takes up what was made on the GPU, as soon as no step is under way.
    pub fn end_move(&mut self, made: Result<PreparedTrainer, GpuError>) {
        self.is_moving = false;
        match made {
            Ok(made) if self.wants_gpu => self.moved = Some(SendWrapper::new(made)),
            Ok(_) => {}
            Err(error) => self.give_up_gpu(error),
        }
    }

    /// Trains on from here with what was made on the GPU, unless a step is under way here.
    fn take_up_gpu(&mut self) {
        let (Some(trainer), Some(data)) = (&self.trainer, &self.data) else {
            return;
        };
        if trainer.is_within_step() || self.on_gpu.is_some() {
            return;
        }
        // What was made for other settings is of no use any more.
        let fits = |made: &SendWrapper<PreparedTrainer>| made.fits(trainer, &data.train);
        if let Some(made) = self.moved.take().filter(fits) {
            self.standing = Standing {
                step: trainer.step_count(),
                epoch: trainer.epochs(&data.train),
                is_busy: false,
            };
            self.on_gpu = Some(SendWrapper::new(OnGpu::new(made.take(), trainer)));
            self.speed = Speed::default();
            self.tell_backend(None);
        }
    }

    /// Steps of which all that was learned is here.
    #[cfg(test)]
    pub fn trained_steps(&self) -> u32 {
        self.trainer.as_ref().map_or(0, Trainer::step_count)
    }

    /// Lets the next step diverge: the last layer's gammas are near the end of float32.
    #[cfg(test)]
    pub fn spoil(&mut self) {
        if let Some(trainer) = &mut self.trainer {
            trainer.take_up(trainer.progress(), |layer, state| {
                if layer == 1 {
                    state.gamma[0].fill(3e38);
                }
            });
        }
    }

    /// The GPU's share of the work, to be called before every [`work`](Self::work) by the thread that opened it: what has come
    /// from there is taken, and it is kept busy.
    pub fn turn_to_gpu(&mut self, time: f64) -> Pace {
        self.take_up_gpu();
        if self.on_gpu.is_none() || self.train_on_gpu(time) || self.evaluation.is_some() {
            return Pace::Busy;
        }
        Pace::Waiting
    }

    /// Hears of the GPU and keeps it busy; whether there was anything to do.
    fn train_on_gpu(&mut self, time: f64) -> bool {
        let (Some(on_gpu), Some(trainer), Some(data)) =
            (&mut self.on_gpu, &mut self.trainer, &self.data)
        else {
            return false;
        };
        let news = match on_gpu.hear(trainer, time) {
            Ok(news) => news,
            Err(TrainingError::Gpu(error)) => {
                self.give_up_gpu(error);
                return true;
            }
            Err(TrainingError::Diverged(diverged)) => {
                // What was learned up to there is brought back.
                on_gpu.is_leaving = true;
                self.standing.is_busy = true;
                self.diverged(diverged);
                return true;
            }
        };
        let mut is_active = !news.metrics.is_empty() || news.has_learned;
        let is_over = on_gpu.is_leaving && !on_gpu.is_busy() && !on_gpu.is_ahead_of(trainer);
        let mut is_one_step_over = false;
        match self.mode {
            _ if on_gpu.is_leaving => {}
            Mode::Paused => {}
            Mode::OneStep => is_one_step_over = on_gpu.single_step(&data.train, time),
            Mode::Training => is_active |= on_gpu.begin_steps(&data.train, time),
        }
        let is_last = on_gpu.is_leaving || self.mode != Mode::Training;
        on_gpu.bring_back(trainer, is_last, time);
        let is_over_in_pause = self.mode == Mode::Paused
            && on_gpu.steps_over() == on_gpu.step_count()
            && self.standing.step != on_gpu.step_count();
        let epoch = on_gpu.epochs(&data.train);
        self.test_is_due |= epoch.floor() > self.standing.epoch.floor();
        self.standing = Standing {
            step: on_gpu.steps_over(),
            epoch,
            is_busy: on_gpu.is_leaving || on_gpu.is_busy() || on_gpu.is_ahead_of(trainer),
        };
        let images: usize = news.metrics.iter().map(|metrics| metrics.images).sum();
        self.speed.count(images, news.milliseconds);
        for metrics in news.metrics {
            self.test_is_due |= self.note_step(metrics);
        }
        if is_one_step_over {
            self.set_mode(Mode::Paused);
        } else if is_over_in_pause {
            // The last steps that were under way.
            self.tell_steps();
            self.tell_state();
        }
        // A test under way is not given up for another: it would never end where steps are fast.
        let may_test = news.has_learned && self.evaluation.is_none();
        if may_test && std::mem::take(&mut self.test_is_due) {
            self.begin_evaluation();
        }
        if is_over {
            self.on_gpu = None;
            self.speed = Speed::default();
            self.tell_backend(None);
            self.apply_pending();
            is_active = true;
        }
        is_active
    }

    /// Goes on here from what the GPU has brought back last.
    fn give_up_gpu(&mut self, error: GpuError) {
        self.wants_gpu = false;
        self.moved = None;
        let before = self.on_gpu.take().map(|on_gpu| on_gpu.step_count());
        if matches!(error, GpuError::Lost(_)) {
            self.gpu = None;
        }
        self.tell_steps();
        let step = self.step_count();
        let from = match before {
            Some(before) if before > step => format!(
                " Training goes on with the processor, from step {step}; what was learned in {} steps since is gone.",
                before - step
            ),
            _ => " Training goes on with the processor.".into(),
        };
        self.speed = Speed::default();
        self.tell_backend(Some(format!("{error}{from}")));
        self.tell_state();
        self.apply_pending();
    }

    /// Says what trains now, and why that has changed unasked.
    fn tell_backend(&mut self, message: Option<String>) {
        self.messages.push(FromEngine::Backend {
            wants_gpu: self.wants_gpu,
            on_gpu: self.on_gpu.is_some(),
            message,
        });
    }

    fn begin_evaluation(&mut self) {
        let Some(trainer) = &self.trainer else { return };
        self.evaluation = Some(RunningEvaluation {
            network: trainer.freeze(),
            weights: trainer.weight_count(),
            sum: Evaluation::default(),
            step: trainer.step_count(),
            epoch: self.epoch(),
        });
    }

    fn evaluate_piece(&mut self) {
        let (Some(running), Some(data)) = (&mut self.evaluation, &self.data) else {
            return;
        };
        let (first, all) = (running.sum.images, data.test.len());
        let length = (EVALUATION_MACS / running.weights).clamp(1, 100);
        let piece = running
            .network
            .evaluate(&data.test, first..all.min(first + length));
        running.sum = running.sum + piece;
        if running.sum.images < all {
            return;
        }
        self.tell_steps();
        let Some(RunningEvaluation {
            sum, step, epoch, ..
        }) = self.evaluation.take()
        else {
            return;
        };
        self.messages.push(FromEngine::Evaluated {
            step,
            epoch,
            loss: sum.loss(),
            accuracy: sum.accuracy(),
        });
        let small = |trainer: &&Trainer| {
            trainer.weight_count() <= CHECKPOINT_WEIGHTS && !trainer.is_within_step()
        };
        if let Some(trainer) = self.trainer.as_ref().filter(small) {
            let checkpoint = trainer.checkpoint();
            self.messages.push(FromEngine::Checkpoint { checkpoint });
        }
    }

    /// Brings the answers up to the network where they are behind it for long enough, or it learns no more.
    fn refresh_answers(&mut self, time: f64) {
        let (Some(trainer), Some(data)) = (&self.trainer, &self.data) else {
            return;
        };
        let in_time = self.answers.network.is_some()
            && self.trains()
            && time - self.answers.frozen < ANSWER_INTERVAL;
        if trainer.is_within_step() || !self.is_behind(trainer) || in_time {
            return;
        }
        let network = trainer.freeze();
        let shown = STRIP_LENGTH.min(data.test.len());
        let logits = network.logits(data.test.pixels_of(0..shown));
        let digits = logits.chunks_exact(network.classes()).enumerate();
        self.messages.push(FromEngine::TestStrip {
            width: data.test.width as u32,
            height: data.test.height as u32,
            digits: digits
                .map(|(image, logits)| TestDigit {
                    pixels: ByteBuf::from(data.test.pixels_of(image..image + 1)),
                    label: data.test.labels[image],
                    answer: argmax(logits) as u8,
                })
                .collect(),
        });
        self.answers = Answers {
            network: Some(network),
            step: trainer.step_count(),
            frozen: time,
        };
        self.answer_drawing();
    }

    /// Answers what is on the pad, where there is something and there is a network.
    fn answer_drawing(&mut self) {
        let (Some(pixels), Some(network)) = (&self.drawing, &self.answers.network) else {
            return;
        };
        // A network for images of another size cannot read the pad, and one that has learned nothing only seems to.
        let reads = self.answers.step > 0 && network.inputs() == pixels.len();
        let answer = reads.then(|| {
            let logits = network.logits(pixels);
            DrawnAnswer {
                pixels: ByteBuf::from(pixels.as_slice()),
                answer: argmax(&logits) as u8,
                shares: softmax(&logits),
            }
        });
        self.messages.push(FromEngine::Answer { answer });
    }
}

/// Pixels of an image, and the number of classes.
fn shape_of(data: &DataSet) -> (usize, usize) {
    (data.test.image_size(), data.classes.len())
}

fn weights(spec: &NetworkSpec, (inputs, classes): (usize, usize)) -> usize {
    let shapes = spec.layer_shapes(inputs, classes);
    shapes.iter().map(|(inputs, units)| inputs * units).sum()
}

/// Why a network of `spec` for images and classes of `shape` does not fit the engine's memory, if it does not.
fn too_large(spec: &NetworkSpec, shape: (usize, usize), choice: Choice) -> Option<String> {
    let weights = weights(spec, shape);
    let encodings = (spec.activations().encoding(), spec.weights().encoding());
    let most = match ProductKind::of(choice, encodings.0, encodings.1) {
        ProductKind::Integer(Method::Popcount | Method::Lookup | Method::MultiplyBytes) => {
            MAX_WEIGHTS
        }
        _ => MAX_WIDE_WEIGHTS,
    };
    (weights > most).then(|| {
        let weights = weights / 1_000_000;
        let most = most / 1_000_000;
        let how = match choice.forced {
            Some(Method::Multiply) => "with 16-bit multiplication: choose another kernel",
            _ => "at these bit widths",
        };
        format!(
            "A network of {weights} million weights does not fit the memory of a tab; {most} million do {how}."
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use qnn_core::spec::Bits;

    /// A session on procedural digits with a small network.
    fn session() -> Session {
        let mut session = Session::default();
        let spec = NetworkSpec {
            hidden: vec![32],
            ..NetworkSpec::default()
        };
        session.receive(ToEngine::Configure { spec });
        session.receive(ToEngine::UseData {
            source: DataSource::Procedural,
        });
        session
    }

    thread_local! {
        static CLOCK: std::cell::Cell<f64> = const { std::cell::Cell::new(0.0) };
    }

    /// A clock that goes on a millisecond a look.
    fn tick() -> f64 {
        CLOCK.set(CLOCK.get() + 1.0);
        CLOCK.get()
    }

    /// Works for so many slices; what the page hears.
    fn work(session: &mut Session, slices: usize) -> Vec<FromEngine> {
        let mut messages = session.take_messages();
        for _ in 0..slices {
            session.work(&tick);
            messages.extend(session.take_messages());
        }
        messages
    }

    fn losses(messages: &[FromEngine]) -> Vec<f32> {
        let steps = messages.iter().filter_map(|message| match message {
            FromEngine::Progress { steps, .. } => Some(steps),
            _ => None,
        });
        steps.flatten().map(|point| point.loss).collect()
    }

    fn refusals(messages: &[FromEngine]) -> Vec<&str> {
        let refused = messages.iter().filter_map(|message| match message {
            FromEngine::Refused { message } | FromEngine::SpecRefused { message, .. } => {
                Some(message.as_str())
            }
            _ => None,
        });
        refused.collect()
    }

    #[test]
    fn nothing_is_trained_until_it_is_asked_for() {
        let mut session = session();
        assert!(losses(&work(&mut session, 5)).is_empty());
        session.receive(ToEngine::Train);
        assert!(losses(&work(&mut session, 20)).len() > 3);
    }

    #[test]
    fn one_step_is_one_step() {
        let mut session = session();
        session.receive(ToEngine::Step);
        assert_eq!(losses(&work(&mut session, 20)).len(), 1);
        assert!(!session.has_work());
    }

    #[test]
    fn training_that_diverges_pauses_and_says_so() {
        let mut session = session();
        // The last layer's gammas near the end of float32, where no step leads: patched into a checkpoint.
        let mut checkpoint = session.trainer.as_ref().unwrap().checkpoint();
        let ones: Vec<u8> = [10]
            .into_iter()
            .chain(1f32.to_le_bytes().repeat(10))
            .collect();
        let gamma = checkpoint
            .windows(41)
            .position(|window| window == ones)
            .unwrap()
            + 1;
        checkpoint[gamma..gamma + 40].copy_from_slice(&3e38f32.to_le_bytes().repeat(10));
        session.receive(ToEngine::Restore { checkpoint });
        session.receive(ToEngine::Train);
        let messages = work(&mut session, 20);
        assert!(losses(&messages).is_empty());
        assert_eq!(refusals(&messages).len(), 1);
        assert!(refusals(&messages)[0].contains("logits of layer 2"));
        let paused = |message: &FromEngine| {
            matches!(
                message,
                FromEngine::State {
                    training: false,
                    ..
                }
            )
        };
        assert!(messages.iter().any(paused) && !session.trains());
        // A reset begins anew.
        session.receive(ToEngine::Reset);
        session.receive(ToEngine::Train);
        assert!(!losses(&work(&mut session, 20)).is_empty());
    }

    /// A session in the middle of its first step.
    fn within_a_step() -> Session {
        let mut session = session();
        session.receive(ToEngine::Train);
        while !session.trainer.as_ref().unwrap().is_within_step() {
            session.train_part();
        }
        session
    }

    #[test]
    fn a_step_that_was_paused_is_ended_and_settings_act() {
        let mut session = within_a_step();
        session.receive(ToEngine::Pause);
        let spec = NetworkSpec {
            weight_bits: Bits::new(4).unwrap(),
            ..session.spec.clone()
        };
        session.receive(ToEngine::Configure { spec: spec.clone() });
        assert_eq!(losses(&work(&mut session, 20)).len(), 1);
        assert_eq!(*session.trainer.as_ref().unwrap().spec(), spec);
        assert!(!session.has_work());
    }

    #[test]
    fn data_that_comes_within_a_step_waits_for_its_end() {
        let mut session = within_a_step();
        let data = DataSet::procedural(9, 50);
        session.loaded(Ok(data));
        session.receive(ToEngine::Pause);
        let messages = work(&mut session, 20);
        assert_eq!(losses(&messages).len(), 1);
        assert_eq!(session.data.as_ref().unwrap().test.len(), 50);
        // A reset does not wait, and does not lose it either.
        let mut session = within_a_step();
        session.loaded(Ok(DataSet::procedural(9, 50)));
        session.receive(ToEngine::Reset);
        assert_eq!(session.data.as_ref().unwrap().test.len(), 50);
    }

    #[test]
    fn another_seed_draws_other_digits() {
        let mut session = session();
        let before = session.data.as_ref().unwrap().test.clone();
        let spec = NetworkSpec {
            seed: 7,
            ..session.spec.clone()
        };
        session.receive(ToEngine::Configure { spec });
        let after = &session.data.as_ref().unwrap().test;
        assert_ne!(before, *after);
        assert_eq!(*after, DataSet::procedural(7, PROCEDURAL_TEST_IMAGES).test);
    }

    #[test]
    fn slices_and_pauses_do_not_change_the_curve() {
        let mut whole = session();
        whole.receive(ToEngine::Train);
        let mut cut = session();
        let mut cut_losses = Vec::new();
        for _ in 0..30 {
            cut.receive(ToEngine::Train);
            cut_losses.extend(losses(&work(&mut cut, 1)));
            cut.receive(ToEngine::Pause);
            cut_losses.extend(losses(&work(&mut cut, 1)));
        }
        let whole = losses(&work(&mut whole, 40));
        let both = whole.len().min(cut_losses.len());
        assert!(both > 10);
        assert_eq!(whole[..both], cut_losses[..both]);
    }

    #[test]
    fn settings_change_in_mid_training_and_what_was_learned_stays() {
        let mut session = session();
        session.receive(ToEngine::Train);
        let before = losses(&work(&mut session, 200));
        let spec = NetworkSpec {
            weight_bits: Bits::new(4).unwrap(),
            activation_bits: Bits::FLOAT,
            ..session.spec.clone()
        };
        session.receive(ToEngine::Configure { spec });
        let mut after = losses(&work(&mut session, 100));
        session.receive(ToEngine::Pause);
        after.extend(losses(&session.take_messages()));
        assert!(before.len() > 20 && !after.is_empty());
        assert!(after[after.len() - 1] < before[0] / 2.0);
        let step = session.trainer.as_ref().unwrap().step_count() as usize;
        assert_eq!(step, before.len() + after.len());
    }

    #[test]
    fn kernels_race_for_every_shape_and_can_be_overridden_in_mid_training() {
        let tuned = |messages: &[FromEngine]| -> Vec<Option<Method>> {
            let told = messages.iter().filter_map(|message| match message {
                FromEngine::Tuned { forced, .. } => Some(*forced),
                _ => None,
            });
            told.collect()
        };
        let mut whole = session();
        whole.receive(ToEngine::Train);
        let expected = losses(&work(&mut whole, 40));
        let mut session = within_a_step();
        assert_eq!(tuned(&session.take_messages()), []);
        let mut found = losses(&work(&mut session, 10));
        let methods = Method::ALL.map(Some);
        for method in methods {
            session.receive(ToEngine::ForceKernel { method });
            let messages = work(&mut session, 10);
            assert_eq!(tuned(&messages)[0], method);
            found.extend(losses(&messages));
        }
        // No result depends on the kernel.
        let both = found.len().min(expected.len());
        assert!(both > 10);
        assert_eq!(found[..both], expected[..both]);
        session.receive(ToEngine::ForceKernel { method: None });
        // A network of another shape has a race of its own.
        let spec = NetworkSpec {
            hidden: vec![48],
            ..session.spec.clone()
        };
        session.take_messages();
        session.receive(ToEngine::Configure { spec });
        session.receive(ToEngine::Train);
        let begun = CLOCK.get();
        while CLOCK.get() < begun + 10_100.0 {
            session.work(&tick);
        }
        assert_eq!(tuned(&session.take_messages()).len(), ROUNDS.len());
        assert_eq!(
            session
                .race
                .as_ref()
                .unwrap()
                .tuner
                .tuning()
                .unwrap()
                .shape
                .1,
            48
        );
    }

    #[test]
    fn a_kernel_that_needs_too_much_memory_is_refused() {
        let mut session = session();
        let spec = NetworkSpec {
            hidden: vec![4096, 4096],
            ..session.spec.clone()
        };
        session.spec = spec;
        session.receive(ToEngine::ForceKernel {
            method: Some(Method::Multiply),
        });
        let messages = session.take_messages();
        assert!(messages.iter().any(|message| matches!(
            message,
            FromEngine::KernelRefused { message } if message.contains("does not fit")
        )));
        assert_eq!(session.choice.forced, None);
    }

    #[test]
    fn senseless_settings_are_refused_and_training_goes_on() {
        let mut session = session();
        session.receive(ToEngine::Train);
        let spec = NetworkSpec {
            learning_rate: f32::NAN,
            ..session.spec.clone()
        };
        session.receive(ToEngine::Configure { spec });
        let messages = work(&mut session, 20);
        assert_eq!(refusals(&messages).len(), 1);
        assert!(!losses(&messages).is_empty());
        let spec = NetworkSpec {
            hidden: vec![8192; 4],
            ..session.spec.clone()
        };
        session.receive(ToEngine::Configure { spec });
        assert!(refusals(&work(&mut session, 1))[0].contains("does not fit"));
    }

    #[test]
    fn data_that_failed_to_load_leaves_the_present_data() {
        let mut session = session();
        session.receive(ToEngine::Train);
        session.loaded(Err(DataError("It is cut short.".into())));
        let messages = work(&mut session, 20);
        assert_eq!(refusals(&messages), ["It is cut short."]);
        assert!(!losses(&messages).is_empty());
    }

    #[test]
    fn drawings_are_answered_and_an_empty_pad_is_not() {
        let mut session = session();
        session.receive(ToEngine::Step);
        work(&mut session, 20);
        let stroke = vec![(0.2, 0.2), (0.8, 0.2), (0.4, 0.9)];
        session.receive(ToEngine::Draw {
            strokes: vec![stroke],
        });
        let answered = |messages: &[FromEngine]| {
            messages.iter().find_map(|message| match message {
                FromEngine::Answer { answer } => Some(
                    answer
                        .as_ref()
                        .map(|answer| answer.shares.iter().sum::<f32>()),
                ),
                _ => None,
            })
        };
        let sum = answered(&session.take_messages()).unwrap().unwrap();
        assert!((sum - 1.0).abs() < 1e-5);
        session.receive(ToEngine::Draw { strokes: vec![] });
        assert_eq!(answered(&session.take_messages()), Some(None));
    }

    #[test]
    fn another_engine_goes_on_from_a_checkpoint() {
        let mut first = session();
        first.receive(ToEngine::Train);
        let messages = work(&mut first, 300);
        let checkpoint = messages.iter().find_map(|message| match message {
            FromEngine::Checkpoint { checkpoint } => Some(checkpoint.clone()),
            _ => None,
        });
        let mut second = session();
        second.receive(ToEngine::Restore {
            checkpoint: checkpoint.unwrap(),
        });
        let from = second.trainer.as_ref().unwrap().step_count() as usize;
        second.receive(ToEngine::Train);
        let (first, second) = (losses(&messages), losses(&work(&mut second, 200)));
        let both = second.len().min(first.len() - from);
        assert!(from > 0 && both > 5);
        assert_eq!(first[from..from + both], second[..both]);
        let mut third = session();
        third.receive(ToEngine::Restore {
            checkpoint: vec![1, 2, 3],
        });
        assert!(refusals(&third.take_messages())[0].contains("not a checkpoint"));
    }
}
