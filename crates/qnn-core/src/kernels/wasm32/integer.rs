//! The products of integers on v128 registers, four for the 16 rows of a panel: of 16 bits eight multiplications and four
//! additions an instruction, of bytes, with relaxed SIMD, sixteen of each.

#[cfg(target_feature = "relaxed-simd")]
use std::arch::wasm32::i32x4_relaxed_dot_i8x16_i7x16_add;
use std::arch::wasm32::{
    i32x4_add, i32x4_dot_i16x8, i32x4_splat, v128, v128_load, v128_load32_splat, v128_store,
};

use crate::bits::PanelGroup;
#[cfg(target_feature = "relaxed-simd")]
use crate::kernels::integer::ByteKernel;
use crate::kernels::integer::{AddProducts, IntegerKernel, PanelSums, Sums, products_with};

pub const KERNEL: IntegerKernel = IntegerKernel {
    name: "i16 2x16 simd128",
    // Two rows take eight registers of sums.
    run: products_with::<Registers, i16, i16, 2, 2>,
};

#[cfg(target_feature = "relaxed-simd")]
pub const BYTE_KERNEL: ByteKernel = ByteKernel {
    name: "i8 2x16 relaxed-simd",
    run: products_with::<Registers, i8, u8, 4, 2>,
};

#[derive(Clone, Copy)]
struct Registers([v128; 4]);

impl Sums for Registers {
    #[inline(always)]
    fn zero() -> Self {
        Registers([i32x4_splat(0); 4])
    }

    #[inline(always)]
    fn store(self, sums: &mut PanelSums) {
        for (index, register) in self.0.into_iter().enumerate() {
            // SAFETY: 16 sums are four registers.
            unsafe { v128_store(sums.as_mut_ptr().cast::<v128>().add(index), register) };
        }
    }
}

impl AddProducts<i16, i16, 2> for Registers {
    #[inline(always)]
    fn add_products(self, terms: [i16; 2], group: &PanelGroup<i16, 2>) -> Self {
        // SAFETY: two i16 are the 32 bits that are read.
        let terms = unsafe { v128_load32_splat(terms.as_ptr().cast()) };
        let group = group.as_ptr().cast::<v128>();
        Registers(std::array::from_fn(|index| {
            // SAFETY: 16 pairs of i16 are four registers.
            let pairs = unsafe { v128_load(group.add(index)) };
            i32x4_add(self.0[index], i32x4_dot_i16x8(terms, pairs))
        }))
    }
}

#[cfg(target_feature = "relaxed-simd")]
impl AddProducts<i8, u8, 4> for Registers {
    /// Exact for bytes of up to 7 bits without a sign; what becomes of 8 bits, the engine says when it is asked.
    #[inline(always)]
    fn add_products(self, terms: [i8; 4], group: &PanelGroup<u8, 4>) -> Self {
        // SAFETY: four bytes are the 32 bits that are read.
        let terms = unsafe { v128_load32_splat(terms.as_ptr().cast()) };
        let group = group.as_ptr().cast::<v128>();
        Registers(std::array::from_fn(|index| {
            // SAFETY: 16 fours of bytes are four registers.
            let fours = unsafe { v128_load(group.add(index)) };
            i32x4_relaxed_dot_i8x16_i7x16_add(terms, fours, self.0[index])
        }))
    }
}
