//! How fast the core and `qnn-infer` answer one image at a time, and what: for `./dev anywhere`, which compares them with
//! other programs. It is no tool for users.
//!
//! `anywhere FOLDER ROUNDS` reads `training.safetensors`, `network.safetensors` and `images.bin` in the folder, writes
//! `core.answers` and `infer.answers` (`[images]`, a byte each), and prints the median microseconds an image as JSON.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use qnn_core::loss::argmax;
use qnn_infer::Network;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("Name a folder.")?);
    let timed: usize = arguments.next().as_deref().unwrap_or("1000").parse()?;
    let (trainer, _) = qnn_files::read_trainer(&fs::read(folder.join("training.safetensors"))?)?;
    let file = fs::read(folder.join("network.safetensors"))?;
    let images = fs::read(folder.join("images.bin"))?;
    let images: Vec<&[u8]> = images.chunks_exact(trainer.inputs()).collect();

    let frozen = trainer.freeze();
    let (core, core_time) = answers(&images, timed, |pixels| argmax(&frozen.logits(pixels)));
    let network = Network::parse(&file)?;
    let mut buffer = vec![0; network.buffer_words()];
    let predict = |pixels: &[u8]| network.predict(pixels, &mut buffer).unwrap_or(usize::MAX);
    let (infer, infer_time) = answers(&images, timed, predict);

    fs::write(folder.join("core.answers"), core)?;
    fs::write(folder.join("infer.answers"), infer)?;
    println!("{{\"core\": {core_time}, \"infer\": {infer_time}}}");
    Ok(())
}

/// The answers to all images, and the median microseconds of the first `timed` of them.
fn answers(
    images: &[&[u8]],
    timed: usize,
    mut predict: impl FnMut(&[u8]) -> usize,
) -> (Vec<u8>, f64) {
    let all = images.iter().map(|pixels| predict(pixels) as u8).collect();
    let mut times: Vec<f64> = images
        .iter()
        .take(timed)
        .map(|pixels| {
            let began = Instant::now();
            std::hint::black_box(predict(pixels));
            began.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    (all, times[times.len() / 2])
}
