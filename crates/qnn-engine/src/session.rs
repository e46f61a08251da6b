//! What the page's messages do to the networks of the race, in slices of time. No browser here: the clock is handed in,
//! messages are handed out. What becomes of one network is `racer`'s.

use std::rc::Rc;
use std::sync::Arc;

use qnn_core::data::{DIGITS, DataError, DataSet, Drawing, TrainingData, rasterize};
use qnn_core::kernels::{Choice, Method};
use qnn_core::layers::ProductKind;
use qnn_core::spec::NetworkSpec;
use qnn_core::train::{Diverged, Trainer};
use qnn_core::tune::{Tuner, products};
use qnn_protocol::{
    DataSource, DataSummary, FromEngine, GpuState, MAX_NETWORKS, NetworkId, Subject, ToEngine, View,
};
use send_wrapper::SendWrapper;

use crate::gpu::{Gpu, GpuError, PreparedTrainer, TileRace, speeds};
use crate::racer::{Mode, Racer};

/// A slice of work, in milliseconds: within the 100 that a visitor may have to wait, with room for its last part.
const SLICE: f64 = 12.0;
/// Progress is told once a frame at most, in milliseconds.
const FRAME: f64 = 16.0;
/// Procedural digits to test with.
const PROCEDURAL_TEST_IMAGES: u64 = 1000;
/// When the rounds of the kernels' race are due after its beginning, in milliseconds: by the last ones a browser has
/// compiled the kernels as well as it can. Each takes some 10.
const ROUNDS: [f64; 5] = [0.0, 300.0, 1000.0, 3000.0, 10_000.0];
/// The most latent weights that fit the engine's memory, with the optimizer's state beside them, and the most where
/// the quantized ones of all layers take 16 or 32 bits each as well, in a step and in each network that answers.
const MAX_WEIGHTS: usize = 40_000_000;
const MAX_WIDE_WEIGHTS: usize = 16_000_000;
/// The most that leave room for the paper's network beside them.
const MAX_WEIGHTS_BESIDE: usize = 8_000_000;
/// Steps by which a network on the GPU may be ahead of another one there.
const LEAD_ON_GPU: u32 = 20;

/// What a session cannot do by itself.
pub enum Request {
    Load(DataSource),
    Measure(Subject, f64, bool),
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

/// All that the engine knows.
#[derive(Default)]
pub struct Session {
    racers: Vec<Racer>,
    shared: Shared,
    /// Data that waits for the end of the step under way.
    pending_data: Option<DataSet>,
    /// The visitor's drawings, whether they have changed, and how many classes the data have without them.
    drawings: Vec<Drawing>,
    pending_drawings: bool,
    classes: usize,
    /// Whether checkpoints were asked for, which wait for the end of the step under way too.
    pending_save: bool,
    /// What the procedural digits are drawn from.
    seed: u32,
    race: Option<KernelRace>,
    is_gpu_ready: bool,
    is_comparing: bool,
    /// Whether networks are to train on the GPU; and that, and whether any does, as the page was told.
    wants_gpu: bool,
    told_backend: (bool, bool),
    /// When steps were last told.
    told: f64,
}

/// What all networks have in common.
#[derive(Default)]
pub struct Shared {
    pub mode: Mode,
    pub data: Option<Arc<DataSet>>,
    pub choice: Choice,
    /// Of the thread that opened it: elsewhere it is only seen that it is there.
    gpu: Option<SendWrapper<Rc<Gpu>>>,
    /// What is on the pad, `[height, width]`.
    pub drawing: Option<Vec<u8>>,
    /// What the visitor looks at.
    look: Option<(NetworkId, View)>,
    pub messages: Vec<FromEngine>,
    /// Whether training has stopped by itself, and why the GPU is of no use any more: the session sees to both.
    pub has_stopped: bool,
    pub gpu_failed: Option<GpuError>,
}

impl Shared {
    /// What the visitor looks at of a network, if anything.
    pub fn looks_at(&self, network: NetworkId) -> Option<View> {
        let (seen, view) = self.look?;
        (seen == network && view != View::Nothing).then_some(view)
    }

    /// The GPU, unless it was lost.
    pub fn gpu(&self) -> Option<Rc<Gpu>> {
        let gpu = self.gpu.as_deref().filter(|gpu| gpu.lost().is_none());
        gpu.cloned()
    }

    pub fn refuse(&mut self, message: String) {
        self.messages.push(FromEngine::Refused { message });
    }

    /// Pauses training: no step leads on from here.
    pub fn stop(&mut self, why: &Diverged) {
        self.has_stopped = true;
        self.refuse(why.to_string());
    }

    /// Pixels of an image, and classes; the usual ones where there is no data yet.
    fn shape(&self) -> (usize, usize) {
        let shape = |data: &Arc<DataSet>| (data.test.image_size(), data.classes.len());
        self.data.as_ref().map_or((28 * 28, DIGITS), shape)
    }
}

/// How the kernels race on a network.
struct KernelRace {
    /// Pixels of an image, the hidden layers, and the classes.
    shape: (usize, Vec<usize>, usize),
    tuner: Tuner,
    /// When it began, and how many rounds are over.
    begun: f64,
    rounds: usize,
}

impl Session {
    /// Does what the page asks, but for what needs the browser, which is handed back.
    pub fn receive(&mut self, message: ToEngine) -> Option<Request> {
        let request = self.obey(message);
        self.tell_backend(None);
        request
    }

