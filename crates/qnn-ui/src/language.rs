//! Which language the page speaks: the one chosen here before, else the browser's first that there is. The texts are in
//! `locales/`, and nothing that a visitor reads is written anywhere else.

use web_sys::Storage;

/// Languages: their tag, and their name in themselves.
pub const LANGUAGES: [(&str, &str); 2] = [("en", "English"), ("zh-CN", "简体中文")];

/// Where the choice is kept.
const KEY: &str = "language";

/// A text of `locales/` in the present language: its key, then what it has room for, as in `text!("step", step = 5)`.
macro_rules! text {
    ($($key:tt)*) => {
        yew::AttrValue::from(rust_i18n::t!($($key)*).into_owned())
    };
}
pub(crate) use text;

/// Speaks the language that was chosen, or that the browser asks for.
pub fn begin() {
    let chosen = storage().and_then(|storage| storage.get_item(KEY).ok().flatten());
    let asked = gloo_utils::window().navigator().languages();
    let asked = asked.iter().filter_map(|tag| tag.as_string());
    let language = chosen.into_iter().chain(asked).find_map(|tag| known(&tag));
    speak(language.unwrap_or(LANGUAGES[0].0));
}

/// Speaks another language from now on, and at the next visit.
pub fn choose(tag: &str) {
    if let Some(tag) = known(tag) {
        speak(tag);
        if let Some(storage) = storage() {
            // Where nothing can be kept, the choice lasts as long as the page.
            let _ = storage.set_item(KEY, tag);
        }
    }
}

/// The tag of the present language.
pub fn present() -> &'static str {
    known(&rust_i18n::locale()).unwrap_or(LANGUAGES[0].0)
}

fn speak(tag: &'static str) {
    rust_i18n::set_locale(tag);
    if let Some(root) = gloo_utils::document().document_element() {
        // It only tells the browser how to read the page aloud.
        let _ = root.set_attribute("lang", tag);
    }
}

/// The language that there is of a browser's tag, such as `zh-Hans-CN` or `en-GB`.
fn known(tag: &str) -> Option<&'static str> {
    let primary = |tag: &str| tag.split(['-', '_']).next().unwrap_or("").to_lowercase();
    let mut languages = LANGUAGES.iter();
    languages
        .find(|(known, _)| primary(known) == primary(tag))
        .map(|(known, _)| *known)
}

fn storage() -> Option<Storage> {
    gloo_utils::window().local_storage().ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_browsers_are_understood() {
        assert_eq!(known("en-GB"), Some("en"));
        assert_eq!(known("zh-Hans-CN"), Some("zh-CN"));
        assert_eq!(known("zh"), Some("zh-CN"));
        assert_eq!(known("fr"), None);
    }
}
