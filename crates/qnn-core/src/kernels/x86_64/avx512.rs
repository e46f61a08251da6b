//! Twins with 512-bit registers: VPOPCNTDQ counts bits, VNNI multiplies integers of 16 or 8 bits and adds.
//!
//! The lookup product has none: its tiles are 32 rows, half of such a register.

use std::arch::x86_64::*;
use std::ops::Range;

use crate::bits::{BitRows, IntegerPanels, PanelGroup, Panels};
use crate::kernels::integer::{
    AddProducts, ByteKernel, IntegerKernel, PanelSums, Sums, products_with,
};
use crate::kernels::popcount::{B_ROWS, BinaryKernel, Register, xor_popcount_with};

pub fn binary_kernel() -> Option<BinaryKernel> {
    let available = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vpopcntdq")
        && is_x86_feature_detected!("popcnt");
    available.then_some(BinaryKernel {
        name: "popcount 4x4 avx512",
        run: |a, b, scale, sums| {
            #[target_feature(enable = "avx512f,avx512vpopcntdq,popcnt")]
            fn run(a: BitRows<'_>, b: BitRows<'_>, scale: i32, sums: &mut [i32]) {
                xor_popcount_with::<Words, 8, 4>(a, b, scale, sums);
            }
            // SAFETY: this kernel is only handed out where the features were found.
            unsafe { run(a, b, scale, sums) }
        },
    })
}

/// Eight words, or a count for each. Only code compiled with AVX-512 may have them.
#[derive(Clone, Copy)]
struct Words(__m512i);

// SAFETY of all blocks below: they run within `binary_kernel`, so the machine has these instructions.
impl Register<8> for Words {
    /// At most 64 each: the lower half of a lane holds them.
    const CAPACITY: usize = 1 << 24;

    #[inline(always)]
    fn zero() -> Self {
        // SAFETY: see above.
        Words(unsafe { _mm512_setzero_si512() })
    }

    #[inline(always)]
    fn load(words: &[u64]) -> Self {
        let mask = (1u32 << words.len().min(8)) - 1;
        // SAFETY: see above; the mask keeps to the words that there are.
        Words(unsafe { _mm512_maskz_loadu_epi64(mask as u8, words.as_ptr().cast()) })
    }

    #[inline(always)]
    fn add_differences(self, a: Self, b: Self) -> Self {
        // SAFETY: see above.
        Words(unsafe {
            let differences = _mm512_xor_si512(a.0, b.0);
            _mm512_add_epi64(self.0, _mm512_popcnt_epi64(differences))
        })
    }

    /// Two counts share a lane, their upper halves being zero, then four a quarter.
    #[inline(always)]
    fn sums(counts: [Self; B_ROWS]) -> [i32; B_ROWS] {
        let mut sums = [0; B_ROWS];
        let [Words(a), Words(b), Words(c), Words(d)] = counts;
        // SAFETY: see above; four i32 are as many bytes as a register of 128 bits.
        unsafe {
            let ab = _mm512_or_si512(a, _mm512_slli_epi64::<32>(b));
            let cd = _mm512_or_si512(c, _mm512_slli_epi64::<32>(d));
            let quarters =
                _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
            let halves = _mm256_add_epi32(
                _mm512_castsi512_si256(quarters),
                _mm512_extracti64x4_epi64::<1>(quarters),
            );
            let all = _mm_add_epi32(
                _mm256_castsi256_si128(halves),
                _mm256_extracti128_si256::<1>(halves),
            );
            _mm_storeu_si128(sums.as_mut_ptr().cast(), all);
        }
        sums
    }
}

fn multiplies() -> bool {
    is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vnni")
}

pub fn integer_kernel() -> Option<IntegerKernel> {
    multiplies().then_some(IntegerKernel {
        name: "i16 6x16 avx512",
        run: |a, b, panels, sums| {
            #[target_feature(enable = "avx512bw,avx512vnni")]
            fn run(a: &[i16], b: &IntegerPanels, panels: Range<usize>, sums: &mut [PanelSums]) {
                // Six sums: about as many as are under way while one waits for its last term.
                products_with::<PanelRegister, i16, i16, 2, 6>(a, b, panels, sums);
            }
            // SAFETY: this kernel is only handed out where the features were found.
            unsafe { run(a, b, panels, sums) }
        },
    })
}

pub fn byte_kernel() -> Option<ByteKernel> {
    multiplies().then_some(ByteKernel {
        name: "i8 6x16 avx512",
        run: |a, b, panels, sums| {
            #[target_feature(enable = "avx512bw,avx512vnni")]
            fn run(a: &[i8], b: &Panels<u8, 4>, panels: Range<usize>, sums: &mut [PanelSums]) {
                products_with::<PanelRegister, i8, u8, 4, 6>(a, b, panels, sums);
            }
            // SAFETY: this kernel is only handed out where the features were found.
            unsafe { run(a, b, panels, sums) }
        },
    })
}

/// The sums of a panel. Only code compiled with AVX-512 may have them.
#[derive(Clone, Copy)]
struct PanelRegister(__m512i);

// SAFETY of all blocks below: they run within `integer_kernel` and `byte_kernel`, so the machine has these
// instructions; the arrays that are loaded and stored are as wide as the registers.
impl Sums for PanelRegister {
    #[inline(always)]
    fn zero() -> Self {
        // SAFETY: see above.
        PanelRegister(unsafe { _mm512_setzero_si512() })
    }

    #[inline(always)]
    fn store(self, sums: &mut PanelSums) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_si512(sums.as_mut_ptr().cast(), self.0) };
    }
}

impl AddProducts<i16, i16, 2> for PanelRegister {
    #[inline(always)]
    fn add_products(self, [first, second]: [i16; 2], group: &PanelGroup<i16, 2>) -> Self {
        let both = i32::from(second) << 16 | i32::from(first as u16);
        // SAFETY: see above.
        PanelRegister(unsafe {
            let group = _mm512_loadu_si512(group.as_ptr().cast());
            // The compiler makes one instruction of both, which interpreters that check this code do not know.
            _mm512_add_epi32(self.0, _mm512_madd_epi16(_mm512_set1_epi32(both), group))
        })
    }
}

impl AddProducts<i8, u8, 4> for PanelRegister {
    #[inline(always)]
    fn add_products(self, terms: [i8; 4], group: &PanelGroup<u8, 4>) -> Self {
        let all = i32::from_le_bytes(terms.map(|term| term as u8));
        // SAFETY: see above.
        PanelRegister(unsafe {
            let group = _mm512_loadu_si512(group.as_ptr().cast());
            _mm512_dpbusd_epi32(self.0, group, _mm512_set1_epi32(all))
        })
    }
}