    fn obey(&mut self, message: ToEngine) -> Option<Request> {
        match message {
            ToEngine::Configure { network, spec } => self.configure(network, spec),
            ToEngine::Remove { network } => {
                self.racers.retain(|racer| racer.id != network);
                self.use_pending_data();
            }
            ToEngine::Train => self.set_mode(Mode::Training),
            ToEngine::Pause => self.set_mode(Mode::Paused),
            ToEngine::Step => {
                self.racers.iter_mut().for_each(Racer::begin_single);
                self.set_mode(Mode::Single);
            }
            ToEngine::Reset => {
                self.racers.iter_mut().for_each(Racer::drop_trainer);
                self.use_pending_data();
                for racer in &mut self.racers {
                    racer.make_trainer(&mut self.shared);
                }
            }
            ToEngine::Look { network, view } => {
                self.shared.look = Some((network, view));
                let racer = self.racers.iter_mut().find(|racer| racer.id == network);
                if let Some(racer) = racer {
                    racer.show(view, &mut self.shared);
                }
            }
            ToEngine::UseData {
                source: DataSource::Procedural,
            } => self.use_data(DataSet::procedural(self.seed, PROCEDURAL_TEST_IMAGES)),
            ToEngine::UseData {
                source: DataSource::Drawings,
            } => self.use_drawings_alone(),
            ToEngine::UseDrawings { drawings } => {
                self.drawings = drawings;
                if self.shared.data.as_ref().is_some_and(are_drawings) {
                    self.use_drawings_alone();
                } else {
                    self.pending_drawings = self.shared.data.is_some();
                    self.use_pending_data();
                }
            }
            ToEngine::UseData { source } => return Some(Request::Load(source)),
            ToEngine::Draw { strokes } => {
                self.shared.drawing = rasterize(&strokes);
                for racer in &self.racers {
                    racer.drawing_changed(&mut self.shared);
                }
            }
            ToEngine::Save => {
                self.pending_save = true;
                self.save();
            }
            ToEngine::Restore {
                network,
                checkpoint,
            } => self.restore(network, &checkpoint),
            ToEngine::ForceKernel { method } => self.force_kernel(method),
            ToEngine::UseGpu { wanted } => return self.use_gpu(wanted),
            ToEngine::CompareGpu => return Some(Request::CompareGpu),
            ToEngine::CancelComparison => return Some(Request::CancelComparison),
            ToEngine::ListKernels => return Some(Request::ListKernels),
            ToEngine::Measure {
                subject,
                milliseconds,
                again,
            } => {
                return Some(Request::Measure(subject, milliseconds, again));
            }
        }
        None
    }

    /// Takes up data that was loaded; where that failed, the present data stays.
    pub fn loaded(&mut self, loaded: Result<DataSet, DataError>) {
        match loaded {
            Ok(data) => self.use_data(data),
            Err(error) => self.shared.refuse(error.to_string()),
        }
    }

    /// Messages for the page since the last call.
    pub fn take_messages(&mut self) -> Vec<FromEngine> {
        std::mem::take(&mut self.shared.messages)
    }

    /// Whether [`work`](Self::work) has anything to do.
    pub fn has_work(&self) -> bool {
        let has_work = |racer: &Racer| racer.has_work(&self.shared);
        self.shared.data.is_some() && self.racers.iter().any(has_work)
    }

    /// The processor's work for a slice of time by the clock `now`, in milliseconds.
    pub fn work(&mut self, now: &impl Fn() -> f64) {
        let start = now();
        let mut time = start;
        while time - start < SLICE && self.has_work() {
            // Tests come first: they are of the steps just over.
            if let Some(racer) = self.racers.iter_mut().find(|racer| racer.is_in_test()) {
                racer.evaluate_piece(&mut self.shared);
            } else if let Some(racer) = next_to_train(&mut self.racers, self.shared.mode) {
                if racer.train_part(&mut self.shared, now) {
                    self.use_pending_data();
                    self.save();
                    self.end_mode();
                }
            } else {
                // The GPU's share comes between two slices.
                self.refresh_answers(time);
                break;
            }
            self.refresh_answers(now());
            time = now();
        }
        self.race(now, time);
        if time - self.told >= FRAME || self.shared.mode == Mode::Paused {
            self.tell_steps();
            self.told = time;
        }
        self.tell_backend(None);
    }

    /// Pauses where all steps that were asked for are over, or training has stopped by itself.
    fn end_mode(&mut self) {
        let is_over =
            self.shared.mode == Mode::Single && self.racers.iter().all(Racer::is_single_over);
        if is_over || std::mem::take(&mut self.shared.has_stopped) {
            self.set_mode(Mode::Paused);
        }
    }

    fn refresh_answers(&mut self, time: f64) {
        for racer in &mut self.racers {
            racer.refresh_answers(time, &mut self.shared);
        }
    }

    /// Runs a round of the kernels' race where one is due, and takes the fastest ones. A network of another shape begins
    /// another race.
    fn race(&mut self, now: &impl Fn() -> f64, time: f64) {
        if self.racers.iter().any(|racer| racer.on_gpu.is_some()) {
            return;
        }
        // The products of all networks are much alike: those of the first one stand for them.
        let first = self.racers.first();
        let Some(trainer) = first.and_then(|racer| racer.trainer.as_ref()) else {
            return;
        };
        let (spec, inputs, classes) = (trainer.spec(), trainer.inputs(), trainer.classes());
        let shape = (inputs, spec.hidden.clone(), classes);
        let Some(race) = self.race.as_mut().filter(|race| race.shape == shape) else {
            self.race = Some(KernelRace {
                shape,
                tuner: Tuner::new(spec, inputs, classes),
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
                ..self.shared.choice
            });
        }
        self.tell_kernels();
    }

