//! The roofline of this machine (Williams, Waterman and Patterson, "Roofline: an insightful visual performance model", 2009):
//! how fast the kernels multiply on one thread, against how often they use a byte that they fetch. Under the slope they wait
//! for memory, under the level for the processor. The engine measures; this plans and draws.

use qnn_protocol::spec::Bits;
use qnn_protocol::{Subject, ToEngine};
use yew::prelude::*;

use crate::app::Message;
use crate::format;
use crate::language::text;

/// Rows, columns and terms: one image, a few and a batch through a layer of 2048.
const SHAPES: [(usize, usize, usize); 3] = [(1, 2048, 2048), (8, 2048, 2048), (100, 2048, 2048)];
/// A product whose numbers all stay in the nearest caches.
const CACHED: (usize, usize, usize) = (64, 64, 1024);
/// Bytes that are read to time memory: more than most caches hold.
const MEMORY_BYTES: usize = 1 << 26;
/// Milliseconds that a subject is timed for.
const MILLISECONDS: f64 = 40.0;
/// The chart in its own units: its sides, and what is left free for the axes and for names.
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 40.0;

/// A way to multiply signs, or floats.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kernel {
    Popcount,
    Lookup,
    Float,
}

impl Kernel {
    const ALL: [Kernel; 3] = [Kernel::Popcount, Kernel::Lookup, Kernel::Float];

    /// How the names of its twins begin.
    fn prefix(self) -> &'static str {
        match self {
            Kernel::Popcount => "popcount",
            Kernel::Lookup => "lookup",
            Kernel::Float => "f32",
        }
    }

    fn name(self) -> AttrValue {
        match self {
            Kernel::Popcount => text!("kernels.popcount"),
            Kernel::Lookup => text!("kernels.lookup"),
            Kernel::Float => "float32".into(),
        }
    }

    /// Multiply-accumulates for each byte of operands and sums: what has to be fetched or written once at least.
    fn intensity(self, (rows, columns, terms): (usize, usize, usize)) -> f64 {
        let float = f64::from(Bits::FLOAT.get());
        // Bits of a number of the one side, and of the other; the lookup kernel takes 16-bit integers times signs.
        let (a, b) = match self {
            Kernel::Popcount => (1.0, 1.0),
            Kernel::Lookup => (16.0, 1.0),
            Kernel::Float => (float, float),
        };
        let [rows, columns, terms] = [rows, columns, terms].map(|side| side as f64);
        let bits = rows * terms * a + columns * terms * b + rows * columns * 32.0;
        8.0 * rows * columns * terms / bits
    }
}

/// What a measurement is of.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Of {
    Memory,
    /// What a kernel does with numbers from the nearest caches.
    Cached(Kernel),
    Point(Kernel, (usize, usize, usize)),
}

/// The measurements so far, and those to come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Roofline {
    plan: Vec<(Of, Subject)>,
    /// 10^9 a second, of bytes or of multiply-accumulates, in the order of the plan.
    speeds: Vec<f64>,
    /// Whether the engine has been asked for the names of its kernels, or for a measurement.
    pub is_measuring: bool,
}

impl Roofline {
    /// Begins anew: what to ask the engine first.
    pub fn begin(&mut self) -> ToEngine {
        *self = Roofline {
            is_measuring: true,
            ..Roofline::default()
        };
        ToEngine::ListKernels
    }

    /// Plans measurements of the engine's fastest kernels, the last of their kind, and gives the first.
    pub fn plan(&mut self, names: &[String]) -> Option<ToEngine> {
        let memory = Subject::Memory {
            bytes: MEMORY_BYTES,
        };
        self.plan = vec![(Of::Memory, memory)];
        for kernel in Kernel::ALL {
            let is_one = |name: &&String| name.starts_with(kernel.prefix());
            if let Some(name) = names.iter().rfind(is_one) {
                let subject = |shape| Subject::Kernel {
                    name: name.clone(),
                    shape,
                };
                self.plan.push((Of::Cached(kernel), subject(CACHED)));
                let points = SHAPES.map(|shape| (Of::Point(kernel, shape), subject(shape)));
                self.plan.extend(points);
            }
        }
        self.next()
    }

