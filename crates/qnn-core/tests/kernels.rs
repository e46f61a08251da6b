//! Every kernel of this machine against its scalar reference, over random shapes, ragged ones among them.
//! Runs natively and, through wasm-bindgen-test, in a browser.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use qnn_core::bits::{BitMatrix, BitPlanes, Encoding};
use qnn_core::kernels::*;

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;
#[cfg(target_arch = "wasm32")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_dedicated_worker);

/// Row lengths around a word, a vector and the 31 vectors that fill a byte, and whatever else.
fn columns() -> impl Strategy<Value = usize> {
    prop_oneof![
        prop::sample::select(vec![
            1, 31, 32, 33, 63, 64, 65, 127, 128, 129, 784, 3967, 3968, 3969, 4096
        ]),
        1usize..600,
    ]
}

fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed | 1;
    std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    })
    .take(count)
    .collect()
}

fn check<S: Strategy>(strategy: S, property: impl Fn(S::Value))
where
    S::Value: std::fmt::Debug,
{
    let config = Config {
        cases: 200,
        failure_persistence: None,
        ..Config::default()
    };
    // The same cases on every machine: no test may pass here and fail there.
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let outcome = TestRunner::new_with_rng(config, random).run(&strategy, |case| {
        property(case);
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn binary_products_agree_with_the_reference() {
    check(
        (0usize..12, 0usize..12, columns(), any::<u64>(), -3i32..4),
        |(a_rows, b_rows, columns, seed, scale)| {
            let a = BitMatrix::from_signs(a_rows, columns, &noise(seed, a_rows * columns));
            let b = BitMatrix::from_signs(b_rows, columns, &noise(seed ^ 0x5555, b_rows * columns));
            let mut expected = vec![7; a_rows * b_rows];
            for row in 0..a_rows {
                for unit in 0..b_rows {
                    let differ =
                        (0..columns).filter(|column| a.get(row, *column) != b.get(unit, *column));
                    expected[row * b_rows + unit] += scale * differ.count() as i32;
                }
            }
            for kernel in binary_kernels() {
                let mut sums = vec![7; a_rows * b_rows];
                binary_product_with(kernel, a.view(), b.view(), scale, &mut sums);
                assert_eq!(sums, expected, "{}", kernel.name);
            }
        },
    );
}

#[test]
fn large_binary_products_on_all_threads_agree_with_the_reference() {
    let (a, b) = (noise(1, 101 * 1000), noise(2, 67 * 1000));
    let (a, b) = (
        BitMatrix::from_signs(101, 1000, &a),
        BitMatrix::from_signs(67, 1000, &b),
    );
    let differ = |index: usize| {
        let bits =
            (0..1000).filter(|column| a.get(index / 67, *column) != b.get(index % 67, *column));
        bits.count() as i32
    };
    let expected: Vec<i32> = (0..101 * 67).map(differ).collect();
    for kernel in binary_kernels() {
        let mut sums = vec![0; 101 * 67];
        binary_product_with(kernel, a.view(), b.view(), 1, &mut sums);
        assert_eq!(sums, expected, "{}", kernel.name);
    }
}

fn encoding() -> impl Strategy<Value = Encoding> {
    prop_oneof![
        Just(Encoding::Sign),
        (2u8..=8).prop_map(Encoding::TwosComplement),
        Just(Encoding::Unsigned8)
    ]
}

#[test]
fn bit_plane_products_agree_with_the_reference() {
    check(
        (
            1usize..6,
            1usize..10,
            1usize..300,
            any::<u64>(),
            encoding(),
            encoding(),
        ),
        |(a_rows, b_rows, columns, seed, a_encoding, b_encoding)| {
            let pack = |rows: usize, seed: u64, encoding: Encoding| {
                let codes: Vec<u8> = noise(seed, rows * columns)
                    .iter()
                    .map(|x| ((x + 1.0) / 2.0 * (1 << encoding.digits()) as f32) as u8)
                    .collect();
                BitPlanes::pack(encoding, rows, columns, |row| {
                    codes[row * columns..][..columns].iter().copied()
                })
            };
            let (a, b) = (
                pack(a_rows, seed, a_encoding),
                pack(b_rows, !seed, b_encoding),
            );
            let rows = a_rows / 3..a_rows;
            assert_eq!(
                bit_plane_product(&a, rows.clone(), &b),
                bit_plane_product_scalar(&a, rows, &b)
            );
        },
    );
}

/// The sums of the terms in their order, and out of all kernels, with both operands lying both ways.
fn check_float_product(rows: usize, columns: usize, terms: usize, seed: u64) {
    let (a, b) = (noise(seed, rows * terms), noise(!seed, terms * columns));
    let transpose = |from: &[f32], rows: usize| -> Vec<f32> {
        let columns = from.len() / rows.max(1);
        let index = |index: usize| from[index % rows * columns + index / rows];
        (0..from.len()).map(index).collect()
    };
    let (a_terms, b_lines) = (transpose(&a, rows), transpose(&b, terms));
    let mut expected = vec![0.0f32; rows * columns];
    for row in 0..rows {
        for term in 0..terms {
            for column in 0..columns {
                expected[row * columns + column] +=
                    a[row * terms + term] * b[term * columns + column];
            }
        }
    }
    let views = [
        (FloatView::Lines(&a), FloatView::Lines(&b_lines)),
        (FloatView::Lines(&a), FloatView::Terms(&b)),
        (FloatView::Terms(&a_terms), FloatView::Lines(&b_lines)),
        (FloatView::Terms(&a_terms), FloatView::Terms(&b)),
    ];
    for kernel in float_kernels() {
        for (a, b) in views {
            let mut out = vec![f32::NAN; rows * columns];
            float_product_with(kernel, terms, columns, a, b, &mut out);
            assert_eq!(out, expected, "{}", kernel.name);
        }
    }
}

/// Bit for bit: every twin adds the same terms in the same order.
#[test]
fn float_products_agree_with_the_reference() {
    let small = (0usize..11, 0usize..20, 0usize..70, any::<u64>());
    check(small, |(rows, columns, terms, seed)| {
        check_float_product(rows, columns, terms, seed);
    });
}

/// Several chunks of rows, groups of panels and blocks of terms, on all threads.
#[test]
fn large_float_products_agree_with_the_reference() {
    for (rows, columns, terms) in [
        (300, 1, 300),
        (1, 300, 299),
        (130, 95, 300),
        (71, 133, 513),
        (9, 17, 1200),
        (257, 300, 64),
    ] {
        check_float_product(rows, columns, terms, 1);
    }
}

#[test]
fn integer_products_agree_with_the_reference() {
    check(
        (0usize..7, 0usize..11, columns(), any::<u64>()),
        |(rows, columns, terms, seed)| {
            // Up to 127 x 255 x 4096, the largest sums there are, fit.
            let integers = |seed: u64, count: usize, largest: f32| -> Vec<i16> {
                let scaled = noise(seed, count).into_iter().map(|x| x * largest);
                scaled.map(|x| x as i16).collect()
            };
            let a = integers(seed, rows * terms, 128.0);
            let b = integers(!seed, columns * terms, 256.0);
            let expected: Vec<i32> = (0..rows * columns)
                .map(|index| {
                    let (a, b) = (&a[index / columns * terms..], &b[index % columns * terms..]);
                    (0..terms)
                        .map(|term| i32::from(a[term]) * i32::from(b[term]))
                        .sum()
                })
                .collect();
            for kernel in integer_kernels() {
                let mut out = vec![7; rows * columns];
                integer_product_with(kernel, terms, &a, &b, &mut out);
                assert_eq!(out, expected, "{}", kernel.name);
            }
        },
    );
}

#[test]
fn large_integer_products_on_all_threads_agree_with_the_reference() {
    let integers = |seed: u64, count: usize| -> Vec<i16> {
        let scaled = noise(seed, count).into_iter().map(|x| x * 128.0);
        scaled.map(|x| x as i16).collect()
    };
    let (a, b) = (integers(1, 101 * 300), integers(2, 67 * 300));
    let sum = |index: usize| {
        let (a, b) = (&a[index / 67 * 300..], &b[index % 67 * 300..]);
        let terms = (0..300).map(|term| i32::from(a[term]) * i32::from(b[term]));
        terms.sum()
    };
    let expected: Vec<i32> = (0..101 * 67).map(sum).collect();
    for kernel in integer_kernels() {
        let mut out = vec![0; 101 * 67];
        integer_product_with(kernel, 300, &a, &b, &mut out);
        assert_eq!(out, expected, "{}", kernel.name);
    }
}