    fn force_kernel(&mut self, method: Option<Method>) {
        let choice = Choice {
            forced: method,
            ..self.shared.choice
        };
        if let Some(message) = self.choose(choice) {
            let refused = FromEngine::KernelRefused { message };
            self.shared.messages.push(refused);
        }
        self.tell_kernels();
    }

    /// Takes other kernels from the next step on, unless the networks would not fit the memory with them: why not.
    fn choose(&mut self, choice: Choice) -> Option<String> {
        let refusal = self.too_large(None, choice);
        if refusal.is_none() {
            let before = std::mem::replace(&mut self.shared.choice, choice);
            for racer in &mut self.racers {
                // The weights are packed anew only where that is for something.
                let kinds = |choice| products(&racer.spec, choice).map(|product| product.kind);
                if kinds(choice) != kinds(before) {
                    racer.choose_kernels(&mut self.shared);
                }
            }
        }
        refusal
    }

    fn tell_kernels(&mut self) {
        if let Some(tuning) = self.race.as_ref().and_then(|race| race.tuner.tuning()) {
            self.shared.messages.push(FromEngine::Tuned {
                tuning,
                forced: self.shared.choice.forced,
            });
        }
    }

    fn configure(&mut self, network: NetworkId, spec: NetworkSpec) {
        let known = self.racers.iter().position(|racer| racer.id == network);
        let problem = spec.validate().err().map(|error| error.to_string());
        let problem =
            problem.or_else(|| self.too_large(Some((network, &spec)), self.shared.choice));
        let problem = problem.or_else(|| self.too_large_beside(&spec));
        let problem = problem.or_else(|| known.is_none().then(|| self.full()).flatten());
        if let Some(message) = problem {
            let spec = known.map(|place| self.racers[place].spec.clone());
            self.shared.messages.push(FromEngine::SpecRefused {
                network,
                message,
                spec,
            });
            return;
        }
        self.reseed_data(spec.seed);
        match known {
            Some(place) => self.racers[place].configure(spec, &mut self.shared),
            None => {
                let mut racer = Racer::new(network, spec);
                racer.make_trainer(&mut self.shared);
                self.racers.push(racer);
            }
        }
        // Where the step under way was of a network that is gone, data need not wait for it any more.
        self.use_pending_data();
    }

    /// Why no other network can join, if none can.
    fn full(&self) -> Option<String> {
        let is_full = self.racers.len() == MAX_NETWORKS;
        is_full.then(|| format!("No more than {MAX_NETWORKS} networks race."))
    }

    /// Trains on the visitor's drawings alone, where there are enough.
    fn use_drawings_alone(&mut self) {
        match DataSet::of_drawings(self.seed, &self.drawings) {
            Some(data) => self.use_data(data),
            None => self.shared.refuse(
                "Draw something of two classes at least, and say what it is, to train on your drawings alone.".into(),
            ),
        }
    }

    /// Draws the procedural digits, where they are in use, from another seed.
    fn reseed_data(&mut self, seed: u32) {
        if std::mem::replace(&mut self.seed, seed) == seed {
            return;
        }
        if self.shared.data.as_ref().is_some_and(are_procedural) {
            let data = DataSet::procedural(seed, PROCEDURAL_TEST_IMAGES);
            self.shared.data = Some(Arc::new(data.with_drawings(seed, &self.drawings)));
        }
    }

    fn restore(&mut self, network: NetworkId, checkpoint: &[u8]) {
        let trainer = match Trainer::restore(checkpoint) {
            Ok(trainer) => trainer,
            Err(error) => return self.shared.refuse(error.to_string()),
        };
        let known = self.racers.iter().position(|racer| racer.id == network);
        let shape = (trainer.inputs(), trainer.classes());
        if self.shared.data.is_some() && shape != self.shared.shape() {
            let message =
                "The checkpoint is of a network for images of another size, or for other classes.";
            return self.shared.refuse(message.into());
        }
        let spec = trainer.spec().clone();
        let refusal = self.too_large(Some((network, &spec)), self.shared.choice);
        let refusal = refusal.or_else(|| known.is_none().then(|| self.full()).flatten());
        if let Some(refusal) = refusal {
            return self.shared.refuse(refusal);
        }
        self.reseed_data(spec.seed);
        let place = known.unwrap_or_else(|| {
            self.racers.push(Racer::new(network, spec));
            self.racers.len() - 1
        });
        self.racers[place].restore(trainer, &mut self.shared);
        self.use_pending_data();
    }

    /// Sends the checkpoints that were asked for, unless a step is under way.
    fn save(&mut self) {
        if !self.pending_save || self.racers.iter().any(Racer::is_within_step) {
            return;
        }
        self.pending_save = false;
        for racer in &self.racers {
            racer.tell_checkpoint(&mut self.shared);
        }
        self.shared.messages.push(FromEngine::Saved);
    }

    fn set_mode(&mut self, mode: Mode) {
        if self.shared.mode != mode {
            self.shared.mode = mode;
            self.tell_steps();
            for racer in &self.racers {
                racer.tell_state(&mut self.shared);
            }
        }
    }

