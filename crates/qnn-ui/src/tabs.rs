//! The tabs below the chart: one view of the chosen network at a time. What is in a view is its own module's.

use wasm_bindgen::JsCast;
use web_sys::HtmlElement;
use yew::prelude::*;

use crate::app::Message;
use crate::language::text;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tab {
    #[default]
    Digits,
    Bits,
    Mistakes,
    Costs,
    Map,
    Machine,
}

impl Tab {
    pub const ALL: [Tab; 6] = [
        Tab::Digits,
        Tab::Bits,
        Tab::Mistakes,
        Tab::Costs,
        Tab::Map,
        Tab::Machine,
    ];

    pub fn id(self) -> &'static str {
        match self {
            Tab::Digits => "tab-digits",
            Tab::Bits => "tab-bits",
            Tab::Mistakes => "tab-mistakes",
            Tab::Costs => "tab-costs",
            Tab::Map => "tab-map",
            Tab::Machine => "tab-machine",
        }
    }

    /// How a link names it.
    pub fn value(self) -> &'static str {
        self.id().trim_start_matches("tab-")
    }

    pub fn named(value: &str) -> Option<Tab> {
        Tab::ALL.into_iter().find(|tab| tab.value() == value)
    }

    fn name(self) -> AttrValue {
        match self {
            Tab::Digits => text!("tabs.digits"),
            Tab::Bits => text!("tabs.bits"),
            Tab::Mistakes => text!("tabs.mistakes"),
            Tab::Costs => text!("tabs.costs"),
            Tab::Map => text!("tabs.map"),
            Tab::Machine => text!("tabs.machine"),
        }
    }

    /// The tab that a key leads to from this one.
    fn by_key(self, key: &str) -> Option<Tab> {
        let (place, count) = (self as usize, Tab::ALL.len());
        let place = match key {
            "ArrowRight" => (place + 1) % count,
            "ArrowLeft" => (place + count - 1) % count,
            "Home" => 0,
            "End" => count - 1,
            _ => return None,
        };
        Some(Tab::ALL[place])
    }
}

#[derive(Properties, PartialEq)]
pub struct TabsProperties {
    pub chosen: Tab,
    pub dispatch: Callback<Message>,
}

#[component]
pub fn Tabs(properties: &TabsProperties) -> Html {
    let TabsProperties { chosen, dispatch } = properties;
    let chosen = *chosen;
    let on_key = {
        let dispatch = dispatch.clone();
        move |event: KeyboardEvent| {
            if let Some(tab) = chosen.by_key(&event.key()) {
                event.prevent_default();
                dispatch.emit(Message::ChooseTab(tab));
                let button = gloo_utils::document().get_element_by_id(tab.id());
                if let Some(button) =
                    button.and_then(|button| button.dyn_into::<HtmlElement>().ok())
                {
                    // A button that cannot be reached is chosen all the same.
                    let _ = button.focus();
                }
            }
        }
    };
    html! {
        <div class="tabs" role="tablist" aria-label={text!("tabs.heading")} onkeydown={on_key}>
            { for Tab::ALL.iter().map(|tab| {
                let tab = *tab;
                html! {
                    <button
                        id={tab.id()}
                        type="button"
                        role="tab"
                        aria-selected={(tab == chosen).to_string()}
                        aria-controls="panel"
                        tabindex={if tab == chosen { "0" } else { "-1" }}
                        onclick={dispatch.reform(move |_: MouseEvent| Message::ChooseTab(tab))}
                    >
                        { tab.name() }
                    </button>
                }
            }) }
        </div>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_round() {
        assert_eq!(Tab::Machine.by_key("ArrowRight"), Some(Tab::Digits));
        assert_eq!(Tab::Digits.by_key("ArrowLeft"), Some(Tab::Machine));
        assert_eq!(Tab::Bits.by_key("End"), Some(Tab::Machine));
        assert_eq!(Tab::Bits.by_key("a"), None);
        for (place, tab) in Tab::ALL.into_iter().enumerate() {
            assert_eq!(tab as usize, place);
        }
    }
}
