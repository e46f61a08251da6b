//! The product of small integers of 16 bits, for operands whose binary digits would be too many passes of the other
//! kernels.
//!
//! 1. b lies in panels of 16 rows, two terms of each row side by side.
//! 2. A pair of terms of a row of a, in all lanes of a register, times a panel's pairs: one instruction multiplies and
//!    adds each pair. So the lanes are 16 sums, and no sum is spread over lanes.
//! 3. Some rows of a at a time share what is read of a panel. Pairs that are blank, as the paper around digits is, are
//!    passed over.

use std::ops::Range;

use super::BEST_INTEGER;
use super::lookup::Integers;
use crate::bits::{IntegerPanels, PANEL_ROWS, PanelPair};

/// Sums of a row of a with the rows of a panel.
pub type PanelSums = [i32; PANEL_ROWS];

/// Writes the products of some rows of `a` with the rows of `b` in `panels`: `[rows, panels]`, 16 sums a panel.
type Run =
    fn(a: Integers<'_>, b: &IntegerPanels, Range<usize>, panels: Range<usize>, &mut [PanelSums]);

/// One way to compute the product of 16-bit integers.
#[derive(Clone, Copy, Debug)]
pub struct IntegerKernel {
    /// For instance `i16 2x16 simd128`.
    pub name: &'static str,
    pub(super) run: Run,
}

/// One multiplication at a time; the reference.
pub(super) const SCALAR: IntegerKernel = IntegerKernel {
    name: "i16 scalar",
    run: products_with::<PortableSums, 1>,
};

/// The twins of this machine, from the reference to the fastest.
pub fn integer_kernels() -> Vec<IntegerKernel> {
    [SCALAR]
        .into_iter()
        .chain(super::machine::integer_kernels())
        .collect()
}

/// Writes the products of `rows` of `a` with the rows of `b` in `panels`, `[rows, panels]`, with the fastest kernel, on
/// this thread. The sums must fit 32 bits.
pub fn integer_product(
    a: Integers<'_>,
    b: &IntegerPanels,
    rows: Range<usize>,
    panels: Range<usize>,
    sums: &mut [PanelSums],
) {
    integer_product_with(*BEST_INTEGER, a, b, rows, panels, sums);
}

/// [`integer_product`] with a kernel of the caller's choice.
pub fn integer_product_with(
    kernel: IntegerKernel,
    a: Integers<'_>,
    b: &IntegerPanels,
    rows: Range<usize>,
    panels: Range<usize>,
    sums: &mut [PanelSums],
) {
    assert_eq!(a.terms, b.columns(), "rows of different length");
    assert_eq!(sums.len(), rows.len() * panels.len());
    (kernel.run)(a, b, rows, panels, sums);
}

/// The sums of a panel in registers.
pub(super) trait Sums: Copy {
    fn zero() -> Self;
    /// Adds the products of two terms with each row's.
    fn add_products(self, terms: [i16; 2], pair: &PanelPair) -> Self;
    fn store(self, sums: &mut PanelSums);
}

/// The algorithm, for `ROWS` rows of a at a time.
#[inline(always)]
pub(super) fn products_with<S: Sums, const ROWS: usize>(
    a: Integers<'_>,
    b: &IntegerPanels,
    rows: Range<usize>,
    panels: Range<usize>,
    sums: &mut [PanelSums],
) {
    let count = rows.len();
    let width = panels.len();
    for (index, panel) in panels.enumerate() {
        let (pairs, filled) = (b.panel(panel), b.filled(panel));
        for first in (0..count).step_by(ROWS) {
            // The last row again where there are no more.
            let at = |offset: usize| (first + offset).min(count - 1);
            let of_rows = tile::<S, ROWS>(
                std::array::from_fn(|offset| a.row(rows.start + at(offset))),
                pairs,
                filled,
            );
            for (offset, of_row) in of_rows.into_iter().enumerate() {
                of_row.store(&mut sums[at(offset) * width + index]);
            }
        }
    }
}

#[inline(always)]
fn tile<S: Sums, const ROWS: usize>(
    a: [&[i16]; ROWS],
    pairs: &[PanelPair],
    filled: &[u32],
) -> [S; ROWS] {
    let mut sums = [S::zero(); ROWS];
    let count = a[0].len() / 2;
    let whole = a.map(|a| &a.as_chunks::<2>().0[..count]);
    if filled.len() == pairs.len() {
        for (index, pair) in pairs[..count].iter().enumerate() {
            add(&mut sums, &whole, index, pair);
        }
    } else {
        for index in filled.iter().map(|index| *index as usize) {
            if index < count {
                add(&mut sums, &whole, index, &pairs[index]);
            }
        }
    }
    if let Some(pair) = pairs.get(count) {
        for (sum, a) in sums.iter_mut().zip(a) {
            *sum = sum.add_products([a[2 * count], 0], pair);
        }
    }
    sums
}

/// Adds the products of the pairs at `index`. No closure: one would not have the features of who calls it twice.
#[inline(always)]
fn add<S: Sums, const ROWS: usize>(
    sums: &mut [S; ROWS],
    a: &[&[[i16; 2]]; ROWS],
    index: usize,
    pair: &PanelPair,
) {
    for (sum, a) in sums.iter_mut().zip(a) {
        *sum = sum.add_products(a[index], pair);
    }
}

#[derive(Clone, Copy)]
pub(super) struct PortableSums(PanelSums);

impl Sums for PortableSums {
    fn zero() -> Self {
        PortableSums([0; PANEL_ROWS])
    }

    fn add_products(mut self, terms: [i16; 2], pair: &PanelPair) -> Self {
        for (sum, pair) in self.0.iter_mut().zip(pair) {
            *sum +=
                i32::from(terms[0]) * i32::from(pair[0]) + i32::from(terms[1]) * i32::from(pair[1]);
        }
        self
    }

    fn store(self, sums: &mut PanelSums) {
        *sums = self.0;
    }
}
