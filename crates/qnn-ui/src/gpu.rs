//! "Your GPU": what adapter there is, whether the network trains on it, and the paper's comparison of kernels on it, drawn
//! beside the paper's figures. It measures nothing itself.

use std::rc::Rc;

use qnn_protocol::{GpuReport, GpuState, ProductKernel, Summary, Trial, TrialReport};
use yew::prelude::*;

use crate::app::Message;
use crate::controls::Choice as List;
use crate::format;
use crate::language::text;

/// What the chart is of: the trial, the other kernel, and the paper's figure.
const BARS: [(Of, ProductKernel, f64); 3] = [
    (Of::Network, ProductKernel::Naive, 7.0),
    (Of::Product, ProductKernel::Naive, 23.0),
    (Of::Product, ProductKernel::Tiled, 3.4),
];
/// Sides of the chart in its own units, where a bar begins, and how a group of bars is cut.
const WIDTH: f64 = 440.0;
const LEFT: f64 = 8.0;
const RIGHT: f64 = 116.0;
const GROUP: f64 = 74.0;
const BAR: f64 = 20.0;

#[derive(Clone, Copy, PartialEq)]
enum Of {
    Network,
    Product,
}

/// What is known of the GPU.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gpu {
    /// `None` until the engine has looked.
    pub state: Option<GpuState>,
    /// Whether the network is to train there, and whether it does.
    pub is_wanted: bool,
    pub is_in_use: bool,
    /// What the comparison is doing, and how much of that is done.
    pub comparing: Option<(AttrValue, f32)>,
    pub report: Option<Rc<GpuReport>>,
}

#[derive(Properties, PartialEq)]
pub struct YourGpuProperties {
    pub gpu: Gpu,
    pub dispatch: Callback<Message>,
}

#[component]
pub fn YourGpu(properties: &YourGpuProperties) -> Html {
    let YourGpuProperties { gpu, dispatch } = properties;
    html! {
        <section id="gpu" class="card gpu" aria-labelledby="gpu-heading">
            <h2 id="gpu-heading">{ text!("gpu.heading") }</h2>
            <p id="gpu-about">{ about(gpu) }</p>
            if let Some(GpuState::Present { .. }) = &gpu.state {
                { backend(gpu, dispatch) }
                { comparison(gpu, dispatch) }
            }
        </section>
    }
}

/// What there is, or what to do where there is nothing.
pub fn about(gpu: &Gpu) -> AttrValue {
    match &gpu.state {
        None => text!("gpu.looking"),
        Some(GpuState::NotSecure) => text!("gpu.not_secure"),
        Some(GpuState::NoWebGpu) => text!("gpu.no_webgpu"),
        Some(GpuState::NoAdapter { .. }) => text!("gpu.no_adapter"),
        Some(GpuState::Present {
            adapter,
            is_software,
            speeds,
        }) => {
            let speeds = speeds.map_or_else(AttrValue::default, |speeds| {
                let [planes, floats] = [speeds.planes, speeds.floats].map(format::speed);
                text!("gpu.multiplies", planes = planes, floats = floats)
            });
            if *is_software {
                text!("gpu.software", adapter = adapter, speeds = speeds)
            } else {
                text!("gpu.adapter", adapter = adapter, speeds = speeds)
            }
        }
    }
}

fn backend(gpu: &Gpu, dispatch: &Callback<Message>) -> Html {
    let options: [(AttrValue, AttrValue); 2] = [
        ("processor".into(), text!("gpu.processor")),
        ("gpu".into(), text!("gpu.gpu")),
    ];
    let on_choice = dispatch.reform(|value: String| Message::UseGpu(value == "gpu"));
    let chosen = if gpu.is_wanted { "gpu" } else { "processor" };
    let note = match (gpu.is_wanted, gpu.is_in_use) {
        (true, false) => text!("gpu.on_its_way"),
        (false, true) => text!("gpu.on_its_way_back"),
        (true, true) => text!("gpu.in_use"),
        (false, false) => text!("gpu.can_be_changed"),
    };
    html! {
        <div class="field">
            <label for="backend">{ text!("gpu.choose") }</label>
            <List id="backend" {chosen} options={options.to_vec()} described_by="backend-note" {on_choice} />
            <p id="backend-note" class="hint" role="status">{ note }</p>
        </div>
    }
}

