//! A stream of bits: small integers as they travel from one process to another, with no more binary digits than their
//! encoding has. No kernel reads it.

use std::simd::cmp::SimdPartialEq;
use std::simd::{Mask, Select, i16x8};

use super::Encoding;

/// Integers that are packed at a time: a byte for each binary digit.
const GROUP: usize = 8;

/// Bytes of `count` integers.
pub fn stream_length(encoding: Encoding, count: usize) -> usize {
    encoding.digits() * count.div_ceil(GROUP)
}

/// The digits of `integers`, which the encoding holds: of each eight integers a byte a digit, the lowest bit the first.
pub fn to_stream(encoding: Encoding, integers: &[i16]) -> Vec<u8> {
    // The sign of -1 and +1 is in the highest bit, turned round.
    let (shift, turned) = match encoding {
        Encoding::Sign => (15, 0xff),
        _ => (0, 0),
    };
    let mut stream = vec![0; stream_length(encoding, integers.len())];
    let pack = |integers: [i16; GROUP], bytes: &mut [u8]| {
        for (digit, byte) in bytes.iter_mut().enumerate() {
            let set = i16x8::from_array(integers) & i16x8::splat(1 << (digit + shift));
            *byte = set.simd_ne(i16x8::splat(0)).to_bitmask() as u8 ^ turned;
        }
    };
    let (whole, rest) = integers.as_chunks::<GROUP>();
    let mut bytes = stream.chunks_exact_mut(encoding.digits());
    for (eight, bytes) in whole.iter().zip(&mut bytes) {
        pack(*eight, bytes);
    }
    if let Some(bytes) = bytes.next() {
        // All of its digits are 0.
        let mut padded = [encoding.offset() as i16; GROUP];
        padded[..rest.len()].copy_from_slice(rest);
        pack(padded, bytes);
    }
    stream
}

/// Fills `integers` from the stream of as many; panics where it is of another length.
pub fn from_stream(encoding: Encoding, stream: &[u8], integers: &mut [i16]) {
    assert_eq!(stream.len(), stream_length(encoding, integers.len()));
    let unpack = |bytes: &[u8]| -> [i16; GROUP] {
        let mut sums = i16x8::splat(encoding.offset() as i16);
        for (digit, byte) in bytes.iter().enumerate() {
            let coefficient = i16x8::splat(encoding.coefficient(digit) as i16);
            let set = Mask::<i16, GROUP>::from_bitmask(u64::from(*byte));
            sums += set.select(coefficient, i16x8::splat(0));
        }
        sums.to_array()
    };
    let (whole, rest) = integers.as_chunks_mut::<GROUP>();
    let mut bytes = stream.chunks_exact(encoding.digits());
    for (eight, bytes) in whole.iter_mut().zip(&mut bytes) {
        *eight = unpack(bytes);
    }
    if let Some(bytes) = bytes.next() {
        rest.copy_from_slice(&unpack(bytes)[..rest.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn integers_survive_the_stream(digits in 0u8..=9, count in 0usize..70, salt in any::<u32>()) {
            let encoding = match digits {
                0 => Encoding::Unsigned8,
                1 => Encoding::Sign,
                digits => Encoding::TwosComplement(digits),
            };
            let (least, largest) = encoding.range();
            let integers: Vec<i16> = (0..count as u32)
                .map(|index| {
                    let width = (i32::from(largest) - i32::from(least) + 1) as u32;
                    let random = (index ^ salt).wrapping_mul(2_654_435_761) >> 8;
                    match encoding {
                        Encoding::Sign => if random % 2 == 0 { 1 } else { -1 },
                        _ => (i32::from(least) + (random % width) as i32) as i16,
                    }
                })
                .collect();
            let stream = to_stream(encoding, &integers);
            prop_assert_eq!(stream.len(), encoding.digits() * count.div_ceil(8));
            let mut back = vec![0; count];
            from_stream(encoding, &stream, &mut back);
            prop_assert_eq!(back, integers);
        }
    }
}
