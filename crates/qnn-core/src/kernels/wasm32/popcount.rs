//! XOR and population count on v128 registers, a block of 2 rows by 4 rows at a time.
//!
//! 1. Load 2 vectors of a and 4 of b, XOR all 8 pairs: 6 loads for 8 products of 128 bits.
//! 2. `i8x16.popcnt` and add in bytes, for up to 31 vectors: 31 x 8 = 248 fits a byte.
//! 3. Widen pairwise to 32-bit sums, transposing four registers into one as their lanes are added up.
//!
//! Rows that do not fill a block go to the portable kernel.

use std::arch::wasm32::*;

use crate::bits::BitRows;
use crate::kernels::popcount::{BinaryKernel, xor_popcount_words};

pub const KERNEL: BinaryKernel = BinaryKernel {
    name: "popcount 2x4 simd128",
    run: xor_popcount,
};

const A_ROWS: usize = 2;
const B_ROWS: usize = 4;
/// Vectors whose byte counts, at most 8 each, still add up within a byte.
const VECTORS_PER_BYTE_SUM: usize = 31;

fn xor_popcount(a: BitRows<'_>, b: BitRows<'_>, scale: i32, sums: &mut [i32]) {
    let a_blocked = a.rows / A_ROWS * A_ROWS;
    let b_blocked = b.rows / B_ROWS * B_ROWS;
    for a_row in (0..a_blocked).step_by(A_ROWS) {
        for b_row in (0..b_blocked).step_by(B_ROWS) {
            let counts = block(
                std::array::from_fn(|row| a.row(a_row + row)),
                std::array::from_fn(|row| b.row(b_row + row)),
            );
            for (row, counts) in counts.into_iter().enumerate() {
                let out = &mut sums[(a_row + row) * b.rows + b_row..][..B_ROWS];
                // SAFETY: `out` holds four i32; v128 loads and stores need no alignment.
                unsafe {
                    let out = out.as_mut_ptr().cast::<v128>();
                    let scaled = i32x4_mul(counts, i32x4_splat(scale));
                    v128_store(out, i32x4_add(v128_load(out), scaled));
                }
            }
        }
    }
    // The last b rows of the blocked a rows, then the last a rows.
    if b_blocked < b.rows {
        let rest = b.slice(b_blocked..b.rows);
        for (a_row, sums) in sums[..a_blocked * b.rows]
            .chunks_exact_mut(b.rows)
            .enumerate()
        {
            xor_popcount_words(
                a.slice(a_row..a_row + 1),
                rest,
                scale,
                &mut sums[b_blocked..],
            );
        }
    }
    xor_popcount_words(
        a.slice(a_blocked..a.rows),
        b,
        scale,
        &mut sums[a_blocked * b.rows..],
    );
}

/// The counts of 2 rows by 4 rows: a register of four sums for each row of a.
#[inline(always)]
fn block(a: [&[u64]; A_ROWS], b: [&[u64]; B_ROWS]) -> [v128; A_ROWS] {
    let words = a[0].len();
    debug_assert!(words.is_multiple_of(2) && a.iter().chain(&b).all(|row| row.len() == words));
    let mut totals = [i32x4_splat(0); A_ROWS];
    for first in (0..words / 2).step_by(VECTORS_PER_BYTE_SUM) {
        let mut bytes = [[i8x16_splat(0); B_ROWS]; A_ROWS];
        for vector in first..(words / 2).min(first + VECTORS_PER_BYTE_SUM) {
            // SAFETY: `vector` is below half the words of every row.
            let load = |row: &[u64]| unsafe { v128_load(row.as_ptr().cast::<v128>().add(vector)) };
            let b = b.map(load);
            for (bytes, a) in bytes.iter_mut().zip(a.map(load)) {
                for (bytes, b) in bytes.iter_mut().zip(b) {
                    *bytes = i8x16_add(*bytes, i8x16_popcnt(v128_xor(a, b)));
                }
            }
        }
        for (total, bytes) in totals.iter_mut().zip(bytes) {
            *total = i32x4_add(*total, sums_of_bytes(bytes));
        }
    }
    totals
}

/// The sum of each register's bytes, as four i32.
#[inline(always)]
fn sums_of_bytes(bytes: [v128; 4]) -> v128 {
    let [a, b, c, d] =
        bytes.map(|bytes| u32x4_extadd_pairwise_u16x8(u16x8_extadd_pairwise_u8x16(bytes)));
    let ab = i32x4_add(
        i32x4_shuffle::<0, 4, 1, 5>(a, b),
        i32x4_shuffle::<2, 6, 3, 7>(a, b),
    );
    let cd = i32x4_add(
        i32x4_shuffle::<0, 4, 1, 5>(c, d),
        i32x4_shuffle::<2, 6, 3, 7>(c, d),
    );
    i32x4_add(i64x2_shuffle::<0, 2>(ab, cd), i64x2_shuffle::<1, 3>(ab, cd))
}
