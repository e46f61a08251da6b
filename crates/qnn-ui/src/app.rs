//! The state of the page and what becomes of every message, from the visitor and from the engine.
//! What the engine does is wanted here and done there; what is wanted outlives an engine.

use std::rc::Rc;

use gloo_events::{EventListener, EventListenerOptions};
use gloo_timers::callback::{Interval, Timeout};
use qnn_protocol::spec::{Bits, NetworkSpec, Preset};
use qnn_protocol::{
    DataSummary, Drawing, FromEngine, Method, NetworkFormat, NetworkId, TestDigit, ToEngine,
    UnitBits, View,
};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::spawn_local;
use web_sys::DragEvent;
use yew::prelude::*;

use crate::address::Address;
use crate::chart::{self, Across, Trace};
use crate::controls::{DataOption, Field, starts_anew};
use crate::draw_pad::Strokes;
use crate::engine::{Checkpoint, Engine, Report, Said};
use crate::files::{self, Offered};
use crate::format;
use crate::gpu::Gpu;
use crate::history::Evaluation;
use crate::keep;
use crate::kept::{self, Kept};
use crate::kernels::EngineKernels;
use crate::language::{self, text, translated};
use crate::lessons;
use crate::names;
use crate::own_data::{Import, Importer};
use crate::problems;
use crate::race::{Contender, Race, followed};
use crate::roofline::Roofline;
use crate::share::File;
use crate::source::{Own, Source};
use crate::tabs::Tab;
use crate::take;
use crate::test_strip::Strip;

/// Parts that the page is shown in, after the first.
const PARTS: u32 = 3;
/// An engine that dies so often without a step between is not started again by itself.
const MOST_FRUITLESS_STARTS: u32 = 3;
/// An engine that trains and has said nothing for so long hangs.
const MILLISECONDS_OF_SILENCE: f64 = 30_000.0;
/// The race is kept no more often than this.
const MILLISECONDS_BETWEEN_KEEPING: f64 = 4_000.0;
/// Test accuracies are read out no more often than this.
const MILLISECONDS_BETWEEN_ANNOUNCEMENTS: f64 = 10_000.0;

/// Everything that happens on the page.
pub enum Message {
    Engine(Report),
    /// Shows the next part of the page.
    ShowMore,
    /// Now and then: is the engine still there?
    Watch,
    StartEngine,
    ToggleTraining,
    Step,
    Reset,
    ChooseNetwork(NetworkId),
    AddNetwork,
    RemoveNetwork(NetworkId),
    /// A network that was trained elsewhere on the page joins the race.
    Join(NetworkSpec, Option<Checkpoint>),
    /// Whether settings are changed for all networks.
    ForAll(bool),
    ChooseAcross(Across),
    ChooseTab(Tab),
    /// A layer and a unit, to look at their bits.
    LookAtUnit(u32, u32),
    /// Images of a class that got an answer; or all that were read wrongly.
    LookAtCell(Option<(u8, u8)>),
    /// Whether the panel to share is open.
    Share(bool),
    Take(File),
    /// A race of an earlier visit was found; or why it could not be read.
    FoundKept(Result<Kept, AttrValue>),
    Resume,
    Discard,
    CannotKeep(AttrValue),
    ChooseLanguage(String),
    Choose(Box<dyn FnOnce(&mut NetworkSpec)>),
    ChoosePreset(Option<&'static Preset>),
    Type(Field, String),
    Commit,
    ChooseData(DataOption),
    /// Files are dropped: what is in their folders is being looked up.
    Drop,
    Dropped(Vec<Offered>),
    /// Reads files of the visitor, and shows what is in them.
    ReadFiles(Vec<Offered>),
    Imported(Import),
    UseImport,
    CancelImport,
    Drag(bool),
    Draw(Strokes),
    /// The drawing on the pad is of this class.
    Teach(String),
    ForgetDrawings,
    ForceKernel(Option<Method>),
    MeasureRoofline,
    UseGpu(bool),
    CompareGpu,
    CancelComparison,
    /// A step of the tour, from 0; or its end.
    Lesson(Option<usize>),
    /// What the visitor expects of the open step.
    Predict(usize),
    /// Sets the playground to show a step.
    SetLesson(usize),
    DismissAlert,
}

impl Message {
    /// A setting that is chosen, not typed: how it changes the spec.
    pub fn choose(change: impl FnOnce(&mut NetworkSpec) + 'static) -> Message {
        Message::Choose(Box::new(change))
    }
}

pub struct App {
    pub(crate) dispatch: Callback<Message>,
    pub(crate) on_weight_bits: Callback<Bits>,
    pub(crate) on_activation_bits: Callback<Bits>,
    pub(crate) on_gradient_bits: Callback<Bits>,
    pub(crate) on_drawing: Callback<Strokes>,
    on_report: Callback<Report>,
    _listeners: Vec<EventListener>,

    /// How many parts of the page are shown: all at once, they would hold up a slow phone as the page opens.
    pub(crate) shown: u32,
    pub(crate) engine: Option<Engine>,
    /// Threads of the engine; `None` until it is ready.
    pub(crate) threads: Option<u32>,
    /// Engines started since the last one that trained a step.
    fruitless_starts: u32,
    /// Whether the engine said that it trains.
    engine_trains: bool,
    /// Whether the engine is one with the GPU, and what it is to be asked for as soon as it is.
    with_gpu: bool,
    wish: Option<ToEngine>,
    /// When the engine last said something.
    heard_at: f64,
    _watch: Interval,

