//! Ones in what a row of weights and the inputs have in common: the innermost loop. What the ones are worth is said
//! elsewhere. Plain Rust, of which compilers make vectors; where they do not, with wasm's SIMD, a twin spells it out.

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
pub use plain::ones;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub use simd128::ones;

/// Calls `take` with each word of a row of weights, the last one filled up with zeros, and with what of `items` belongs to it.
#[inline(always)]
fn for_each_word<T>(row: &[u8], items: &[T], mut take: impl FnMut(u64, &T)) {
    let (whole, rest) = row.as_chunks();
    for (bytes, item) in whole.iter().zip(items) {
        take(u64::from_le_bytes(*bytes), item);
    }
    if let (false, Some(item)) = (rest.is_empty(), items.get(whole.len())) {
        let bytes = rest.iter().rev();
        take(
            bytes.fold(0, |word, byte| word << 8 | u64::from(*byte)),
            item,
        );
    }
}

/// Bits of a row of weights that differ from those of `words`, the only plane.
pub fn differing(row: &[u8], words: &[u64]) -> u32 {
    let mut differing = 0;
    for_each_word(row, words, |weights, word| {
        differing += (weights ^ word).count_ones();
    });
    differing
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod plain {
    /// Ones that a row of weights has in common with each of the planes in `words`, `[words_per_plane, digits]`.
    pub fn ones<const DIGITS: usize>(row: &[u8], words: &[[u64; DIGITS]]) -> [u32; DIGITS] {
        let mut ones = [0; DIGITS];
        super::for_each_word(row, words, |weights, words| {
            for (ones, word) in ones.iter_mut().zip(words) {
                *ones += (weights & word).count_ones();
            }
        });
        ones
    }
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd128 {
    use core::arch::wasm32::*;

    use crate::MAX_DIGITS;

    /// Words until the counts, bytes that grow by up to 8 a word, are full.
    const WORDS: usize = u8::MAX as usize / 8;

    /// Ones that a row of weights has in common with each of the planes in `words`, `[words_per_plane, digits]`.
    pub fn ones<const DIGITS: usize>(row: &[u8], words: &[[u64; DIGITS]]) -> [u32; DIGITS] {
        let mut ones = [0; DIGITS];
        for (row, words) in row.chunks(8 * WORDS).zip(words.chunks(WORDS)) {
            // Of two planes each: eight bytes for the one, eight for the other.
            let mut counts = [u8x16_splat(0); MAX_DIGITS / 2];
            super::for_each_word(row, words, |weights, words| {
                let (pairs, single) = words.as_chunks();
                for (count, [even, odd]) in counts.iter_mut().zip(pairs) {
                    let common = v128_and(u64x2_splat(weights), u64x2(*even, *odd));
                    *count = u8x16_add(*count, u8x16_popcnt(common));
                }
                if let (Some(ones), [word]) = (ones.last_mut(), single) {
                    *ones += (weights & word).count_ones();
                }
            });
            for ([even, odd], count) in ones.as_chunks_mut().0.iter_mut().zip(counts) {
                let sums = u32x4_extadd_pairwise_u16x8(u16x8_extadd_pairwise_u8x16(count));
                *even += u32x4_extract_lane::<0>(sums) + u32x4_extract_lane::<1>(sums);
                *odd += u32x4_extract_lane::<2>(sums) + u32x4_extract_lane::<3>(sums);
            }
        }
        ones
    }
}
