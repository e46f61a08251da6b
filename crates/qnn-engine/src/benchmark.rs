//! Times the kernels on this machine, each on the shapes that ratios are quoted for. Medians of runs taken in turn,
//! so that a noisy machine troubles all alike. What is computed is checked elsewhere.

use qnn_core::bits::BitMatrix;
use qnn_core::kernels::{
    FloatView, binary_kernels, binary_product_with, float_kernels, float_product_with,
    integer_kernels, integer_product_with,
};
use qnn_protocol::BenchmarkRow;

use crate::{Slices, now};

/// Batch rows, output units, inputs.
const SHAPES: [(usize, usize, usize); 2] = [(64, 1024, 1024), (100, 512, 512)];
const RUNS: usize = 9;
/// A run repeats its product until it has lasted this long, in milliseconds: clocks are coarse.
const RUN: f64 = 10.0;

type Product<'a> = Box<dyn FnMut() + 'a>;

/// Times every kernel on every shape.
pub async fn run() -> Vec<BenchmarkRow> {
    let slices = Slices::new();
    let mut rows = Vec::new();
    for (batch, units, inputs) in SHAPES {
        let signs = |count: usize, salt: usize| -> Vec<f32> {
            let noise = |index: usize| {
                ((index + salt).wrapping_mul(2654435761) >> 7) as f32 / (1 << 24) as f32 - 1.0
            };
            (0..count).map(noise).collect()
        };
        let (a, b) = (signs(batch * inputs, 1), signs(units * inputs, 7));
        let (a_bits, b_bits) = (
            BitMatrix::from_signs(batch, inputs, &a),
            BitMatrix::from_signs(units, inputs, &b),
        );
        let integers =
            |signs: &[f32]| -> Vec<i16> { signs.iter().map(|sign| (31.0 * sign) as i16).collect() };
        let (a_integers, b_integers) = (integers(&a), integers(&b));
        let mut products: Vec<(&str, Product<'_>)> = Vec::new();
        for kernel in binary_kernels() {
            let mut sums = vec![0; batch * units];
            let (a, b) = (&a_bits, &b_bits);
            let product = move || binary_product_with(kernel, a.view(), b.view(), 1, &mut sums);
            products.push((kernel.name, Box::new(product)));
        }
        for kernel in integer_kernels() {
            let mut sums = vec![0; batch * units];
            let (a, b) = (&a_integers, &b_integers);
            let product = move || integer_product_with(kernel, inputs, a, b, &mut sums);
            products.push((kernel.name, Box::new(product)));
        }
        for kernel in float_kernels() {
            let mut out = vec![0.0; batch * units];
            let (a, b) = (&a, &b);
            let product = move || {
                let (a, b) = (FloatView::Lines(a), FloatView::Lines(b));
                float_product_with(kernel, inputs, units, a, b, &mut out);
            };
            products.push((kernel.name, Box::new(product)));
        }
        let mut times = vec![Vec::new(); products.len()];
        for _ in 0..RUNS {
            for ((_, product), times) in products.iter_mut().zip(&mut times) {
                times.push(time(product));
                slices.pause().await;
            }
        }
        let macs = (batch * units * inputs) as f64;
        rows.extend(products.iter().zip(&mut times).map(|((name, _), times)| {
            times.sort_by(f64::total_cmp);
            BenchmarkRow {
                kernel: (*name).into(),
                shape: (batch as u32, units as u32, inputs as u32),
                giga_macs_per_second: (macs / times[RUNS / 2] / 1e6) as f32,
            }
        }));
    }
    rows
}

/// Milliseconds of one product.
fn time(product: &mut Product<'_>) -> f64 {
    let begun = now();
    let mut count = 0.0;
    loop {
        product();
        count += 1.0;
        let passed = now() - begun;
        if passed >= RUN {
            return passed / count;
        }
    }
}
