//! The form of everything but the bit widths: learning rate, batch, loss, optimizer, shape, seed, and more of the paper.

use qnn_protocol::spec::{
    LearningRateScale, Levels, Loss, NetworkSpec, Normalization, Optimizer, PRESETS, Preset,
    Rounding,
};
use web_sys::HtmlInputElement;
use yew::prelude::*;

use super::choice::Choice;
use super::form::{Field, Form, starts_anew};
use crate::app::Message;
use crate::language::text;
use crate::names;

/// What can be chosen: its value in the list, its name, and what it stands for.
type Options<T, const COUNT: usize> = [(&'static str, AttrValue, T); COUNT];

const MOMENTUM: Optimizer = Optimizer::Sgd { momentum: 0.9 };

#[derive(Properties, PartialEq)]
pub struct SettingsProperties {
    pub form: Form,
    /// Whether settings are changed for all networks, and whether there is only one.
    pub for_all: bool,
    pub is_alone: bool,
    /// The data controls, which come first in the form.
    pub children: Html,
    pub dispatch: Callback<Message>,
}

#[component]
pub fn Settings(properties: &SettingsProperties) -> Html {
    let form = &properties.form;
    let dispatch = &properties.dispatch;
    let problems = form.problems();
    let field = |field, id, label: AttrValue, width| {
        let problem = problems
            .iter()
            .find(|(wrong, _)| *wrong == field)
            .map(|(_, message)| message.clone());
        let value = form.text(field).to_string();
        html! {
            <TextField {field} {id} {label} {width} {value} {problem} dispatch={dispatch.clone()} />
        }
    };
    let chosen = &form.chosen;
    let typed = form.typed();
    let is_it = |preset: &&Preset| {
        NetworkSpec {
            seed: typed.seed,
            ..preset.spec()
        } == typed
    };
    let preset = PRESETS.iter().find(is_it);
    let on_preset = dispatch.reform(|name: String| Message::ChoosePreset(Preset::named(&name)));
    let presets: Vec<(AttrValue, AttrValue)> = PRESETS
        .iter()
        .map(|preset| {
            let key = format!("preset.{}", preset.name);
            let about = text!(key.as_str());
            let name = if preset.spec().same_shape(form.in_force()) {
                text!("settings.preset_option", name = preset.name, about = about)
            } else {
                text!(
                    "settings.preset_option_anew",
                    name = preset.name,
                    about = about
                )
            };
            (preset.name.into(), name)
        })
        .collect();
    let preset = preset.map_or("", |preset| preset.name);
    let on_for_all = dispatch.reform(|event: Event| {
        let input = event.target_dyn_into::<HtmlInputElement>();
        Message::ForAll(input.is_some_and(|input| input.checked()))
    });
    let begins_anew = starts_anew(form.in_force(), &typed);
    html! {
        <form class="settings" aria-label={text!("settings.heading")} onsubmit={|event: SubmitEvent| event.prevent_default()}>
            { properties.children.clone() }
            if !properties.is_alone {
                <label class="check">
                    <input id="for-all" type="checkbox" checked={properties.for_all} onchange={on_for_all} />
                    { text!("settings.for_all") }
                </label>
            }
            <div class="field">
                <label for="preset">{ text!("settings.preset") }</label>
                <Choice id="preset" chosen={preset} options={presets} otherwise={text!("settings.custom")} on_choice={on_preset} />
            </div>
            <fieldset>
                <legend>{ text!("settings.keeps") }</legend>
                { field(Field::LearningRate, "learning-rate", text!("settings.learning_rate"), "third") }
                { field(Field::LearningRateDecay, "learning-rate-decay", text!("settings.learning_rate_decay"), "third") }
                { field(Field::DecayEpochs, "decay-epochs", text!("settings.decay_epochs"), "third") }
                { field(Field::BatchSize, "batch-size", text!("settings.batch_size"), "half") }
                { select(dispatch, "loss", text!("settings.loss"), "half", [
                    ("squared hinge", Loss::SquaredHinge),
                    ("cross-entropy", Loss::CrossEntropy),
                ].map(|(value, loss)| (value, names::loss(loss), loss)), chosen.loss, |spec, loss| {
                    spec.loss = loss;
                }) }
                { select(dispatch, "optimizer", text!("settings.optimizer"), "half", [
                    ("Adam", Optimizer::Adam),
                    ("AdaMax", Optimizer::AdaMax),
                    ("shift AdaMax", Optimizer::ShiftAdaMax),
                    ("SGD", MOMENTUM),
                ].map(|(value, optimizer)| (value, names::optimizer(optimizer), optimizer)),
                if form.with_momentum() { MOMENTUM } else { chosen.optimizer }, |spec, optimizer| {
                    spec.optimizer = optimizer;
                }) }
                if form.with_momentum() {
                    { field(Field::Momentum, "momentum", text!("settings.momentum"), "half") }
                }
                { field(Field::InputDropout, "input-dropout", text!("settings.input_dropout"), "half") }
                { field(Field::HiddenDropout, "hidden-dropout", text!("settings.hidden_dropout"), "half") }
                // Nothing that is typed is in here: what is wrong must not be folded away.
                <details class="wide">
                    <summary>{ text!("settings.more") }</summary>
                    <div class="more">
                        { select(dispatch, "weight-levels", text!("settings.weight_levels"), "half", levels(), chosen.weight_levels,
                            |spec, levels| spec.weight_levels = levels) }
                        { select(dispatch, "weight-rounding", text!("settings.weight_rounding"), "half", rounding(), chosen.weight_rounding,
                            |spec, rounding| spec.weight_rounding = rounding) }
                        { select(dispatch, "activation-levels", text!("settings.activation_levels"), "half", levels(), chosen.activation_levels,
                            |spec, levels| spec.activation_levels = levels) }
                        { select(dispatch, "activation-rounding", text!("settings.activation_rounding"), "half", rounding(), chosen.activation_rounding,
                            |spec, rounding| spec.activation_rounding = rounding) }
                        { select(dispatch, "gradient-levels", text!("settings.gradient_levels"), "half", levels(), chosen.gradient_levels,
                            |spec, levels| spec.gradient_levels = levels) }
                        { select(dispatch, "gradient-rounding", text!("settings.gradient_rounding"), "half", rounding(), chosen.gradient_rounding,
                            |spec, rounding| spec.gradient_rounding = rounding) }
                        { select(dispatch, "normalization", text!("settings.normalization"), "half", [
                            ("ordinary", text!("option.ordinary"), Normalization::BatchNorm),
                            ("shift-based", text!("option.shift_based"), Normalization::ShiftBatchNorm),
                        ], chosen.normalization, |spec, normalization| spec.normalization = normalization) }
                        { select(dispatch, "learning-rate-scale", text!("settings.learning_rate_scale"), "half", [
                            ("equal", text!("option.equal"), LearningRateScale::Equal),
                            ("Glorot", "Glorot".into(), LearningRateScale::Glorot),
                        ], chosen.learning_rate_scale, |spec, scale| spec.learning_rate_scale = scale) }
                    </div>
                </details>
            </fieldset>
            <fieldset>
                <legend>{ text!("settings.anew") }</legend>
                { field(Field::Hidden, "hidden", text!("settings.hidden"), "half") }
                { field(Field::Seed, "seed", text!("settings.seed"), "half") }
                <p class="hint wide" role="status">
                    if begins_anew {
                        { text!("settings.begins_anew") }
                    }
                </p>
            </fieldset>
        </form>
    }
}

fn levels() -> Options<Levels, 2> {
    [
        ("linear", Levels::Linear),
        ("logarithmic", Levels::Logarithmic),
    ]
    .map(|(value, levels)| (value, names::levels(levels), levels))
}

fn rounding() -> Options<Rounding, 2> {
    [
        ("deterministic", Rounding::Deterministic),
        ("stochastic", Rounding::Stochastic),
    ]
    .map(|(value, rounding)| (value, names::rounding(rounding), rounding))
}

/// A list to choose the value of a setting from.
fn select<T: Copy + PartialEq + 'static, const COUNT: usize>(
    dispatch: &Callback<Message>,
    id: &'static str,
    label: AttrValue,
    width: &'static str,
    options: Options<T, COUNT>,
    current: T,
    set: fn(&mut NetworkSpec, T),
) -> Html {
    let chosen = options
        .iter()
        .find(|(.., known)| *known == current)
        .map_or("", |(value, ..)| *value);
    let names: Vec<(AttrValue, AttrValue)> = options
        .iter()
        .map(|(value, name, _)| ((*value).into(), name.clone()))
        .collect();
    let on_choice = dispatch.reform(move |value: String| {
        let option = options.iter().find(|(known, ..)| *known == value);
        let chosen = option.map(|(.., chosen)| *chosen);
        Message::choose(move |spec| {
            if let Some(chosen) = chosen {
                set(spec, chosen);
            }
        })
    });
    html! {
        <div class={classes!("field", width)}>
            <label for={id}>{ label }</label>
            <Choice {id} {chosen} options={names} {on_choice} />
        </div>
    }
}

#[derive(Properties, PartialEq)]
struct TextFieldProperties {
    field: Field,
    id: AttrValue,
    label: AttrValue,
    /// The class of its share of the form's width.
    width: &'static str,
    value: String,
    problem: Option<AttrValue>,
    dispatch: Callback<Message>,
}

/// A field that is checked with every key and put in force by Enter or by leaving it.
#[component]
fn TextField(properties: &TextFieldProperties) -> Html {
    let TextFieldProperties {
        field,
        id,
        label,
        width,
        value,
        problem,
        dispatch,
    } = properties;
    let field = *field;
    let oninput = dispatch.reform(move |event: InputEvent| {
        let text = event
            .target_dyn_into::<HtmlInputElement>()
            .map(|input| input.value())
            .unwrap_or_default();
        Message::Type(field, text)
    });
    let onchange = dispatch.reform(|_: Event| Message::Commit);
    let problem_id = format!("{id}-problem");
    let inputmode = match field {
        Field::Hidden => "text",
        Field::BatchSize | Field::DecayEpochs | Field::Seed => "numeric",
        _ => "decimal",
    };
    html! {
        <>
            <div class={classes!("field", *width)}>
                <label for={id}>{ label }</label>
                <input
                    {id}
                    type="text"
                    {inputmode}
                    autocomplete="off"
                    spellcheck="false"
                    value={value.clone()}
                    aria-invalid={problem.is_some().then_some("true")}
                    aria-describedby={problem.is_some().then(|| problem_id.clone())}
                    {oninput}
                    {onchange}
                />
            </div>
            if let Some(problem) = problem {
                <p id={problem_id} class="problem wide" role="status">{ problem }</p>
            }
        </>
    }
}
