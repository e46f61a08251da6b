//! A short guided tour: six steps, each with one thing to know, its formula, a race that shows it, a question to answer before
//! looking, and what to look for. What is right is never said here: the visitor compares what the paper found with what is
//! measured now.

use qnn_protocol::UnitBits;
use qnn_protocol::spec::{Bits, NetworkSpec, Normalization};
use wasm_bindgen::JsCast;
use web_sys::HtmlElement;
use yew::prelude::*;

use crate::app::Message;
use crate::chart::Across;
use crate::format;
use crate::language::text;
use crate::race::{Race, Run, floats};
use crate::tabs::Tab;

/// What the steps are called in `locales/`.
const STEPS: [&str; 6] = [
    "bits",
    "straight_through",
    "shifts",
    "first_layer",
    "gradients",
    "gpu",
];
/// How many steps there are.
pub const COUNT: usize = STEPS.len();
/// What the answers to a step's question are called in `locales/`.
const ANSWERS: [&str; 3] = ["first", "second", "third"];
/// The paper's bits of a gradient.
const GRADIENT_BITS: u8 = 6;

/// How the playground shows a step.
#[derive(Debug, PartialEq)]
pub struct Setup {
    pub specs: Vec<NetworkSpec>,
    /// The place of the chosen network.
    pub chosen: usize,
    pub tab: Tab,
    pub across: Across,
    /// The layer and the unit to look at.
    pub unit: (u32, u32),
}

/// How the playground shows a step where it is now `current`, whose seed stays: the data does, too.
pub fn setup(lesson: usize, current: &[NetworkSpec]) -> Setup {
    let usual = NetworkSpec::default();
    let one_bit = NetworkSpec {
        seed: current.first().map_or(usual.seed, |spec| spec.seed),
        ..usual
    };
    let float = floats(one_bit.clone());
    let with_shifts = NetworkSpec {
        normalization: Normalization::ShiftBatchNorm,
        ..one_bit.clone()
    };
    let all_bits = NetworkSpec {
        gradient_bits: Bits::new(GRADIENT_BITS).unwrap_or(Bits::FLOAT),
        ..one_bit.clone()
    };
    let (specs, chosen, tab, across, layer) = match lesson {
        0 => (vec![one_bit, float], 0, Tab::Costs, Across::Steps, 0),
        1 => (vec![one_bit], 0, Tab::Bits, Across::Steps, 1),
        2 => (vec![one_bit, with_shifts], 1, Tab::Bits, Across::Steps, 1),
        3 => (vec![one_bit], 0, Tab::Bits, Across::Steps, 0),
        4 => (vec![one_bit, all_bits], 1, Tab::Costs, Across::Steps, 0),
        _ => (vec![all_bits, float], 0, Tab::Machine, Across::Seconds, 0),
    };
    Setup {
        specs,
        chosen,
        tab,
        across,
        unit: (layer, 0),
    }
}

/// What is measured of a step's question now, in a few words; `None` where nothing is yet.
pub fn here(lesson: usize, race: &Race, bits: Option<&UnitBits>) -> Option<AttrValue> {
    match lesson {
        1 | 3 => flips(bits?),
        5 => measured(race, |run| {
            let speed = run.images_per_second?;
            Some(text!(
                "lessons.speed",
                images = format::grouped(speed as u64)
            ))
        }),
        _ => measured(race, |run| run.test_accuracy.map(format::percent)),
    }
}

/// A value of each network that has one.
fn measured<T: std::fmt::Display>(
    race: &Race,
    value: impl Fn(&Run) -> Option<T>,
) -> Option<AttrValue> {
    let all = race.all().iter();
    let values: Vec<String> = all
        .filter_map(|one| {
            let value = value(&one.run)?;
            Some(text!("lessons.value", name = one.name(), value = value).to_string())
        })
        .collect();
    let between = text!("lessons.between");
    (!values.is_empty()).then(|| values.join(&*between).into())
}

