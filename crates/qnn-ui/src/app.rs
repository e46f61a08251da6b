//! The state of the page and what becomes of every message, from the visitor and from the engine.
//! What the engine does is wanted here and done there; what is wanted outlives an engine.

use std::cell::RefCell;
use std::rc::Rc;

use gloo_events::{EventListener, EventListenerOptions};
use gloo_timers::callback::Interval;
use js_sys::{Reflect, Uint8Array};
use qnn_protocol::spec::{Bits, NetworkSpec, Preset};
use qnn_protocol::{DataSource, DataSummary, DrawnAnswer, FromEngine, Method, NamedFile, ToEngine};
use serde_bytes::ByteBuf;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use web_sys::{DragEvent, File, FileList};
use yew::prelude::*;

use crate::answer::Answer;
use crate::chart::Chart;
use crate::controls::{
    BitSlider, DataChoice, DataOption, Field, Form, RunControls, Settings, starts_anew,
};
use crate::draw_pad::{DrawPad, Strokes};
use crate::engine::{Checkpoint, Engine, Report, Said};
use crate::figures::{Figures, Run, WeightSize};
use crate::format;
use crate::gpu::{Gpu, YourGpu};
use crate::history::{Evaluation, History};
use crate::kernels::{EngineKernels, Kernels};
use crate::test_strip::{Strip, TestStrip};

/// An engine that dies so often without a step between is not started again by itself.
const MOST_FRUITLESS_STARTS: u32 = 3;
/// An engine that trains and has said nothing for so long hangs.
const MILLISECONDS_OF_SILENCE: f64 = 30_000.0;
/// Test accuracies are read out no more often than this.
const MILLISECONDS_BETWEEN_ANNOUNCEMENTS: f64 = 10_000.0;
/// Evaluations listed in the table, the last ones.
const TABLE_ROWS: usize = 50;
/// Pixels of an image before the data is known.
const USUAL_PIXELS: usize = 28 * 28;

/// Everything that happens on the page.
pub enum Message {
    Engine(Report),
    /// Now and then: is the engine still there?
    Watch,
    StartEngine,
    ToggleTraining,
    Step,
    Reset,
    Choose(Box<dyn FnOnce(&mut NetworkSpec)>),
    ChoosePreset(Option<&'static Preset>),
    Type(Field, String),
    Commit,
    ChooseData(DataOption),
    ReadFiles(Vec<File>),
    UseFiles(Vec<NamedFile>),
    CannotReadFile(String),
    Drag(bool),
    Draw(Strokes),
    ForceKernel(Option<Method>),
    UseGpu(bool),
    CompareGpu,
    CancelComparison,
    DismissAlert,
}

impl Message {
    /// A setting that is chosen, not typed: how it changes the spec.
    pub fn choose(change: impl FnOnce(&mut NetworkSpec) + 'static) -> Message {
        Message::Choose(Box::new(change))
    }
}

pub struct App {
    dispatch: Callback<Message>,
    on_weight_bits: Callback<Bits>,
    on_activation_bits: Callback<Bits>,
    on_gradient_bits: Callback<Bits>,
    on_drawing: Callback<Strokes>,
    on_report: Callback<Report>,
    _drag_listeners: Vec<EventListener>,

    engine: Option<Engine>,
    /// Threads of the engine; `None` until it is ready.
    threads: Option<u32>,
    /// Engines started since the last one that trained a step.
    fruitless_starts: u32,
    checkpoint: Option<Checkpoint>,
    /// Whether the engine was told to restore the checkpoint and has not done so yet.
    restoring: bool,
    /// Whether the engine said that it trains.
    engine_trains: bool,
    /// When the engine last said something.
    heard_at: f64,
    _watch: Interval,

    /// Known after the first race.
    kernels: Option<EngineKernels>,
    gpu: Gpu,
    /// Whether training is to go on when the comparison of the GPU's kernels is over.
    resumes: bool,
    form: Form,
    /// Whether training is wanted.
    training: bool,
    /// The source of the data in use.
    source: DataSource,
    /// The source that was asked for and is not in use yet.
    source_to_come: Option<DataSource>,
    strokes: Strokes,
    /// Whether something was drawn since the last answer.
    drawn: bool,

