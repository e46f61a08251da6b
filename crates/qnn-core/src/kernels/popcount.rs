//! Products of packed bits by XOR and population count (paper section 1.3 and Algorithm 4), and products of
//! small integers built from them, a pass for each pair of binary digits. It knows nothing of scales or layers.
//!
//! For signs, a . w = N - 2 popcount(a xor w). For integers a = o_a + sum_j d_j a_j and w = o_w + sum_i c_i w_i,
//! with a_j and w_i in {0, 1}, and with a_j w_i = (a_j + w_i - (a_j xor w_i)) / 2:
//!
//! 2 a . w = 2 N o_a o_w + A (2 o_w + C) + W (2 o_a + D) - sum_ij c_i d_j popcount(a_j xor w_i)
//!
//! where A and W are the sums of all digits' counts of a row and C and D the sums of the coefficients.
//! So one kernel, XOR and count, serves every pair of encodings; 8-bit pixels by signs take 8 passes.

use std::ops::Range;

use super::BEST_BINARY;
use crate::bits::{BitPlanes, BitRows};

/// Adds `scale * popcount(a_row xor b_row)` to `sums[a_row, b_row]`.
type XorPopcount = fn(a: BitRows<'_>, b: BitRows<'_>, scale: i32, sums: &mut [i32]);

/// One way to compute the binary product.
#[derive(Clone, Copy, Debug)]
pub struct BinaryKernel {
    /// For instance `popcount 2x4 simd128`.
    pub name: &'static str,
    pub(super) run: XorPopcount,
}

/// A bit at a time.
pub(super) const SCALAR: BinaryKernel = BinaryKernel {
    name: "popcount scalar",
    run: xor_popcount_scalar,
};

/// A 64-bit word at a time, on any machine.
pub(super) const PORTABLE: BinaryKernel = BinaryKernel {
    name: "popcount u64",
    run: xor_popcount_portable,
};

/// The twins of this machine, from the reference to the fastest.
pub fn binary_kernels() -> Vec<BinaryKernel> {
    [SCALAR, PORTABLE]
        .into_iter()
        .chain(super::machine::binary_kernel())
        .collect()
}

/// The reference.
fn xor_popcount_scalar(a: BitRows<'_>, b: BitRows<'_>, scale: i32, sums: &mut [i32]) {
    for (a_row, sums) in sums.chunks_exact_mut(b.rows.max(1)).enumerate() {
        for (b_row, sum) in sums.iter_mut().enumerate() {
            let mut count = 0;
            for (a_word, b_word) in a.row(a_row).iter().zip(b.row(b_row)) {
                for bit in 0..64 {
                    count += i32::from(a_word >> bit & 1 != b_word >> bit & 1);
                }
            }
            *sum += scale * count;
        }
    }
}

fn xor_popcount_portable(a: BitRows<'_>, b: BitRows<'_>, scale: i32, sums: &mut [i32]) {
    xor_popcount_words(a, b, scale, sums);
}

/// The portable algorithm, inlined so that a twin with more CPU features can be compiled from it.
#[inline(always)]
pub(super) fn xor_popcount_words(a: BitRows<'_>, b: BitRows<'_>, scale: i32, sums: &mut [i32]) {
    for (a_row, sums) in sums.chunks_exact_mut(b.rows.max(1)).enumerate() {
        for (b_row, sum) in sums.iter_mut().enumerate() {
            let words = a.row(a_row).iter().zip(b.row(b_row));
            let count: u32 = words.map(|(a, b)| (a ^ b).count_ones()).sum();
            *sum += scale * count as i32;
        }
    }
}

/// Adds `scale * popcount(a_row xor b_row)` to `sums`, `[a.rows, b.rows]`, with a kernel of the caller's choice, on
/// this thread.
pub fn binary_product_with(
    kernel: BinaryKernel,
    a: BitRows<'_>,
    b: BitRows<'_>,
    scale: i32,
    sums: &mut [i32],
) {
    assert_eq!(a.words_per_row, b.words_per_row, "rows of different length");
    assert_eq!(sums.len(), a.rows * b.rows);
    (kernel.run)(a, b, scale, sums);
}

/// Writes the products of the integers of rows `a_rows` of `a` with rows `b_rows` of `b`, `[a_rows, b_rows]`, with the
/// fastest kernel, on this thread.
pub fn bit_plane_product(
    a: &BitPlanes,
    a_rows: Range<usize>,
    b: &BitPlanes,
    b_rows: Range<usize>,
    sums: &mut [i32],
) {
    assert_eq!(a.columns(), b.columns(), "rows of different length");
    sums.fill(0);
    for (a_coefficient, a_digit) in a.digits(a_rows.clone()) {
        for (b_coefficient, b_digit) in b.digits(b_rows.clone()) {
            binary_product_with(
                *BEST_BINARY,
                a_digit,
                b_digit,
                a_coefficient * b_coefficient,
                sums,
            );
        }
    }
    let coefficients = |planes: &BitPlanes| -> i32 {
        let encoding = planes.encoding();
        (0..encoding.digits())
            .map(|digit| encoding.coefficient(digit))
            .sum()
    };
    let (a_offset, b_offset) = (a.encoding().offset(), b.encoding().offset());
    let constant = 2 * a.columns() as i32 * a_offset * b_offset;
    let a_factor = 2 * b_offset + coefficients(b);
    let b_factor = 2 * a_offset + coefficients(a);
    for (row, sums) in sums.chunks_exact_mut(b_rows.len().max(1)).enumerate() {
        let a_term = constant + a_factor * a.digit_sums()[a_rows.start + row];
        for (sum, b_digit_sum) in sums.iter_mut().zip(&b.digit_sums()[b_rows.clone()]) {
            *sum = (a_term + b_factor * b_digit_sum - *sum) / 2;
        }
    }
}