/// How many signs flip in the layer that is looked at, and how many of its latent weights are at the clip.
fn flips(bits: &UnitBits) -> Option<AttrValue> {
    let layer = bits.layer as usize;
    let (flips, weights) = (*bits.flips.get(layer)?, *bits.layer_weights.get(layer)?);
    Some(text!(
        "lessons.flips",
        flips = format::grouped(flips.into()),
        weights = format::grouped(weights.into()),
        layer = layer + 1,
        percent = format::percent(bits.clipped as f32 / weights.max(1) as f32)
    ))
}

/// A text of a step.
fn say(lesson: usize, part: &str) -> AttrValue {
    let key = format!("lessons.{}.{part}", STEPS[lesson.min(COUNT - 1)]);
    text!(&key)
}

#[derive(Properties, PartialEq)]
pub struct LessonsProperties {
    /// The step that is open, from 0.
    pub lesson: Option<usize>,
    /// The answer that the visitor expects.
    pub prediction: Option<usize>,
    /// What is measured of its question now.
    pub here: Option<AttrValue>,
    pub dispatch: Callback<Message>,
}

#[component]
pub fn Lessons(properties: &LessonsProperties) -> Html {
    let LessonsProperties {
        lesson,
        prediction,
        here,
        dispatch,
    } = properties;
    // Who goes a step on is taken to its heading; a page that opens at a step takes nobody anywhere.
    let shown = use_mut_ref(|| *lesson);
    use_effect_with(*lesson, move |lesson| {
        if shown.replace(*lesson) != *lesson {
            focus(lesson.map_or("tour", |_| "lesson-heading"));
        }
    });
    let Some(lesson) = *lesson else {
        let on_start = dispatch.reform(|_: MouseEvent| Message::Lesson(Some(0)));
        return html! {
            <section class="tour" aria-label={text!("lessons.heading")}>
                <button id="tour" type="button" onclick={on_start}>{ text!("lessons.start") }</button>
                <p class="hint">{ text!("lessons.about", steps = COUNT) }</p>
            </section>
        };
    };
    let go = |lesson: Option<usize>| dispatch.reform(move |_: MouseEvent| Message::Lesson(lesson));
    html! {
        <section id="lesson" class="card lesson" aria-labelledby="lesson-heading">
            <div class="lesson-told">
                <p id="lesson-step" class="lesson-step">
                    { text!("lessons.step", step = lesson + 1, steps = COUNT) }
                </p>
                <h2 id="lesson-heading" tabindex="-1" aria-describedby="lesson-step">{ say(lesson, "title") }</h2>
                <p>{ say(lesson, "about") }</p>
                <div class="formulas" key={lesson}>{ formulas(lesson) }</div>
                <p class="hint">{ text!("lessons.place", place = say(lesson, "place")) }</p>
                <button
                    id="lesson-set"
                    type="button"
                    class="primary"
                    onclick={dispatch.reform(move |_: MouseEvent| Message::SetLesson(lesson))}
                >
                    { text!("lessons.set") }
                </button>
            </div>
            <div class="lesson-asked">
                { question(lesson, *prediction, dispatch) }
                <div role="status">
                    if prediction.is_some() {
                        <h3>{ text!("lessons.look_for") }</h3>
                        <p>{ say(lesson, "found") }</p>
                    }
                </div>
                if prediction.is_some() {
                    <p id="lesson-here" class="lesson-here">
                        { here.as_ref().map_or_else(
                            || text!("lessons.nothing_yet"),
                            |here| text!("lessons.here", values = here),
                        ) }
                    </p>
                }
            </div>
            <div class="lesson-steps">
                <button
                    id="lesson-back"
                    type="button"
                    disabled={lesson == 0}
                    onclick={go(Some(lesson.saturating_sub(1)))}
                >
                    { text!("lessons.back") }
                </button>
                <button
                    id="lesson-next"
                    type="button"
                    disabled={lesson + 1 == COUNT}
                    onclick={go(Some((lesson + 1).min(COUNT - 1)))}
                >
                    { text!("lessons.next") }
                </button>
                <button id="lesson-close" type="button" onclick={go(None)}>{ text!("lessons.close") }</button>
            </div>
        </section>
    }
}