    data: Option<DataSummary>,
    loading: Option<(AttrValue, f32)>,
    history: Rc<RefCell<History>>,
    history_revision: u32,
    run: Run,
    stepped_once: bool,
    strip: Option<Rc<Strip>>,
    answer: Option<DrawnAnswer>,

    alert: Option<String>,
    /// What is happening, in a sentence to be seen.
    status: String,
    /// The last such sentence that was worth to be read out.
    announcement: String,
    announced_at: f64,
    dragging: bool,
}

impl Component for App {
    type Message = Message;
    type Properties = ();

    fn create(context: &Context<Self>) -> Self {
        let link = context.link();
        let paused = gloo_utils::window().location().hash().as_deref() == Ok("#paused");
        link.send_message(Message::StartEngine);
        let watch = {
            let link = link.clone();
            move || link.send_message(Message::Watch)
        };
        App {
            dispatch: link.callback(|message| message),
            on_weight_bits: link
                .callback(|bits| Message::choose(move |spec| spec.weight_bits = bits)),
            on_activation_bits: link
                .callback(|bits| Message::choose(move |spec| spec.activation_bits = bits)),
            on_gradient_bits: link
                .callback(|bits| Message::choose(move |spec| spec.gradient_bits = bits)),
            on_drawing: link.callback(Message::Draw),
            on_report: link.callback(Message::Engine),
            _drag_listeners: drag_listeners(&link.callback(|message| message)),
            engine: None,
            threads: None,
            fruitless_starts: 0,
            checkpoint: None,
            restoring: false,
            engine_trains: false,
            heard_at: 0.0,
            _watch: Interval::new(5_000, watch),
            kernels: None,
            gpu: Gpu::default(),
            resumes: false,
            form: Form::of(NetworkSpec::default()),
            training: !paused,
            source: DataSource::Procedural,
            source_to_come: None,
            strokes: Strokes::new(),
            drawn: false,
            data: None,
            loading: None,
            history: Rc::default(),
            history_revision: 0,
            run: Run::default(),
            stepped_once: false,
            strip: None,
            answer: None,
            alert: None,
            status: "Starting the engine.".into(),
            announcement: String::new(),
            announced_at: f64::NEG_INFINITY,
            dragging: false,
        }
    }

    fn update(&mut self, _: &Context<Self>, message: Message) -> bool {
        match message {
            Message::Engine(Report::Said(all)) => {
                self.heard_at = js_sys::Date::now();
                for said in all {
                    match said {
                        Said::Message(message) => self.hear(message),
                        Said::Checkpoint(checkpoint) => self.checkpoint = Some(checkpoint),
                    }
                }
            }
            Message::Engine(Report::Died(reason)) => self.engine_died(&reason),
            Message::Watch => {
                let silence = js_sys::Date::now() - self.heard_at;
                if !self.engine_trains || silence < MILLISECONDS_OF_SILENCE {
                    return false;
                }
                self.engine_died("it has said nothing for half a minute");
            }
            Message::StartEngine => {
                self.fruitless_starts = 0;
                self.start_engine();
            }
            Message::ToggleTraining if self.training => {
                self.training = false;
                self.resumes = false;
                self.tell(&ToEngine::Pause);
            }
            Message::ToggleTraining => {
                self.end_comparison();
                self.training = true;
                self.history.borrow_mut().await_first_point();
                self.tell(&ToEngine::Train);
            }
            Message::Step => {
                self.end_comparison();
                self.training = false;
                self.tell(&ToEngine::Step);
            }
            Message::Reset => self.tell(&ToEngine::Reset),
            Message::Choose(change) => {
                change(&mut self.form.chosen);
                self.commit();
            }
            Message::ChoosePreset(preset) => {
                if let Some(preset) = preset {
                    let seed = self.form.in_force().seed;
                    self.form.show(NetworkSpec {
                        seed,
                        ..preset.spec()
                    });
                    self.commit();
                }
            }
            Message::Type(field, text) => *self.form.text_mut(field) = text,
            Message::Commit => self.commit(),
            Message::ChooseData(DataOption::Procedural) => self.use_data(DataSource::Procedural),
            Message::ChooseData(DataOption::Mnist) => self.use_data(DataSource::Mnist),
            Message::ChooseData(DataOption::Files) => return false,
            Message::ReadFiles(files) => {
                self.dragging = false;
                self.read_files(files);
            }
            Message::UseFiles(files) => self.use_data(DataSource::Files { files }),
            Message::CannotReadFile(name) => {
                self.alert = Some(format!("The file {name} could not be read."));
            }
            Message::Drag(dragging) => {
                if dragging == self.dragging {
                    return false;
                }
                self.dragging = dragging;
            }
            Message::Draw(strokes) => {
                if strokes.is_empty() {
                    self.answer = None;
                }
                self.strokes = strokes;
                self.drawn = true;
                self.tell(&ToEngine::Draw {
                    strokes: self.strokes.clone(),
                });
            }
            Message::ForceKernel(method) => {
                self.alert = None;
                // Until the engine says otherwise.
                if let Some(kernels) = &mut self.kernels {
                    kernels.forced = method;
                }
                self.tell(&ToEngine::ForceKernel { method });
            }
            Message::UseGpu(wanted) => {
                self.alert = None;
                self.tell(&ToEngine::UseGpu { wanted });
            }
            Message::CompareGpu => {
                self.alert = None;
                self.resumes = self.training;
                if self.training {
                    self.training = false;
                    self.tell(&ToEngine::Pause);
                }
                self.gpu.comparing = Some(("Getting ready.".into(), 0.0));
                self.tell(&ToEngine::CompareGpu);
            }
            Message::CancelComparison => self.tell(&ToEngine::CancelComparison),
            Message::DismissAlert => self.alert = None,
        }
        true
    }