    fn tell_steps(&mut self) {
        for racer in &mut self.racers {
            racer.tell_steps(&mut self.shared);
        }
    }

    fn use_data(&mut self, data: DataSet) {
        self.pending_data = Some(data);
        self.use_pending_data();
    }

    /// Goes on with other data where some waits, unless a step is under way, or what the GPU has learned is to come back
    /// first.
    fn use_pending_data(&mut self) {
        if self.pending_data.is_none() && !self.pending_drawings {
            return;
        }
        let waits = |racer: &Racer| racer.on_gpu.is_some() || racer.is_within_step();
        if self.racers.iter().any(waits) {
            self.racers.iter_mut().for_each(Racer::leave_gpu);
            return;
        }
        self.pending_drawings = false;
        let before = self.shared.data.take();
        let (before, data) = match (self.pending_data.take(), before) {
            (Some(data), before) => {
                self.classes = data.classes.len();
                (before, data)
            }
            // With other drawings among them it is the same data; images are many, and not copied where nobody else has them.
            (None, Some(same)) => (
                None,
                Arc::unwrap_or_clone(same).without_drawings(self.classes),
            ),
            (None, None) => return,
        };
        let data = data.with_drawings(self.seed, &self.drawings);
        let summary = DataSummary {
            name: data.name.clone(),
            train_images: data.train.images().map(|images| images as u32),
            drawings: data.train.drawings() as u32,
            test_images: data.test.len() as u32,
            width: data.test.width as u32,
            height: data.test.height as u32,
            classes: data.classes.clone(),
        };
        let message = FromEngine::DataReady { data: summary };
        self.shared.messages.push(message);
        let data = Arc::new(data);
        self.shared.data = Some(data.clone());
        for place in 0..self.racers.len() {
            self.racers[place].data_changed(before.as_deref(), &data);
            // Larger images make larger networks.
            match self.too_large(None, self.shared.choice) {
                Some(refusal) if self.racers[place].trainer.is_none() => {
                    self.shared.refuse(refusal)
                }
                _ => self.racers[place].make_trainer(&mut self.shared),
            }
        }
    }

    // ---- The GPU

    /// Takes up the GPU that was opened; or why there is none.
    pub fn gpu_opened(&mut self, opened: Result<Rc<Gpu>, GpuState>) {
        match opened {
            Err(state) => {
                self.shared.messages.push(FromEngine::Gpu { state });
                self.wants_gpu = false;
            }
            Ok(gpu) => {
                self.is_gpu_ready = false;
                self.shared.gpu = Some(SendWrapper::new(gpu.clone()));
                self.tell_gpu(&gpu, None);
            }
        }
        self.tell_backend(None);
    }

    /// Takes note that the GPU's tiles have raced, or need not.
    pub fn gpu_ready(&mut self, raced: Result<Option<TileRace>, GpuError>) {
        match (raced, self.shared.gpu()) {
            (Ok(race), Some(gpu)) => {
                self.is_gpu_ready = true;
                self.tell_gpu(&gpu, race);
            }
            (Err(error), _) => self.give_up_gpu(error),
            (Ok(_), None) => {}
        }
    }

    fn tell_gpu(&mut self, gpu: &Gpu, race: Option<TileRace>) {
        self.shared.messages.push(FromEngine::Gpu {
            state: GpuState::Present {
                adapter: gpu.name(),
                is_software: gpu.is_software(),
                speeds: race.map(|race| speeds(&race)),
            },
        });
    }

    /// The GPU, unless it was lost.
    pub fn gpu(&self) -> Option<Rc<Gpu>> {
        self.shared.gpu()
    }

    /// The GPU, the data and how the processor's kernels are chosen, for a comparison; or, in a sentence, why there can be none.
    pub fn begin_comparison(&mut self) -> Result<(Rc<Gpu>, Arc<DataSet>, Choice), String> {
        let gpu = self.gpu().ok_or("There is no GPU to compare on.")?;
        let data = self.shared.data.clone().ok_or("There is no data yet.")?;
        self.is_comparing = true;
        let mut specs = self.racers.iter().map(|racer| &racer.spec);
        if let Some(refusal) = specs.find_map(|spec| self.too_large_beside(spec)) {
            self.is_comparing = false;
            return Err(refusal);
        }
        Ok((gpu, data, self.shared.choice))
    }

    /// Takes note that the comparison is over.
    pub fn compared(&mut self) {
        self.is_comparing = false;
    }

    /// Why a network does not fit the memory beside that of a comparison, if one is under way.
    fn too_large_beside(&self, spec: &NetworkSpec) -> Option<String> {
        let is_too_large =
            self.is_comparing && weights(spec, self.shared.shape()) > MAX_WEIGHTS_BESIDE;
        is_too_large.then(|| {
            "There is no memory for so large a network beside the comparison of the GPU's kernels: choose a smaller one, or wait."
                .into()
        })
    }

    fn use_gpu(&mut self, wanted: bool) -> Option<Request> {
        self.wants_gpu = wanted;
        if !wanted {
            self.racers.iter_mut().for_each(Racer::leave_gpu);
        }
        let is_ready = self.is_gpu_ready && self.gpu().is_some();
        (wanted && !is_ready).then_some(Request::PrepareGpu)
    }

