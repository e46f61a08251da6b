//! "Your GPU": what adapter there is, whether the network trains on it, and the paper's comparison of kernels on it, drawn
//! beside the paper's figures. It measures nothing itself.

use std::rc::Rc;

use qnn_protocol::{GpuReport, GpuState, ProductKernel, Summary, Trial, TrialReport};
use yew::prelude::*;

use crate::app::Message;
use crate::controls::Choice as List;
use crate::format;

/// What the chart is of: the trial, the other kernel, and the paper's figure.
const BARS: [(&str, Of, ProductKernel, f64); 3] = [
    (
        "A network reads digits, against naive float32",
        Of::Network,
        ProductKernel::Naive,
        7.0,
    ),
    (
        "A large product, against naive float32",
        Of::Product,
        ProductKernel::Naive,
        23.0,
    ),
    (
        "A large product, against the best float32",
        Of::Product,
        ProductKernel::Tiled,
        3.4,
    ),
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
    pub comparing: Option<(String, f32)>,
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
            <h2 id="gpu-heading">{ "Your GPU" }</h2>
            { about(gpu) }
            if let Some(GpuState::Present { .. }) = &gpu.state {
                { backend(gpu, dispatch) }
                { comparison(gpu, dispatch) }
            }
        </section>
    }
}

/// What there is, or what to do where there is nothing.
fn about(gpu: &Gpu) -> Html {
    let text = match &gpu.state {
        None => "Looking for one.".into(),
        Some(GpuState::NotSecure) => {
            "Browsers offer their GPU only to pages from https:// or from localhost, and this one came otherwise.".into()
        }
        Some(GpuState::NoWebGpu) => {
            "This browser has no WebGPU, or it is switched off. Chrome and Edge have it from version 113, Safari from 26, \
             Firefox from 141 on Windows and from 145 on a Mac. The network trains on the processor."
                .into()
        }
        Some(GpuState::NoAdapter { .. }) => {
            "This browser has WebGPU but offers no GPU: none was found, its driver is missing, or the browser blocks it \
             (in Chrome, chrome://gpu says why). The network trains on the processor."
                .into()
        }
        Some(GpuState::Present {
            adapter,
            is_software,
            speeds,
        }) => {
            let speeds = speeds.map(|speeds| {
                let [planes, floats] = [speeds.planes, speeds.floats].map(format::speed);
                format!(" It multiplies {planes} · 10⁹ signs a second, or {floats} · 10⁹ floats.")
            });
            let kind = if *is_software {
                ". It is no GPU but a program on the processor: it gives the right answers, but is no measure of a GPU's speed."
            } else {
                "."
            };
            format!("WebGPU adapter: {adapter}{kind}{}", speeds.unwrap_or_default())
        }
    };
    html! { <p id="gpu-about">{ text }</p> }
}