    fn view(&self, _: &Context<Self>) -> Html {
        let form = &self.form;
        let history = self.history.borrow();
        let inputs = self.data.as_ref().map_or(USUAL_PIXELS, |data| {
            data.width as usize * data.height as usize
        });
        let dispatch = &self.dispatch;
        html! {
            <>
                <header class="page-header">
                    { logo() }
                    <div>
                        <h1>{ "QNN Playground" }</h1>
                        <p>{ "A neural network of very few bits learns to read digits, here in this tab." }</p>
                    </div>
                    <ul class="badges">
                        <li id="threads">{ self.threads_badge() }</li>
                        <li>{ "Nothing leaves your machine" }</li>
                    </ul>
                </header>
                { self.view_alert() }
                <main>
                    <section class="card hero" aria-labelledby="bits-heading">
                        <h2 id="bits-heading">{ "How many bits?" }</h2>
                        <RunControls training={self.training} dispatch={dispatch.clone()} />
                        <BitSlider
                            id="weight-bits"
                            label="Bits of a weight"
                            bits={form.chosen.weight_bits}
                            levels={form.chosen.weight_levels}
                            on_choice={self.on_weight_bits.clone()}
                        />
                        <BitSlider
                            id="activation-bits"
                            label="Bits of an activation"
                            bits={form.chosen.activation_bits}
                            levels={form.chosen.activation_levels}
                            on_choice={self.on_activation_bits.clone()}
                        />
                        <BitSlider
                            id="gradient-bits"
                            label="Bits of a gradient"
                            bits={form.chosen.gradient_bits}
                            levels={form.chosen.gradient_levels}
                            gradient=true
                            on_choice={self.on_gradient_bits.clone()}
                        />
                        <WeightSize spec={form.in_force().clone()} {inputs} />
                    </section>
                    <section class="card stage" aria-labelledby="stage-heading">
                        <h2 id="stage-heading" class="unseen">{ "How well it reads" }</h2>
                        <Figures run={self.run} />
                        <figure class="chart">
                            <Chart
                                history={self.history.clone()}
                                revision={self.history_revision}
                                summary={self.chart_summary(&history)}
                            />
                            <figcaption>
                                <span class="key train">{ "training, smoothed" }</span>
                                <span class="key test">{ "test set" }</span>
                                <span class="key mark">{ "something changed" }</span>
                                <span>{ "over training steps" }</span>
                            </figcaption>
                        </figure>
                        <p id="status">{ &self.status }</p>
                        <p class="unseen" role="status">{ &self.announcement }</p>
                        if let Some(strip) = &self.strip {
                            <h3>{ "Test digits and its answers" }</h3>
                            <TestStrip strip={strip.clone()} />
                        }
                        { evaluations_table(&history) }
                        if let Some(kernels) = &self.kernels {
                            <Kernels
                                kernels={kernels.clone()}
                                spec={form.in_force().clone()}
                                dispatch={dispatch.clone()}
                            />
                        }
                    </section>
                    <section class="card pad" aria-labelledby="pad-heading">
                        <h2 id="pad-heading">{ "Ask it" }</h2>
                        <DrawPad on_drawing={self.on_drawing.clone()} />
                        <Answer answer={self.answer.clone()} data={self.data.clone()} />
                    </section>
                    <section class="card settings-card" aria-labelledby="settings-heading">
                        <h2 id="settings-heading">{ "Settings" }</h2>
                        <Settings form={form.clone()} dispatch={dispatch.clone()}>
                            <DataChoice
                                chosen={option_of(self.wanted_source())}
                                about={self.about_data()}
                                loading={self.loading.clone()}
                                dispatch={dispatch.clone()}
                            />
                        </Settings>
                    </section>
                    <YourGpu gpu={self.gpu.clone()} dispatch={dispatch.clone()} />
                </main>
                <footer>
                    <p>
                        { "After Hubara, Courbariaux, Soudry, El-Yaniv, Bengio: " }
                        <a href="https://arxiv.org/abs/1609.07061">{ "Quantized Neural Networks" }</a>
                        { " (2016). Weights and activations of one bit are multiplied by XNOR and a count of bits, or by tables of sums: by what is faster here." }
                    </p>
                </footer>
                if self.dragging {
                    <div class="drop-here" aria-hidden="true">{ "Drop your IDX files anywhere" }</div>
                }
            </>
        }
    }
}

impl App {
    fn start_engine(&mut self) {
        self.threads = None;
        self.engine_trains = false;
        // What the old one knew of the GPU is gone with it, but for what it measured.
        self.gpu = Gpu {
            report: self.gpu.report.take(),
            ..Gpu::default()
        };
        self.training |= std::mem::take(&mut self.resumes);
        self.fruitless_starts += 1;
        // The old worker ends before the new one begins.
        self.engine = None;
        match Engine::start(self.on_report.clone()) {
            Ok(engine) => self.engine = Some(engine),
            Err(error) => {
                self.alert = Some(format!("The engine cannot be started here: {error}."));
                self.say("There is no engine.".into());
            }
        }
    }

