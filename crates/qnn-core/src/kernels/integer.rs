//! The products of integers of 16 bits and of 8, for operands whose binary digits would be too many passes of the other
//! kernels.
//!
//! 1. b lies in panels of 16 rows, two terms of each row side by side, or four bytes.
//! 2. A group of terms of a row of a, in all lanes of a register, times a panel's group: one instruction multiplies and
//!    adds each row's. So the lanes are 16 sums, and no sum is spread over lanes.
//! 3. Some rows of a at a time share what is read of a panel. Groups that are blank, as the paper around digits is, are
//!    passed over.
//!
//! The instructions for bytes take one operand with a sign and one without. So b is stored less its smallest integer, and
//! pixels of a less 128; what that changes follows from the sums of rows:
//! sum a b = sum a' b' + smallest sum a' + 128 sum b, with a = a' + 128 and b = b' + smallest.

use std::cell::Cell;
use std::ops::Range;
use std::sync::LazyLock;

use super::lookup::Integers;
use super::{BEST_BYTE, BEST_INTEGER};
use crate::bits::{BytePanels, Encoding, IntegerPanels, PANEL_ROWS, PanelGroup, Panels};
use crate::threads::with_buffer;

/// Sums of a row of a with the rows of a panel.
pub type PanelSums = [i32; PANEL_ROWS];

/// Writes the products of the rows of a with the rows of b in some panels: `[rows, panels]`, 16 sums a panel.
type Run<A, B, const TERMS: usize> =
    fn(a: &[A], b: &Panels<B, TERMS>, panels: Range<usize>, &mut [PanelSums]);

/// One way to compute the products of rows of `A` with panels of `B`.
#[derive(Clone, Copy, Debug)]
pub struct PanelKernel<A, B, const TERMS: usize> {
    /// For instance `i16 2x16 simd128`.
    pub name: &'static str,
    pub(super) run: Run<A, B, TERMS>,
}

/// One way to compute the product of 16-bit integers.
pub type IntegerKernel = PanelKernel<i16, i16, 2>;
/// One way to compute the product of bytes, the first ones with a sign.
pub type ByteKernel = PanelKernel<i8, u8, 4>;

/// One multiplication at a time; the reference.
pub(super) const SCALAR: IntegerKernel = IntegerKernel {
    name: "i16 scalar",
    run: products_with::<PortableSums, i16, i16, 2, 1>,
};
/// The same for bytes.
pub(super) const BYTE_SCALAR: ByteKernel = ByteKernel {
    name: "i8 scalar",
    run: products_with::<PortableSums, i8, u8, 4, 1>,
};

/// The twins of this machine, from the reference to the fastest.
pub fn integer_kernels() -> Vec<IntegerKernel> {
    [SCALAR]
        .into_iter()
        .chain(super::machine::integer_kernels())
        .collect()
}

/// The twins of this machine for bytes, from the reference to the fastest.
pub fn byte_kernels() -> Vec<ByteKernel> {
    [BYTE_SCALAR]
        .into_iter()
        .chain(super::machine::byte_kernels())
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
    (kernel.run)(a.rows(rows), b, panels, sums);
}

/// Whether the twin for bytes takes 8 bits of the second operand; relaxed SIMD may read the highest one as a sign. `None`
/// where there is no twin.
pub(super) fn eight_bits_of_bytes() -> Option<bool> {
    static EIGHT_BITS: LazyLock<Option<bool>> = LazyLock::new(|| {
        let twins = byte_kernels();
        let twin = twins[1..].last()?;
        let widest = BytePanels::pack_transposed(Encoding::Unsigned8, 1, &[255; 4]);
        let mut sums = [[0; PANEL_ROWS]];
        (twin.run)(&[-64; 4], widest.panels(), 0..1, &mut sums);
        Some(sums[0][0] == 4 * -64 * 255)
    });
    *EIGHT_BITS
}

/// [`integer_product`] of integers of up to 8 digits. What else the fastest kernel does not take exactly,
/// [`Costs`](super::Costs) say.
pub fn byte_product(
    a: Integers<'_>,
    b: &BytePanels,
    rows: Range<usize>,
    panels: Range<usize>,
    sums: &mut [PanelSums],
) {
    byte_product_with(*BEST_BYTE, a, b, rows, panels, sums);
}

