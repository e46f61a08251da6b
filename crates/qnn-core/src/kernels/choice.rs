//! Which kernel multiplies small integers of two encodings: the one that takes the least time by a model of five
//! figures a machine has. All give the same sums.
//!
//! - popcount: a pass for each pair of binary digits;
//! - lookup: a pass for each digit of the bits and each table of the integers, and a share of a widening, as often as
//!   picked bytes are full;
//! - multiplication of 16-bit integers: the same for all;
//! - multiplication of bytes: the same for all that fit.

use serde::{Deserialize, Serialize};

use super::integer::eight_bits_of_bytes;
use super::lookup::lookup_tables;
use super::{BEST_BINARY, BEST_BYTE, BEST_INTEGER, BEST_LOOKUP};
use crate::bits::Encoding;

/// How much cheaper bytes must be to be chosen: weights are packed into tiles as they are updated, but into bytes anew.
const PACKING: f32 = 1.15;

/// A way to multiply small integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Packed bits, XOR and population count.
    Popcount,
    /// Tables of sums that bits pick from.
    Lookup,
    /// 16-bit integers, multiplied.
    Multiply,
    /// Bytes, multiplied.
    MultiplyBytes,
}

impl Method {
    /// All methods, in the order of preference where costs are equal.
    pub const ALL: [Method; 4] = [
        Method::Lookup,
        Method::Popcount,
        Method::MultiplyBytes,
        Method::Multiply,
    ];

    /// The name of its fastest twin on this machine.
    pub fn kernel(self) -> &'static str {
        match self {
            Method::Popcount => BEST_BINARY.name,
            Method::Lookup => BEST_LOOKUP.name,
            Method::Multiply => BEST_INTEGER.name,
            Method::MultiplyBytes => BEST_BYTE.name,
        }
    }
}

/// What a multiply-accumulate takes, in picoseconds of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// For each pair of binary digits.
    pub popcount: f32,
    /// For each pass.
    pub lookup: f32,
    /// In a pass whose picks are widened one by one, on top.
    pub widening: f32,
    pub multiply: f32,
    /// `None` where there is no kernel for bytes.
    pub bytes: Option<ByteCosts>,
}

/// What the multiplication of bytes takes on the machine that the costs are of, and which bytes it multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ByteCosts {
    pub multiply: f32,
    /// Whether the second operand may have all 8 bits, and not 7 alone.
    pub takes_eight_bits: bool,
}

impl Default for Costs {
    /// As measured on an x86-64 server core of 2021 with 256-bit registers; in proportion they hold for others.
    fn default() -> Costs {
        Costs {
            popcount: 5.0,
            lookup: 2.7,
            widening: 1.3,
            multiply: 16.0,
            bytes: eight_bits_of_bytes().map(|takes_eight_bits| ByteCosts {
                multiply: 11.0,
                takes_eight_bits,
            }),
        }
    }
}

impl ByteCosts {
    /// Whether integers of `a` and of `b` may be multiplied as bytes. Two products add up to 16 bits on their way, at the
    /// most 2 x 128 x 127 or 2 x 64 x 255.
    fn takes(&self, a: Encoding, b: Encoding) -> bool {
        match (a.digits(), b.digits()) {
            (..=8, ..=7) => true,
            (..=7, 8) => self.takes_eight_bits,
            _ => false,
        }
    }
}

/// How a kernel is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    pub costs: Costs,
    /// Taken whatever it costs.
    pub forced: Option<Method>,
}

impl Costs {
    /// What a method takes for a multiply-accumulate of integers of `a` by integers of `b`; `None` where it cannot.
    pub fn of(&self, method: Method, a: Encoding, b: Encoding) -> Option<f32> {
        let pairs = (a.digits() * b.digits()) as f32;
        match method {
            Method::Popcount => {
                (a.digits() <= 8 && b.digits() <= 8).then_some(pairs * self.popcount)
            }
            Method::Lookup => {
                let (tables, picks) = lookup_tables(a);
                let pass = tables as f32 * (self.lookup + self.widening / picks as f32);
                Some(b.digits() as f32 * pass)
            }
            Method::Multiply => Some(self.multiply),
            Method::MultiplyBytes => {
                let bytes = self.bytes.filter(|bytes| bytes.takes(a, b));
                bytes.map(|bytes| bytes.multiply)
            }
        }
    }
}

impl Choice {
    /// The method for `a`, whose rows stay, by `b`, whose bits are picked with.
    pub fn method(&self, a: Encoding, b: Encoding) -> Method {
        let cost = |method: &Method| {
            let cost = self.costs.of(*method, a, b)?;
            Some(match method {
                Method::MultiplyBytes => cost * PACKING,
                _ => cost,
            })
        };
        let possible = |method: &Method| cost(method).is_some();
        let methods = Method::ALL.into_iter().filter(possible);
        let cheapest = methods.min_by(|one, other| {
            cost(one)
                .unwrap_or(f32::MAX)
                .total_cmp(&cost(other).unwrap_or(f32::MAX))
        });
        self.forced
            .filter(possible)
            .or(cheapest)
            .unwrap_or(Method::Multiply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cheapest_kernel_is_chosen_unless_one_is_forced() {
        let costs = Costs {
            popcount: 1.0,
            lookup: 3.0,
            widening: 2.0,
            multiply: 16.0,
            bytes: Some(ByteCosts {
                multiply: 11.0,
                takes_eight_bits: true,
            }),
        };
        let mut choice = Choice {
            costs,
            forced: None,
        };
        let bits = Encoding::TwosComplement;
        assert_eq!(
            choice.method(Encoding::Sign, Encoding::Sign),
            Method::Popcount
        );
        // Six pairs against one pass, widened at every pick.
        assert_eq!(choice.method(bits(6), Encoding::Sign), Method::Lookup);
        // Eight bits of both sides are more than two products of bytes may add up to.
        assert_eq!(choice.method(bits(8), bits(8)), Method::Multiply);
        assert_eq!(choice.method(bits(8), bits(7)), Method::MultiplyBytes);
        // Hardly cheaper is not enough.
        let lookup = costs
            .of(Method::Lookup, Encoding::Unsigned8, Encoding::Sign)
            .unwrap();
        choice.costs.bytes = Some(ByteCosts {
            multiply: 0.95 * lookup,
            takes_eight_bits: true,
        });
        choice.costs.popcount = 10.0;
        assert_eq!(
            choice.method(Encoding::Unsigned8, Encoding::Sign),
            Method::Lookup
        );
        choice.costs = costs;
        assert_eq!(
            choice.method(bits(6), Encoding::Unsigned8),
            Method::MultiplyBytes
        );
        choice.costs.bytes = Some(ByteCosts {
            multiply: 11.0,
            takes_eight_bits: false,
        });
        assert_eq!(
            choice.method(bits(6), Encoding::Unsigned8),
            Method::Multiply
        );
        choice.costs.bytes = None;
        assert_eq!(choice.method(bits(8), bits(7)), Method::Multiply);
        choice.forced = Some(Method::Popcount);
        assert_eq!(choice.method(bits(8), bits(8)), Method::Popcount);
        // Nine digits are more than a bit matrix for each of them holds.
        assert_eq!(choice.method(bits(9), bits(8)), Method::Multiply);
    }
}