    /// Takes what the engine measured, and gives what to ask next.
    pub fn take(&mut self, milliseconds: Option<f64>, count: f64) -> Option<ToEngine> {
        if self.is_measuring {
            // What cannot be timed here is left out of the chart.
            let speed = milliseconds.map_or(0.0, |milliseconds| count / milliseconds * 1e-6);
            self.speeds.push(speed);
        }
        self.next()
    }

    fn next(&mut self) -> Option<ToEngine> {
        let next = self.plan.get(self.speeds.len());
        self.is_measuring = next.is_some();
        next.map(|(_, subject)| ToEngine::Measure {
            subject: subject.clone(),
            milliseconds: MILLISECONDS,
            again: false,
        })
    }

    fn measured(&self) -> impl Iterator<Item = (Of, f64)> {
        let all = self.plan.iter().zip(&self.speeds);
        all.map(|((of, _), speed)| (*of, *speed))
            .filter(|(_, speed)| *speed > 0.0)
    }

    /// 10^9 bytes a second.
    fn memory(&self) -> Option<f64> {
        let mut all = self.measured();
        all.find_map(|(of, speed)| (of == Of::Memory).then_some(speed))
    }

    /// The most that a kernel was seen to do.
    fn level(&self, wanted: Kernel) -> Option<f64> {
        let of_kernel = self.measured().filter_map(|(of, speed)| match of {
            Of::Cached(kernel) | Of::Point(kernel, _) => (kernel == wanted).then_some(speed),
            Of::Memory => None,
        });
        of_kernel.reduce(f64::max)
    }

    /// Kernels with their points: multiply-accumulates a byte, 10^9 a second, rows.
    fn points(&self) -> impl Iterator<Item = (Kernel, f64, f64, usize)> {
        self.measured().filter_map(|(of, speed)| match of {
            Of::Point(kernel, shape) => Some((kernel, kernel.intensity(shape), speed, shape.0)),
            _ => None,
        })
    }
}

#[derive(Properties, PartialEq)]
pub struct RooflinesProperties {
    pub roofline: Roofline,
    pub dispatch: Callback<Message>,
}

#[component]
pub fn Rooflines(properties: &RooflinesProperties) -> Html {
    let RooflinesProperties { roofline, dispatch } = properties;
    let is_whole = !roofline.is_measuring && !roofline.speeds.is_empty();
    let label = match (roofline.is_measuring, is_whole) {
        (true, _) => text!(
            "roofline.measuring",
            done = roofline.speeds.len(),
            all = roofline.plan.len().max(1)
        ),
        (_, true) => text!("roofline.again"),
        _ => text!("roofline.measure"),
    };
    html! {
        <details id="roofline" class="folded">
            <summary>{ text!("roofline.heading") }</summary>
            <p class="hint">{ text!("roofline.about") }</p>
            <button
                id="measure-roofline"
                type="button"
                aria-disabled={roofline.is_measuring.to_string()}
                onclick={dispatch.reform(|_: MouseEvent| Message::MeasureRoofline)}
            >
                { label }
            </button>
            if is_whole {
                { chart(roofline) }
                { table(roofline) }
            }
        </details>
    }
}

/// Powers of ten and of two, between which the chart lies.
struct Scale {
    least: (f64, f64),
    most: (f64, f64),
}

impl Scale {
    fn of(roofline: &Roofline) -> Scale {
        let speeds = roofline.measured().filter(|(of, _)| *of != Of::Memory);
        let (mut low, mut high) = (1.0_f64, 1.0_f64);
        for (_, speed) in speeds {
            (low, high) = (low.min(speed), high.max(speed));
        }
        let most = roofline.points().map(|(_, intensity, ..)| intensity);
        let most = most.fold(16.0, f64::max);
        Scale {
            least: (0.125, 10_f64.powf((low * 0.7).log10().floor())),
            most: (
                2_f64.powf(most.log2().ceil()),
                10_f64.powf((high * 1.2).log10().ceil()),
            ),
        }
    }

