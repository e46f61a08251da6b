//! A network of the race: its training in parts, here or on the GPU, its tests and its answers. Whose turn it is, and
//! what all networks have in common, is the session's.

use qnn_core::data::DataSet;
use qnn_core::loss::{argmax, softmax};
use qnn_core::packed::PackedNetwork;
use qnn_core::report::TestReport;
use qnn_core::spec::NetworkSpec;
use qnn_core::train::{StepMetrics, Trainer};
use qnn_protocol::{DrawnAnswer, FromEngine, NetworkId, StepPoint, View};
use send_wrapper::SendWrapper;
use serde_bytes::ByteBuf;

use crate::gpu::{GpuError, OnGpu, PreparedTrainer, TrainingError};
use crate::look;
use crate::session::Shared;

/// How often answers and what is looked at follow a network that learns, in milliseconds.
const ANSWER_INTERVAL: f64 = 200.0;
/// How long the training speed is averaged, in milliseconds of training.
const SPEED_WINDOW: f64 = 1000.0;
/// Multiply-accumulates of the test images answered at a time, between two looks at the clock: some 10 ms of one thread.
const EVALUATION_MACS: usize = 1 << 26;
/// Latent weights above which no checkpoint is kept: it would hold up training, and twice the memory.
const CHECKPOINT_WEIGHTS: usize = 1 << 22;

/// What is to become of a step that could begin.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Mode {
    #[default]
    Paused,
    /// Every network trains one step more.
    Single,
    Training,
}

/// A network in training, and what is known of it.
pub struct Racer {
    pub id: NetworkId,
    pub spec: NetworkSpec,
    /// Where the network trains on the GPU, as it was when it was last brought back.
    pub trainer: Option<Trainer>,
    /// Settings and kernels that wait for the end of the step under way.
    pending: Option<NetworkSpec>,
    pending_choice: bool,
    /// Whether it is being made on the GPU; what was made there, for the end of the step under way.
    is_moving: bool,
    moved: Option<SendWrapper<PreparedTrainer>>,
    pub on_gpu: Option<SendWrapper<OnGpu>>,
    /// How far it is there, for all threads.
    standing: Standing,
    /// Whether the next network that is brought back is to be tested.
    test_is_due: bool,
    evaluation: Option<RunningEvaluation>,
    /// Where a single step ends.
    last: u32,
    /// The last test that is over.
    tested: Option<TestReport>,
    /// The step at which the network, its settings or the data last became others.
    changed: u32,
    answers: Answers,
    speed: Speed,
    /// Steps not told yet.
    steps: Vec<StepPoint>,
    /// Whose signs changed in the last step, where somebody looks.
    flips: look::Flips,
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

/// A test under way.
struct RunningEvaluation {
    network: PackedNetwork,
    /// Weights of the network: what an image costs.
    weights: usize,
    report: TestReport,
    step: u32,
    epoch: f32,
    seconds: f32,
}

/// The network that answers drawings and is looked at. It may be a little behind the one that learns.
#[derive(Default)]
struct Answers {
    network: Option<PackedNetwork>,
    step: u32,
    frozen: f64,
}

/// Images a second, over the training of about the last second; and the time of all training.
#[derive(Default)]
struct Speed {
    images: f64,
    milliseconds: f64,
    latest: f32,
    /// Whether settings have changed since.
    outdated: bool,
    total: f64,
}

impl Speed {
    /// Counts a part's time, and the images of the step that it ended.
    fn count(&mut self, images: usize, milliseconds: f64) {
        self.total += milliseconds;
        self.milliseconds += milliseconds;
        self.images += images as f64;
        if images == 0 {
            return;
        }
        if std::mem::take(&mut self.outdated) {
            // This step was the last under other settings.
            self.begin_anew();
        } else if self.latest == 0.0 || self.milliseconds >= SPEED_WINDOW {
            self.latest = (self.images * 1000.0 / self.milliseconds.max(f64::MIN_POSITIVE)) as f32;
            if self.milliseconds >= SPEED_WINDOW {
                (self.images, self.milliseconds) = (0.0, 0.0);
            }
        }
    }

