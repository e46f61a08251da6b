//! Which language the page speaks: the one chosen here before, else the browser's first that there is. The texts are in
//! `locales/`, and nothing that a visitor reads is written anywhere else.

use std::cell::Cell;
use std::fmt::Display;

use web_sys::Storage;
use yew::AttrValue;

/// Languages: their tag, and their name in themselves.
pub const LANGUAGES: [(&str, &str); 2] = include!("../locales/languages.rs");

/// Where the choice is kept.
const KEY: &str = "language";

/// Every text by its key, sorted, in the order of `LANGUAGES`.
const TEXTS: &[(&str, [&str; LANGUAGES.len()])] = include!(concat!(env!("OUT_DIR"), "/texts.rs"));

thread_local! {
    /// The present language, as its place in `LANGUAGES`.
    static PRESENT: Cell<usize> = const { Cell::new(0) };
}

/// A text of `locales/` in the present language: its key, then what it has room for, as in `text!("status.paused", step = 5)`.
macro_rules! text {
    ($key:expr $(,)?) => {
        yew::AttrValue::Static($crate::language::look_up($key))
    };
    ($key:expr, $($name:ident = $value:expr),+ $(,)?) => {
        $crate::language::fill($key, &[$(stringify!($name)),+], &[$(&$value),+])
    };
}
pub(crate) use text;

/// The text of a key, with room in it where it has some.
pub fn look_up(key: &str) -> &'static str {
    let found = TEXTS.binary_search_by_key(&key, |(key, _)| key);
    debug_assert!(found.is_ok(), "there is no text {key}");
    found.map_or("", |index| TEXTS[index].1[PRESENT.get()])
}

/// Where the sentences are that come from elsewhere in the house, in English.
const SAID: &str = "said.";

/// What was said in English, in the present language where there is a text for it.
pub fn translated(said: &str) -> AttrValue {
    let known = TEXTS.iter().filter(|(key, _)| key.starts_with(SAID));
    let mut found = known.filter_map(|(key, texts)| Some((key, captured(texts[0], said)?)));
    match found.next() {
        Some((key, captured)) if PRESENT.get() > 0 => {
            let (names, values): (Vec<&str>, Vec<&str>) = captured.into_iter().unzip();
            let values: Vec<AttrValue> = values.into_iter().map(translated).collect();
            let values: Vec<&dyn Display> = values.iter().map(|value| value as _).collect();
            fill(key, &names, &values)
        }
        _ => AttrValue::from(said.to_string()),
    }
}

/// What stands in `said` where `pattern` has room, by name; `None` where it says something else.
fn captured<'a>(pattern: &'a str, said: &'a str) -> Option<Vec<(&'a str, &'a str)>> {
    let mut parts = pattern.split("%{");
    let mut rest = said.strip_prefix(parts.next()?)?;
    let mut parts = parts.peekable();
    let mut found = Vec::new();
    while let Some(part) = parts.next() {
        let (name, after) = part.split_once('}')?;
        let end = if parts.peek().is_none() {
            rest.ends_with(after).then(|| rest.len() - after.len())?
        } else {
            rest.find(after)?
        };
        found.push((name, &rest[..end]));
        rest = &rest[end + after.len()..];
    }
    rest.is_empty().then_some(found)
}

/// The text of a key with these values in the places of these names.
pub fn fill(key: &str, names: &[&str], values: &[&dyn Display]) -> AttrValue {
    let values: Vec<String> = values.iter().map(|value| value.to_string()).collect();
    rust_i18n::replace_patterns(look_up(key), names, &values).into()
}

/// Speaks the language that was chosen, or that the browser asks for.
pub fn begin() {
    let chosen = storage().and_then(|storage| storage.get_item(KEY).ok().flatten());
    let asked = gloo_utils::window().navigator().languages();
    let asked = asked.iter().filter_map(|tag| tag.as_string());
    let language = chosen.into_iter().chain(asked).find_map(|tag| known(&tag));
    speak(language.unwrap_or(0));
}

/// Speaks another language from now on, and at the next visit.
pub fn choose(tag: &str) {
    if let Some(language) = known(tag) {
        speak(language);
        if let Some(storage) = storage() {
            // Where nothing can be kept, the choice lasts as long as the page.
            let _ = storage.set_item(KEY, tag);
        }
    }
}