    fn engine_died(&mut self, reason: &str) {
        if self.fruitless_starts < MOST_FRUITLESS_STARTS {
            let next = if self.checkpoint.is_some() {
                "goes on from the last checkpoint"
            } else {
                "begins anew"
            };
            self.alert = Some(format!("The engine stopped: {reason}. Another one {next}."));
            self.start_engine();
        } else {
            self.engine = None;
            self.threads = None;
            self.alert = Some(format!("The engine keeps stopping: {reason}."));
            self.say("There is no engine.".into());
        }
    }

    /// Tells the engine, if it listens. Where it does not yet, it will be told all that is wanted when it does.
    fn tell(&mut self, message: &ToEngine) {
        if let (Some(engine), Some(_)) = (&self.engine, self.threads)
            && let Err(error) = engine.send(message)
        {
            self.alert = Some(format!("The engine could not be told: {error}."));
        }
    }

    /// Tells a new engine everything that is wanted.
    fn instruct(&mut self) {
        let spec = self.form.in_force().clone();
        self.tell(&ToEngine::Configure { spec: spec.clone() });
        let source = self.wanted_source().clone();
        self.tell(&ToEngine::UseData { source });
        if let (Some(engine), Some(checkpoint)) = (&self.engine, &self.checkpoint) {
            match engine.restore(checkpoint) {
                Ok(()) => self.restoring = true,
                Err(error) => {
                    self.alert = Some(format!("The checkpoint could not be restored: {error}."));
                }
            }
            // The checkpoint brings the settings of its time; those of now may differ.
            self.tell(&ToEngine::Configure { spec });
        }
        if let Some(method) = self.kernels.as_ref().and_then(|kernels| kernels.forced) {
            self.tell(&ToEngine::ForceKernel {
                method: Some(method),
            });
        }
        if !self.strokes.is_empty() {
            let strokes = self.strokes.clone();
            self.tell(&ToEngine::Draw { strokes });
        }
        if self.training {
            self.history.borrow_mut().await_first_point();
            self.tell(&ToEngine::Train);
        }
    }