fn comparison(gpu: &Gpu, dispatch: &Callback<Message>) -> Html {
    let is_comparing = gpu.comparing.is_some();
    // One button for both, so that the keyboard does not lose its place.
    let on_click = dispatch.reform(move |_: MouseEvent| {
        if is_comparing {
            Message::CancelComparison
        } else {
            Message::CompareGpu
        }
    });
    let label = match (is_comparing, &gpu.report) {
        (true, _) => text!("gpu.cancel"),
        (false, None) => text!("gpu.measure"),
        (false, Some(_)) => text!("gpu.measure_again"),
    };
    let is_software = matches!(
        gpu.state,
        Some(GpuState::Present {
            is_software: true,
            ..
        })
    );
    html! {
        <>
            <h3>{ text!("gpu.comparison") }</h3>
            <p class="hint">
                { text!("gpu.about_comparison") }
                if is_software {
                    { text!("gpu.minutes") }
                } else {
                    { text!("gpu.seconds") }
                }
            </p>
            <button id="compare" type="button" class="wide" onclick={on_click}>{ label }</button>
            <div class="comparing" role="status">
                if let Some((what, fraction)) = &gpu.comparing {
                    <label for="comparing">{ what }</label>
                    <progress id="comparing" value={fraction.to_string()} max="1" />
                }
            </div>
            if let Some(report) = &gpu.report {
                if report.trials.iter().any(|trial| !trial.agree) {
                    <p class="disagreement">
                        { text!("gpu.disagreement") }
                    </p>
                }
                { chart(report) }
                <p class="hint">
                    { text!("gpu.about_bars") }
                </p>
                { details(report) }
            }
        </>
    }
}

fn trial(report: &GpuReport, of: Of) -> Option<&TrialReport> {
    report.trials.iter().find(|trial| match trial.trial {
        Trial::Network { .. } => of == Of::Network,
        Trial::Product { .. } => of == Of::Product,
    })
}

/// How many times as fast, here and in the paper, on a logarithmic scale: twice as far is not twice, but squared.
fn chart(report: &GpuReport) -> Html {
    let bars: Vec<_> = BARS
        .iter()
        .filter_map(|(of, other, paper)| {
            let here = trial(report, *of)?.speed_up_over(*other)?;
            Some((bar_name(*of, *other), here, *paper))
        })
        .collect();
    let most = bars.iter().fold(32.0, |most: f64, (_, here, paper)| {
        most.max(here.median).max(*paper)
    });
    let doublings = most.log2().ceil();
    let x = |times: f64| LEFT + times.max(1.0).log2() / doublings * (WIDTH - LEFT - RIGHT);
    let height = GROUP * bars.len() as f64;
    let said: Vec<String> = bars
        .iter()
        .map(|(name, here, paper)| {
            let said = text!("gpu.said", name = name, here = here.median, paper = paper);
            said.to_string()
        })
        .collect();
    html! {
        <figure class="speed-ups" aria-label={text!("gpu.chart")}>
            <svg viewBox={format!("0 0 {WIDTH} {}", height + 22.0)} role="img" aria-label={said.join(" ")}>
                { for (0..=doublings as u32).map(|doubling| {
                    let times = f64::from(1 << doubling);
                    let at = x(times);
                    html! {
                        <>
                            <line class="grid" x1={at.to_string()} x2={at.to_string()} y1="0" y2={height.to_string()} />
                            <text class="axis" x={at.to_string()} y={(height + 16.0).to_string()}>{ format!("{times}×") }</text>
                        </>
                    }
                }) }
                { for bars.iter().enumerate().map(|(index, (name, here, paper))| {
                    let top = GROUP * index as f64;
                    html! {
                        <>
                            <text class="name" x={LEFT.to_string()} y={(top + 16.0).to_string()}>{ name.clone() }</text>
                            { bar("here", x(here.median), top + 22.0, &text!("gpu.bar_here", times = times(here.median))) }
                            { bar("published", x(*paper), top + 24.0 + BAR, &text!("gpu.bar_paper", times = format!("{paper}×"))) }
                        </>
                    }
                }) }
            </svg>
            <figcaption>
                <span>{ text!("gpu.scale") }</span>
                <span class="key here">{ text!("gpu.key_here") }</span>
                <span class="key published">{ text!("gpu.key_paper") }</span>
            </figcaption>
        </figure>
    }
}

fn bar_name(of: Of, other: ProductKernel) -> AttrValue {
    match (of, other) {
        (Of::Network, _) => text!("gpu.bar_network"),
        (Of::Product, ProductKernel::Tiled) => text!("gpu.bar_best"),
        (Of::Product, _) => text!("gpu.bar_naive"),
    }
}

