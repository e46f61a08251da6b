//! A list to choose one from. After every drawing it shows what is chosen in truth, whatever was clicked.

use web_sys::HtmlSelectElement;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct ChoiceProperties {
    pub id: AttrValue,
    /// The value of the option chosen; "" shows `otherwise`.
    pub chosen: AttrValue,
    /// Value and name of each option.
    pub options: Vec<(AttrValue, AttrValue)>,
    /// What to show where none of the options is chosen; it cannot be chosen itself.
    #[prop_or_default]
    pub otherwise: Option<AttrValue>,
    #[prop_or_default]
    pub described_by: Option<AttrValue>,
    pub on_choice: Callback<String>,
}

#[component]
pub fn Choice(properties: &ChoiceProperties) -> Html {
    let select = use_node_ref();
    // The attribute `selected` counts only until the visitor has chosen something; the value always does.
    use_effect({
        let (select, chosen) = (select.clone(), properties.chosen.clone());
        move || {
            if let Some(select) = select.cast::<HtmlSelectElement>() {
                select.set_value(&chosen);
            }
        }
    });
    let onchange = properties.on_choice.reform(|event: Event| {
        event
            .target_dyn_into::<HtmlSelectElement>()
            .map(|select| select.value())
            .unwrap_or_default()
    });
    html! {
        <select ref={select} id={&properties.id} aria-describedby={&properties.described_by} {onchange}>
            if let Some(otherwise) = &properties.otherwise {
                <option value="" disabled=true>{ otherwise }</option>
            }
            { for properties.options.iter().map(|(value, name)| html! {
                <option {value}>{ name }</option>
            }) }
        </select>
    }
}
