//! The 16-bit product on v128 registers, four for the 16 rows of a panel: eight multiplications and four additions an
//! instruction.

use std::arch::wasm32::{
    i32x4_add, i32x4_dot_i16x8, i32x4_splat, v128, v128_load, v128_load32_splat, v128_store,
};

use crate::bits::PanelPair;
use crate::kernels::integer::{IntegerKernel, PanelSums, Sums, products_with};

pub const KERNEL: IntegerKernel = IntegerKernel {
    name: "i16 2x16 simd128",
    // Two rows take eight registers of sums.
    run: products_with::<Registers, 2>,
};

#[derive(Clone, Copy)]
struct Registers([v128; 4]);

impl Sums for Registers {
    #[inline(always)]
    fn zero() -> Self {
        Registers([i32x4_splat(0); 4])
    }

    #[inline(always)]
    fn add_products(self, terms: [i16; 2], pair: &PanelPair) -> Self {
        // SAFETY: two i16 are the 32 bits that are read.
        let terms = unsafe { v128_load32_splat(terms.as_ptr().cast()) };
        let pair = pair.as_ptr().cast::<v128>();
        Registers(std::array::from_fn(|index| {
            // SAFETY: 16 pairs of i16 are four registers.
            let pair = unsafe { v128_load(pair.add(index)) };
            i32x4_add(self.0[index], i32x4_dot_i16x8(terms, pair))
        }))
    }

    #[inline(always)]
    fn store(self, sums: &mut PanelSums) {
        for (index, register) in self.0.into_iter().enumerate() {
            // SAFETY: 16 sums are four registers.
            unsafe { v128_store(sums.as_mut_ptr().cast::<v128>().add(index), register) };
        }
    }
}
