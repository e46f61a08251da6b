// Rounding to whole numbers and to powers of two, deterministic and stochastic, as `qnn_core::quant` does it.

// Sign(x) (paper eq. 1), or +1 with the probability of the hard sigmoid (paper eq. 2 and 3).
fn sign_of(x: f32, stochastic: bool, chance: f32) -> f32 {
    var positive = x >= 0.0;
    if stochastic {
        positive = chance < clamp((x + 1.0) / 2.0, 0.0, 1.0);
    }
    return select(-1.0, 1.0, positive);
}

// A whole number next to x: the nearer one (of equals the even one), or by chance such that the mean is x.
fn whole(x: f32, stochastic: bool, chance: f32) -> f32 {
    if stochastic {
        let below = floor(x);
        return select(below, below + 1.0, chance < x - below);
    }
    return round(x);
}

// AP2(x): the nearest power of two by ratio (paper section 3.2). The mantissa is compared with the root of two.
fn ap2(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    let magnitude = bits & 0x7fffffffu;
    if magnitude < 0x800000u || magnitude >= 0x7f800000u {
        return select(x, 0.0, magnitude < 0x800000u);
    }
    let rounded = min(magnitude + 0x4afb0du, 0x7f000000u) & 0x7f800000u;
    return bitcast<f32>(rounded | (bits & 0x80000000u));
}

// A power of two next to x > 0: AP2(x), or by chance such that the mean is x.
fn power_of_two(x: f32, stochastic: bool, chance: f32) -> f32 {
    if stochastic {
        let below = bitcast<f32>(bitcast<u32>(x) & 0x7f800000u);
        return select(below, 2.0 * below, chance * below < x - below);
    }
    return ap2(x);
}

fn with_sign_of(magnitude: f32, x: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(magnitude) | (bitcast<u32>(x) & 0x80000000u));
}
