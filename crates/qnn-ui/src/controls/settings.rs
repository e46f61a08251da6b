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

const LEVELS: [(&str, Levels); 2] = [
    ("linear", Levels::Linear),
    ("logarithmic", Levels::Logarithmic),
];
const ROUNDING: [(&str, Rounding); 2] = [
    ("deterministic", Rounding::Deterministic),
    ("stochastic", Rounding::Stochastic),
];
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
    let field = |field, id, label, width| {
        let problem = problems
            .iter()
            .find(|(wrong, _)| *wrong == field)
            .map(|(_, message)| AttrValue::from(message.clone()));
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
            let anew = if preset.spec().same_shape(form.in_force()) {
                ""
            } else {
                " (starts a new network)"
            };
            let name = format!("{}: {}{anew}", preset.name, preset.about);
            (preset.name.into(), name.into())
        })
        .collect();
    let preset = preset.map_or("", |preset| preset.name);
    let on_for_all = dispatch.reform(|event: Event| {
        let input = event.target_dyn_into::<HtmlInputElement>();
        Message::ForAll(input.is_some_and(|input| input.checked()))
    });
    let begins_anew = starts_anew(form.in_force(), &typed);
    html! {
        <form class="settings" aria-label="Settings" onsubmit={|event: SubmitEvent| event.prevent_default()}>
            { properties.children.clone() }
            if !properties.is_alone {
                <label class="check">
                    <input id="for-all" type="checkbox" checked={properties.for_all} onchange={on_for_all} />
                    { text!("settings.for_all") }
                </label>
            }
            <div class="field">
                <label for="preset">{ "Preset" }</label>
                <Choice id="preset" chosen={preset} options={presets} otherwise="custom" on_choice={on_preset} />
            </div>
            <fieldset>
                <legend>{ "Keeps what was learned" }</legend>
                { field(Field::LearningRate, "learning-rate", "Learning rate", "third") }
                { field(Field::LearningRateDecay, "learning-rate-decay", "Decay", "third") }
                { field(Field::DecayEpochs, "decay-epochs", "Epochs a decay", "third") }
                { field(Field::BatchSize, "batch-size", "Batch size", "half") }
                { select(dispatch, "loss", "Loss", "half", [
                    ("squared hinge", Loss::SquaredHinge),
                    ("cross-entropy", Loss::CrossEntropy),
                ], chosen.loss, |spec, loss| spec.loss = loss) }
                { select(dispatch, "optimizer", "Optimizer", "half", [
                    ("Adam", Optimizer::Adam),
                    ("AdaMax", Optimizer::AdaMax),
                    ("shift AdaMax", Optimizer::ShiftAdaMax),
                    ("SGD", MOMENTUM),
                ], if form.with_momentum() { MOMENTUM } else { chosen.optimizer }, |spec, optimizer| {
                    spec.optimizer = optimizer;
                }) }
                if form.with_momentum() {
                    { field(Field::Momentum, "momentum", "Momentum", "half") }
                }
                { field(Field::InputDropout, "input-dropout", "Dropout of pixels", "half") }
                { field(Field::HiddenDropout, "hidden-dropout", "Dropout of activations", "half") }
                // Nothing that is typed is in here: what is wrong must not be folded away.
                <details class="wide">
                    <summary>{ "More of the paper" }</summary>
                    <div class="more">
                        { select(dispatch, "weight-levels", "Levels of weights", "half", LEVELS, chosen.weight_levels,
                            |spec, levels| spec.weight_levels = levels) }
                        { select(dispatch, "weight-rounding", "Rounding of weights", "half", ROUNDING, chosen.weight_rounding,
                            |spec, rounding| spec.weight_rounding = rounding) }
                        { select(dispatch, "activation-levels", "Levels of activations", "half", LEVELS, chosen.activation_levels,
                            |spec, levels| spec.activation_levels = levels) }
                        { select(dispatch, "activation-rounding", "Rounding of activations", "half", ROUNDING, chosen.activation_rounding,
                            |spec, rounding| spec.activation_rounding = rounding) }
                        { select(dispatch, "gradient-levels", "Levels of gradients", "half", LEVELS, chosen.gradient_levels,
                            |spec, levels| spec.gradient_levels = levels) }
                        { select(dispatch, "gradient-rounding", "Rounding of gradients", "half", ROUNDING, chosen.gradient_rounding,
                            |spec, rounding| spec.gradient_rounding = rounding) }
                        { select(dispatch, "normalization", "Batch normalization", "half", [
                            ("ordinary", Normalization::BatchNorm),
                            ("shift-based", Normalization::ShiftBatchNorm),
                        ], chosen.normalization, |spec, normalization| spec.normalization = normalization) }
                        { select(dispatch, "learning-rate-scale", "Rates of the layers", "half", [
                            ("equal", LearningRateScale::Equal),
                            ("Glorot", LearningRateScale::Glorot),
                        ], chosen.learning_rate_scale, |spec, scale| spec.learning_rate_scale = scale) }
                    </div>
                </details>
            </fieldset>
            <fieldset>
                <legend>{ "Starts a new network" }</legend>
                { field(Field::Hidden, "hidden", "Hidden layers", "half") }
                { field(Field::Seed, "seed", "Seed", "half") }
                <p class="hint wide" role="status">
                    if begins_anew {
                        { "Enter starts a new network: what was learned is lost." }
                    }
                </p>
            </fieldset>
        </form>
    }
}

/// A list to choose the value of a setting from, by name.
fn select<T: Copy + PartialEq + 'static, const COUNT: usize>(
    dispatch: &Callback<Message>,
    id: &'static str,
    label: &'static str,
    width: &'static str,
    options: [(&'static str, T); COUNT],
    current: T,
    set: fn(&mut NetworkSpec, T),
) -> Html {
    let chosen = options
        .iter()
        .find(|(_, value)| *value == current)
        .map_or("", |(name, _)| *name);
    let on_choice = dispatch.reform(move |name: String| {
        let value = options
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| *value);
        Message::choose(move |spec| {
            if let Some(value) = value {
                set(spec, value);
            }
        })
    });
    let options: Vec<(AttrValue, AttrValue)> = options
        .iter()
        .map(|(name, _)| ((*name).into(), (*name).into()))
        .collect();
    html! {
        <div class={classes!("field", width)}>
            <label for={id}>{ label }</label>
            <Choice {id} {chosen} {options} {on_choice} />
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
