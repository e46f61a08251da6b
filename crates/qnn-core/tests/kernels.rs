//! Every kernel of this machine against its scalar reference, over random shapes, ragged ones among them.
//! Runs natively and, through wasm-bindgen-test, in a browser.

use std::ops::Range;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use qnn_core::bits::{
    BitMatrix, BitPlanes, BitTiles, BytePanels, Encoding, IntegerPanels, PANEL_ROWS,
};
use qnn_core::kernels::*;

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;
#[cfg(target_arch = "wasm32")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_dedicated_worker);

/// Whether an interpreter runs this, a thousand times slower.
const INTERPRETED: bool = cfg!(miri);

/// Row lengths around a word, a vector and the 31 vectors, of 128 or 256 bits, that fill a byte, and whatever else.
fn columns() -> impl Strategy<Value = usize> {
    prop_oneof![
        prop::sample::select(vec![
            1, 31, 32, 33, 63, 64, 65, 127, 128, 129, 784, 3967, 3968, 3969, 4096, 7935, 7936, 7937
        ]),
        1usize..600,
    ]
}

/// Rows, columns and terms: mostly of these ranges, now and then up to 300 of each.
fn shapes(
    rows: Range<usize>,
    columns: Range<usize>,
    terms: impl Strategy<Value = usize>,
) -> impl Strategy<Value = (usize, usize, usize)> {
    let shapes = prop_oneof![
        30 => (rows, columns, terms),
        1 => (1usize..=300, 1usize..=300, 1usize..=300),
    ];
    shapes.prop_map(|(rows, columns, terms)| {
        if INTERPRETED {
            let (rows, columns) = (rows.min(6), columns.min(20));
            let most = 20_000 / (rows * columns).max(32);
            (rows, columns, terms.min(most))
        } else {
            (rows, columns, terms)
        }
    })
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
        cases: if INTERPRETED { 4 } else { 200 },
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

/// Encodings of up to `digits` binary digits.
fn any_encoding(digits: u8) -> impl Strategy<Value = Encoding> {
    prop_oneof![
        Just(Encoding::Sign),
        (2u8..=digits).prop_map(Encoding::TwosComplement),
        Just(Encoding::Unsigned8),
    ]
}

/// Integers of an encoding: any, or all the same extreme one.
fn integers(encoding: Encoding, count: usize, seed: u64) -> Vec<i16> {
    let (smallest, largest) = encoding.range();
    let any = |noise: f32| match encoding {
        Encoding::Sign => noise.signum() as i16,
        _ => {
            let code = noise.to_bits().wrapping_mul(2654435761) >> 16;
            smallest + (code % (i32::from(largest) - i32::from(smallest) + 1) as u32) as i16
        }
    };
    match seed % 4 {
        0 => vec![smallest; count],
        1 => vec![largest; count],
        _ => noise(seed, count).into_iter().map(any).collect(),
    }
}

/// The same with many zeros in a row here and there, as images have, for half of the seeds.
fn blanked(seed: u64, mut integers: Vec<i16>) -> Vec<i16> {
    if seed & 4 == 0 {
        let lengths = noise(!seed, integers.len() / 20);
        for (index, run) in integers.chunks_mut(20).enumerate() {
            if lengths.get(index).is_some_and(|length| *length > -0.2) {
                run.fill(0);
            }
        }
    }
    integers
}

#[test]
fn lookup_products_agree_with_the_reference() {
    check(
        (
            any_encoding(9),
            any_encoding(9),
            shapes(0..12, 0..80, columns()),
            any::<u64>(),
            any::<u64>(),
        ),
        |(a_encoding, w_encoding, (rows, w_rows, terms), seed, w_seed)| {
            let mut values = integers(a_encoding, rows * terms, seed);
            if a_encoding != Encoding::Sign {
                values = blanked(seed, values);
            }
            let a = Integers {
                values: &values,
                terms,
                encoding: a_encoding,
            };
            let w_values = integers(w_encoding, w_rows * terms, w_seed);
            let w = BitTiles::pack(w_encoding, w_rows, terms, |row, out| {
                out.copy_from_slice(&w_values[row * terms..][..terms]);
            });
            let products = lookup_kernels().into_iter().map(|kernel| {
                let mut out = vec![-1; rows * w_rows];
                lookup_product_with(kernel, a, &w, 0..rows, &mut out);
                (kernel.name, out)
            });
            let products: Vec<_> = products.collect();
            for (name, product) in &products {
                assert_eq!(product, &products[0].1, "{name}");
            }
            for row in 0..rows {
                for w_row in 0..w_rows {
                    let pairs = a.row(row).iter().zip(&w_values[w_row * terms..]);
                    let expected: i32 = pairs.map(|(a, w)| i32::from(*a) * i32::from(*w)).sum();
                    assert_eq!(products[0].1[row * w_rows + w_row], expected);
                }
            }
        },
    );
}

#[test]
fn binary_products_agree_with_the_reference() {
    check(
        (shapes(0..12, 0..12, columns()), any::<u64>(), -3i32..4),
        |((a_rows, b_rows, columns), seed, scale)| {
            // Any signs, or all different, or all the same.
            let signs = |rows: usize, seed: u64| {
                let values = match seed % 4 {
                    0 => vec![1.0; rows * columns],
                    1 => vec![-1.0; rows * columns],
                    _ => noise(seed, rows * columns),
                };
                BitMatrix::from_signs(rows, columns, &values)
            };
            let a = signs(a_rows, seed);
            let b = signs(b_rows, seed.rotate_left(32));
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
#[cfg_attr(miri, ignore = "slow")]
fn bit_plane_products_agree_with_the_reference() {
    check(
        (
            1usize..6,
            1usize..10,
            1usize..300,
            any::<u64>(),
            any_encoding(8),
            any_encoding(8),
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
            let (rows, b_range) = (a_rows / 3..a_rows, b_rows / 4..b_rows);
            let mut sums = vec![7; rows.len() * b_range.len()];
            bit_plane_product(&a, rows.clone(), &b, b_range.clone(), &mut sums);
            let expected = rows.flat_map(|row| {
                let (a, b) = (&a, &b);
                b_range.clone().map(move |b_row| -> i32 {
                    let terms =
                        (0..columns).map(|column| a.get(row, column) * b.get(b_row, column));
                    terms.sum()
                })
            });
            assert_eq!(sums, expected.collect::<Vec<_>>());
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
    let small = (shapes(0..11, 0..20, 0usize..70), any::<u64>());
    check(small, |((rows, columns, terms), seed)| {
        check_float_product(rows, columns, terms, seed);
    });
}

/// Several chunks of rows, groups of panels and blocks of terms, on all threads.
#[test]
#[cfg_attr(miri, ignore = "slow")]
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
        (shapes(0..7, 1..40, columns()), any::<u64>()),
        |((rows, columns, terms), seed)| {
            // Up to 128 x 256 x 7937, the largest sums there are, fit.
            let integers = |seed: u64, count: usize, largest: f32| -> Vec<i16> {
                let scaled = match seed % 4 {
                    0 => vec![-largest; count],
                    1 => vec![largest - 1.0; count],
                    _ => noise(seed, count).iter().map(|x| x * largest).collect(),
                };
                blanked(seed, scaled.into_iter().map(|x| x as i16).collect())
            };
            let values = integers(seed, rows * terms, 128.0);
            let a = Integers {
                values: &values,
                terms,
                encoding: Encoding::TwosComplement(8),
            };
            let b = IntegerPanels::pack_transposed(
                columns,
                &integers(seed.rotate_left(32), columns * terms, 256.0),
            );
            let panels = columns.div_ceil(PANEL_ROWS);
            for kernel in integer_kernels() {
                let mut out = vec![[7; PANEL_ROWS]; rows * panels];
                integer_product_with(kernel, a, &b, 0..rows, 0..panels, &mut out);
                let out = out.as_flattened();
                for row in 0..rows {
                    for column in 0..columns {
                        let terms = a.row(row).iter().enumerate();
                        let expected: i32 = terms
                            .map(|(term, a)| i32::from(*a) * i32::from(b.get(column, term)))
                            .sum();
                        assert_eq!(
                            out[row * panels * PANEL_ROWS + column],
                            expected,
                            "{}",
                            kernel.name
                        );
                    }
                }
            }
        },
    );
}

/// Bytes are shifted on their way, and what that changes is taken back; a kernel need not take all there are.
#[test]
fn byte_products_agree_with_the_sums_of_products() {
    check(
        (
            (any_encoding(8), any_encoding(8)),
            shapes(0..7, 1..40, columns()),
            any::<u64>(),
        ),
        |((a_encoding, b_encoding), (rows, columns, terms), seed)| {
            let (values, of_b) = (
                integers(a_encoding, rows * terms, seed),
                integers(b_encoding, columns * terms, seed.rotate_left(32)),
            );
            let of_b = match b_encoding {
                Encoding::Unsigned8 => blanked(seed, of_b),
                _ => of_b,
            };
            let a = Integers {
                values: &values,
                terms,
                encoding: a_encoding,
            };
            let b = BytePanels::pack_transposed(b_encoding, columns, &of_b);
            let panels = columns.div_ceil(PANEL_ROWS) / 3..columns.div_ceil(PANEL_ROWS);
            let (first, skipped) = (rows / 3, panels.start * PANEL_ROWS);
            for (index, kernel) in byte_kernels().into_iter().enumerate() {
                if index > 0 && !takes_bytes(a_encoding, b_encoding) {
                    continue;
                }
                let mut out = vec![[7; PANEL_ROWS]; (rows - first) * panels.len()];
                byte_product_with(kernel, a, &b, first..rows, panels.clone(), &mut out);
                let out = out.as_flattened();
                for row in first..rows {
                    for column in skipped..columns {
                        let terms = a.row(row).iter().enumerate();
                        let expected: i32 = terms
                            .map(|(term, a)| {
                                i32::from(*a) * i32::from(of_b[term * columns + column])
                            })
                            .sum();
                        assert_eq!(
                            out[(row - first) * panels.len() * PANEL_ROWS + column - skipped],
                            expected,
                            "{} {a_encoding:?} {b_encoding:?}",
                            kernel.name
                        );
                    }
                }
            }
        },
    );
}

fn takes_bytes(a: Encoding, b: Encoding) -> bool {
    Costs::default().of(Method::MultiplyBytes, a, b).is_some()
}

/// What the machines that we know can do, so that the choice does not come to pass over their kernels unseen.
#[test]
fn bytes_are_taken_where_they_can_be() {
    let bits = Encoding::TwosComplement;
    let has_twin = byte_kernels().len() > 1;
    assert_eq!(takes_bytes(bits(8), bits(7)), has_twin);
    assert_eq!(takes_bytes(Encoding::Unsigned8, Encoding::Sign), has_twin);
    assert!(!takes_bytes(bits(9), bits(2)) && !takes_bytes(bits(2), bits(9)));
    assert!(!takes_bytes(bits(8), Encoding::Unsigned8));
    if cfg!(target_arch = "x86_64") {
        assert_eq!(takes_bytes(bits(7), Encoding::Unsigned8), has_twin);
    }
}
