//! The form of everything but the bit widths: shape, learning rate, batch, loss, optimizer, seed.

use qnn_protocol::spec::{Loss, PRESETS, Preset};
use web_sys::HtmlInputElement;
use yew::prelude::*;

use super::choice::Choice;
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
    let on_preset = dispatch.reform(|name: String| Message::ChoosePreset(Preset::named(&name)));
    let on_loss = dispatch.reform(|name: String| {
        Message::ChooseLoss(if name == "cross-entropy" {
            Loss::CrossEntropy
        } else {
            Loss::SquaredHinge
        })
    });
    let on_optimizer = dispatch.reform(|name: String| Message::ChooseMomentum(name == "sgd"));
    let losses = options([
        ("squared-hinge", "squared hinge"),
        ("cross-entropy", "cross-entropy"),
    ]);
    let loss = match form.loss {
        Loss::SquaredHinge => "squared-hinge",
        Loss::CrossEntropy => "cross-entropy",
    };
    let optimizers = options([("adam", "Adam"), ("sgd", "SGD")]);
    let optimizer = if form.with_momentum { "sgd" } else { "adam" };
    let presets: Vec<(AttrValue, AttrValue)> = PRESETS
        .iter()
        .map(|preset| {
            let name = format!("{}: {}", preset.name, preset.about);
            (preset.name.into(), name.into())
        })
        .collect();
    let preset = preset.map_or("", |preset| preset.name);
    let changed_anew = shape.is_some_and(|shape| shape != form.in_force().hidden)
        || form.seed.trim() != form.in_force().seed.to_string();
    html! {
        <form class="settings" aria-label="Settings" onsubmit={|event: SubmitEvent| event.prevent_default()}>
            { properties.children.clone() }
            <fieldset>
                <legend>{ "Keeps what was learned" }</legend>
                { field(Field::LearningRate, "learning-rate", "Learning rate", "third", &form.learning_rate) }
                { field(Field::LearningRateDecay, "learning-rate-decay", "Decay an epoch", "third", &form.learning_rate_decay) }
                { field(Field::BatchSize, "batch-size", "Batch size", "third", &form.batch_size) }
                <div class="field half">
                    <label for="loss">{ "Loss" }</label>
                    <Choice id="loss" chosen={loss} options={losses} on_choice={on_loss} />
                </div>
                <div class="field half">
                    <label for="optimizer">{ "Optimizer" }</label>
                    <Choice id="optimizer" chosen={optimizer} options={optimizers} on_choice={on_optimizer} />
                </div>
                if form.with_momentum {
                    { field(Field::Momentum, "momentum", "Momentum", "half", &form.momentum) }
                }
            </fieldset>
            <fieldset>
                <legend>{ "Starts a new network" }</legend>
                <div class="field half">
                    <label for="preset">{ "Shape" }</label>
                    <Choice id="preset" chosen={preset} options={presets} otherwise="custom" on_choice={on_preset} />
                </div>
                { field(Field::Hidden, "hidden", "Hidden layers", "third", &form.hidden) }
                { field(Field::Seed, "seed", "Seed", "sixth", &form.seed) }
                <p class="hint wide" role="status">
                    if changed_anew {
                        { "Enter starts a new network: what was learned is lost." }
                    }
                </p>
            </fieldset>
        </form>
    }
}

fn options<const COUNT: usize>(
    options: [(&'static str, &'static str); COUNT],
) -> Vec<(AttrValue, AttrValue)> {
    options
        .map(|(value, name)| (value.into(), name.into()))
        .into()
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
