use qnn_core::data::*;
use qnn_core::spec::*;
use qnn_core::train::Trainer;
use std::time::Instant;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let get = |i: usize, d: usize| args.get(i).map_or(d, |x| x.parse().unwrap());
    let (batch, g, steps, threads, w, h, layers) = (
        get(1, 100),
        get(2, 6),
        get(3, 200),
        get(4, 1),
        get(5, 1),
        get(6, 512),
        get(7, 2),
    );
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()
        .unwrap();
    let n = 2000;
    let mut s = 1u64;
    let mut r = || {
        s = s
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (s >> 33) as u32
    };
    let pixels: Vec<u8> = (0..n * 784)
        .map(|_| if r() % 5 == 0 { r() as u8 } else { 0 })
        .collect();
    let labels: Vec<u8> = (0..n).map(|_| (r() % 10) as u8).collect();
    let data = TrainingData::Images(Images {
        width: 28,
        height: 28,
        pixels,
        labels,
    });
    let b = |x: usize| Bits::new(x as u8).unwrap();
    let spec = NetworkSpec {
        hidden: vec![h; layers],
        batch_size: batch,
        gradient_bits: b(g),
        weight_bits: b(w),
        activation_bits: b(w),
        ..NetworkSpec::default()
    };
    let mut t = Trainer::new(spec, 784).unwrap();
    for _ in 0..3 {
        t.step(&data).unwrap();
    }
    let mut best = f64::MAX;
    for _ in 0..5 {
        let t0 = Instant::now();
        for _ in 0..steps / 5 {
            t.step(&data).unwrap();
        }
        best = best.min(t0.elapsed().as_secs_f64() / (steps / 5) as f64);
    }
    println!(
        "batch {batch} w{w} g{g} threads {threads} {layers}x{h}: {:.0} images/s best, {:.3} ms/step",
        batch as f64 / best,
        best * 1e3
    );
}
