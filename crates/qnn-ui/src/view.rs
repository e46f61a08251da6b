//! The page's layout: which part stands where. What the parts show is theirs; what they know is the app's.

use js_sys::Reflect;
use qnn_protocol::{DataSummary, Method};
use yew::prelude::*;

use crate::answers::{Answered, Answers};
use crate::app::{App, Message};
use crate::bits::Bits;
use crate::chart::{Across, Chart};
use crate::controls::{BitSlider, Choice, DataChoice, DataOption, RunControls, Settings};
use crate::costs::{Costs, Priced};
use crate::draw_pad::DrawPad;
use crate::figures::{Figures, WeightSize};
use crate::format;
use crate::gpu::{self, YourGpu};
use crate::history::History;
use crate::kernels::{EngineKernels, Kernels};
use crate::language::{self, LANGUAGES, text};
use crate::leaderboard::{Leaderboard, Row};
use crate::lessons::{self, Lessons};
use crate::map::Map;
use crate::mistakes::Mistakes;
use crate::own_data::OwnData;
use crate::race::Contender;
use crate::roofline::Rooflines;
use crate::share::Share;
use crate::tabs::{Tab, Tabs};
use crate::teach::Teach;
use crate::test_strip::TestStrip;

/// Pixels of an image and classes before the data is known.
const USUAL_SHAPE: (usize, usize) = (28 * 28, 10);
/// Evaluations listed in the table, the last ones.
const TABLE_ROWS: usize = 50;

impl App {
    pub(crate) fn page(&self) -> Html {
        let chosen = self.race.chosen();
        let form = &chosen.form;
        let history = chosen.history.borrow();
        let dispatch = &self.dispatch;
        html! {
            // Another language writes everything anew.
            <div key={language::present()}>
                { self.header() }
                { self.view_alert() }
                { self.view_kept() }
                if self.shares {
                    <Share
                        link={self.link()}
                        has_own_images={self.wanted_source().option() == DataOption::Files}
                        network={chosen.checkpoint.is_some().then(|| chosen.name())}
                        dispatch={dispatch.clone()}
                    />
                }
                <Lessons
                    lesson={self.lesson}
                    prediction={self.prediction}
                    here={self.lesson.and_then(|lesson| lessons::here(lesson, &self.race, self.bits.as_deref()))}
                    dispatch={dispatch.clone()}
                />
                <main>
                    <section class="card hero" aria-labelledby="bits-heading">
                        <h2 id="bits-heading">{ text!("bits.heading") }</h2>
                        <RunControls training={self.training} dispatch={dispatch.clone()} />
                        <BitSlider
                            id="weight-bits"
                            label={text!("bits.weight")}
                            bits={form.chosen.weight_bits}
                            levels={form.chosen.weight_levels}
                            on_choice={self.on_weight_bits.clone()}
                        />
                        <BitSlider
                            id="activation-bits"
                            label={text!("bits.activation")}
                            bits={form.chosen.activation_bits}
                            levels={form.chosen.activation_levels}
                            on_choice={self.on_activation_bits.clone()}
                        />
                        <BitSlider
                            id="gradient-bits"
                            label={text!("bits.gradient")}
                            bits={form.chosen.gradient_bits}
                            levels={form.chosen.gradient_levels}
                            gradient=true
                            on_choice={self.on_gradient_bits.clone()}
                        />
                        <WeightSize spec={chosen.spec().clone()} shape={self.shape()} />
                    </section>
                    <section class="card stage" aria-labelledby="stage-heading">
                        <h2 id="stage-heading" class="unseen">{ text!("race.heading") }</h2>
                        <Figures run={chosen.run} colour={chosen.colour} name={chosen.name()} />
                        <Leaderboard
                            rows={self.rows()}
                            is_full={self.race.is_full()}
                            dispatch={dispatch.clone()}
                        />
                        { self.chart(&history) }
                        <p id="status">{ &self.status }</p>
                        <p class="unseen" role="status">{ &self.announcement }</p>
                    </section>
                    if self.shown >= 1 {
                    <section class="card pad" aria-labelledby="pad-heading">
                        <h2 id="pad-heading">{ text!("pad.heading") }</h2>
                        <DrawPad strokes={self.strokes.clone()} on_drawing={self.on_drawing.clone()} />
                        <Answers
                            networks={self.answered()}
                            classes={self.classes()}
                            size={self.data.as_ref().map_or((28, 28), |data| (data.width, data.height))}
                        />
                        <Teach
                            classes={self.classes()}
                            drawings={self.drawings.clone()}
                            is_drawn={!self.strokes.is_empty()}
                            dispatch={dispatch.clone()}
                        />
                    </section>
                    }
                    if self.shown >= 2 {
                    <section class="card looks" aria-labelledby="looks-heading">
                        <h2 id="looks-heading" class="unseen">{ text!("tabs.heading") }</h2>
                        <Tabs chosen={self.tab} dispatch={dispatch.clone()} />
                        <div id="panel" role="tabpanel" aria-labelledby={self.tab.id()} tabindex="0">
                            // It trains on when something else is looked at.
                            <div hidden={self.tab != Tab::Map}>
                                <Map
                                    spec={chosen.spec().clone()}
                                    source={self.wanted_source().clone()}
                                    drawings={self.drawings.clone()}
                                    dispatch={dispatch.clone()}
                                />
                            </div>
                            { self.panel(&history) }
                        </div>
                    </section>
                    }
                    if self.shown >= 3 {
                    <section class="card settings-card" aria-labelledby="settings-heading">
                        <h2 id="settings-heading">{ text!("settings.heading") }</h2>
                        <Settings
                            form={form.clone()}
                            for_all={self.for_all}
                            is_alone={self.race.all().len() == 1}
                            dispatch={dispatch.clone()}
                        >
                            <DataChoice
                                chosen={self.wanted_source().option()}
                                about={self.about_data()}
                                loading={self.loading.clone()}
                                dispatch={dispatch.clone()}
                            />
                        </Settings>
                    </section>
                    }
                </main>
                if self.shown >= 3 {
                <footer>
                    <p>
                        { text!("footer.after") }
                        <a href="https://arxiv.org/abs/1609.07061" lang="en">{ "Quantized Neural Networks" }</a>
                        { text!("footer.about") }
                    </p>
                </footer>
                }
                <OwnData import={self.import.clone()} dispatch={dispatch.clone()} />
                if self.dragging {
                    <div class="drop-here" aria-hidden="true">{ text!("data.drop_here") }</div>
                }
            </div>
        }
    }

