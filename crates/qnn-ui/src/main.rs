use wasm_bindgen::prelude::*;

#[wasm_bindgen(start)]
fn page() {}

fn main() {}