    /// Begins to make a network on the GPU that is to train there and does not. While that takes, it trains here.
    pub fn begin_move(
        &mut self,
    ) -> Option<(
        NetworkId,
        impl Future<Output = Result<PreparedTrainer, GpuError>> + use<>,
    )> {
        if !self.wants_gpu || !self.is_gpu_ready {
            return None;
        }
        let shared = &self.shared;
        let begin = |racer: &mut Racer| Some((racer.id, racer.begin_move(shared)?));
        self.racers.iter_mut().find_map(begin)
    }

    /// Takes up what was made on the GPU, as soon as no step of the network is under way.
    pub fn end_move(&mut self, network: NetworkId, made: Result<PreparedTrainer, GpuError>) {
        let (made, error) = match made {
            Ok(made) => (self.wants_gpu.then_some(made), None),
            Err(error) => (None, Some(error)),
        };
        let racer = self.racers.iter_mut().find(|racer| racer.id == network);
        if let Some(racer) = racer {
            racer.end_move(made);
        }
        if let Some(error) = error {
            self.give_up_gpu(error);
        }
    }

    /// The GPU's share of the work, to be called before every [`work`](Self::work) by the thread that opened it: what has come
    /// from there is taken, and it is kept busy.
    pub fn turn_to_gpu(&mut self, time: f64) -> Pace {
        for racer in &mut self.racers {
            racer.take_up_gpu(&self.shared);
        }
        let on_gpu = self.racers.iter().filter(|racer| racer.on_gpu.is_some());
        let Some(least) = on_gpu.map(Racer::step_count).min() else {
            return Pace::Busy;
        };
        let mut is_active = false;
        for racer in &mut self.racers {
            let may_begin = racer.step_count() <= least + LEAD_ON_GPU;
            is_active |= racer.train_on_gpu(may_begin, time, &mut self.shared);
        }
        if let Some(error) = self.shared.gpu_failed.take() {
            self.give_up_gpu(error);
        }
        self.use_pending_data();
        self.end_mode();
        let mode = self.shared.mode;
        let is_busy = |racer: &Racer| racer.is_in_test() || racer.trains_here(mode);
        self.tell_backend(None);
        if is_active || self.racers.iter().any(is_busy) {
            Pace::Busy
        } else {
            Pace::Waiting
        }
    }

    /// Goes on here from what the GPU has brought back last.
    fn give_up_gpu(&mut self, error: GpuError) {
        self.wants_gpu = false;
        if matches!(error, GpuError::Lost(_)) {
            self.shared.gpu = None;
        }
        let racers = self.racers.iter_mut();
        let lost: u32 = racers
            .filter_map(|racer| racer.give_up_gpu(&mut self.shared))
            .sum();
        let lost = match lost {
            0 => String::new(),
            lost => format!("; what was learned in the last {lost} steps is gone"),
        };
        let message = format!("{error} Training goes on with the processor{lost}.");
        self.tell_backend(Some(message));
        self.use_pending_data();
    }

    /// Says what trains now where that has changed, and why where it has unasked.
    fn tell_backend(&mut self, message: Option<String>) {
        let on_gpu = self.racers.iter().any(|racer| racer.on_gpu.is_some());
        let backend = (self.wants_gpu, on_gpu);
        if message.is_some() || self.told_backend != backend {
            self.told_backend = backend;
            self.shared.messages.push(FromEngine::Backend {
                wants_gpu: self.wants_gpu,
                on_gpu,
                message,
            });
        }
    }

    /// Steps of which all that was learned is here.
    #[cfg(test)]
    pub fn trained_steps(&self) -> u32 {
        let trainers = self
            .racers
            .iter()
            .filter_map(|racer| racer.trainer.as_ref());
        trainers.map(Trainer::step_count).min().unwrap_or(0)
    }

    /// Lets the next step diverge: the last layer's gammas are near the end of float32.
    #[cfg(test)]
    pub fn spoil(&mut self) {
        let trainers = self
            .racers
            .iter_mut()
            .filter_map(|racer| racer.trainer.as_mut());
        for trainer in trainers {
            trainer.take_up(trainer.progress(), |layer, state| {
                if layer == 1 {
                    state.gamma[0].fill(3e38);
                }
            });
        }
    }

    // ---- Memory

