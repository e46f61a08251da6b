//! The twins for AVX2, and POPCNT, which all machines with AVX2 have. No fused multiply-add: it would change results.

use std::arch::x86_64::*;
use std::ops::Range;
use std::simd::i16x8;

use crate::bits::{BitRows, BitTile, BitTiles, IntegerPanels, PanelGroup, Panels, TILE_ROWS};
use crate::kernels::float::{self, FloatKernel, Tile, tile_words};
use crate::kernels::integer::{
    AddProducts, ByteKernel, IntegerKernel, PanelSums, Sums, products_with as panel_products_with,
};
use crate::kernels::lookup::{
    Bytes, InnerLoop, Integers, LookupKernel, Table, Tables, TileSums, inner_loop_with,
    products_with,
};
use crate::kernels::popcount::{self, B_ROWS, BinaryKernel, xor_popcount_with};

/// Columns of a float tile: two registers.
const FLOAT_COLUMNS: usize = 16;
type FloatTile = Tile<FLOAT_COLUMNS>;

fn available() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt")
}

pub fn binary_kernel() -> Option<BinaryKernel> {
    available().then_some(BinaryKernel {
        name: "popcount 2x4 avx2",
        run: |a, b, scale, sums| {
            #[target_feature(enable = "avx2,popcnt")]
            fn run(a: BitRows<'_>, b: BitRows<'_>, scale: i32, sums: &mut [i32]) {
                xor_popcount_with::<CountBytes, 4, 2>(a, b, scale, sums);
            }
            // SAFETY: this kernel is only handed out where the features were found.
            unsafe { run(a, b, scale, sums) }
        },
    })
}

/// Four words, or a count for each byte. Only code compiled with AVX2 may have them.
#[derive(Clone, Copy)]
struct CountBytes(__m256i);

// SAFETY of all blocks below: they run within `binary_kernel`, so the machine has AVX2.
impl popcount::Register<4> for CountBytes {
    /// At most 8 each: 31 x 8 = 248 fits a byte.
    const CAPACITY: usize = 31;

    #[inline(always)]
    fn zero() -> Self {
        // SAFETY: see above.
        CountBytes(unsafe { _mm256_setzero_si256() })
    }

    #[inline(always)]
    fn load(words: &[u64]) -> Self {
        // SAFETY: see above; so many words are as wide as what is loaded.
        CountBytes(unsafe {
            if let Some(words) = words.first_chunk::<4>() {
                _mm256_loadu_si256(words.as_ptr().cast())
            } else if let Some(words) = words.first_chunk::<2>() {
                _mm256_zextsi128_si256(_mm_loadu_si128(words.as_ptr().cast()))
            } else {
                _mm256_setzero_si256()
            }
        })
    }

    /// Picks the counts of both halves of each byte from a table.
    #[inline(always)]
    fn add_differences(self, a: Self, b: Self) -> Self {
        // SAFETY: see above.
        CountBytes(unsafe {
            let counts = _mm256_broadcastsi128_si256(_mm_setr_epi8(
                0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,
            ));
            let half = _mm256_set1_epi8(15);
            let differences = _mm256_xor_si256(a.0, b.0);
            let lower = _mm256_and_si256(differences, half);
            let upper = _mm256_and_si256(_mm256_srli_epi16::<4>(differences), half);
            let sum = _mm256_add_epi8(self.0, _mm256_shuffle_epi8(counts, lower));
            _mm256_add_epi8(sum, _mm256_shuffle_epi8(counts, upper))
        })
    }

    /// Sums of eights of bytes; two of them share a lane, their upper halves being zero, then four a half.
    #[inline(always)]
    fn sums(counts: [Self; B_ROWS]) -> [i32; B_ROWS] {
        let mut sums = [0; B_ROWS];
        // SAFETY: see above; four i32 are as many bytes as a register of 128 bits.
        unsafe {
            let [a, b, c, d] = counts;
            let zero = _mm256_setzero_si256();
            let (a, b) = (_mm256_sad_epu8(a.0, zero), _mm256_sad_epu8(b.0, zero));
            let (c, d) = (_mm256_sad_epu8(c.0, zero), _mm256_sad_epu8(d.0, zero));
            let ab = _mm256_or_si256(a, _mm256_slli_epi64::<32>(b));
            let cd = _mm256_or_si256(c, _mm256_slli_epi64::<32>(d));
            let halves =
                _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
            let all = _mm_add_epi32(
                _mm256_castsi256_si128(halves),
                _mm256_extracti128_si256::<1>(halves),
            );
            _mm_storeu_si128(sums.as_mut_ptr().cast(), all);
        }
        sums
    }
}

pub fn float_kernel() -> Option<FloatKernel> {
    available().then_some(FloatKernel {
        name: "f32 4x16 avx2",
        run: |product, out| {
            #[target_feature(enable = "avx2")]
            fn tile(
                a: &[[f32; float::TILE_ROWS]],
                b: &[[f32; FLOAT_COLUMNS]],
                sums: &mut FloatTile,
            ) {
                tile_words(a, b, sums);
            }
            // SAFETY: this kernel is only handed out where the features were found.
            product.run(|a, b, sums| unsafe { tile(a, b, sums) }, out);
        },
    })
}

