//! Puts the texts of `locales/` into one table, sorted by key. The library's own code for this fills a map at every start of
//! the page, a call for each text: 90 KB of code that every visitor waits for.

use std::path::Path;
use std::{env, fs};

/// The languages of the table's columns; what one has no text for is told in the first.
const LANGUAGES: [(&str, &str); 2] = include!("locales/languages.rs");

fn main() {
    println!("cargo::rerun-if-changed=locales");
    let locales = rust_i18n_support::load_locales("locales", |_| false);
    let english = &locales[LANGUAGES[0].0];
    let mut table = String::from("&[\n");
    for (key, text) in english {
        let texts = LANGUAGES.map(|(tag, _)| locales[tag].get(key).unwrap_or(text));
        table += &format!("({key:?}, {texts:?}),\n");
    }
    table += "]\n";
    let folder = env::var("OUT_DIR").expect("cargo gives a folder");
    fs::write(Path::new(&folder).join("texts.rs"), table).expect("the folder can be written to");
}