fn backend(gpu: &Gpu, dispatch: &Callback<Message>) -> Html {
    let options = [("processor", "the processor"), ("gpu", "the GPU")]
        .map(|(value, name)| (value.into(), name.into()));
    let on_choice = dispatch.reform(|value: String| Message::UseGpu(value == "gpu"));
    let chosen = if gpu.is_wanted { "gpu" } else { "processor" };
    let note = match (gpu.is_wanted, gpu.is_in_use) {
        (true, false) => {
            "The network is on its way to the GPU, whose programs are compiled; until it is there, the processor trains it."
        }
        (false, true) => "The network is on its way back to the processor.",
        (true, true) => {
            "It trains on the GPU. What it learns is brought back now and then to answer and to be tested."
        }
        (false, false) => "It can be changed in the middle of training; what was learned stays.",
    };
    html! {
        <div class="field">
            <label for="backend">{ "The network trains on" }</label>
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
        (true, _) => "Cancel the comparison",
        (false, None) => "Measure 1 bit against float32",
        (false, Some(_)) => "Measure again",
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
            <h3>{ "The paper's comparison, here" }</h3>
            <p class="hint">
                { "How much faster are products of 1 bit than of float32? The paper packs signs into words and multiplies them by XNOR and a count of bits; it compares that with a simple product of float32 and with the best there was. Here the same is measured, while training pauses. " }
                if is_software {
                    { "On this program it takes minutes, is made smaller, and its figures say nothing of a GPU." }
                } else {
                    { "It takes some seconds, minutes on a slow GPU." }
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
                        { "The kernels gave different answers here: something is wrong with this GPU or its driver, and the figures mean little." }
                    </p>
                }
                { chart(report) }
                <p class="hint">
                    { "The naive kernel here shares nothing between threads, the authors' shares a little: so the first two bars are easier to reach here than in the paper. The best float32 here is our own, in tiles." }
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
        .filter_map(|(name, of, other, paper)| {
            let here = trial(report, *of)?.speed_up_over(*other)?;
            Some((*name, here, *paper))
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
            format!(
                "{name}: {} times as fast here, {paper} times in the paper.",
                here.median
            )
        })
        .collect();
    html! {
        <figure class="speed-ups" aria-label="Speed of 1 bit beside float32">
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
                            <text class="name" x={LEFT.to_string()} y={(top + 16.0).to_string()}>{ *name }</text>
                            { bar("here", x(here.median), top + 22.0, &format!("{} here", times(here.median))) }
                            { bar("published", x(*paper), top + 24.0 + BAR, &format!("{paper}× in the paper")) }
                        </>
                    }
                }) }
            </svg>
            <figcaption>
                <span>{ "How many times as fast as float32; each line doubles." }</span>
                <span class="key here">{ "here" }</span>
                <span class="key published">{ "in the paper (GTX 750)" }</span>
            </figcaption>
        </figure>
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
        "Timed by the device itself; medians of runs in turn."
    } else {
        "Timed by the browser's clock; medians of runs in turn."
    };
    html! {
        <details class="folded">
            <summary>{ "All figures" }</summary>
            <p class="hint">{ format!("{}. {clock}", report.adapter) }</p>
            <div class="scrolled" tabindex="0" role="region" aria-label="Figures of the comparison">
                { for report.trials.iter().map(trial_table) }
                <table>
                    <caption>{ "Training, 1-bit weights and activations, 6-bit gradients, images a second" }</caption>
                    <thead>
                        <tr>
                            <th scope="col">{ "Hidden layers" }</th>
                            <th scope="col">{ "GPU" }</th>
                            <th scope="col">{ "Processor" }</th>
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
        Trial::Product { side } => format!("Signs, {side} × {side} times {side} × {side}"),
        Trial::Network { layers, images } => {
            let layers: Vec<String> = layers.iter().map(usize::to_string).collect();
            format!(
                "{}, {} digits",
                layers.join("-"),
                format::grouped(*images as u64)
            )
        }
    };
    let agreement = match (&trial.trial, trial.agree) {
        (_, false) => "The kernels do not agree: something is wrong with this GPU or its driver.",
        (Trial::Product { .. }, true) => "All kernels give the same sums.",
        (Trial::Network { .. }, true) => "All kernels give the same answers.",
    };
    html! {
        <table>
            <caption>{ format!("{title}. {agreement}") }</caption>
            <thead>
                <tr>
                    <th scope="col">{ "Kernel" }</th>
                    <th scope="col">{ "Milliseconds" }</th>
                    <th scope="col">{ "10⁹ multiply-adds a second" }</th>
                    <th scope="col">{ "Read rightly" }</th>
                </tr>
            </thead>
            <tbody>
                { for trial.kernels.iter().map(|times| {
                    let name = match times.kernel {
                        ProductKernel::Planes => "XNOR and a count of bits",
                        ProductKernel::Naive => "float32, naive",
                        ProductKernel::Tiled => "float32, in tiles",
                    };
                    let time = Summary::of(times.milliseconds.clone()).median;
                    let speed = trial.giga_macs(times.kernel).map_or("–".into(), format::speed);
                    let correct = times.correct.map_or("–".into(), |correct| format::grouped(correct as u64));
                    html! {
                        <tr key={name}>
                            <th scope="row">{ name }</th>
                            <td>{ format::three_digits(time) }</td>
                            <td>{ speed }</td>
                            <td>{ correct }</td>
                        </tr>
                    }
                }) }
                if let Some(packing) = &trial.packing {
                    <tr key="packing">
                        <th scope="row">{ "packing both operands" }</th>
                        <td>{ format::three_digits(Summary::of(packing.clone()).median) }</td>
                        <td>{ "–" }</td>
                        <td>{ "–" }</td>
                    </tr>
                }
            </tbody>
        </table>
    }
}