pub fn integer_kernel() -> Option<IntegerKernel> {
    available().then_some(IntegerKernel {
        name: "i16 4x16 avx2",
        run: |a, b, panels, sums| {
            #[target_feature(enable = "avx2")]
            fn run(a: &[i16], b: &IntegerPanels, panels: Range<usize>, sums: &mut [PanelSums]) {
                panel_products_with::<PanelRegisters, i16, i16, 2, 4>(a, b, panels, sums);
            }
            // SAFETY: this kernel is only handed out where the features were found.
            unsafe { run(a, b, panels, sums) }
        },
    })
}

pub fn byte_kernel() -> Option<ByteKernel> {
    available().then_some(ByteKernel {
        name: "i8 4x16 avx2",
        run: |a, b, panels, sums| {
            #[target_feature(enable = "avx2")]
            fn run(a: &[i8], b: &Panels<u8, 4>, panels: Range<usize>, sums: &mut [PanelSums]) {
                panel_products_with::<PanelRegisters, i8, u8, 4, 4>(a, b, panels, sums);
            }
            // SAFETY: this kernel is only handed out where the features were found.
            unsafe { run(a, b, panels, sums) }
        },
    })
}

/// The sums of a panel. Only code compiled with AVX2 may have them.
#[derive(Clone, Copy)]
struct PanelRegisters([__m256i; 2]);

// SAFETY of all blocks below: they run within `integer_kernel` and `byte_kernel`, so the machine has AVX2; the arrays
// that are loaded and stored are as wide as the registers.
impl Sums for PanelRegisters {
    #[inline(always)]
    fn zero() -> Self {
        // SAFETY: see above.
        PanelRegisters(unsafe { [_mm256_setzero_si256(); 2] })
    }

    #[inline(always)]
    fn store(self, sums: &mut PanelSums) {
        let sums = sums.as_mut_ptr().cast::<__m256i>();
        // SAFETY: see above.
        unsafe {
            _mm256_storeu_si256(sums, self.0[0]);
            _mm256_storeu_si256(sums.add(1), self.0[1]);
        }
    }
}

impl AddProducts<i16, i16, 2> for PanelRegisters {
    #[inline(always)]
    fn add_products(self, [first, second]: [i16; 2], group: &PanelGroup<i16, 2>) -> Self {
        let both = i32::from(second) << 16 | i32::from(first as u16);
        let group = group.as_ptr().cast::<__m256i>();
        let [mut low, mut high] = self.0;
        // SAFETY: see above.
        unsafe {
            let terms = _mm256_set1_epi32(both);
            low = _mm256_add_epi32(low, _mm256_madd_epi16(terms, _mm256_loadu_si256(group)));
            let group = _mm256_loadu_si256(group.add(1));
            high = _mm256_add_epi32(high, _mm256_madd_epi16(terms, group));
        }
        PanelRegisters([low, high])
    }
}

impl AddProducts<i8, u8, 4> for PanelRegisters {
    /// Two products of bytes add up to 16 bits, which `ByteCosts::takes` sees to, and two of those to 32.
    #[inline(always)]
    fn add_products(self, terms: [i8; 4], group: &PanelGroup<u8, 4>) -> Self {
        let all = i32::from_le_bytes(terms.map(|term| term as u8));
        let group = group.as_ptr().cast::<__m256i>();
        let [mut low, mut high] = self.0;
        // SAFETY: see above.
        unsafe {
            let (terms, ones) = (_mm256_set1_epi32(all), _mm256_set1_epi16(1));
            let pairs = _mm256_maddubs_epi16(_mm256_loadu_si256(group), terms);
            low = _mm256_add_epi32(low, _mm256_madd_epi16(pairs, ones));
            let pairs = _mm256_maddubs_epi16(_mm256_loadu_si256(group.add(1)), terms);
            high = _mm256_add_epi32(high, _mm256_madd_epi16(pairs, ones));
        }
        PanelRegisters([low, high])
    }
}

pub fn lookup_kernel() -> Option<LookupKernel> {
    available().then_some(LookupKernel {
        name: "lookup avx2",
        run: |a, w, rows, bands, sums| {
            #[target_feature(enable = "avx2")]
            fn run(
                a: Integers<'_>,
                w: &BitTiles,
                rows: Range<usize>,
                bands: Range<usize>,
                sums: &mut [TileSums],
            ) {
                products_with::<Register, 4, 4>(a, w, rows, bands, sums);
            }
            // SAFETY: this kernel is only handed out where the features were found.
            unsafe { run(a, w, rows, bands, sums) }
        },
        inner: Some(|of_loop| {
            #[target_feature(enable = "avx2")]
            fn run(of_loop: &InnerLoop) -> usize {
                inner_loop_with::<Register, 4>(of_loop)
            }
            // SAFETY: this kernel is only handed out where the features were found.
            unsafe { run(of_loop) }
        }),
    })
}