    fn hear(&mut self, message: FromEngine) {
        match message {
            FromEngine::Ready { threads } => {
                self.threads = Some(threads);
                self.say("The engine is ready.".into());
                self.instruct();
            }
            FromEngine::Tuned { tuning, forced } => {
                self.kernels = Some(EngineKernels { tuning, forced });
            }
            FromEngine::DataReady { data } => {
                self.loading = None;
                if let Some(source) = self.source_to_come.take() {
                    self.source = source;
                    self.alert = None;
                }
                if self.data.as_ref().is_some_and(|before| *before != data) {
                    self.history.borrow_mut().mark_data(&data.name);
                    self.history_revision += 1;
                    self.run.test_accuracy = None;
                }
                self.data = Some(data);
            }
            FromEngine::DataProgress { what, fraction } => {
                self.loading = Some((what.into(), fraction));
            }
            FromEngine::Refused { message } => {
                self.loading = None;
                self.source_to_come = None;
                self.restoring = false;
                self.alert = Some(message);
            }
            FromEngine::SpecRefused { message, spec } => {
                self.form.show(spec);
                self.form.commit();
                self.alert = Some(message);
            }
            FromEngine::KernelRefused { message } => self.alert = Some(message),
            FromEngine::State {
                training,
                step,
                epoch,
            } => {
                // A new engine begins with a new network, which the checkpoint is about to replace.
                if self.restoring && step == 0 {
                    return;
                }
                self.restoring = false;
                if step < self.run.step {
                    self.history.borrow_mut().return_to(step);
                    self.history_revision += 1;
                }
                if step == 0 {
                    self.checkpoint = None;
                    self.run = Run::default();
                }
                self.run.step = step;
                self.run.epoch = epoch;
                // That it does not train yet is no news; that it stopped by itself is.
                if training || self.engine_trains {
                    self.training = training;
                }
                self.engine_trains = training;
                if !training {
                    self.run.images_per_second = None;
                }
                let step = format::grouped(step.into());
                self.say(if training {
                    format!("Training from step {step}.")
                } else {
                    format!("Paused at step {step}.")
                });
            }
            FromEngine::Progress {
                steps,
                epoch,
                images_per_second,
            } => {
                self.fruitless_starts = 0;
                self.mark_first_step();
                if let Some(last) = steps.last() {
                    self.run.step = last.step;
                }
                self.run.epoch = epoch;
                self.run.images_per_second = Some(images_per_second).filter(|speed| *speed > 0.0);
                let mut history = self.history.borrow_mut();
                for step in steps {
                    history.push_step(step);
                }
                self.history_revision += 1;
            }
            FromEngine::Evaluated {
                step,
                epoch,
                loss,
                accuracy,
            } => {
                self.run.test_accuracy = Some(accuracy);
                self.history.borrow_mut().push_evaluation(Evaluation {
                    step,
                    epoch,
                    loss,
                    accuracy,
                });
                self.history_revision += 1;
                self.say_accuracy(epoch, accuracy);
            }
            FromEngine::TestStrip {
                width,
                height,
                digits,
            } => {
                self.strip = Some(Rc::new(Strip {
                    width,
                    height,
                    digits,
                }));
            }
            FromEngine::Answer { answer } => {
                self.answer = answer.filter(|_| !self.strokes.is_empty());
                // What was just drawn is read out; how the answer drifts while the network learns is not.
                if std::mem::take(&mut self.drawn)
                    && let Some(answer) = &self.answer
                {
                    self.announcement = format!("It reads a {}.", answer.answer);
                }
            }
            FromEngine::Gpu { state } => self.gpu.state = Some(state),
            FromEngine::Backend {
                wants_gpu,
                on_gpu,
                message,
            } => {
                if self.gpu.is_in_use != on_gpu {
                    let what = if on_gpu { "GPU" } else { "processor" };
                    if self.training {
                        self.say(format!("The network trains on the {what}."));
                    } else {
                        self.announcement = format!("The next steps are trained on the {what}.");
                    }
                }
                self.gpu.is_wanted = wants_gpu;
                self.gpu.is_in_use = on_gpu;
                if message.is_some() {
                    self.alert = message;
                }
            }
            FromEngine::Comparing { what, fraction } => {
                self.gpu.comparing = Some((what, fraction));
            }
            FromEngine::Compared { report, problem } => {
                self.gpu.comparing = None;
                if let Some(report) = report {
                    self.gpu.report = Some(Rc::new(report));
                    self.announcement = "The comparison of the GPU's kernels is over.".into();
                }
                if problem.is_some() {
                    self.alert = problem;
                }
                if std::mem::take(&mut self.resumes) && !self.training {
                    self.training = true;
                    self.tell(&ToEngine::Train);
                }
            }
            // Checkpoints come apart from the messages, and benchmarks are never asked for.
            FromEngine::Checkpoint { .. }
            | FromEngine::Measured { .. }
            | FromEngine::Kernels { .. } => {}
        }
    }