    /// Measures anew; the time of all training counts on.
    fn begin_anew(&mut self) {
        *self = Speed {
            total: self.total,
            ..Speed::default()
        };
    }

    fn seconds(&self) -> f32 {
        (self.total / 1000.0) as f32
    }
}

impl Racer {
    /// A network that is not made yet.
    pub fn new(id: NetworkId, spec: NetworkSpec) -> Racer {
        Racer {
            id,
            spec,
            trainer: None,
            pending: None,
            pending_choice: false,
            is_moving: false,
            moved: None,
            on_gpu: None,
            standing: Standing::default(),
            test_is_due: false,
            evaluation: None,
            last: 0,
            tested: None,
            changed: 0,
            answers: Answers::default(),
            speed: Speed::default(),
            steps: Vec::new(),
            flips: look::Flips::default(),
        }
    }

    /// Steps trained.
    pub fn step_count(&self) -> u32 {
        match (&self.on_gpu, &self.trainer) {
            (Some(_), _) => self.standing.step,
            (None, Some(trainer)) => trainer.step_count(),
            (None, None) => 0,
        }
    }

    /// Whether another step is to begin.
    fn wants_step(&self, mode: Mode) -> bool {
        match mode {
            Mode::Paused => false,
            Mode::Single => !self.is_single_over(),
            Mode::Training => true,
        }
    }

    /// From now on a single step is one more than have begun.
    pub fn begin_single(&mut self) {
        let begun = self.on_gpu.as_ref().map(|on_gpu| on_gpu.step_count());
        self.last =
            begun.unwrap_or_else(|| self.step_count() + u32::from(self.is_within_step())) + 1;
    }

    /// Whether the step of [`begin_single`](Self::begin_single) is over, or there is no network to train it.
    pub fn is_single_over(&self) -> bool {
        self.trainer.is_none() || self.step_count() >= self.last
    }

    fn epoch(&self, data: Option<&DataSet>) -> f32 {
        match (&self.on_gpu, &self.trainer, data) {
            (Some(_), ..) => self.standing.epoch,
            (None, Some(trainer), Some(data)) => trainer.epochs(&data.train),
            _ => 0.0,
        }
    }

    /// Whether the processor is in the middle of a step.
    pub fn is_within_step(&self) -> bool {
        self.trainer.as_ref().is_some_and(Trainer::is_within_step)
    }

    /// Whether there is training to do: a step that has begun is ended also when training is to pause, and what the GPU has
    /// learned is brought back.
    pub fn trains(&self, mode: Mode) -> bool {
        self.trainer.is_some()
            && (self.wants_step(mode)
                || self.is_within_step()
                || (self.on_gpu.is_some() && self.standing.is_busy))
    }

    /// Whether there is training to do for the processor.
    pub fn trains_here(&self, mode: Mode) -> bool {
        self.on_gpu.is_none() && self.trains(mode)
    }

    /// Whether there is anything to do.
    pub fn has_work(&self, shared: &Shared) -> bool {
        self.trainer.is_some()
            && (self.trains(shared.mode)
                || self.moved.is_some()
                || self.evaluation.is_some()
                || self.is_behind(shared))
    }

    /// Whether somebody sees the answers, and they are of another network than the present one.
    fn is_behind(&self, shared: &Shared) -> bool {
        let is_seen = shared.drawing.is_some() || shared.looks_at(self.id).is_some();
        let step = self.trainer.as_ref().map(Trainer::step_count);
        is_seen && (self.answers.network.is_none() || step != Some(self.answers.step))
    }

    /// Sets the spec, keeping what was learned where the network stays one of its shape and seed.
    pub fn configure(&mut self, spec: NetworkSpec, shared: &mut Shared) {
        let keeps = spec.same_shape(&self.spec) && spec.seed == self.spec.seed;
        self.spec = spec.clone();
        if keeps && self.trainer.is_some() {
            self.pending = Some(spec);
            self.apply_pending(shared);
        } else {
            self.drop_trainer();
            self.make_trainer(shared);
        }
    }

