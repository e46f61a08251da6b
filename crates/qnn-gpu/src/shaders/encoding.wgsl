// How binary digits make an integer. Encodings: 0 sign, 1 two's complement, 2 unsigned.

// What a digit counts.
fn coefficient(encoding: u32, digits: u32, digit: u32) -> i32 {
    if encoding == 0u {
        return 2;
    }
    let weight = i32(1u << digit);
    return select(weight, -weight, encoding == 1u && digit + 1u == digits);
}

// The integer whose digits are all zero.
fn offset(encoding: u32) -> i32 {
    return select(0, -1, encoding == 0u);
}

// The binary digits of a whole number.
fn code(encoding: u32, level: f32) -> u32 {
    let integer = i32(level);
    return select(u32(integer), u32(integer > 0), encoding == 0u);
}