/// The 32 rows of a tile. Only code compiled with AVX2 may have one.
#[derive(Clone, Copy)]
struct Register(__m256i);

// SAFETY of all blocks below: they run within `lookup_kernel`, so the machine has AVX2; the arrays that are loaded and
// stored are as wide as the registers.
impl Bytes for Register {
    const ROWS: usize = TILE_ROWS;

    #[inline(always)]
    fn tables(integers: i16x8, lift: u8) -> Tables {
        let mut tables = Tables([[0; 16]; 2]);
        // SAFETY: see above.
        unsafe {
            let integers = integers.into();
            let bytes = _mm_packs_epi16(integers, integers);
            // Each integer, followed by its sum with the next.
            let with_next = _mm_add_epi8(bytes, _mm_srli_epi64::<8>(bytes));
            let both = _mm256_broadcastsi128_si256(_mm_unpacklo_epi8(bytes, with_next));
            let lower = _mm256_setr_epi8(
                -1, 0, 2, 1, -1, 0, 2, 1, -1, 0, 2, 1, -1, 0, 2, 1, //
                -1, 8, 10, 9, -1, 8, 10, 9, -1, 8, 10, 9, -1, 8, 10, 9,
            );
            let upper = _mm256_setr_epi8(
                -1, -1, -1, -1, 4, 4, 4, 4, 6, 6, 6, 6, 5, 5, 5, 5, //
                -1, -1, -1, -1, 12, 12, 12, 12, 14, 14, 14, 14, 13, 13, 13, 13,
            );
            let sums = _mm256_add_epi8(
                _mm256_shuffle_epi8(both, lower),
                _mm256_shuffle_epi8(both, upper),
            );
            let sums = _mm256_add_epi8(sums, _mm256_set1_epi8(lift as i8));
            _mm256_storeu_si256(tables.0.as_mut_ptr().cast(), sums);
        }
        tables
    }

    #[inline(always)]
    fn zero() -> Self {
        // SAFETY: see above.
        Register(unsafe { _mm256_setzero_si256() })
    }

    #[inline(always)]
    fn load(tile: &BitTile, _: usize) -> Self {
        // SAFETY: see above.
        Register(unsafe { _mm256_loadu_si256(tile.0.as_ptr().cast()) })
    }

    #[inline(always)]
    fn table(table: &Table) -> Self {
        // SAFETY: see above.
        Register(unsafe { _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast())) })
    }

    #[inline(always)]
    fn lower(self) -> Self {
        // SAFETY: see above.
        Register(unsafe { _mm256_and_si256(self.0, _mm256_set1_epi8(15)) })
    }

    #[inline(always)]
    fn upper(self) -> Self {
        // SAFETY: see above.
        Register(unsafe { _mm256_and_si256(_mm256_srli_epi16::<4>(self.0), _mm256_set1_epi8(15)) })
    }

    #[inline(always)]
    fn pick(self, indices: Self) -> Self {
        // SAFETY: see above.
        Register(unsafe { _mm256_shuffle_epi8(self.0, indices.0) })
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        Register(unsafe { _mm256_add_epi8(self.0, other.0) })
    }

    #[inline(always)]
    fn add_pairs(self, other: Self) -> Self {
        // SAFETY: see above.
        Register(unsafe { _mm256_add_epi16(self.0, other.0) })
    }

    #[inline(always)]
    fn upper_bytes(self) -> Self {
        // SAFETY: see above.
        Register(unsafe { _mm256_srli_epi16::<8>(self.0) })
    }

    #[inline(always)]
    fn add_to(pairs: Self, upper_bytes: Self, factor: i32, _: usize, sums: &mut TileSums) {
        // SAFETY: see above.
        unsafe {
            let lower = _mm256_sub_epi16(pairs.0, _mm256_slli_epi16::<8>(upper_bytes.0));
            // Rows 0 to 7 and 16 to 23, then 8 to 15 and 24 to 31.
            let first = _mm256_unpacklo_epi16(lower, upper_bytes.0);
            let last = _mm256_unpackhi_epi16(lower, upper_bytes.0);
            let eights = [
                _mm256_castsi256_si128(first),
                _mm256_castsi256_si128(last),
                _mm256_extracti128_si256::<1>(first),
                _mm256_extracti128_si256::<1>(last),
            ];
            let factor = _mm256_set1_epi32(factor);
            for (index, eight) in eights.into_iter().enumerate() {
                let to = sums.as_mut_ptr().cast::<__m256i>().add(index);
                let terms = _mm256_mullo_epi32(_mm256_cvtepu16_epi32(eight), factor);
                _mm256_storeu_si256(to, _mm256_add_epi32(_mm256_loadu_si256(to), terms));
            }
        }
    }
}