    /// Takes up settings and kernels that waited, unless a step is under way, or what the GPU has learned is to come back
    /// first.
    fn apply_pending(&mut self, shared: &mut Shared) {
        if self.pending.is_some() {
            self.leave_gpu();
        }
        let is_on_gpu = self.on_gpu.is_some();
        let trainer = self.trainer.as_mut();
        let Some(trainer) = trainer.filter(|trainer| !is_on_gpu && !trainer.is_within_step())
        else {
            return;
        };
        if std::mem::take(&mut self.pending_choice) {
            trainer.choose_kernels(shared.choice);
            self.answers.network = None;
            self.speed.outdated = true;
        }
        if let Some(spec) = self.pending.take() {
            let outcome = trainer.reconfigure(spec);
            self.changed = trainer.step_count();
            self.answers.network = None;
            self.speed.outdated = true;
            if let Err(error) = outcome {
                shared.refuse(error.to_string());
            }
        }
    }

    /// Takes other kernels from the next step on.
    pub fn choose_kernels(&mut self, shared: &mut Shared) {
        self.pending_choice = true;
        self.apply_pending(shared);
    }

    /// Goes on with a network of the present data's shape.
    pub fn restore(&mut self, trainer: Trainer, shared: &mut Shared) {
        self.drop_trainer();
        self.spec = trainer.spec().clone();
        self.trainer = Some(trainer);
        self.network_changed(shared);
    }

    /// Goes on with other data, of which the session makes sure that it comes between two steps.
    pub fn data_changed(&mut self, before: Option<&DataSet>, data: &DataSet) {
        if let Some(trainer) = &mut self.trainer {
            // A network restored before its data came goes on where it was.
            if let Some(before) = before {
                trainer.data_changed(&before.train);
                self.changed = trainer.step_count();
            }
            // Images of another size need another first layer, other classes another last one.
            let shape = (trainer.inputs(), trainer.classes());
            if shape != (data.test.image_size(), data.classes.len()) {
                self.drop_trainer();
            }
        }
        self.evaluation = None;
        self.tested = None;
        self.answers.network = None;
    }

    /// Forgets the network, wherever it trains, and settings that waited for it.
    pub fn drop_trainer(&mut self) {
        self.trainer = None;
        self.pending = None;
        self.moved = None;
        self.on_gpu = None;
    }

    /// A new network, where there is none and there is data.
    pub fn make_trainer(&mut self, shared: &mut Shared) {
        let (None, Some(data)) = (&self.trainer, &shared.data) else {
            return;
        };
        let (inputs, classes) = (data.test.image_size(), data.classes.len());
        match Trainer::new(self.spec.clone(), inputs, classes) {
            Ok(trainer) => {
                self.trainer = Some(trainer);
                self.network_changed(shared);
            }
            Err(error) => shared.refuse(error.to_string()),
        }
    }

    fn network_changed(&mut self, shared: &mut Shared) {
        if let Some(trainer) = &mut self.trainer {
            trainer.choose_kernels(shared.choice);
        }
        self.evaluation = None;
        self.tested = None;
        self.steps.clear();
        self.answers.network = None;
        self.speed = Speed::default();
        self.changed = self.trainer.as_ref().map_or(0, Trainer::step_count);
        self.tell_state(shared);
    }

    pub fn tell_state(&self, shared: &mut Shared) {
        let epoch = self.epoch(shared.data.as_deref());
        shared.messages.push(FromEngine::State {
            network: self.id,
            training: shared.mode == Mode::Training,
            step: self.step_count(),
            epoch,
        });
    }

    pub fn tell_steps(&mut self, shared: &mut Shared) {
        if !self.steps.is_empty() {
            let epoch = self.epoch(shared.data.as_deref());
            shared.messages.push(FromEngine::Progress {
                network: self.id,
                steps: std::mem::take(&mut self.steps),
                epoch,
                images_per_second: self.speed.latest,
                seconds: self.speed.seconds(),
            });
        }
    }