    /// Known after the first race of kernels.
    pub(crate) kernels: Option<EngineKernels>,
    pub(crate) roofline: Roofline,
    pub(crate) gpu: Gpu,
    /// Whether training is to go on when the comparison of the GPU's kernels is over.
    resumes: bool,
    pub(crate) race: Race,
    /// Whether settings are changed for all networks.
    pub(crate) for_all: bool,
    /// Whether training is wanted.
    pub(crate) training: bool,
    /// The source of the data in use.
    source: Source,
    /// The source that was asked for and is not in use yet.
    source_to_come: Option<Source>,
    /// Files that are being read, or were; and what reads them.
    pub(crate) import: Option<Import>,
    importer: Option<Importer>,
    /// What file is to be made of which network when its checkpoint has come.
    format_wanted: Option<(NetworkId, NetworkFormat)>,
    /// What the file is called that the importer makes.
    file_to_come: Option<String>,
    pub(crate) strokes: Strokes,
    /// Whether something was drawn since the last answer.
    drawn: bool,
    /// What the visitor has taught.
    pub(crate) drawings: Vec<Drawing>,

    pub(crate) data: Option<DataSummary>,
    pub(crate) loading: Option<(AttrValue, f32)>,
    /// Counts what changes the chart.
    pub(crate) revision: u32,
    pub(crate) across: Across,
    stepped_once: bool,
    pub(crate) tab: Tab,
    /// The layer and the unit whose bits are looked at, and the cell of the confusion matrix.
    pub(crate) unit: (u32, u32),
    pub(crate) cell: Option<(u8, u8)>,
    /// What the engine last showed of the chosen network.
    pub(crate) strip: Option<Rc<Strip>>,
    pub(crate) bits: Option<Rc<UnitBits>>,
    pub(crate) mistakes: Option<Rc<Strip>>,

    pub(crate) shares: bool,
    /// A race of an earlier visit, which the visitor may go on with; until then nothing is kept in its place.
    pub(crate) kept: Option<Kept>,
    /// Whether what is kept has been looked for, when the race was kept last, and whether it cannot be.
    may_keep: bool,
    kept_at: f64,

    /// The step of the tour that is open, and the answer to its question that the visitor expects.
    pub(crate) lesson: Option<usize>,
    pub(crate) prediction: Option<usize>,

    pub(crate) alert: Option<AttrValue>,
    /// What is happening, in a sentence to be seen.
    pub(crate) status: AttrValue,
    /// The last such sentence that was worth to be read out.
    pub(crate) announcement: AttrValue,
    announced_at: f64,
    pub(crate) dragging: bool,
}

impl Component for App {
    type Message = Message;
    type Properties = ();

