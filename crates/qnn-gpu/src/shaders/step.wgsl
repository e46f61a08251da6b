// What a training step is given.

struct Step {
    // ChaCha's key, and the number of the step.
    key: array<vec4<u32>, 2>,
    step: u32,
    // The learning rate of a layer whose own factor is 1.
    rate: f32,
    // Where the metrics go.
    slot: u32,
}

// Whether x is a number: what is not has all bits of the exponent set. Compared as bits, for compilers may take it that
// floats are finite.
fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}