    /// Does a part of a training step, by the clock `now`; whether the step ended.
    pub fn train_part(&mut self, shared: &mut Shared, now: &impl Fn() -> f64) -> bool {
        let (Some(trainer), Some(data)) = (&mut self.trainer, shared.data.clone()) else {
            return false;
        };
        let begun = now();
        if !trainer.is_within_step() {
            self.flips.before_step(trainer);
        }
        let advanced = trainer.advance(&data.train);
        let milliseconds = now() - begun;
        let metrics = match advanced {
            Ok(metrics) => metrics,
            Err(diverged) => {
                shared.stop(&diverged);
                self.apply_pending(shared);
                return true;
            }
        };
        let images = metrics.map_or(0, |metrics| metrics.images);
        self.speed.count(images, milliseconds);
        let Some(metrics) = metrics else {
            return false;
        };
        self.flips.after_step(trainer);
        let epoch_ended = trainer.epochs(&data.train).fract() == 0.0;
        if self.note_step(metrics) || epoch_ended {
            self.begin_evaluation(shared);
        }
        self.apply_pending(shared);
        true
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

    // ---- On the GPU

    /// Begins to make the network on the GPU where it is to train there and does not. While that takes, it trains here.
    pub fn begin_move(
        &mut self,
        shared: &Shared,
    ) -> Option<impl Future<Output = Result<PreparedTrainer, GpuError>> + use<>> {
        if self.is_moving || self.moved.is_some() || self.on_gpu.is_some() {
            return None;
        }
        let (Some(gpu), Some(trainer), Some(data)) = (shared.gpu(), &self.trainer, &shared.data)
        else {
            return None;
        };
        self.is_moving = true;
        Some(PreparedTrainer::new(gpu, trainer, &data.train))
    }

    /// Takes up what was made on the GPU, as soon as no step is under way.
    pub fn end_move(&mut self, made: Option<PreparedTrainer>) {
        self.is_moving = false;
        self.moved = made.map(SendWrapper::new);
    }

    /// Brings back what was learned on the GPU, and goes on here.
    pub fn leave_gpu(&mut self) {
        self.moved = None;
        if let Some(on_gpu) = &mut self.on_gpu {
            on_gpu.leave();
            self.standing.is_busy = true;
        }
    }

    /// Trains on from here with what was made on the GPU, unless a step is under way here.
    pub fn take_up_gpu(&mut self, shared: &Shared) {
        let (Some(trainer), Some(data)) = (&self.trainer, &shared.data) else {
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
            self.speed.begin_anew();
        }
    }

    /// Hears of the GPU and keeps it busy, with new steps where this network `may_begin` any; whether there was anything to
    /// do.
    pub fn train_on_gpu(&mut self, may_begin: bool, time: f64, shared: &mut Shared) -> bool {
        let (Some(on_gpu), Some(trainer), Some(data)) =
            (&mut self.on_gpu, &mut self.trainer, &shared.data)
        else {
            return false;
        };
        let news = match on_gpu.hear(trainer, time) {
            Ok(news) => news,
            Err(TrainingError::Gpu(error)) => {
                shared.gpu_failed = Some(error);
                return true;
            }
            Err(TrainingError::Diverged(diverged)) => {
                // What was learned up to there is brought back.
                self.leave_gpu();
                shared.stop(&diverged);
                return true;
            }
        };
        let mut is_active = !news.metrics.is_empty() || news.has_learned;
        let is_over = on_gpu.is_leaving() && !on_gpu.is_busy() && !on_gpu.is_ahead_of(trainer);
        match shared.mode {
            _ if on_gpu.is_leaving() => {}
            Mode::Paused => {}
            Mode::Single => on_gpu.steps_up_to(self.last, &data.train, time),
            Mode::Training if may_begin => is_active |= on_gpu.begin_steps(&data.train, time),
            Mode::Training => {}
        }
        let is_last = on_gpu.is_leaving() || shared.mode != Mode::Training;
        on_gpu.bring_back(trainer, is_last, time);
        let is_over_in_pause = shared.mode == Mode::Paused
            && on_gpu.steps_over() == on_gpu.step_count()
            && self.standing.step != on_gpu.step_count();
        let epoch = on_gpu.epochs(&data.train);
        self.test_is_due |= epoch.floor() > self.standing.epoch.floor();
        self.standing = Standing {
            step: on_gpu.steps_over(),
            epoch,
            is_busy: on_gpu.is_leaving() || on_gpu.is_busy() || on_gpu.is_ahead_of(trainer),
        };
        let images: usize = news.metrics.iter().map(|metrics| metrics.images).sum();
        self.speed.count(images, news.milliseconds);
        for metrics in news.metrics {
            self.test_is_due |= self.note_step(metrics);
        }
        if is_over_in_pause {
            // The last steps that were under way.
            self.tell_steps(shared);
            self.tell_state(shared);
        }
        // A test under way is not given up for another: it would never end where steps are fast.
        let may_test = news.has_learned && self.evaluation.is_none();
        if may_test && std::mem::take(&mut self.test_is_due) {
            self.begin_evaluation(shared);
        }
        if is_over {
            self.on_gpu = None;
            self.speed.begin_anew();
            self.apply_pending(shared);
            is_active = true;
        }
        is_active
    }

    /// Goes on here from what the GPU has brought back last; the steps that are lost, if it trained there.
    pub fn give_up_gpu(&mut self, shared: &mut Shared) -> Option<u32> {
        self.moved = None;
        self.tell_steps(shared);
        let before = self.on_gpu.take()?.step_count();
        self.speed.begin_anew();
        self.tell_state(shared);
        self.apply_pending(shared);
        Some(before - self.step_count())
    }

    // ---- Tests and answers

    fn begin_evaluation(&mut self, shared: &Shared) {
        let Some(trainer) = &self.trainer else { return };
        self.evaluation = Some(RunningEvaluation {
            network: trainer.freeze(),
            weights: trainer.weight_count(),
            report: TestReport::new(trainer.spec().loss, trainer.classes()),
            step: trainer.step_count(),
            epoch: self.epoch(shared.data.as_deref()),
            seconds: self.speed.seconds(),
        });
    }

    pub fn is_in_test(&self) -> bool {
        self.evaluation.is_some()
    }

    /// Answers some more of the test images.
    pub fn evaluate_piece(&mut self, shared: &mut Shared) {
        let (Some(running), Some(data)) = (&mut self.evaluation, shared.data.clone()) else {
            return;
        };
        let (first, all) = (running.report.evaluation().images, data.test.len());
        let length = (EVALUATION_MACS / running.weights).clamp(1, 100);
        let range = first..all.min(first + length);
        running
            .network
            .report(&data.test, range, &mut running.report);
        if running.report.evaluation().images < all {
            return;
        }
        self.tell_steps(shared);
        let Some(RunningEvaluation {
            report,
            step,
            epoch,
            seconds,
            ..
        }) = self.evaluation.take()
        else {
            return;
        };
        let evaluation = report.evaluation();
        shared.messages.push(FromEngine::Evaluated {
            network: self.id,
            step,
            epoch,
            loss: evaluation.loss(),
            accuracy: evaluation.accuracy(),
            seconds,
            confusion: report.confusion().to_vec(),
        });
        self.tested = Some(report);
        if let Some(View::Mistakes { cell }) = shared.looks_at(self.id) {
            self.tell_mistakes(cell, shared);
        }
        let is_small = |trainer: &Trainer| trainer.weight_count() <= CHECKPOINT_WEIGHTS;
        if self.trainer.as_ref().is_some_and(is_small) {
            self.tell_checkpoint(shared);
        }
    }

    /// Sends all that is needed to go on from here, unless a step is under way.
    pub fn tell_checkpoint(&self, shared: &mut Shared) {
        let trainer = self.trainer.as_ref();
        if let Some(trainer) = trainer.filter(|trainer| !trainer.is_within_step()) {
            shared.messages.push(FromEngine::Checkpoint {
                network: self.id,
                checkpoint: trainer.checkpoint(),
            });
        }
    }

    /// Brings the answers, and what is looked at, up to the network where they are behind it for long enough, or it learns
    /// no more.
    pub fn refresh_answers(&mut self, time: f64, shared: &mut Shared) {
        let Some(trainer) = &self.trainer else {
            return;
        };
        let in_time = self.answers.network.is_some()
            && self.trains(shared.mode)
            && time - self.answers.frozen < ANSWER_INTERVAL;
        if trainer.is_within_step() || !self.is_behind(shared) || in_time {
            return;
        }
        self.answers = Answers {
            network: Some(trainer.freeze()),
            step: trainer.step_count(),
            frozen: time,
        };
        self.answer_drawing(shared);
        match shared.looks_at(self.id) {
            Some(View::Digits) => self.tell_digits(shared),
            Some(View::Bits { layer, unit }) => {
                self.tell_bits((layer, unit), shared);
                self.flips.is_wanted = true;
            }
            _ => {}
        }
    }

    /// Shows what the visitor has begun to look at.
    pub fn show(&mut self, view: View, shared: &mut Shared) {
        match view {
            // Made anew as soon as no step is under way.
            View::Digits | View::Bits { .. } => self.answers.network = None,
            View::Mistakes { cell } => self.tell_mistakes(cell, shared),
            View::Nothing => {}
        }
    }

    /// Answers what was drawn, and shows what becomes of it where the visitor looks.
    pub fn drawing_changed(&self, shared: &mut Shared) {
        self.answer_drawing(shared);
        if let Some(View::Bits { layer, unit }) = shared.looks_at(self.id) {
            self.tell_bits((layer, unit), shared);
        }
    }

    /// Answers what is on the pad, where there is something and there is a network.
    /// Where there is no network yet, the answer comes with it.
    fn answer_drawing(&self, shared: &mut Shared) {
        let Some(pixels) = &shared.drawing else {
            return shared.messages.push(FromEngine::Answer {
                network: self.id,
                answer: None,
            });
        };
        let Some(network) = &self.answers.network else {
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
        shared.messages.push(FromEngine::Answer {
            network: self.id,
            answer,
        });
    }

    fn tell_digits(&self, shared: &mut Shared) {
        if let (Some(network), Some(data)) = (&self.answers.network, &shared.data) {
            let message = FromEngine::TestStrip {
                network: self.id,
                width: data.test.width as u32,
                height: data.test.height as u32,
                digits: look::digits(network, &data.test),
            };
            shared.messages.push(message);
        }
    }

    fn tell_mistakes(&self, cell: Option<(u8, u8)>, shared: &mut Shared) {
        if let (Some(report), Some(data)) = (&self.tested, &shared.data) {
            let message = FromEngine::Mistakes {
                network: self.id,
                cell,
                width: data.test.width as u32,
                height: data.test.height as u32,
                digits: look::mistakes(report, cell, &data.test),
            };
            shared.messages.push(message);
        }
    }

    fn tell_bits(&self, place: (u32, u32), shared: &mut Shared) {
        if let (Some(network), Some(trainer), Some(data)) =
            (&self.answers.network, &self.trainer, &shared.data)
        {
            let drawing = shared.drawing.as_deref();
            let drawing = drawing.filter(|pixels| pixels.len() == network.inputs());
            let image = drawing.unwrap_or(data.test.pixels_of(0..1));
            let mut bits = look::unit_bits(trainer, network, &self.flips, place, image);
            bits.of_drawing = drawing.is_some();
            shared.messages.push(FromEngine::Bits {
                network: self.id,
                bits: Box::new(bits),
            });
        }
    }
}