    fn create(context: &Context<Self>) -> Self {
        let link = context.link();
        let hash = gloo_utils::window().location().hash().unwrap_or_default();
        let (address, alert) = match Address::read(&hash) {
            Ok(address) => (address, None),
            Err(error) => {
                let alert = text!("share.bad_link", error = problems::of_link(&error));
                (Address::default(), Some(alert))
            }
        };
        // A link is what the visitor came for: what was kept waits for another visit.
        let looks_for_kept = address.specs.is_empty() && keep::is_there();
        if looks_for_kept {
            let dispatch = link.callback(|message| message);
            spawn_local(async move {
                if let Some(found) = kept::find().await.transpose() {
                    dispatch.emit(Message::FoundKept(found));
                }
            });
        }
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
            _listeners: drag_listeners(&link.callback(|message| message)),
            shown: 0,
            engine: None,
            threads: None,
            fruitless_starts: 0,
            engine_trains: false,
            with_gpu: false,
            wish: None,
            heard_at: 0.0,
            _watch: Interval::new(5_000, watch),
            kernels: None,
            roofline: Roofline::default(),
            gpu: Gpu::default(),
            resumes: false,
            race: Race::of_address(&address),
            for_all: true,
            training: !address.paused,
            source: Source::Procedural,
            source_to_come: (address.data == Some(DataOption::Mnist)).then_some(Source::Mnist),
            import: None,
            importer: None,
            format_wanted: None,
            file_to_come: None,
            strokes: Strokes::new(),
            drawn: false,
            drawings: Vec::new(),
            data: None,
            loading: None,
            revision: 0,
            across: address.across,
            stepped_once: false,
            tab: address.tab,
            unit: (0, 0),
            cell: None,
            strip: None,
            bits: None,
            mistakes: None,
            shares: false,
            kept: None,
            may_keep: looks_for_kept,
            kept_at: js_sys::Date::now(),
            lesson: address.lesson,
            prediction: None,
            alert,
            status: text!("status.starting"),
            announcement: AttrValue::default(),
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
                        Said::Checkpoint(network, checkpoint) => {
                            if let Some(one) = self.race.get_mut(network) {
                                one.checkpoint = Some(checkpoint);
                                self.keep();
                            }
                        }
                    }
                }
            }
            Message::Engine(Report::Died(reason)) => self.engine_died(&reason),
            Message::ShowMore => {
                self.shown += 1;
                self.show_more();
            }
            Message::Watch => {
                let silence = js_sys::Date::now() - self.heard_at;
                if !self.engine_trains || silence < MILLISECONDS_OF_SILENCE {
                    return false;
                }
                self.engine_died(&text!("engine.silent"));
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
                self.await_first_point();
                self.tell(&ToEngine::Train);
            }
            Message::Step => {
                self.end_comparison();
                self.training = false;
                self.tell(&ToEngine::Step);
            }
            Message::Reset => {
                // What was opened and not yet trained is not waited for any more.
                for one in self.race.all_mut() {
                    one.restoring = false;
                }
                self.tell(&ToEngine::Reset);
            }
            Message::ChooseNetwork(id) => {
                self.race.choose(id);
                self.chosen_changed();
            }
            Message::AddNetwork => {
                let spec = self.race.another();
                if let Some(network) = self.race.add(spec.clone()) {
                    self.tell(&ToEngine::Configure { network, spec });
                    self.chosen_changed();
                }
            }
            Message::RemoveNetwork(network) => {
                if self.race.remove(network) {
                    self.tell(&ToEngine::Remove { network });
                    self.chosen_changed();
                }
            }
            Message::Join(spec, checkpoint) => match self.race.add(spec.clone()) {
                Some(network) => {
                    self.tell(&ToEngine::Configure { network, spec });
                    if let (Some(engine), Some(checkpoint)) = (&self.engine, &checkpoint)
                        && let Err(error) = engine.restore(network, checkpoint)
                    {
                        self.alert = Some(text!("engine.not_restored", error = error));
                    }
                    let one = self.race.chosen_mut();
                    one.restoring = checkpoint.is_some();
                    one.checkpoint = checkpoint;
                    self.chosen_changed();
                }
                None => self.alert = Some(text!("race.no_room")),
            },
            Message::ForAll(for_all) => self.for_all = for_all,
            Message::ChooseAcross(across) => self.across = across,
            Message::ChooseTab(tab) => {
                self.tab = tab;
                self.look();
            }
            Message::LookAtUnit(layer, unit) => {
                self.unit = (layer, unit);
                self.look();
            }
            Message::LookAtCell(cell) => {
                self.cell = cell;
                self.look();
            }
            Message::Share(shares) => self.shares = shares,
            Message::Take(file) => {
                if let File::Network(format) = file {
                    let network = self.race.chosen().id;
                    if self.engine.is_some() && self.threads.is_some() {
                        // What was learned since the last checkpoint is to be in it.
                        self.format_wanted = Some((network, format));
                        self.import = Some(Import::Writing);
                        self.tell(&ToEngine::Save);
                    } else {
                        self.take_network(network, format);
                    }
                } else if let Err(error) = self.take(file) {
                    self.alert = Some(text!("share.no_file", error = format!("{error:?}")));
                }
            }
            Message::FoundKept(Ok(kept)) => self.kept = Some(kept),
            Message::FoundKept(Err(error)) => {
                self.alert = Some(text!("kept.lost", error = error));
            }
            Message::Resume => self.resume(),
            Message::Discard => {
                self.kept = None;
                let (own, dispatch) = (self.own(), self.dispatch.clone());
                spawn_local(async move {
                    if let Err(error) = kept::forget(own).await {
                        dispatch.emit(Message::CannotKeep(error));
                    }
                });
            }
            Message::CannotKeep(error) => {
                self.may_keep = false;
                self.alert = Some(text!("kept.failed", error = error));
            }
            Message::ChooseLanguage(tag) => language::choose(&tag),
            Message::Choose(change) => {
                change(&mut self.race.chosen_mut().form.chosen);
                self.commit();
            }
            Message::ChoosePreset(preset) => {
                if let Some(preset) = preset {
                    let form = &mut self.race.chosen_mut().form;
                    let seed = form.in_force().seed;
                    form.show(NetworkSpec {
                        seed,
                        ..preset.spec()
                    });
                    self.commit();
                }
            }
            Message::Type(field, text) => {
                *self.race.chosen_mut().form.text_mut(field) = text;
            }
            Message::Commit => self.commit(),
            Message::ChooseData(DataOption::Procedural) => self.use_data(Source::Procedural),
            Message::ChooseData(DataOption::Mnist) => self.use_data(Source::Mnist),
            Message::ChooseData(DataOption::Drawings) => self.use_data(Source::Drawings),
            Message::ChooseData(DataOption::Files) => return false,
            Message::Drop => {
                self.dragging = false;
                self.end_import();
                self.import = Some(Import::Reading(0.0));
            }
            // It may have been cancelled.
            Message::Dropped(files) if self.import.is_some() => self.read_files(files),
            Message::Dropped(_) => return false,
            Message::ReadFiles(files) => self.read_files(files),
            // What comes after it was cancelled is of no use.
            Message::Imported(_) if self.importer.is_none() => return false,
            Message::Imported(Import::Written(file)) => {
                if let Some(name) = self.end_import()
                    && let Err(error) = take::download(&name, "application/octet-stream", &file)
                {
                    self.alert = Some(text!("share.no_file", error = format!("{error:?}")));
                }
            }
            Message::Imported(Import::Refused(why)) if self.file_to_come.is_some() => {
                self.end_import();
                self.alert = Some(why);
            }
            Message::Imported(import) => {
                if !matches!(import, Import::Reading(_)) {
                    self.importer = None;
                }
                self.import = Some(import);
            }
            Message::UseImport => match self.import.take() {
                Some(Import::Read(_, own)) => self.use_data(Source::Own(own)),
                Some(Import::Network(preview, checkpoint)) => {
                    let join = Message::Join(preview.spec.clone(), Some(checkpoint));
                    self.dispatch.emit(join);
                }
                _ => {}
            },
            Message::CancelImport => {
                self.end_import();
            }
            Message::Drag(dragging) => {
                if dragging == self.dragging {
                    return false;
                }
                self.dragging = dragging;
            }
            Message::Draw(strokes) => {
                if strokes.is_empty() {
                    for one in self.race.all_mut() {
                        one.answer = None;
                    }
                }
                self.strokes = strokes;
                self.drawn = true;
                self.tell(&ToEngine::Draw {
                    strokes: self.strokes.clone(),
                });
            }
            Message::Teach(class) => {
                if !self.strokes.is_empty() {
                    self.announcement = text!("teach.taught", class = class);
                    let strokes = self.strokes.clone();
                    self.drawings.push(Drawing { strokes, class });
                    self.use_drawings();
                }
            }
            Message::ForgetDrawings => {
                self.drawings.clear();
                self.use_drawings();
                if *self.wanted_source() == Source::Drawings {
                    self.use_data(Source::Procedural);
                }
            }
            Message::ForceKernel(method) => {
                self.alert = None;
                // Until the engine says otherwise.
                if let Some(kernels) = &mut self.kernels {
                    kernels.forced = method;
                }
                self.tell(&ToEngine::ForceKernel { method });
            }
            Message::MeasureRoofline => {
                if !self.roofline.is_measuring && self.threads.is_some() {
                    let first = self.roofline.begin();
                    self.tell(&first);
                }
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
                self.gpu.comparing = Some((text!("gpu.ready"), 0.0));
                self.tell(&ToEngine::CompareGpu);
            }
            // The build that compares is not there yet.
            Message::CancelComparison if self.wish.take().is_some() => {
                self.hear(FromEngine::Compared {
                    report: None,
                    problem: None,
                });
            }
            Message::CancelComparison => self.tell(&ToEngine::CancelComparison),
            Message::Lesson(lesson) => (self.lesson, self.prediction) = (lesson, None),
            Message::Predict(answer) => self.prediction = Some(answer),
            Message::SetLesson(lesson) => self.set_lesson(lesson),
            Message::DismissAlert => self.alert = None,
        }
        true
    }

    fn view(&self, _: &Context<Self>) -> Html {
        self.page()
    }

    fn rendered(&mut self, _: &Context<Self>, is_first: bool) {
        if is_first {
            self.show_more();
        }
    }
}