/// What the visitor expects.
fn question(lesson: usize, prediction: Option<usize>, dispatch: &Callback<Message>) -> Html {
    html! {
        <fieldset key={lesson}>
            <legend>{ say(lesson, "question") }</legend>
            { for ANSWERS.iter().enumerate().map(|(number, answer)| html! {
                <label>
                    <input
                        type="radio"
                        name="prediction"
                        value={*answer}
                        checked={prediction == Some(number)}
                        onchange={dispatch.reform(move |_: Event| Message::Predict(number))}
                    />
                    { say(lesson, answer) }
                </label>
            }) }
        </fieldset>
    }
}

fn focus(id: &str) {
    let element = gloo_utils::document().get_element_by_id(id);
    if let Some(element) = element.and_then(|element| element.dyn_into::<HtmlElement>().ok()) {
        // Where it cannot be reached, nothing is lost but comfort.
        let _ = element.focus();
    }
}

/// The formulas of a step, each with its words.
fn formulas(lesson: usize) -> Html {
    match lesson {
        0 => formula(
            say(lesson, "formula"),
            [
                sup(mi("x"), mi("b")),
                mo("="),
                of("Sign", [mi("x")]),
                mo("="),
                signs(),
            ],
        ),
        1 => html! {
            <>
                { formula(say(lesson, "forward"), [mi("q"), mo("="), of("Sign", [mi("r")])]) }
                { formula(say(lesson, "backward"), [
                    sub(mi("g"), mi("r")),
                    mo("="),
                    sub(mi("g"), mi("q")),
                    mo("·"),
                    sub(mn("1"), row([absolute("r"), mo("≤"), mn("1")])),
                ]) }
            </>
        },
        2 => html! {
            <>
                { formula(say(lesson, "threshold"), [
                    mi("τ"),
                    mo("="),
                    mi("μ"),
                    mo("−"),
                    over(row([mi("β"), mi("σ")]), mi("γ")),
                ]) }
                { formula(say(lesson, "shift"), [
                    of("AP2", [mi("x")]),
                    mo("="),
                    of("sign", [mi("x")]),
                    mo("·"),
                    sup(mn("2"), of("round", [sub(mi("log"), mn("2")), absolute("x")])),
                ]) }
            </>
        },
        3 => formula(
            say(lesson, "formula"),
            [
                mi("s"),
                mo("="),
                row([mi("x"), mo("·"), sup(mi("w"), mi("b"))]),
                mo("="),
                sum_of_planes(),
                sup(mn("2"), row([mi("n"), mo("−"), mn("1")])),
                mo("("),
                sup(mi("x"), mi("n")),
                mo("·"),
                sup(mi("w"), mi("b")),
                mo(")"),
            ],
        ),
        4 => formula(
            say(lesson, "formula"),
            [
                sub(mi("g"), mi("q")),
                mo("="),
                of(
                    "Clip",
                    [
                        of("round", [over(mi("g"), mi("Δ"))]),
                        mo("·"),
                        mi("Δ"),
                        mo(","),
                        mi("min"),
                        mo(","),
                        mi("max"),
                    ],
                ),
            ],
        ),
        _ => formula(
            say(lesson, "formula"),
            [
                sub(mi("a"), mn("1")),
                mo("+="),
                of(
                    "popcount",
                    [of(
                        "xnor",
                        [register("a", "0"), mo(","), register("w", "1")],
                    )],
                ),
            ],
        ),
    }
}

fn formula<const PARTS: usize>(words: AttrValue, parts: [Html; PARTS]) -> Html {
    html! { <math display="block" aria-label={words}>{ row(parts) }</math> }
}

fn mi(name: &'static str) -> Html {
    html! { <mi>{ name }</mi> }
}

fn mn(number: &'static str) -> Html {
    html! { <mn>{ number }</mn> }
}

/// No larger than a letter: fonts without glyphs for tall parentheses draw them crooked.
fn mo(operator: &'static str) -> Html {
    html! { <mo stretchy="false">{ operator }</mo> }
}

fn absolute(name: &'static str) -> Html {
    let bar = || html! { <mo stretchy="false" lspace="0" rspace="0">{ "|" }</mo> };
    row([bar(), mi(name), bar()])
}

fn row<const PARTS: usize>(parts: [Html; PARTS]) -> Html {
    html! { <mrow>{ for parts }</mrow> }
}