    /// Why the networks, one of them of another spec or a new one, do not fit the engine's memory, if they do not.
    fn too_large(
        &self,
        changed: Option<(NetworkId, &NetworkSpec)>,
        choice: Choice,
    ) -> Option<String> {
        let others = self.racers.iter();
        let others = others.filter(|racer| changed.is_none_or(|(network, _)| network != racer.id));
        let specs = others.map(|racer| &racer.spec);
        let specs = specs.chain(changed.map(|(_, spec)| spec));
        let shape = self.shared.shape();
        let shares = specs.map(|spec| (weights(spec, shape), most_weights(spec, choice)));
        let shares: Vec<(usize, usize)> = shares.collect();
        let taken: f64 = shares
            .iter()
            .map(|(weights, most)| *weights as f64 / *most as f64)
            .sum();
        (taken > 1.0).then(|| {
            let all: usize = shares.iter().map(|(weights, _)| weights).sum();
            let most = all as f64 / taken;
            let how = match choice.forced {
                Some(Method::Multiply) => "with 16-bit multiplication: choose another kernel",
                _ => "at these bit widths",
            };
            let (all, most) = (all / 1_000_000, most as usize / 1_000_000);
            let what = match shares.len() {
                1 => format!("A network of {all} million weights does not fit"),
                _ => format!("The networks have {all} million weights together. That does not fit"),
            };
            format!("{what} the memory of a tab; {most} million do {how}.")
        })
    }
}

/// Whether images are drawn by the program, perhaps with a visitor's drawings among them.
fn are_procedural(data: &Arc<DataSet>) -> bool {
    match &data.train {
        TrainingData::Procedural(_) => true,
        TrainingData::Mixed(data, _) => matches!(**data, TrainingData::Procedural(_)),
        _ => false,
    }
}

/// Whether a visitor's drawings are all there is.
fn are_drawings(data: &Arc<DataSet>) -> bool {
    matches!(data.train, TrainingData::Drawings(_))
}

/// The network whose turn it is on the processor: the one in the middle of a step, else the one that is behind.
fn next_to_train(racers: &mut [Racer], mode: Mode) -> Option<&mut Racer> {
    let trains = racers.iter_mut().filter(|racer| racer.trains_here(mode));
    trains.min_by_key(|racer| (!racer.is_within_step(), racer.step_count()))
}

fn weights(spec: &NetworkSpec, (inputs, classes): (usize, usize)) -> usize {
    let shapes = spec.layer_shapes(inputs, classes);
    shapes.iter().map(|(inputs, units)| inputs * units).sum()
}

/// The most weights of a network of `spec` that fit the engine's memory.
fn most_weights(spec: &NetworkSpec, choice: Choice) -> usize {
    let encodings = (spec.activations().encoding(), spec.weights().encoding());
    match ProductKind::of(choice, encodings.0, encodings.1) {
        ProductKind::Integer(Method::Popcount | Method::Lookup | Method::MultiplyBytes) => {
            MAX_WEIGHTS
        }
        _ => MAX_WIDE_WEIGHTS,
    }
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
        session.receive(ToEngine::Configure { network: 0, spec });
        session.receive(ToEngine::UseData {
            source: DataSource::Procedural,
        });
        session
    }

    fn trainer(session: &Session) -> &Trainer {
        session.racers[0].trainer.as_ref().unwrap()
    }

    impl Session {
        /// A part of a step of the first network.
        fn part(&mut self) {
            self.racers[0].train_part(&mut self.shared, &tick);
        }
    }

    thread_local! {
        static CLOCK: std::cell::Cell<f64> = const { std::cell::Cell::new(0.0) };
    }

    /// A clock that goes on a third of a millisecond a look.
    fn tick() -> f64 {
        CLOCK.set(CLOCK.get() + 1.0 / 3.0);
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
        let mut checkpoint = trainer(&session).checkpoint();
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
        session.receive(ToEngine::Restore {
            network: 0,
            checkpoint,
        });
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
        assert!(messages.iter().any(paused) && !session.has_work());
        // A reset begins anew.
        session.receive(ToEngine::Reset);
        session.receive(ToEngine::Train);
        assert!(!losses(&work(&mut session, 20)).is_empty());
    }

    /// A session in the middle of its first step.
    fn within_a_step() -> Session {
        let mut session = session();
        session.receive(ToEngine::Train);
        while !trainer(&session).is_within_step() {
            session.part();
        }
        session
    }

    #[test]
    fn a_step_that_was_paused_is_ended_and_settings_act() {
        let mut session = within_a_step();
        session.receive(ToEngine::Pause);
        let spec = NetworkSpec {
            weight_bits: Bits::new(4).unwrap(),
            ..session.racers[0].spec.clone()
        };
        session.receive(ToEngine::Configure {
            network: 0,
            spec: spec.clone(),
        });
        assert_eq!(losses(&work(&mut session, 20)).len(), 1);
        assert_eq!(*trainer(&session).spec(), spec);
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
        assert_eq!(session.shared.data.as_ref().unwrap().test.len(), 50);
        // A reset does not wait, and does not lose it either.
        let mut session = within_a_step();
        session.loaded(Ok(DataSet::procedural(9, 50)));
        session.receive(ToEngine::Reset);
        assert_eq!(session.shared.data.as_ref().unwrap().test.len(), 50);
    }