impl App {
    /// Shows the next part of the page after whatever else waits to be done.
    fn show_more(&self) {
        if self.shown < PARTS {
            let dispatch = self.dispatch.clone();
            Timeout::new(0, move || dispatch.emit(Message::ShowMore)).forget();
        }
    }

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
        let script = if self.with_gpu {
            "worker.js?gpu"
        } else {
            "worker.js"
        };
        match Engine::start(script, self.on_report.clone()) {
            Ok(engine) => self.engine = Some(engine),
            Err(error) => {
                self.alert = Some(text!("engine.cannot_start", error = error));
                self.say(text!("engine.none"));
            }
        }
    }

    fn engine_died(&mut self, reason: &str) {
        if let Some((network, format)) = self.format_wanted.take() {
            // As it was at its last checkpoint.
            self.take_network(network, format);
        }
        if self.roofline.is_measuring {
            self.roofline = Roofline::default();
        }
        if self.fruitless_starts < MOST_FRUITLESS_STARTS {
            let kept = self.race.all().iter().any(|one| one.checkpoint.is_some());
            self.alert = Some(if kept {
                text!("engine.goes_on", reason = reason)
            } else {
                text!("engine.begins_anew", reason = reason)
            });
            self.start_engine();
        } else {
            self.engine = None;
            self.threads = None;
            self.alert = Some(text!("engine.keeps_stopping", reason = reason));
            self.say(text!("engine.none"));
        }
    }

    /// Tells the engine, if it listens. Where it does not yet, it will be told all that is wanted when it does.
    fn tell(&mut self, message: &ToEngine) {
        if let (Some(engine), Some(_)) = (&self.engine, self.threads)
            && let Err(error) = engine.send(message)
        {
            self.alert = Some(text!("engine.not_told", error = error));
        }
    }

    /// Tells a new engine everything that is wanted.
    fn instruct(&mut self) {
        self.configure_all();
        self.use_drawings();
        self.tell_source();
        if let Some(engine) = &self.engine {
            for one in self.race.all_mut() {
                let Some(checkpoint) = &one.checkpoint else {
                    continue;
                };
                match engine.restore(one.id, checkpoint) {
                    Ok(()) => one.restoring = true,
                    Err(error) => self.alert = Some(text!("engine.not_restored", error = error)),
                }
            }
        }
        // A checkpoint brings the settings of its time; those of now may differ.
        self.configure_all();
        self.look();
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
            self.await_first_point();
            self.tell(&ToEngine::Train);
        }
    }

    fn hear(&mut self, message: FromEngine) {
        match message {
            FromEngine::Ready { threads } => {
                self.threads = Some(threads);
                self.say(text!("engine.ready"));
                self.instruct();
                if let Some(wish) = self.wish.take() {
                    self.tell(&wish);
                }
            }
            FromEngine::Tuned { tuning, forced } => {
                self.kernels = Some(EngineKernels { tuning, forced });
            }
            FromEngine::DataReady { data } => {
                self.loading = None;
                if let Some(source) = self.source_to_come.take() {
                    self.source = source;
                    self.alert = None;
                    self.keep_images();
                }
                if self.data.as_ref().is_some_and(|before| *before != data) {
                    for one in self.race.all_mut() {
                        one.history.borrow_mut().mark_data(&data.name);
                        one.run.test_accuracy = None;
                        one.confusion = None;
                    }
                    self.mistakes = None;
                    self.revision += 1;
                }
                self.data = Some(data);
            }
            FromEngine::DataProgress { what, fraction } => {
                self.loading = Some((translated(&what), fraction));
            }
            FromEngine::Refused { message } => {
                self.loading = None;
                self.source_to_come = None;
                for one in self.race.all_mut() {
                    one.restoring = false;
                }
                self.alert = Some(translated(&message));
            }
            FromEngine::SpecRefused {
                network,
                message,
                spec,
            } => {
                match (self.race.get_mut(network), spec) {
                    (Some(one), Some(spec)) => {
                        one.form.show(spec);
                        one.form.commit();
                    }
                    // It never came into the race.
                    (Some(_), None) => {
                        self.race.remove(network);
                        self.chosen_changed();
                    }
                    (None, _) => {}
                }
                self.alert = Some(translated(&message));
            }
            FromEngine::KernelRefused { message } => self.alert = Some(translated(&message)),
            FromEngine::State {
                network,
                training,
                step,
                epoch,
            } => self.hear_state(network, training, step, epoch),
            FromEngine::Progress {
                network,
                steps,
                epoch,
                images_per_second,
                seconds,
            } => {
                self.fruitless_starts = 0;
                self.mark_first_step();
                self.revision += 1;
                if let Some(one) = self.race.get_mut(network) {
                    if let Some(last) = steps.last() {
                        one.run.step = last.step;
                    }
                    one.run.epoch = epoch;
                    one.run.images_per_second =
                        Some(images_per_second).filter(|speed| *speed > 0.0);
                    one.history.borrow_mut().push_steps(&steps, seconds);
                }
            }
            FromEngine::Evaluated {
                network,
                step,
                epoch,
                loss,
                accuracy,
                seconds,
                confusion,
            } => {
                self.revision += 1;
                let is_chosen = network == self.race.chosen().id;
                if let Some(one) = self.race.get_mut(network) {
                    one.run.test_accuracy = Some(accuracy);
                    one.confusion = Some(confusion.into());
                    one.history.borrow_mut().push_evaluation(Evaluation {
                        step,
                        seconds,
                        epoch,
                        loss,
                        accuracy,
                    });
                }
                if is_chosen {
                    self.say_accuracy(epoch, accuracy);
                }
            }
            FromEngine::TestStrip {
                network,
                width,
                height,
                digits,
            } => {
                if network == self.race.chosen().id {
                    self.strip = Some(strip(width, height, digits));
                }
            }
            FromEngine::Mistakes {
                network,
                cell,
                width,
                height,
                digits,
            } => {
                if network == self.race.chosen().id && cell == self.cell {
                    self.mistakes = Some(strip(width, height, digits));
                }
            }
            FromEngine::Bits { network, bits } => {
                if network == self.race.chosen().id {
                    self.bits = Some(bits.into());
                }
            }
            FromEngine::Answer { network, answer } => {
                let is_empty = self.strokes.is_empty();
                let is_chosen = network == self.race.chosen().id;
                let Some(one) = self.race.get_mut(network) else {
                    return;
                };
                one.answer = answer.filter(|_| !is_empty);
                let said = one.answer.as_ref().map(|answer| answer.answer);
                // What was just drawn is read out; how the answer drifts while the network learns is not.
                if is_chosen
                    && std::mem::take(&mut self.drawn)
                    && let Some(class) = said
                {
                    self.announcement = text!("pad.reads", answer = self.class(class));
                }
            }
            FromEngine::Gpu { state } => self.gpu.state = Some(state),
            FromEngine::Backend {
                wants_gpu,
                on_gpu,
                message,
            } => {
                if self.gpu.is_in_use != on_gpu {
                    let sentence = if on_gpu {
                        text!("gpu.trains_there")
                    } else {
                        text!("gpu.trains_here")
                    };
                    if self.training {
                        self.say(sentence);
                    } else {
                        self.announcement = sentence;
                    }
                }
                self.gpu.is_wanted = wants_gpu;
                self.gpu.is_in_use = on_gpu;
                if message.is_some() {
                    self.alert = message.as_deref().map(translated);
                }
            }
            FromEngine::Comparing { what, fraction } => {
                self.gpu.comparing = Some((translated(&what), fraction));
            }
            FromEngine::Compared { report, problem } => {
                self.gpu.comparing = None;
                if let Some(report) = report {
                    self.gpu.report = Some(Rc::new(report));
                    self.announcement = text!("gpu.compared");
                }
                if problem.is_some() {
                    self.alert = problem.as_deref().map(translated);
                }
                if std::mem::take(&mut self.resumes) && !self.training {
                    self.training = true;
                    self.tell(&ToEngine::Train);
                }
            }
            FromEngine::NeedsGpuBuild => {
                self.wish = Some(if self.gpu.comparing.is_some() {
                    ToEngine::CompareGpu
                } else {
                    ToEngine::UseGpu { wanted: true }
                });
                self.tell(&ToEngine::Save);
            }
            FromEngine::Saved => {
                if let Some((network, format)) = self.format_wanted.take() {
                    self.take_network(network, format);
                }
                if self.wish.is_none() {
                    return;
                }
                self.with_gpu = true;
                // The same GPU, so that its controls stay where the keyboard is.
                let gpu = self.gpu.clone();
                let resumes = std::mem::take(&mut self.resumes);
                self.fruitless_starts = 0;
                self.start_engine();
                self.gpu = gpu;
                self.resumes = resumes;
            }
            FromEngine::Kernels { names } => {
                if let Some(next) = self.roofline.plan(&names) {
                    self.tell(&next);
                }
            }
            FromEngine::Measured { milliseconds, macs } => {
                match self.roofline.take(milliseconds, macs) {
                    Some(next) => self.tell(&next),
                    None => self.announcement = text!("roofline.done"),
                }
            }
            // Checkpoints come apart from the messages.
            FromEngine::Checkpoint { .. } => {}
        }
    }

    /// Training and the comparison of the GPU's kernels would slow each other: the visitor wants the former now.
    fn end_comparison(&mut self) {
        self.resumes = false;
        if self.gpu.comparing.is_some() {
            self.tell(&ToEngine::CancelComparison);
            self.say(text!("gpu.stopped"));
        }
    }

    fn hear_state(&mut self, network: NetworkId, training: bool, step: u32, epoch: f32) {
        let is_chosen = network == self.race.chosen().id;
        let Some(one) = self.race.get_mut(network) else {
            return;
        };
        // A new engine begins with a new network, which the checkpoint is about to replace.
        if one.restoring && step == 0 {
            return;
        }
        one.restoring = false;
        if step < one.run.step {
            one.history.borrow_mut().return_to(step);
            self.revision += 1;
        }
        if step == 0 {
            one.begin_anew();
        }
        one.run.step = step;
        one.run.epoch = epoch;
        if !training {
            one.run.images_per_second = None;
        }
        // That it does not train yet is no news; that it stopped by itself is.
        if training || self.engine_trains {
            self.training = training;
        }
        self.engine_trains = training;
        if is_chosen {
            let step = format::grouped(step.into());
            self.say(if training {
                text!("status.training", step = step)
            } else {
                text!("status.paused", step = step)
            });
        }
    }

    /// Puts the form of the chosen network in force where it makes sense, and tells the engine; what all networks share, or are
    /// to share, changes for all.
    fn commit(&mut self) {
        let Some(before) = self.race.chosen_mut().form.commit() else {
            return;
        };
        self.alert = None;
        let (id, after) = (self.race.chosen().id, self.race.chosen().spec().clone());
        let mut changed = Vec::new();
        for one in self.race.all_mut() {
            let (was, spec) = if one.id == id {
                (before.clone(), after.clone())
            } else {
                let was = one.spec().clone();
                let spec = followed(&before, &after, &was, self.for_all);
                one.form.show(spec.clone());
                one.form.commit();
                (was, spec)
            };
            if was == spec {
                continue;
            }
            if starts_anew(&was, &spec) {
                one.checkpoint = None;
            } else {
                one.history.borrow_mut().mark_settings(&was, &spec);
                self.revision += 1;
            }
            changed.push(ToEngine::Configure {
                network: one.id,
                spec,
            });
        }
        for configure in changed {
            self.tell(&configure);
        }
    }

    /// What a link to this race says.
    pub(crate) fn address(&self) -> Address {
        Address {
            specs: self
                .race
                .all()
                .iter()
                .map(|one| one.spec().clone())
                .collect(),
            chosen: self.race.place(),
            data: Some(self.wanted_source().option()),
            tab: self.tab,
            across: self.across,
            paused: false,
            lesson: self.lesson,
        }
    }

    /// Keeps the race in the browser's storage, now and then, unless another one is kept there that the visitor may go on with.
    fn keep(&mut self) {
        let now = js_sys::Date::now();
        let is_due = now - self.kept_at >= MILLISECONDS_BETWEEN_KEEPING;
        if !self.may_keep || self.kept.is_some() || !is_due {
            return;
        }
        self.kept_at = now;
        let kept = Kept::of(&self.race, &self.address(), &self.drawings, self.own(), now);
        let dispatch = self.dispatch.clone();
        spawn_local(async move {
            if let Err(error) = kept.save().await {
                dispatch.emit(Message::CannotKeep(error));
            }
        });
    }

    /// The visitor's own images, where they are in use.
    fn own(&self) -> Option<Rc<Own>> {
        match &self.source {
            Source::Own(own) => Some(own.clone()),
            _ => None,
        }
    }

    /// Keeps the visitor's own images, where they are in use, for the races on them that are kept.
    fn keep_images(&self) {
        if let Some(own) = self.own().filter(|_| self.may_keep) {
            let dispatch = self.dispatch.clone();
            spawn_local(async move {
                if let Err(error) = kept::save_images(&own).await {
                    dispatch.emit(Message::CannotKeep(error));
                }
            });
        }
    }

    /// Goes on with the race of an earlier visit.
    fn resume(&mut self) {
        let Some(kept) = self.kept.take() else {
            return;
        };
        let own = kept.own();
        let (address, race, drawings) = kept.into_race();
        // What was taught in the meantime stays.
        self.drawings.splice(0..0, drawings);
        self.replace_race(race);
        if address.data == Some(DataOption::Mnist) {
            self.source_to_come = Some(Source::Mnist);
        }
        self.chosen_changed();
        if let Some(own) = own {
            // An engine with other data would not take networks for these images.
            self.source_to_come = Some(Source::Own(own));
            self.fruitless_starts = 0;
            self.start_engine();
        } else {
            self.instruct();
        }
    }

    /// Another race in place of this one, which the engine is to forget.
    fn replace_race(&mut self, race: Race) {
        for network in self.race.all().iter().map(|one| one.id).collect::<Vec<_>>() {
            self.tell(&ToEngine::Remove { network });
        }
        self.race = race;
    }

    /// Lets new networks of these specs race from the start, and chooses the one at `chosen`.
    fn run_race(&mut self, specs: Vec<NetworkSpec>, chosen: usize) {
        let mut race = Race::of(specs);
        race.choose(chosen as NetworkId);
        self.replace_race(race);
        self.configure_all();
        self.chosen_changed();
    }

    /// Sets the playground to show a step of the tour, and trains.
    fn set_lesson(&mut self, lesson: usize) {
        let specs = self.race.all().iter().map(|one| one.spec().clone());
        let setup = lessons::setup(lesson, &specs.collect::<Vec<_>>());
        (self.tab, self.across, self.unit) = (setup.tab, setup.across, setup.unit);
        self.alert = None;
        self.end_comparison();
        self.run_race(setup.specs, setup.chosen);
        self.training = true;
        self.await_first_point();
        self.tell(&ToEngine::Train);
    }

    fn take(&self, file: File) -> Result<(), JsValue> {
        let document = gloo_utils::document();
        let chart = document.get_element_by_id("chart").ok_or("no chart")?;
        match file {
            File::ChartSvg => {
                let size = (
                    f64::from(chart.client_width()),
                    f64::from(chart.client_height()),
                );
                let svg = chart::svg(&self.traces(), self.across, size, &chart);
                take::download_text("qnn-chart.svg", "image/svg+xml", &svg)
            }
            File::ChartPng => take::download_png("qnn-chart.png", chart.unchecked_ref()),
            File::Measurements => {
                let histories = self.race.all().iter();
                let histories: Vec<_> = histories
                    .map(|one| (one.name().to_string(), one.history.borrow()))
                    .collect();
                let networks = histories
                    .iter()
                    .map(|(name, history)| (name.clone(), &**history));
                take::download_text("qnn-measurements.csv", "text/csv", &take::csv(networks))
            }
            File::Network(_) => unreachable!("that takes another program"),
        }
    }

    /// Ends the importer and its dialog; the name of the file that it was to make.
    fn end_import(&mut self) -> Option<String> {
        self.importer = None;
        self.import = None;
        self.format_wanted = None;
        self.file_to_come.take()
    }

    /// Has a file made of the chosen network.
    fn take_network(&mut self, network: NetworkId, format: NetworkFormat) {
        let found = self.race.get_mut(network).map(|one| &*one);
        let (Some(one), Some(data)) = (found, &self.data) else {
            self.import = None;
            return;
        };
        let Some(checkpoint) = &one.checkpoint else {
            self.import = None;
            return;
        };
        let (weights, activations) = (one.spec().weight_bits, one.spec().activation_bits);
        let end = match format {
            NetworkFormat::Training => "-training.safetensors",
            NetworkFormat::Packed => ".safetensors",
            NetworkFormat::Onnx => ".onnx",
            NetworkFormat::Rust => ".rs",
            NetworkFormat::C => ".c",
        };
        let name = format!("qnn-w{weights}-a{activations}-step{}{end}", one.run.step);
        let report = self.dispatch.reform(Message::Imported);
        match Importer::write(checkpoint, format, &data.classes, report) {
            Ok(importer) => {
                self.importer = Some(importer);
                self.import = Some(Import::Writing);
                self.file_to_come = Some(name);
            }
            Err(error) => self.alert = Some(text!("share.no_file", error = error)),
        }
    }

    /// Another network is the chosen one.
    fn chosen_changed(&mut self) {
        self.revision += 1;
        (self.strip, self.bits, self.mistakes) = (None, None, None);
        self.look();
    }

    /// Tells the engine what the visitor looks at.
    fn look(&mut self) {
        let (layer, unit) = self.unit;
        let view = match self.tab {
            Tab::Digits => View::Digits,
            Tab::Bits => View::Bits { layer, unit },
            Tab::Mistakes => View::Mistakes { cell: self.cell },
            _ => View::Nothing,
        };
        let network = self.race.chosen().id;
        self.tell(&ToEngine::Look { network, view });
    }

    fn await_first_point(&self) {
        for one in self.race.all() {
            one.history.borrow_mut().await_first_point();
        }
    }

    /// The lines of the chart, the chosen network's last.
    pub(crate) fn traces(&self) -> Vec<Trace> {
        let chosen = self.race.chosen().id;
        let trace = |one: &Contender| Trace {
            history: one.history.clone(),
            colour: one.colour,
            is_chosen: one.id == chosen,
        };
        let mut traces: Vec<Trace> = self.race.all().iter().map(trace).collect();
        traces.sort_by_key(|trace| trace.is_chosen);
        traces
    }

    /// What a class is called.
    pub(crate) fn class(&self, class: u8) -> AttrValue {
        let name = self
            .data
            .as_ref()
            .and_then(|data| data.classes.get(usize::from(class)));
        name.cloned()
            .map_or_else(|| class.to_string().into(), AttrValue::from)
    }

    /// Tells the engine the spec of every network.
    fn configure_all(&mut self) {
        let all = self.race.all().iter();
        let configure: Vec<ToEngine> = all
            .map(|one| ToEngine::Configure {
                network: one.id,
                spec: one.spec().clone(),
            })
            .collect();
        for configure in configure {
            self.tell(&configure);
        }
    }

    fn use_drawings(&mut self) {
        let drawings = self.drawings.clone();
        self.tell(&ToEngine::UseDrawings { drawings });
    }

    fn use_data(&mut self, source: Source) {
        self.source_to_come = Some(source);
        self.tell_source();
    }

    fn tell_source(&mut self) {
        if let (Some(engine), Some(_)) = (&self.engine, self.threads)
            && let Err(error) = engine.use_data(self.wanted_source())
        {
            self.alert = Some(text!("engine.not_told", error = error));
        }
    }

    pub(crate) fn wanted_source(&self) -> &Source {
        self.source_to_come.as_ref().unwrap_or(&self.source)
    }

    fn read_files(&mut self, files: Vec<Offered>) {
        self.end_import();
        if files.is_empty() {
            self.import = Some(Import::Refused(text!("own.empty")));
            return;
        }
        let report = self.dispatch.reform(Message::Imported);
        self.import = Some(match Importer::read(files, report) {
            Ok(importer) => {
                self.importer = Some(importer);
                Import::Reading(0.0)
            }
            Err(error) => Import::Refused(text!("own.failed", reason = error)),
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
    fn say(&mut self, sentence: AttrValue) {
        self.announcement.clone_from(&sentence);
        self.status = sentence;
    }

    /// Shows the test accuracy, and reads it out now and then.
    fn say_accuracy(&mut self, epoch: f32, accuracy: f32) {
        self.status = self.data.as_ref().map_or_else(AttrValue::default, |data| {
            text!(
                "status.tested",
                epochs = format!("{epoch:.1}"),
                data = names::data(&data.name),
                percent = format::percent(accuracy),
                images = format::grouped(data.test_images.into())
            )
        });
        let now = js_sys::Date::now();
        if now - self.announced_at >= MILLISECONDS_BETWEEN_ANNOUNCEMENTS {
            self.announced_at = now;
            self.announcement.clone_from(&self.status);
        }
    }
}

fn strip(width: u32, height: u32, digits: Vec<TestDigit>) -> Rc<Strip> {
    Rc::new(Strip {
        width,
        height,
        digits,
    })
}

/// Files may be dropped anywhere on the page. What else is dragged is none of the page's business.
fn drag_listeners(dispatch: &Callback<Message>) -> Vec<EventListener> {
    let listen = |name: &'static str, on_event: fn(&DragEvent, &Callback<Message>)| {
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
                    on_event(event, &dispatch);
                }
            },
        )
    };
    vec![
        listen("dragover", |_, dispatch| dispatch.emit(Message::Drag(true))),
        // Leaving an element for another one inside of the page is not leaving the page.
        listen("dragleave", |event, dispatch| {
            dispatch.emit(Message::Drag(event.related_target().is_some()));
        }),
        listen("drop", |event, dispatch| {
            let dropped = event.data_transfer().as_ref().map(files::dropped);
            dispatch.emit(Message::Drop);
            let dispatch = dispatch.clone();
            spawn_local(async move {
                let files = files::within(dropped.unwrap_or_default()).await;
                dispatch.emit(Message::Dropped(files));
            });
        }),
    ]
}

fn drags_files(event: &DragEvent) -> bool {
    event
        .data_transfer()
        .is_some_and(|transfer| transfer.types().includes(&"Files".into(), 0))
}