/// The tag of the present language.
pub fn present() -> &'static str {
    LANGUAGES[PRESENT.get()].0
}

fn speak(language: usize) {
    PRESENT.set(language);
    if let Some(root) = gloo_utils::document().document_element() {
        // It only tells the browser how to read the page aloud.
        let _ = root.set_attribute("lang", present());
    }
}

/// The language that there is of a browser's tag, such as `zh-Hans-CN` or `en-GB`, as its place in `LANGUAGES`.
fn known(tag: &str) -> Option<usize> {
    let primary = |tag: &str| tag.split(['-', '_']).next().unwrap_or("").to_lowercase();
    let mut languages = LANGUAGES.iter();
    languages.position(|(known, _)| primary(known) == primary(tag))
}

fn storage() -> Option<Storage> {
    gloo_utils::window().local_storage().ok().flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs;
    use std::path::Path;

    use qnn_protocol::spec::PRESETS;

    use super::*;

    const ENGLISH: &str = include_str!("../locales/en.yml");
    const CHINESE: &str = include_str!("../locales/zh-CN.yml");
    /// Groups whose keys are put together from names.
    const BY_NAME: [&str; 3] = ["preset.", "lessons.", SAID];

    /// The texts of a locale by their keys, as they are written there: groups within groups, and a line for each text.
    fn texts(locale: &str) -> BTreeMap<String, &str> {
        let mut texts = BTreeMap::new();
        let mut groups: Vec<&str> = Vec::new();
        for line in locale.lines() {
            let (key, text) = line.split_once(':').expect("every line has a key");
            let name = key.trim_start();
            groups.truncate((key.len() - name.len()) / 2);
            groups.push(name);
            if !text.is_empty() {
                let key = groups.join(".");
                let before = texts.insert(key.clone(), text.trim());
                assert_eq!(before, None, "{key} is there twice");
            }
        }
        texts
    }

    /// The names of what a text has room for.
    fn holes(text: &str) -> BTreeSet<&str> {
        let parts = text.split("%{").skip(1);
        parts.filter_map(|part| part.split('}').next()).collect()
    }

    /// The keys that are written out in the sources below a folder.
    fn keys(folder: &Path) -> BTreeSet<String> {
        // Put together, so that this is no call itself.
        let call = ["text", "!("].concat();
        let mut found = BTreeSet::new();
        for entry in fs::read_dir(folder).expect("the folder is there") {
            let path = entry.expect("it can be listed").path();
            if path.is_dir() {
                found.append(&mut keys(&path));
                continue;
            }
            let source = fs::read_to_string(&path).expect("sources are text");
            for arguments in source.split(&call).skip(1) {
                if let Some(rest) = arguments.trim_start().strip_prefix('"')
                    && let Some((key, _)) = rest.split_once('"')
                {
                    found.insert(key.into());
                }
            }
        }
        found
    }

    #[test]
    fn every_language_has_every_text_with_the_same_room() {
        let (english, chinese) = (texts(ENGLISH), texts(CHINESE));
        let missing: Vec<&String> = english
            .keys()
            .filter(|key| !chinese.contains_key(*key))
            .collect();
        let more: Vec<&String> = chinese
            .keys()
            .filter(|key| !english.contains_key(*key))
            .collect();
        assert!(
            missing.is_empty() && more.is_empty(),
            "missing: {missing:?}, too many: {more:?}"
        );
        for (key, text) in &english {
            assert_eq!(holes(text), holes(chinese[key]), "{key}");
        }
    }

    #[test]
    fn every_key_has_a_text_and_every_text_is_used() {
        let texts = texts(ENGLISH);
        let used = keys(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
        for key in &used {
            assert!(texts.contains_key(key), "{key} has no text");
        }
        for key in texts.keys() {
            let is_by_name = BY_NAME.iter().any(|group| key.starts_with(group));
            assert!(used.contains(key) || is_by_name, "{key} is never used");
        }
    }

    #[test]
    fn presets_are_told_as_the_command_line_tells_them() {
        let texts = texts(ENGLISH);
        for preset in &PRESETS {
            let key = format!("preset.{}", preset.name);
            let about = texts.get(&key).map(|text| text.trim_matches('"'));
            assert_eq!(about, Some(preset.about), "{key}");
        }
        let by_name = texts.keys().filter(|key| key.starts_with("preset."));
        assert_eq!(by_name.count(), PRESETS.len());
    }

    /// Where the sentences are written that the page hears from elsewhere.
    const SOURCES: [&str; 15] = [
        include_str!("../../qnn-core/src/data/import.rs"),
        include_str!("../../qnn-core/src/data/idx.rs"),
        include_str!("../../qnn-core/src/data/mod.rs"),
        include_str!("../../qnn-core/src/spec.rs"),
        include_str!("../../qnn-core/src/train.rs"),
        include_str!("../../qnn-engine/src/session.rs"),
        include_str!("../../qnn-engine/src/load.rs"),
        include_str!("../../qnn-engine/src/comparison.rs"),
        include_str!("../../qnn-gpu/src/device.rs"),
        include_str!("../../qnn-files/src/header.rs"),
        include_str!("../../qnn-files/src/packed.rs"),
        include_str!("../../qnn-files/src/dense/mod.rs"),
        include_str!("../../qnn-files/src/dense/trainer.rs"),
        include_str!("../../qnn-import/src/lib.rs"),
        include_str!("../../qnn-infer/src/file.rs"),
    ];
    /// Sentences that no visitor gets to see.
    const UNSEEN: [&str; 2] = ["Another load of data", "Digits that are drawn"];

    /// The string literals of a source, but for its tests.
    fn literals(source: &str) -> Vec<String> {
        let (source, _) = source.split_once("\n#[cfg(test)]").unwrap_or((source, ""));
        let code = source
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let code = code.collect::<Vec<_>>().join("\n");
        let pieces: Vec<&str> = code.split('"').collect();
        // No literal of these sources has a quote in it.
        pieces
            .iter()
            .skip(1)
            .step_by(2)
            .map(|literal| {
                let lines: Vec<&str> = literal.split("\\\n").collect();
                let joined = lines.iter().enumerate().map(|(number, line)| {
                    if number == 0 { line } else { line.trim_start() }
                });
                joined.collect()
            })
            .collect()
    }

    /// A sentence with every place that it has room in emptied, of either kind.
    fn emptied(sentence: &str) -> String {
        let mut parts = sentence.split(['{', '}']);
        let first = parts
            .next()
            .unwrap_or_default()
            .trim_end_matches('%')
            .to_owned();
        let rest = parts.enumerate().map(|(number, part)| match number % 2 {
            0 => "{}",
            _ => part.trim_end_matches('%'),
        });
        rest.fold(first, |all, part| all + part)
    }

    #[test]
    fn every_sentence_from_elsewhere_can_be_translated() {
        let known: BTreeSet<String> = TEXTS
            .iter()
            .filter(|(key, _)| key.starts_with(SAID))
            .map(|(_, texts)| emptied(texts[0]))
            .collect();
        let mut sentences = 0;
        for literal in SOURCES.iter().flat_map(|source| literals(source)) {
            let is_sentence = literal.contains(' ')
                && literal.ends_with('.')
                && literal.starts_with(|first: char| first.is_uppercase() || first == '{');
            if !is_sentence || UNSEEN.iter().any(|unseen| literal.starts_with(unseen)) {
                continue;
            }
            sentences += 1;
            assert!(known.contains(&emptied(&literal)), "no text for: {literal}");
        }
        assert!(sentences > 60, "{sentences} sentences");
    }

    #[test]
    fn what_was_said_in_english_is_told_in_chinese() {
        let error = "a b.png, line 7, column 3: `x` is no pixel; pixels are numbers from 0 to 255.";
        let idx = "a.gz is an IDX file, but b.csv is a text file: offer files of one kind.";
        assert_eq!(translated(error), error);
        PRESENT.set(1);
        assert_eq!(
            translated(error),
            "a b.png 第 7 行第 3 列：“x”不是像素；像素应为 0 到 255 的数。"
        );
        assert_eq!(
            translated(idx),
            "a.gz 是IDX 文件，而 b.csv 是文本文件：请只提供一种文件。"
        );
        assert_eq!(translated("Something new."), "Something new.");
        PRESENT.set(0);
    }

    #[test]
    fn tags_of_browsers_are_understood() {
        assert_eq!(known("en-GB"), Some(0));
        assert_eq!(known("zh-Hans-CN"), Some(1));
        assert_eq!(known("zh"), Some(1));
        assert_eq!(known("fr"), None);
    }
}