/// [`byte_product`] with a kernel of the caller's choice.
pub fn byte_product_with(
    kernel: ByteKernel,
    a: Integers<'_>,
    b: &BytePanels,
    rows: Range<usize>,
    panels: Range<usize>,
    sums: &mut [PanelSums],
) {
    let terms = a.terms;
    assert_eq!(terms, b.panels().columns(), "rows of different length");
    assert_eq!(sums.len(), rows.len() * panels.len());
    assert!(a.encoding.digits() <= 8, "integers that are no bytes");
    let shift = match a.encoding {
        Encoding::Unsigned8 => 128,
        _ => 0,
    };
    thread_local! {
        static BYTES: Cell<Vec<i8>> = const { Cell::new(Vec::new()) };
    }
    with_buffer(&BYTES, |bytes| {
        bytes.clear();
        bytes.extend(a.rows(rows).iter().map(|x| (x - shift) as i8));
        (kernel.run)(bytes, b.panels(), panels.clone(), sums);
        let smallest = i32::from(b.encoding().range().0);
        if (shift, smallest) == (0, 0) {
            return;
        }
        let rows = bytes.chunks_exact(terms.max(1));
        for (row, sums) in rows.zip(sums.chunks_exact_mut(panels.len().max(1))) {
            let of_row = smallest * row.iter().map(|byte| i32::from(*byte)).sum::<i32>();
            for (panel, sums) in panels.clone().zip(sums) {
                sums.iter_mut().for_each(|sum| *sum += of_row);
                if shift != 0 {
                    for (sum, total) in sums.iter_mut().zip(b.totals(panel)) {
                        *sum += i32::from(shift) * total;
                    }
                }
            }
        }
    });
}

/// The sums of a panel in registers.
pub(super) trait Sums: Copy {
    fn zero() -> Self;
    fn store(self, sums: &mut PanelSums);
}

/// Sums to which products of `A` and `B` can be added.
pub(super) trait AddProducts<A, B, const TERMS: usize>: Sums {
    /// Adds the products of some terms with each row's.
    fn add_products(self, terms: [A; TERMS], group: &PanelGroup<B, TERMS>) -> Self;
}

/// The algorithm, for `ROWS` rows of a at a time.
#[inline(always)]
pub(super) fn products_with<
    S: AddProducts<A, B, TERMS>,
    A: Copy + Default,
    B,
    const TERMS: usize,
    const ROWS: usize,
>(
    a: &[A],
    b: &Panels<B, TERMS>,
    panels: Range<usize>,
    sums: &mut [PanelSums],
) {
    let (width, terms) = (panels.len(), b.columns());
    let count = sums.len() / width.max(1);
    for (index, panel) in panels.enumerate() {
        let (groups, filled) = (b.panel(panel), b.filled(panel));
        for first in (0..count).step_by(ROWS) {
            // The last row again where there are no more.
            let at = |offset: usize| (first + offset).min(count - 1);
            let of_rows = tile::<S, A, B, TERMS, ROWS>(
                std::array::from_fn(|offset| &a[at(offset) * terms..][..terms]),
                groups,
                filled,
            );
            for (offset, of_row) in of_rows.into_iter().enumerate() {
                of_row.store(&mut sums[at(offset) * width + index]);
            }
        }
    }
}

#[inline(always)]
fn tile<
    S: AddProducts<A, B, TERMS>,
    A: Copy + Default,
    B,
    const TERMS: usize,
    const ROWS: usize,
>(
    a: [&[A]; ROWS],
    groups: &[PanelGroup<B, TERMS>],
    filled: &[u32],
) -> [S; ROWS] {
    let mut sums = [S::zero(); ROWS];
    let count = a[0].len() / TERMS;
    let whole = a.map(|a| &a.as_chunks::<TERMS>().0[..count]);
    if filled.len() == groups.len() {
        for (index, group) in groups[..count].iter().enumerate() {
            add(&mut sums, &whole, index, group);
        }
    } else {
        for index in filled.iter().map(|index| *index as usize) {
            if index < count {
                add(&mut sums, &whole, index, &groups[index]);
            }
        }
    }
    if let Some(group) = groups.get(count) {
        for (sum, a) in sums.iter_mut().zip(a) {
            let mut terms = [A::default(); TERMS];
            let rest = a.as_chunks::<TERMS>().1;
            terms[..rest.len()].copy_from_slice(rest);
            *sum = sum.add_products(terms, group);
        }
    }
    sums
}

/// Adds the products of the groups at `index`. No closure: one would not have the features of who calls it twice.
#[inline(always)]
fn add<S: AddProducts<A, B, TERMS>, A: Copy, B, const TERMS: usize, const ROWS: usize>(
    sums: &mut [S; ROWS],
    a: &[&[[A; TERMS]]; ROWS],
    index: usize,
    group: &PanelGroup<B, TERMS>,
) {
    for (sum, a) in sums.iter_mut().zip(a) {
        *sum = sum.add_products(a[index], group);
    }
}

#[derive(Clone, Copy)]
pub(super) struct PortableSums(PanelSums);

impl Sums for PortableSums {
    fn zero() -> Self {
        PortableSums([0; PANEL_ROWS])
    }

    fn store(self, sums: &mut PanelSums) {
        *sums = self.0;
    }
}

impl<A: Copy + Into<i32>, B: Copy + Into<i32>, const TERMS: usize> AddProducts<A, B, TERMS>
    for PortableSums
{
    fn add_products(mut self, terms: [A; TERMS], group: &PanelGroup<B, TERMS>) -> Self {
        for (sum, row) in self.0.iter_mut().zip(group) {
            for (a, b) in terms.into_iter().zip(row) {
                *sum += a.into() * (*b).into();
            }
        }
        self
    }
}