fn sup(base: Html, above: Html) -> Html {
    html! { <msup>{ base }{ above }</msup> }
}

fn sub(base: Html, below: Html) -> Html {
    html! { <msub>{ base }{ below }</msub> }
}

fn over(above: Html, below: Html) -> Html {
    html! { <mfrac>{ above }{ below }</mfrac> }
}

/// A function of what stands between its parentheses.
fn of<const PARTS: usize>(function: &'static str, parts: [Html; PARTS]) -> Html {
    row([mi(function), mo("("), row(parts), mo(")")])
}

/// Plus one from zero on, minus one below.
fn signs() -> Html {
    let case = |value: [Html; 2], condition: [Html; 3]| {
        html! { <mtr><mtd>{ row(value) }</mtd><mtd>{ row(condition) }</mtd></mtr> }
    };
    html! {
        <mrow>
            <mo>{ "{" }</mo>
            <mtable>
                { case([mo("+"), mn("1")], [mi("x"), mo("≥"), mn("0")]) }
                { case([mo("−"), mn("1")], [mi("x"), mo("<"), mn("0")]) }
            </mtable>
        </mrow>
    }
}

fn sum_of_planes() -> Html {
    html! {
        <munderover>
            <mo>{ "∑" }</mo>
            { row([mi("n"), mo("="), mn("1")]) }
            <mn>{ "8" }</mn>
        </munderover>
    }
}

/// 32 signs in a register.
fn register(name: &'static str, number: &'static str) -> Html {
    html! {
        <msubsup>
            { mi(name) }
            { mn(number) }
            { row([mn("32"), mi("b")]) }
        </msubsup>
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::race::name;
    use qnn_protocol::MAX_NETWORKS;

    fn setups() -> impl Iterator<Item = Setup> {
        (0..COUNT).map(|lesson| setup(lesson, &[]))
    }

    #[test]
    fn every_setup_can_be_trained() {
        for setup in setups() {
            assert!((1..=MAX_NETWORKS).contains(&setup.specs.len()));
            assert!(setup.chosen < setup.specs.len());
            for spec in &setup.specs {
                assert_eq!(spec.validate(), Ok(()));
                assert_eq!(spec.seed, setup.specs[0].seed);
                assert_eq!(spec.batch_size, setup.specs[0].batch_size);
            }
            let layers = setup.specs[setup.chosen].hidden.len() + 1;
            assert!((setup.unit.0 as usize) < layers);
        }
    }

    #[test]
    fn the_seed_stays() {
        let current = NetworkSpec {
            seed: 77,
            ..NetworkSpec::default()
        };
        for lesson in 0..COUNT {
            let setup = setup(lesson, std::slice::from_ref(&current));
            assert!(setup.specs.iter().all(|spec| spec.seed == 77));
        }
    }

    #[test]
    fn networks_that_race_are_told_apart() {
        for setup in setups() {
            let specs: Vec<&NetworkSpec> = setup.specs.iter().collect();
            let mut labels: Vec<AttrValue> = specs.iter().map(|spec| name(spec)).collect();
            labels.dedup();
            assert_eq!(labels.len(), specs.len());
        }
    }

    #[test]
    fn every_step_says_all_and_is_short() {
        let parts = ["title", "about", "place", "question", "found"];
        for (lesson, step) in STEPS.iter().enumerate() {
            for part in parts.into_iter().chain(ANSWERS) {
                assert_ne!(*say(lesson, part), *format!("lessons.{step}.{part}"));
            }
            let words = say(lesson, "about").split_whitespace().count();
            assert!(words <= 70, "{step}: {words} words");
        }
    }

    #[test]
    fn there_is_nothing_to_see_before_a_test() {
        for lesson in 0..COUNT {
            assert_eq!(here(lesson, &Race::first(), None), None);
        }
    }

    #[test]
    fn accuracies_are_told_by_name() {
        let mut race = Race::first();
        for (one, accuracy) in race.all_mut().iter_mut().zip([0.9690, 0.9780]) {
            one.run.test_accuracy = Some(accuracy);
        }
        let here = here(0, &race, None).unwrap();
        assert_eq!(*here, *"1-bit 96.90\u{a0}%, float32 97.80\u{a0}%");
    }
}