    fn header(&self) -> Html {
        let shares = self.shares;
        let languages: Vec<(AttrValue, AttrValue)> = LANGUAGES
            .iter()
            .map(|(tag, name)| ((*tag).into(), (*name).into()))
            .collect();
        html! {
            <header class="page-header">
                { logo() }
                <div>
                    <h1>{ text!("page.title") }</h1>
                    <p>{ text!("page.about") }</p>
                </div>
                <ul class="badges">
                    <li id="threads">{ self.threads_badge() }</li>
                    <li>{ text!("page.private") }</li>
                </ul>
                <button
                    id="share"
                    type="button"
                    aria-expanded={shares.to_string()}
                    aria-controls={shares.then_some("share-panel")}
                    onclick={self.dispatch.reform(move |_: MouseEvent| Message::Share(!shares))}
                >
                    { text!("share.button") }
                </button>
                <label class="unseen" for="language">{ text!("page.language") }</label>
                <Choice
                    id="language"
                    chosen={language::present()}
                    options={languages}
                    on_choice={self.dispatch.reform(Message::ChooseLanguage)}
                />
            </header>
        }
    }

    fn chart(&self, history: &History) -> Html {
        let across = [
            ("steps", Across::Steps, text!("chart.by_steps")),
            ("seconds", Across::Seconds, text!("chart.by_seconds")),
        ];
        html! {
            <figure class="chart">
                <Chart
                    traces={self.traces()}
                    across={self.across}
                    revision={self.revision}
                    summary={self.chart_summary(history)}
                />
                <figcaption>
                    <span class="key train">{ text!("chart.training") }</span>
                    <span class="key test">{ text!("chart.test") }</span>
                    <span class="key mark">{ text!("chart.mark") }</span>
                    <span class="across" role="radiogroup" aria-label={text!("chart.across")}>
                        { for across.into_iter().map(|(value, across, name)| html! {
                            <label>
                                <input
                                    type="radio"
                                    name="across"
                                    {value}
                                    checked={self.across == across}
                                    onchange={self.dispatch.reform(move |_: Event| Message::ChooseAcross(across))}
                                />
                                { name }
                            </label>
                        }) }
                    </span>
                </figcaption>
            </figure>
        }
    }