    fn x(&self, intensity: f64) -> f64 {
        let share = (intensity / self.least.0).ln() / (self.most.0 / self.least.0).ln();
        LEFT + share * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, speed: f64) -> f64 {
        let share = (speed / self.least.1).ln() / (self.most.1 / self.least.1).ln();
        HEIGHT - BOTTOM - share.max(0.0) * (HEIGHT - TOP - BOTTOM)
    }
}

fn chart(roofline: &Roofline) -> Html {
    let scale = Scale::of(roofline);
    let memory = roofline.memory();
    let said: Vec<String> = roofline
        .points()
        .map(|(kernel, intensity, speed, rows)| {
            text!(
                "roofline.said",
                kernel = kernel.name(),
                rows = rows,
                speed = format::speed(speed),
                intensity = format::three_digits(intensity)
            )
            .to_string()
        })
        .collect();
    let tens = (scale.least.1.log10().round() as i32..=scale.most.1.log10().round() as i32)
        .map(|power| 10_f64.powi(power));
    let powers = (scale.least.0.log2().round() as i32..=scale.most.0.log2().round() as i32)
        .step_by(2)
        .map(|power| 2_f64.powi(power));
    let number = |value: f64| format!("{value:.1}");
    html! {
        <figure class="roofline">
            <svg viewBox={format!("0 0 {WIDTH} {HEIGHT}")} role="img" aria-label={said.join(" ")}>
                { for tens.map(|speed| {
                    let y = scale.y(speed);
                    html! {
                        <>
                            <line class="grid" x1={LEFT.to_string()} x2={(WIDTH - RIGHT).to_string()} y1={number(y)} y2={number(y)} />
                            <text class="axis end" x={(LEFT - 6.0).to_string()} y={number(y + 4.0)}>{ speed }</text>
                        </>
                    }
                }) }
                { for powers.map(|intensity| {
                    let x = scale.x(intensity);
                    html! {
                        <>
                            <line class="grid" x1={number(x)} x2={number(x)} y1={TOP.to_string()} y2={(HEIGHT - BOTTOM).to_string()} />
                            <text class="axis" x={number(x)} y={(HEIGHT - BOTTOM + 16.0).to_string()}>{ intensity }</text>
                        </>
                    }
                }) }
                <text class="axis" x={number((LEFT + WIDTH - RIGHT) / 2.0)} y={(HEIGHT - 6.0).to_string()}>{ text!("roofline.across") }</text>
                { for Kernel::ALL.into_iter().filter_map(|kernel| Some((kernel, roofline.level(kernel)?))).map(|(kernel, level)| {
                    // Up the slope of memory, from the left end of the chart or its bottom, and along the kernel's own level.
                    let begin = memory.map(|memory| (scale.least.1 / memory).max(scale.least.0));
                    let corner = memory.map_or(scale.least.0, |memory| (level / memory).clamp(scale.least.0, scale.most.0));
                    let mut line = String::new();
                    if let (Some(memory), Some(begin)) = (memory, begin.filter(|begin| *begin < corner)) {
                        line += &format!("M{:.1} {:.1} ", scale.x(begin), scale.y(memory * begin));
                    } else {
                        line += &format!("M{:.1} {:.1} ", scale.x(corner), scale.y(level));
                    }
                    line += &format!("L{:.1} {:.1} H{:.1}", scale.x(corner), scale.y(level), WIDTH - RIGHT);
                    html! { <path class={classes!("roof", kernel.prefix())} d={line} /> }
                }) }
                { for roofline.points().map(|(kernel, intensity, speed, rows)| {
                    let (x, y) = (scale.x(intensity), scale.y(speed));
                    // Popcount and lookup are close to each other.
                    let beside = if kernel == Kernel::Lookup { -11.0 } else { 19.0 };
                    html! {
                        <>
                            <path class={classes!("point", kernel.prefix())} d={mark(kernel, x, y)} />
                            <text class="count" x={number(x)} y={number(y + beside)}>{ rows }</text>
                        </>
                    }
                }) }
            </svg>
            <figcaption>
                <span>{ text!("roofline.up") }</span>
                { for Kernel::ALL.into_iter().map(|kernel| html! {
                    <span>
                        <svg class="mark" viewBox="-8 -8 16 16" aria-hidden="true">
                            <path class={classes!("point", kernel.prefix())} d={mark(kernel, 0.0, 0.0)} />
                        </svg>
                        { kernel.name() }
                    </span>
                }) }
                <span>{ text!("roofline.numbers") }</span>
            </figcaption>
        </figure>
    }
}