fn bar(class: &'static str, to: f64, top: f64, text: &str) -> Html {
    html! {
        <>
            <rect
                {class}
                x={LEFT.to_string()}
                y={top.to_string()}
                width={(to - LEFT).max(1.0).to_string()}
                height={BAR.to_string()}
            />
            <text class="value" x={(to + 6.0).to_string()} y={(top + 15.0).to_string()}>{ text }</text>
        </>
    }
}

fn times(value: f64) -> String {
    format!("{}×", format::three_digits(value))
}

/// All figures, and whether the kernels agree.
fn details(report: &GpuReport) -> Html {
    let clock = if report.by_timestamps {
        text!("gpu.by_device")
    } else {
        text!("gpu.by_browser")
    };
    html! {
        <details class="folded">
            <summary>{ text!("gpu.all_figures") }</summary>
            <p class="hint">{ text!("gpu.titled", title = report.adapter, about = clock) }</p>
            <div class="scrolled" tabindex="0" role="region" aria-label={text!("gpu.figures")}>
                { for report.trials.iter().map(trial_table) }
                <table>
                    <caption>{ text!("gpu.training") }</caption>
                    <thead>
                        <tr>
                            <th scope="col">{ text!("settings.hidden") }</th>
                            <th scope="col">{ text!("gpu.column_gpu") }</th>
                            <th scope="col">{ text!("gpu.column_processor") }</th>
                        </tr>
                    </thead>
                    <tbody>
                        { for report.training.iter().map(|speed| {
                            let hidden: Vec<String> = speed.hidden.iter().map(usize::to_string).collect();
                            html! {
                                <tr key={hidden.join("-")}>
                                    <th scope="row">{ hidden.join("-") }</th>
                                    <td>{ format::grouped(speed.gpu as u64) }</td>
                                    <td>{ format::grouped(speed.processor as u64) }</td>
                                </tr>
                            }
                        }) }
                    </tbody>
                </table>
            </div>
        </details>
    }
}

fn trial_table(trial: &TrialReport) -> Html {
    let title = match &trial.trial {
        Trial::Product { side } => text!("gpu.signs", side = side),
        Trial::Network { layers, images } => {
            let layers: Vec<String> = layers.iter().map(usize::to_string).collect();
            text!(
                "gpu.digits",
                layers = layers.join("-"),
                count = format::grouped(*images as u64)
            )
        }
    };
    let agreement = match (&trial.trial, trial.agree) {
        (_, false) => text!("gpu.disagree"),
        (Trial::Product { .. }, true) => text!("gpu.same_sums"),
        (Trial::Network { .. }, true) => text!("gpu.same_answers"),
    };
    html! {
        <table>
            <caption>{ text!("gpu.titled", title = title, about = agreement) }</caption>
            <thead>
                <tr>
                    <th scope="col">{ text!("kernels.kernel") }</th>
                    <th scope="col">{ text!("gpu.milliseconds") }</th>
                    <th scope="col">{ text!("kernels.speed") }</th>
                    <th scope="col">{ text!("gpu.read_rightly") }</th>
                </tr>
            </thead>
            <tbody>
                { for trial.kernels.iter().map(|times| {
                    let (key, name) = match times.kernel {
                        ProductKernel::Planes => ("planes", text!("gpu.planes")),
                        ProductKernel::Naive => ("naive", text!("gpu.naive")),
                        ProductKernel::Tiled => ("tiled", text!("gpu.tiled")),
                    };
                    let time = Summary::of(times.milliseconds.clone()).median;
                    let speed = trial.giga_macs(times.kernel).map_or("–".into(), format::speed);
                    let correct = times.correct.map_or("–".into(), |correct| format::grouped(correct as u64));
                    html! {
                        <tr key={key}>
                            <th scope="row">{ name }</th>
                            <td>{ format::three_digits(time) }</td>
                            <td>{ speed }</td>
                            <td>{ correct }</td>
                        </tr>
                    }
                }) }
                if let Some(packing) = &trial.packing {
                    <tr key="packing">
                        <th scope="row">{ text!("gpu.packing") }</th>
                        <td>{ format::three_digits(Summary::of(packing.clone()).median) }</td>
                        <td>{ "–" }</td>
                        <td>{ "–" }</td>
                    </tr>
                }
            </tbody>
        </table>
    }
}
