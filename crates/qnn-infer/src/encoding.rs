//! `Encoding`: which integer some binary digits make. What the integers are worth is said elsewhere.

/// How binary digits b_0, b_1 ... make an integer: offset + sum of coefficient_i b_i.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// One digit: 2 b - 1, so -1 or +1.
    Sign,
    /// Two's complement of 2 to 9 digits, of which up to 8 can be packed: the highest counts -2^(k-1).
    TwosComplement(u8),
    /// Unsigned, 8 digits: pixels.
    Unsigned8,
}

impl Encoding {
    /// Number of binary digits.
    pub fn digits(self) -> usize {
        match self {
            Encoding::Sign => 1,
            Encoding::TwosComplement(digits) => digits as usize,
            Encoding::Unsigned8 => 8,
        }
    }

    /// What digit `digit` counts.
    pub fn coefficient(self, digit: usize) -> i32 {
        match self {
            Encoding::Sign => 2,
            Encoding::TwosComplement(digits) if digit + 1 == digits as usize => -(1 << digit),
            _ => 1 << digit,
        }
    }

    /// The integer whose digits are all zero.
    pub fn offset(self) -> i32 {
        match self {
            Encoding::Sign => -1,
            _ => 0,
        }
    }

    /// Whether `integer` is one of those that the digits can make.
    pub fn holds(self, integer: i16) -> bool {
        match self {
            Encoding::Sign => integer.abs() == 1,
            Encoding::TwosComplement(digits) => integer >> (digits - 1) == integer >> 15,
            Encoding::Unsigned8 => (0..=255).contains(&integer),
        }
    }

    /// An encoding of the same integers and zero.
    pub fn with_zero(self) -> Encoding {
        match self {
            Encoding::Sign => Encoding::TwosComplement(2),
            encoding => encoding,
        }
    }

    /// The smallest and the largest integer.
    pub fn range(self) -> (i16, i16) {
        match self {
            Encoding::Sign => (-1, 1),
            Encoding::TwosComplement(digits) => (-(1 << (digits - 1)), (1 << (digits - 1)) - 1),
            Encoding::Unsigned8 => (0, 255),
        }
    }

    /// Digit `digit`, 0 or 1, of an integer that the encoding holds.
    #[inline(always)]
    pub fn digit(self, integer: i16, digit: usize) -> u8 {
        match self {
            Encoding::Sign => (integer >> 1 & 1 ^ 1) as u8,
            _ => (integer >> digit & 1) as u8,
        }
    }

    /// The binary digits of an integer that the encoding holds, of up to 8 digits.
    #[inline]
    pub fn code(self, integer: i16) -> u8 {
        match self {
            Encoding::Sign => u8::from(integer > 0),
            _ => integer as u8,
        }
    }

    /// The integer with these binary digits, of up to 8 digits.
    pub fn decode(self, code: u8) -> i32 {
        (0..self.digits()).fold(self.offset(), |sum, digit| {
            sum + self.coefficient(digit) * i32::from(code >> digit & 1)
        })
    }
}
