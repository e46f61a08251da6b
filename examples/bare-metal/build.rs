//! Takes up the network and the images that the program is built with, and the map of the board's memory.

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;

use qnn_infer::Network;

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("Build this with cargo.")?);
    let file = read("QNN_NETWORK")?;
    let images = read("QNN_IMAGES")?;
    let network = Network::parse(&file).map_err(|error| error.to_string())?;
    let inputs = network.inputs();
    if images.is_empty() || !images.len().is_multiple_of(inputs) {
        return Err(format!("QNN_IMAGES must hold images of {inputs} bytes.").into());
    }
    let sizes = format!(
        "/// Pixels of an image.\nconst INPUTS: usize = {inputs};\n\
         /// Words that the network works in.\nconst BUFFER_WORDS: usize = {};\n",
        network.buffer_words()
    );
    let is_qemu = env::var_os("CARGO_FEATURE_MPS2_AN386").is_some();
    let board = if is_qemu { "mps2-an386" } else { "stm32f407" };
    let memory = format!("memory/{board}.x");

    fs::write(out.join("network.safetensors"), file)?;
    fs::write(out.join("images.bin"), images)?;
    fs::write(out.join("sizes.rs"), sizes)?;
    fs::copy(&memory, out.join("memory.x"))?;
    println!("cargo::rerun-if-changed={memory}");
    println!("cargo::rustc-link-search={}", out.display());
    println!("cargo::rustc-link-arg=-Tlink.x");
    Ok(())
}

/// The bytes of the file that an environment variable names.
fn read(variable: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed={variable}");
    let path = env::var(variable).map_err(|_| {
        "Set QNN_NETWORK to a safetensors file and QNN_IMAGES to a file of pixels, a byte each."
    })?;
    println!("cargo::rerun-if-changed={path}");
    let error = |error| format!("{path} ({variable}) cannot be read: {error}.");
    Ok(fs::read(&path).map_err(error)?)
}