    /// Training and the comparison of the GPU's kernels would slow each other: the visitor wants the former now.
    fn end_comparison(&mut self) {
        self.resumes = false;
        if self.gpu.comparing.is_some() {
            self.tell(&ToEngine::CancelComparison);
            self.say("The comparison was stopped for training.".into());
        }
    }

    /// Puts the form in force where it makes sense, and tells the engine.
    fn commit(&mut self) {
        let Some(before) = self.form.commit() else {
            return;
        };
        self.alert = None;
        let after = self.form.in_force().clone();
        if !starts_anew(&before, &after) {
            self.history.borrow_mut().mark_settings(&before, &after);
            self.history_revision += 1;
        } else {
            self.checkpoint = None;
        }
        self.tell(&ToEngine::Configure { spec: after });
    }

    fn use_data(&mut self, source: DataSource) {
        self.source_to_come = Some(source.clone());
        self.tell(&ToEngine::UseData { source });
    }

    fn wanted_source(&self) -> &DataSource {
        self.source_to_come.as_ref().unwrap_or(&self.source)
    }

    fn read_files(&self, files: Vec<File>) {
        if files.is_empty() {
            return;
        }
        let dispatch = self.dispatch.clone();
        wasm_bindgen_futures::spawn_local(async move {
            let mut named = Vec::new();
            for file in files {
                let Ok(buffer) = JsFuture::from(file.array_buffer()).await else {
                    dispatch.emit(Message::CannotReadFile(file.name()));
                    return;
                };
                named.push(NamedFile {
                    name: file.name(),
                    bytes: ByteBuf::from(Uint8Array::new(&buffer).to_vec()),
                });
            }
            dispatch.emit(Message::UseFiles(named));
        });
    }

    fn mark_first_step(&mut self) {
        if !std::mem::replace(&mut self.stepped_once, true)
            && let Some(performance) = gloo_utils::window().performance()
        {
            let _ = performance.mark("first-step");
        }
    }

    /// Shows a sentence and reads it out.
    fn say(&mut self, sentence: String) {
        self.announcement.clone_from(&sentence);
        self.status = sentence;
    }

    /// Shows the test accuracy, and reads it out now and then.
    fn say_accuracy(&mut self, epoch: f32, accuracy: f32) {
        let percent = format::percent(accuracy);
        self.status = self.data.as_ref().map_or_else(String::new, |data| {
            format!(
                "After {epoch:.1} epochs of {} it reads {percent} of {} test images correctly.",
                data.name,
                format::grouped(data.test_images.into()),
            )
        });
        let now = js_sys::Date::now();
        if now - self.announced_at >= MILLISECONDS_BETWEEN_ANNOUNCEMENTS {
            self.announced_at = now;
            self.announcement.clone_from(&self.status);
        }
    }

    fn threads_badge(&self) -> String {
        let isolated = Reflect::get(&gloo_utils::window(), &"crossOriginIsolated".into())
            .is_ok_and(|isolated| isolated.is_truthy());
        match self.threads {
            Some(_) if self.gpu.is_in_use => "trains on the GPU".into(),
            None => "engine starting".into(),
            Some(1) if !isolated => "1 thread: this page is not cross-origin isolated".into(),
            Some(1) => "1 thread, SIMD".into(),
            Some(threads) => format!("{threads} threads, SIMD"),
        }
    }

    fn about_data(&self) -> AttrValue {
        let Some(data) = &self.data else {
            return "Or drop IDX files, gzipped or not.".into();
        };
        let images = data
            .train_images
            .map_or("endless".into(), |images| format::grouped(images.into()));
        let DataSummary {
            test_images,
            width,
            height,
            ..
        } = *data;
        let test_images = format::grouped(test_images.into());
        format!(
            "{images} training and {test_images} test images, {width} × {height}. Or drop IDX files."
        )
        .into()
    }