    /// What the visitor looks at below the chart.
    fn panel(&self, history: &History) -> Html {
        let dispatch = &self.dispatch;
        let chosen = self.race.chosen();
        match self.tab {
            Tab::Digits => html! {
                <>
                    if let Some(strip) = &self.strip {
                        <TestStrip strip={strip.clone()} classes={self.classes()} />
                    } else {
                        <p class="hint">{ text!("status.nothing_yet") }</p>
                    }
                    { evaluations_table(history) }
                </>
            },
            Tab::Bits => html! {
                <Bits
                    bits={self.bits.clone()}
                    spec={chosen.spec().clone()}
                    unit={self.unit}
                    width={self.data.as_ref().map_or(28, |data| data.width)}
                    classes={self.classes()}
                    dispatch={dispatch.clone()}
                />
            },
            Tab::Mistakes => html! {
                <Mistakes
                    confusion={chosen.confusion.clone()}
                    images={self.mistakes.clone()}
                    cell={self.cell}
                    classes={self.classes()}
                    dispatch={dispatch.clone()}
                />
            },
            Tab::Costs => html! {
                <Costs networks={self.priced()} shape={self.shape()} />
            },
            Tab::Map => Html::default(),
            Tab::Machine => html! {
                <>
                    { self.machine() }
                    <Rooflines roofline={self.roofline.clone()} dispatch={dispatch.clone()} />
                    if let Some(kernels) = &self.kernels {
                        <Kernels
                            kernels={kernels.clone()}
                            spec={chosen.spec().clone()}
                            dispatch={dispatch.clone()}
                        />
                    }
                    <YourGpu gpu={self.gpu.clone()} dispatch={dispatch.clone()} />
                </>
            },
        }
    }

    /// Pixels of an image, and classes.
    fn shape(&self) -> (usize, usize) {
        let shape = |data: &DataSummary| {
            (
                data.width as usize * data.height as usize,
                data.classes.len(),
            )
        };
        self.data.as_ref().map_or(USUAL_SHAPE, shape)
    }

    fn classes(&self) -> Vec<AttrValue> {
        let classes = 0..self.shape().1;
        classes.map(|class| self.class(class as u8)).collect()
    }

    fn rows(&self) -> Vec<Row> {
        let chosen = self.race.chosen().id;
        let row = |one: &Contender| Row {
            id: one.id,
            colour: one.colour,
            name: one.name(),
            is_chosen: one.id == chosen,
            run: one.run,
            spec: one.spec().clone(),
            shape: self.shape(),
        };
        self.race.all().iter().map(row).collect()
    }

    fn answered(&self) -> Vec<Answered> {
        let chosen = self.race.chosen().id;
        let answered = |one: &Contender| Answered {
            colour: one.colour,
            name: one.name(),
            is_chosen: one.id == chosen,
            answer: one.answer.clone(),
        };
        self.race.all().iter().map(answered).collect()
    }

    fn priced(&self) -> Vec<Priced> {
        let priced = |one: &Contender| Priced {
            colour: one.colour,
            name: one.name(),
            spec: one.spec().clone(),
        };
        self.race.all().iter().map(priced).collect()
    }

    fn threads_badge(&self) -> AttrValue {
        if self.threads.is_some() && self.gpu.is_in_use {
            return text!("machine.on_gpu");
        }
        self.about_threads()
    }