    #[test]
    fn another_seed_draws_other_digits() {
        let mut session = session();
        let before = session.shared.data.as_ref().unwrap().test.clone();
        let spec = NetworkSpec {
            seed: 7,
            ..session.racers[0].spec.clone()
        };
        session.receive(ToEngine::Configure { network: 0, spec });
        let after = &session.shared.data.as_ref().unwrap().test;
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
            ..session.racers[0].spec.clone()
        };
        session.receive(ToEngine::Configure { network: 0, spec });
        let mut after = losses(&work(&mut session, 100));
        session.receive(ToEngine::Pause);
        after.extend(losses(&session.take_messages()));
        assert!(before.len() > 20 && !after.is_empty());
        assert!(after[after.len() - 1] < before[0] / 2.0);
        let step = trainer(&session).step_count() as usize;
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
            ..session.racers[0].spec.clone()
        };
        session.take_messages();
        session.receive(ToEngine::Configure { network: 0, spec });
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
            ..session.racers[0].spec.clone()
        };
        session.racers[0].spec = spec;
        session.receive(ToEngine::ForceKernel {
            method: Some(Method::Multiply),
        });
        let messages = session.take_messages();
        assert!(messages.iter().any(|message| matches!(
            message,
            FromEngine::KernelRefused { message } if message.contains("does not fit")
        )));
        assert_eq!(session.shared.choice.forced, None);
    }

    #[test]
    fn senseless_settings_are_refused_and_training_goes_on() {
        let mut session = session();
        session.receive(ToEngine::Train);
        let spec = NetworkSpec {
            learning_rate: f32::NAN,
            ..session.racers[0].spec.clone()
        };
        session.receive(ToEngine::Configure { network: 0, spec });
        let messages = work(&mut session, 20);
        assert_eq!(refusals(&messages).len(), 1);
        assert!(!losses(&messages).is_empty());
        let spec = NetworkSpec {
            hidden: vec![8192; 4],
            ..session.racers[0].spec.clone()
        };
        session.receive(ToEngine::Configure { network: 0, spec });
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
        let stroke = vec![(0.2, 0.2, 1.0), (0.8, 0.2, 1.0), (0.4, 0.9, 1.0)];
        session.receive(ToEngine::Draw {
            strokes: vec![stroke],
        });
        let answered = |messages: &[FromEngine]| {
            messages.iter().find_map(|message| match message {
                FromEngine::Answer { answer, .. } => Some(
                    answer
                        .as_ref()
                        .map(|answer| answer.shares.iter().sum::<f32>()),
                ),
                _ => None,
            })
        };
        let sum = answered(&work(&mut session, 3)).unwrap().unwrap();
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
            FromEngine::Checkpoint { checkpoint, .. } => Some(checkpoint.clone()),
            _ => None,
        });
        let mut second = session();
        second.receive(ToEngine::Restore {
            network: 0,
            checkpoint: checkpoint.unwrap(),
        });
        let from = trainer(&second).step_count() as usize;
        second.receive(ToEngine::Train);
        let (first, second) = (losses(&messages), losses(&work(&mut second, 200)));
        let both = second.len().min(first.len() - from);
        assert!(from > 0 && both > 5);
        assert_eq!(first[from..from + both], second[..both]);
        let mut third = session();
        third.receive(ToEngine::Restore {
            network: 0,
            checkpoint: vec![1, 2, 3],
        });
        assert!(refusals(&third.take_messages())[0].contains("not a checkpoint"));
    }

    /// A small network of so many bits.
    fn small(bits: u8) -> NetworkSpec {
        let bits = Bits::new(bits).unwrap();
        NetworkSpec {
            hidden: vec![32],
            weight_bits: bits,
            activation_bits: bits,
            ..NetworkSpec::default()
        }
    }

    /// A session with networks of these bits, numbered from 0.
    fn race(bits: &[u8]) -> Session {
        let mut session = Session::default();
        for (network, bits) in (0..).zip(bits) {
            session.receive(ToEngine::Configure {
                network,
                spec: small(*bits),
            });
        }
        session.receive(ToEngine::UseData {
            source: DataSource::Procedural,
        });
        session
    }

    fn losses_of(messages: &[FromEngine], of: NetworkId) -> Vec<f32> {
        let own = |message: &&FromEngine| matches!(message, FromEngine::Progress { network, .. } if *network == of);
        let own: Vec<FromEngine> = messages.iter().filter(own).cloned().collect();
        losses(&own)
    }

    #[test]
    fn networks_race_step_by_step_and_none_changes_anothers_curve() {
        let mut session = race(&[1, 32, 4]);
        session.receive(ToEngine::Train);
        let messages = work(&mut session, 150);
        let curves = [0, 1, 2].map(|network| losses_of(&messages, network));
        let steps = curves.each_ref().map(Vec::len);
        assert!(
            steps[0] > 10 && steps.iter().max().unwrap() - steps.iter().min().unwrap() <= 1,
            "{steps:?}"
        );
        for (bits, curve) in [1, 32, 4].into_iter().zip(curves) {
            let mut alone = race(&[bits]);
            alone.receive(ToEngine::Train);
            let alone = losses(&work(&mut alone, 150));
            assert_eq!(alone[..curve.len()], curve, "{bits} bits");
        }
    }

    #[test]
    fn a_network_that_joins_later_catches_up_and_one_that_leaves_is_gone() {
        let mut session = race(&[1]);
        session.receive(ToEngine::Train);
        work(&mut session, 60);
        let ahead = session.racers[0].step_count();
        session.receive(ToEngine::Configure {
            network: 7,
            spec: small(2),
        });
        work(&mut session, 20);
        let steps: Vec<u32> = session.racers.iter().map(Racer::step_count).collect();
        assert!(steps[0] <= ahead + 1 && steps[1] > 3, "{ahead}: {steps:?}");
        work(&mut session, 300);
        let steps: Vec<u32> = session.racers.iter().map(Racer::step_count).collect();
        assert!(
            steps[0] > ahead && steps[0].abs_diff(steps[1]) <= 1,
            "{steps:?}"
        );
        session.receive(ToEngine::Remove { network: 0 });
        let messages = work(&mut session, 20);
        assert!(losses_of(&messages, 0).is_empty() && losses_of(&messages, 7).len() > 3);
    }

    #[test]
    fn a_single_step_is_one_of_every_network_that_is_level() {
        let mut session = race(&[1, 32]);
        session.receive(ToEngine::Step);
        let messages = work(&mut session, 40);
        assert_eq!(
            [0, 1].map(|network| losses_of(&messages, network).len()),
            [1, 1]
        );
        assert!(!session.has_work());
    }

    #[test]
    fn no_more_networks_race_than_there_is_room_for() {
        let mut session = race(&[1, 2, 4, 8, 32]);
        session.take_messages();
        session.receive(ToEngine::Configure {
            network: 5,
            spec: small(1),
        });
        let messages = session.take_messages();
        assert!(matches!(
            &messages[..],
            [FromEngine::SpecRefused {
                network: 5,
                spec: None,
                ..
            }]
        ));
        // Together they have to fit the memory.
        session.receive(ToEngine::Remove { network: 4 });
        for network in 0..4 {
            let spec = NetworkSpec {
                hidden: vec![2048, 2048, 2048],
                ..small(1)
            };
            session.receive(ToEngine::Configure { network, spec });
        }
        let messages = session.take_messages();
        assert_eq!(
            refusals(&messages).len(),
            1,
            "ten million weights each, and forty million fit"
        );
    }

    #[test]
    fn what_is_looked_at_is_shown_and_nothing_else() {
        let mut session = race(&[1, 32]);
        session.receive(ToEngine::Train);
        work(&mut session, 100);
        let shown = |messages: &[FromEngine]| {
            let kinds = messages.iter().filter_map(|message| match message {
                FromEngine::TestStrip { network, .. } => Some((*network, "digits")),
                FromEngine::Bits { network, .. } => Some((*network, "bits")),
                FromEngine::Mistakes { network, .. } => Some((*network, "mistakes")),
                _ => None,
            });
            let mut kinds: Vec<_> = kinds.collect();
            kinds.dedup();
            kinds
        };
        let mut look = |network, view| {
            session.receive(ToEngine::Look { network, view });
            let messages = work(&mut session, 60);
            (shown(&messages), messages)
        };
        assert_eq!(look(1, View::Digits).0, [(1, "digits")]);
        let (kinds, messages) = look(0, View::Bits { layer: 1, unit: 3 });
        assert_eq!(kinds, [(0, "bits")]);
        let bits = messages.iter().rev().find_map(|message| match message {
            FromEngine::Bits { bits, .. } => Some(bits),
            _ => None,
        });
        let bits = bits.unwrap();
        assert_eq!(
            (bits.layer, bits.unit, &bits.units[..]),
            (1, 3, &[32, 10][..])
        );
        assert_eq!(
            (bits.latent.len(), bits.inputs.len(), bits.weights.len()),
            (32, 32, 32)
        );
        assert!(bits.weights.iter().all(|weight| weight.abs() == 1.0));
        assert_eq!(bits.flips.len(), 2);
        assert_eq!(bits.histogram.iter().sum::<u32>(), 320);
        let (kinds, messages) = look(1, View::Mistakes { cell: None });
        assert_eq!(kinds, [(1, "mistakes")]);
        let wrong = messages.iter().find_map(|message| match message {
            FromEngine::Mistakes { digits, .. } => Some(digits),
            _ => None,
        });
        assert!(
            wrong
                .unwrap()
                .iter()
                .all(|digit| digit.answer != digit.label)
        );
        assert!(look(0, View::Nothing).0.is_empty());
    }

    #[test]
    fn a_checkpoint_of_every_network_comes_when_it_is_asked_for() {
        let mut session = race(&[1, 32]);
        session.receive(ToEngine::Train);
        work(&mut session, 20);
        session.part();
        session.receive(ToEngine::Save);
        let messages = work(&mut session, 20);
        let saved = messages
            .iter()
            .position(|message| matches!(message, FromEngine::Saved))
            .unwrap();
        let of: Vec<NetworkId> = messages[..saved]
            .iter()
            .filter_map(|message| match message {
                FromEngine::Checkpoint { network, .. } => Some(*network),
                _ => None,
            })
            .collect();
        assert!(of.contains(&0) && of.contains(&1));
    }

    #[test]
    fn drawings_join_the_data_and_a_new_class_makes_new_networks() {
        let drawing = |class: &str, x: f32| Drawing {
            strokes: vec![vec![(0.1, 0.1, 1.0), (x, 0.9, 1.0)]],
            class: class.into(),
        };
        let mut session = race(&[1]);
        session.receive(ToEngine::Train);
        work(&mut session, 30);
        let before = session.racers[0].step_count();
        session.receive(ToEngine::UseDrawings {
            drawings: vec![drawing("7", 0.5)],
        });
        work(&mut session, 5);
        assert!(
            session.racers[0].step_count() >= before,
            "what was learned stays"
        );
        assert_eq!(session.shared.data.as_ref().unwrap().train.drawings(), 1);
        session.receive(ToEngine::UseDrawings {
            drawings: vec![drawing("7", 0.5), drawing("cat", 0.2)],
        });
        work(&mut session, 5);
        assert_eq!(trainer(&session).classes(), 11);
        assert!(session.racers[0].step_count() < before);
        session.receive(ToEngine::UseData {
            source: DataSource::Drawings,
        });
        work(&mut session, 5);
        assert_eq!(session.shared.data.as_ref().unwrap().classes, ["7", "cat"]);
        session.receive(ToEngine::UseDrawings { drawings: vec![] });
        let messages = work(&mut session, 5);
        assert!(refusals(&messages)[0].contains("two classes"));
        session.receive(ToEngine::UseData {
            source: DataSource::Procedural,
        });
        work(&mut session, 5);
        assert_eq!(session.shared.data.as_ref().unwrap().classes.len(), 10);
    }
}