    fn chart_summary(&self, history: &History) -> AttrValue {
        let Some(last) = history.evaluations().last() else {
            return "Chart of accuracy and loss. There is no test result yet.".into();
        };
        format!(
            "Chart of accuracy and loss over training steps. At step {} the test accuracy is {}, the test loss {:.3}.",
            format::grouped(last.step.into()),
            format::percent(last.accuracy),
            last.loss
        )
        .into()
    }

    fn view_alert(&self) -> Html {
        let on_dismiss = self.dispatch.reform(|_: MouseEvent| Message::DismissAlert);
        let on_start = self.dispatch.reform(|_: MouseEvent| Message::StartEngine);
        html! {
            <div id="alert" role="alert">
                if let Some(alert) = &self.alert {
                    <div class="alert">
                        <p>{ alert }</p>
                        if self.engine.is_none() {
                            <button type="button" onclick={on_start}>{ "Start the engine again" }</button>
                        }
                        <button id="dismiss" type="button" onclick={on_dismiss}>{ "Dismiss" }</button>
                    </div>
                }
            </div>
        }
    }
}

/// The files of a chooser or of a drop.
pub fn files_of(list: Option<FileList>) -> Vec<File> {
    let list = list.as_ref();
    let count = list.map_or(0, FileList::length);
    (0..count)
        .filter_map(|place| list.and_then(|list| list.get(place)))
        .collect()
}

/// Files may be dropped anywhere on the page. What else is dragged is none of the page's business.
fn drag_listeners(dispatch: &Callback<Message>) -> Vec<EventListener> {
    let listen = |name: &'static str, message: fn(&DragEvent) -> Message| {
        let dispatch = dispatch.clone();
        EventListener::new_with_options(
            &gloo_utils::window(),
            name,
            EventListenerOptions::enable_prevent_default(),
            move |event| {
                if let Some(event) = event.dyn_ref::<DragEvent>()
                    && drags_files(event)
                {
                    event.prevent_default();
                    dispatch.emit(message(event));
                }
            },
        )
    };
    vec![
        listen("dragover", |_| Message::Drag(true)),
        // Leaving an element for another one inside of the page is not leaving the page.
        listen("dragleave", |event| {
            Message::Drag(event.related_target().is_some())
        }),
        listen("drop", |event| {
            Message::ReadFiles(files_of(
                event.data_transfer().and_then(|transfer| transfer.files()),
            ))
        }),
    ]
}

fn drags_files(event: &DragEvent) -> bool {
    event
        .data_transfer()
        .is_some_and(|transfer| transfer.types().includes(&"Files".into(), 0))
}

fn option_of(source: &DataSource) -> DataOption {
    match source {
        DataSource::Procedural => DataOption::Procedural,
        DataSource::Mnist => DataOption::Mnist,
        DataSource::Files { .. } => DataOption::Files,
    }
}

/// An 8 x 8 Hadamard matrix: plus and minus ones, every row at right angles to every other.
fn logo() -> Html {
    let squares: String = (0..64_u32)
        .map(|square| (square % 8, square / 8))
        .filter(|(column, row)| (column & row).count_ones() % 2 == 1)
        .map(|(column, row)| format!("M{column} {row}h1v1h-1z"))
        .collect();
    html! {
        <svg class="logo" viewBox="0 0 8 8" aria-hidden="true">
            <rect width="8" height="8" />
            <path d={squares} />
        </svg>
    }
}

fn evaluations_table(history: &History) -> Html {
    let rows = history.evaluations().iter().rev().take(TABLE_ROWS);
    html! {
        <details class="folded">
            <summary>{ "Test results as a table" }</summary>
            <div class="scrolled" tabindex="0" role="region" aria-label="Test results">
                <table>
                    <thead>
                        <tr>
                            <th scope="col">{ "Epoch" }</th>
                            <th scope="col">{ "Step" }</th>
                            <th scope="col">{ "Test accuracy" }</th>
                            <th scope="col">{ "Test loss" }</th>
                        </tr>
                    </thead>
                    <tbody>
                        { for rows.map(|row| html! {
                            <tr key={row.step}>
                                <th scope="row">{ format!("{:.2}", row.epoch) }</th>
                                <td>{ format::grouped(row.step.into()) }</td>
                                <td>{ format::percent(row.accuracy) }</td>
                                <td>{ format!("{:.4}", row.loss) }</td>
                            </tr>
                        }) }
                    </tbody>
                </table>
            </div>
        </details>
    }
}