    fn about_threads(&self) -> AttrValue {
        let isolated = Reflect::get(&gloo_utils::window(), &"crossOriginIsolated".into())
            .is_ok_and(|isolated| isolated.is_truthy());
        match self.threads {
            None => text!("machine.starting"),
            Some(1) if !isolated => text!("machine.not_isolated"),
            Some(1) => text!("machine.one_thread"),
            Some(threads) => text!("machine.threads", threads = threads),
        }
    }

    /// What this machine and its browser have that makes the playground fast, or why they have not.
    fn machine(&self) -> Html {
        // Only the relaxed instructions multiply bytes.
        let is_relaxed = |kernels: &EngineKernels| {
            let mut speeds = kernels.tuning.speeds.iter();
            speeds.any(|speed| speed.method == Method::MultiplyBytes)
        };
        let simd = match &self.kernels {
            None => text!("machine.starting"),
            Some(kernels) if is_relaxed(kernels) => text!("machine.simd_relaxed"),
            Some(_) if self.threads > Some(1) => text!("machine.simd_plain"),
            Some(_) => text!("machine.simd_single"),
        };
        html! {
            <dl id="machine" class="machine">
                <dt>{ text!("machine.processor") }</dt>
                <dd>{ self.about_threads() }</dd>
                <dt>{ "SIMD" }</dt>
                <dd>{ simd }</dd>
                <dt>{ "WebGPU" }</dt>
                <dd>{ gpu::about(&self.gpu) }</dd>
            </dl>
        }
    }

    fn about_data(&self) -> AttrValue {
        let Some(data) = &self.data else {
            return text!("data.drop");
        };
        let images = data.train_images.map_or_else(
            || text!("data.endless"),
            |images| format::grouped(images.into()).into(),
        );
        text!(
            "data.about",
            images = images,
            tests = format::grouped(data.test_images.into()),
            width = data.width,
            height = data.height
        )
    }

    fn chart_summary(&self, history: &History) -> AttrValue {
        let Some(last) = history.evaluations().last() else {
            return text!("chart.empty");
        };
        text!(
            "chart.summary",
            name = self.race.chosen().name(),
            step = format::grouped(last.step.into()),
            percent = format::percent(last.accuracy),
            loss = format!("{:.3}", last.loss)
        )
    }

    /// The whole address of this race.
    fn link(&self) -> AttrValue {
        let page = gloo_utils::window().location().href().unwrap_or_default();
        let page = page.split('#').next().unwrap_or_default();
        format!("{page}#{}", self.address().write()).into()
    }

    fn view_kept(&self) -> Html {
        let Some(kept) = &self.kept else {
            return Html::default();
        };
        let on_resume = self.dispatch.reform(|_: MouseEvent| Message::Resume);
        let on_discard = self.dispatch.reform(|_: MouseEvent| Message::Discard);
        html! {
            <div id="kept" class="alert" role="region" aria-label={text!("kept.resume")}>
                <p>
                    { text!("kept.offer", when = kept.when(language::present()), names = kept.names(),
                        step = format::grouped(kept.step().into())) }
                </p>
                <button id="resume" type="button" onclick={on_resume}>{ text!("kept.resume") }</button>
                <button id="discard" type="button" onclick={on_discard}>{ text!("kept.discard") }</button>
            </div>
        }
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
                            <button type="button" onclick={on_start}>{ text!("engine.start") }</button>
                        }
                        <button id="dismiss" type="button" onclick={on_dismiss}>{ text!("page.dismiss") }</button>
                    </div>
                }
            </div>
        }
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
            <summary>{ text!("tests.as_table") }</summary>
            <div class="scrolled" tabindex="0" role="region" aria-label={text!("tests.results")}>
                <table>
                    <thead>
                        <tr>
                            <th scope="col">{ text!("tests.epoch") }</th>
                            <th scope="col">{ text!("tests.step") }</th>
                            <th scope="col">{ text!("tests.accuracy") }</th>
                            <th scope="col">{ text!("tests.loss") }</th>
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
