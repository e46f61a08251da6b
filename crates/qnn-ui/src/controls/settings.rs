//! The form of everything but the bit widths: shape, learning rate, batch, loss, optimizer, seed.

use qnn_protocol::spec::{Loss, PRESETS, Preset};
use web_sys::{HtmlInputElement, HtmlSelectElement};
use yew::prelude::*;

use super::form::{Field, Form};
use crate::app::Message;

#[derive(Properties, PartialEq)]
pub struct SettingsProperties {
    pub form: Form,
    /// The data controls, which come first in the form.
    pub children: Html,
    pub dispatch: Callback<Message>,
}

#[component]
pub fn Settings(properties: &SettingsProperties) -> Html {
    let form = &properties.form;
    let dispatch = &properties.dispatch;
    let problems = form.problems();
    let field = |field, id, label, width, value: &str| {
        let problem = problems
            .iter()
            .find(|(wrong, _)| *wrong == field)
            .map(|(_, message)| AttrValue::from(message.clone()));
        html! {
            <TextField {field} {id} {label} {width} value={value.to_string()} {problem} dispatch={dispatch.clone()} />
        }
    };
    let shape = form.typed_hidden();
    let preset = shape.as_ref().and_then(|hidden| {
        PRESETS
            .iter()
            .find(|preset| preset.spec().hidden == *hidden)
    });
    let on_preset =
        dispatch.reform(|event: Event| Message::ChoosePreset(Preset::named(&chosen(&event))));
    let on_loss = dispatch.reform(|event: Event| {
        Message::ChooseLoss(if chosen(&event) == "cross-entropy" {
            Loss::CrossEntropy
        } else {
            Loss::SquaredHinge
        })
    });
    let on_optimizer =
        dispatch.reform(|event: Event| Message::ChooseMomentum(chosen(&event) == "sgd"));
    let changed_anew = shape.is_some_and(|shape| shape != form.in_force().hidden)
        || form.seed.trim() != form.in_force().seed.to_string();
    html! {
        <form class="settings" aria-label="Settings" onsubmit={|event: SubmitEvent| event.prevent_default()}>
            { properties.children.clone() }
            <fieldset>
                <legend>{ "Changes what is learned from now on" }</legend>
                { field(Field::LearningRate, "learning-rate", "Learning rate", "third", &form.learning_rate) }
                { field(Field::LearningRateDecay, "learning-rate-decay", "× an epoch", "third", &form.learning_rate_decay) }
                { field(Field::BatchSize, "batch-size", "Batch size", "third", &form.batch_size) }
                <div class="field half">
                    <label for="loss">{ "Loss" }</label>
                    <select id="loss" onchange={on_loss}>
                        <option value="squared-hinge" selected={form.loss == Loss::SquaredHinge}>{ "squared hinge" }</option>
                        <option value="cross-entropy" selected={form.loss == Loss::CrossEntropy}>{ "cross-entropy" }</option>
                    </select>
                </div>
                <div class="field half">
                    <label for="optimizer">{ "Optimizer" }</label>
                    <select id="optimizer" onchange={on_optimizer}>
                        <option value="adam" selected={!form.with_momentum}>{ "Adam" }</option>
                        <option value="sgd" selected={form.with_momentum}>{ "SGD" }</option>
                    </select>
                </div>
                if form.with_momentum {
                    { field(Field::Momentum, "momentum", "Momentum", "half", &form.momentum) }
                }
            </fieldset>
            <fieldset>
                <legend>{ "Starts a new network" }</legend>
                <div class="field third">
                    <label for="preset">{ "Shape" }</label>
                    <select id="preset" onchange={on_preset}>
                        <option value="" selected={preset.is_none()} disabled=true>{ "custom" }</option>
                        { for PRESETS.iter().map(|known| {
                            let selected = preset.is_some_and(|preset| preset.name == known.name);
                            html! { <option value={known.name} {selected}>{ format!("{}: {}", known.name, known.about) }</option> }
                        }) }
                    </select>
                </div>
                { field(Field::Hidden, "hidden", "Hidden layers", "third", &form.hidden) }
                { field(Field::Seed, "seed", "Seed", "third", &form.seed) }
                <p class="hint wide" role="status">
                    if changed_anew {
                        { "Enter starts a new network: what was learned is lost." }
                    }
                </p>
            </fieldset>
        </form>
    }
}

fn chosen(event: &Event) -> String {
    event
        .target_dyn_into::<HtmlSelectElement>()
        .map(|select| select.value())
        .unwrap_or_default()
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
        Field::BatchSize | Field::Seed => "numeric",
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
