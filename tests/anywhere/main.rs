//! The exported Rust, asked by `./dev anywhere`: `main IMAGES ANSWERS TIMED`.
mod network;

use std::time::Instant;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let bytes = std::fs::read(&arguments[1]).unwrap();
    let (images, _) = bytes.as_chunks::<{ network::INPUTS }>();
    let answers: Vec<u8> = images.iter().map(|pixels| network::predict(pixels) as u8).collect();
    std::fs::write(&arguments[2], answers).unwrap();
    let timed = arguments[3].parse().unwrap();
    let mut times: Vec<f64> = images
        .iter()
        .take(timed)
        .map(|pixels| {
            let began = Instant::now();
            std::hint::black_box(network::predict(pixels));
            began.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("{{\"rust\": {}}}", times[times.len() / 2]);
    // Named, so that no warning says that they are not used.
    let _ = (network::CLASS_NAMES, network::SCORE_UNIT);
}
