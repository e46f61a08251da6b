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

/// In 64-bit words, on any machine.
pub(super) const PORTABLE: BinaryKernel = BinaryKernel {
    name: "popcount u64",
    run: xor_popcount_with::<Words, 2, 1>,
};

/// The twins of this machine, from the reference to the fastest.
pub fn binary_kernels() -> Vec<BinaryKernel> {
    [SCALAR, PORTABLE]
        .into_iter()
        .chain(super::machine::binary_kernels())
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

/// A word at a time, inlined so that a twin with more CPU features can be compiled from it.
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

/// A register: words of a row, or counts in lanes.
pub(super) trait Register<const WORDS: usize>: Copy {
    /// Registers of words whose counts add up within a lane.
    const CAPACITY: usize;
    fn zero() -> Self;
    /// Up to `WORDS` words, an even number, and zeros.
    fn load(words: &[u64]) -> Self;
    /// Adds to each lane in how many bits a and b differ there.
    fn add_differences(self, a: Self, b: Self) -> Self;
    /// The sums of the lanes of each.
    fn sums(counts: [Self; B_ROWS]) -> [i32; B_ROWS];
}

/// Rows of b in a block.
pub(super) const B_ROWS: usize = 4;

/// The algorithm on registers, a block of `A_ROWS` by 4 rows at a time, each row of which is read once for all others.
///
/// 1. XOR all pairs, count in lanes, and add for as long as they have room.
/// 2. Add up the lanes, those of four registers at once.
///
/// Rows that do not fill a block go word by word.
#[inline(always)]
pub(super) fn xor_popcount_with<R: Register<WORDS>, const WORDS: usize, const A_ROWS: usize>(
    a: BitRows<'_>,
    b: BitRows<'_>,
    scale: i32,
    sums: &mut [i32],
) {
    let a_blocked = a.rows / A_ROWS * A_ROWS;
    let b_blocked = b.rows / B_ROWS * B_ROWS;
    for a_row in (0..a_blocked).step_by(A_ROWS) {
        for b_row in (0..b_blocked).step_by(B_ROWS) {
            let counts = block::<R, WORDS, A_ROWS>(
                std::array::from_fn(|row| a.row(a_row + row)),
                std::array::from_fn(|row| b.row(b_row + row)),
            );
            for (row, counts) in counts.into_iter().enumerate() {
                let sums = &mut sums[(a_row + row) * b.rows + b_row..][..B_ROWS];
                for (sum, count) in sums.iter_mut().zip(counts) {
                    *sum += scale * count;
                }
            }
        }
    }
    // The last b rows of the blocked a rows, then the last a rows.
    let (blocked, last) = sums.split_at_mut(a_blocked * b.rows);
    if b_blocked < b.rows {
        let b_last = b.slice(b_blocked..b.rows);
        for (a_row, sums) in blocked.chunks_exact_mut(b.rows).enumerate() {
            let a = a.slice(a_row..a_row + 1);
            xor_popcount_words(a, b_last, scale, &mut sums[b_blocked..]);
        }
    }
    xor_popcount_words(a.slice(a_blocked..a.rows), b, scale, last);
}

/// The counts of `A_ROWS` rows by 4 rows.
#[inline(always)]
fn block<R: Register<WORDS>, const WORDS: usize, const A_ROWS: usize>(
    a: [&[u64]; A_ROWS],
    b: [&[u64]; B_ROWS],
) -> [[i32; B_ROWS]; A_ROWS] {
    let words = a[0].len();
    let mut totals = [[0; B_ROWS]; A_ROWS];
    for first in (0..words).step_by(WORDS * R::CAPACITY) {
        let part = first..words.min(first + WORDS * R::CAPACITY);
        let a = a.map(|row| row[part.clone()].as_chunks::<WORDS>());
        let b = b.map(|row| row[part.clone()].as_chunks::<WORDS>());
        let mut counts = [[R::zero(); B_ROWS]; A_ROWS];
        for index in 0..a[0].0.len() {
            let (a, b) = (
                a.map(|row| &row.0[index][..]),
                b.map(|row| &row.0[index][..]),
            );
            add_differences(&mut counts, a, b);
        }
        if !a[0].1.is_empty() {
            add_differences(&mut counts, a.map(|row| row.1), b.map(|row| row.1));
        }
        for (totals, counts) in totals.iter_mut().zip(counts) {
            for (total, sum) in totals.iter_mut().zip(R::sums(counts)) {
                *total += sum;
            }
        }
    }
    totals
}

/// Adds where some words of the rows differ, a register of each row.
#[inline(always)]
fn add_differences<R: Register<WORDS>, const WORDS: usize, const A_ROWS: usize>(
    counts: &mut [[R; B_ROWS]; A_ROWS],
    a: [&[u64]; A_ROWS],
    b: [&[u64]; B_ROWS],
) {
    // Loops: closures would be compiled without the CPU features of their caller.
    let mut b_words = [R::zero(); B_ROWS];
    for (loaded, b) in b_words.iter_mut().zip(b) {
        *loaded = R::load(b);
    }
    for (counts, a) in counts.iter_mut().zip(a) {
        let a = R::load(a);
        for (counts, b) in counts.iter_mut().zip(b_words) {
            *counts = counts.add_differences(a, b);
        }
    }
}

/// Two words, or a count for each, in plain code.
#[derive(Clone, Copy)]
struct Words([u64; 2]);

impl Register<2> for Words {
    const CAPACITY: usize = 1 << 24;

    #[inline(always)]
    fn zero() -> Self {
        Words([0; 2])
    }

    #[inline(always)]
    fn load(words: &[u64]) -> Self {
        words.first_chunk().copied().map_or(Self::zero(), Words)
    }

    #[inline(always)]
    fn add_differences(self, a: Self, b: Self) -> Self {
        let differ = |word: usize| u64::from((a.0[word] ^ b.0[word]).count_ones());
        Words([self.0[0] + differ(0), self.0[1] + differ(1)])
    }

    #[inline(always)]
    fn sums(counts: [Self; B_ROWS]) -> [i32; B_ROWS] {
        counts.map(|counts| (counts.0[0] + counts.0[1]) as i32)
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