/// A shape for each kernel, so that colour need not tell them apart.
fn mark(kernel: Kernel, x: f64, y: f64) -> String {
    match kernel {
        Kernel::Popcount => format!("M{:.1} {y:.1}a6 6 0 1 0 12 0a6 6 0 1 0 -12 0z", x - 6.0),
        Kernel::Lookup => format!("M{x:.1} {:.1}l7 7l-7 7l-7 -7z", y - 7.0),
        Kernel::Float => format!("M{:.1} {:.1}h11v11h-11z", x - 5.5, y - 5.5),
    }
}

fn table(roofline: &Roofline) -> Html {
    html! {
        <details class="folded">
            <summary>{ text!("roofline.as_table") }</summary>
            <p class="hint">
                if let Some(memory) = roofline.memory() {
                    { text!("roofline.memory", speed = format::three_digits(memory)) }
                }
            </p>
            <div class="scrolled" tabindex="0" role="region" aria-label={text!("roofline.heading")}>
                <table>
                    <thead>
                        <tr>
                            <th scope="col">{ text!("kernels.kernel") }</th>
                            <th scope="col">{ text!("roofline.images") }</th>
                            <th scope="col">{ text!("roofline.intensity") }</th>
                            <th scope="col">{ text!("kernels.speed") }</th>
                        </tr>
                    </thead>
                    <tbody>
                        { for roofline.points().map(|(kernel, intensity, speed, rows)| {
                            html! {
                                <tr>
                                    <th scope="row">{ kernel.name() }</th>
                                    <td>{ rows }</td>
                                    <td>{ format::three_digits(intensity) }</td>
                                    <td>{ format::speed(speed) }</td>
                                </tr>
                            }
                        }) }
                    </tbody>
                </table>
            </div>
        </details>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        let names = [
            "popcount scalar",
            "popcount 2x4",
            "lookup bytes",
            "f32 scalar",
            "f32 4x8",
        ];
        names.map(String::from).into()
    }

    #[test]
    fn everything_is_asked_for_once_and_the_fastest_twins_are_taken() {
        let mut roofline = Roofline::default();
        assert!(matches!(roofline.begin(), ToEngine::ListKernels));
        let mut asked = Vec::new();
        let mut next = roofline.plan(&names());
        while let Some(ToEngine::Measure { subject, .. }) = next {
            asked.push(subject);
            next = roofline.take(Some(2.0), 4e6);
        }
        assert_eq!(asked.len(), 1 + 3 * (1 + SHAPES.len()));
        assert!(!roofline.is_measuring);
        assert!(
            asked.iter().any(
                |subject| matches!(subject, Subject::Kernel { name, .. } if name == "f32 4x8")
            )
        );
        assert!(!asked.iter().any(
            |subject| matches!(subject, Subject::Kernel { name, .. } if name.contains("scalar"))
        ));
        assert_eq!(roofline.memory(), Some(2.0));
        assert_eq!(roofline.points().count(), 3 * SHAPES.len());
        // A measurement that nobody waits for changes nothing.
        assert!(roofline.take(Some(1.0), 1.0).is_none());
        assert_eq!(roofline.speeds.len(), asked.len());
    }

    #[test]
    fn what_cannot_be_timed_is_left_out() {
        let mut roofline = Roofline::default();
        roofline.begin();
        roofline.plan(&names());
        while roofline.take(None, 0.0).is_some() {}
        assert_eq!(roofline.points().count(), 0);
        assert_eq!(roofline.memory(), None);
    }

    #[test]
    fn signs_are_used_more_often_for_each_byte_than_floats() {
        // One image: a multiply-accumulate for each weight, of 4 bytes or of an eighth of one.
        let one = (1, 4096, 4096);
        assert!((Kernel::Float.intensity(one) - 0.25).abs() < 0.001);
        assert!((Kernel::Popcount.intensity(one) - 8.0).abs() < 0.1);
    }
}
