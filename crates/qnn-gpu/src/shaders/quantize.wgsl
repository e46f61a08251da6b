// Weights or activations to their levels, as `qnn_core::quant::Quantizer` does it, over their step where IN_STEPS, so that
// they are whole numbers; and dropout. A thread a number.

struct Numbers {
    count: u32,
    // The distance of the levels, and the share of the numbers that is left out.
    step: f32,
    dropped: f32,
    // What the other ones are multiplied with, where they are not whole.
    scale: f32,
}

@group(0) @binding(0) var<uniform> numbers: Numbers;
@group(0) @binding(1) var<storage, read> values: array<f32>;
@group(0) @binding(2) var<storage, read> chances: array<f32>;
@group(0) @binding(3) var<storage, read> drop_chances: array<f32>;
@group(0) @binding(4) var<storage, read_write> levels: array<f32>;

fn level(x: f32, chance: f32) -> f32 {
    let step = numbers.step;
    if BITS == 32u {
        return clamp(x, -1.0, 1.0);
    }
    if BITS == 1u {
        return sign_of(x, IS_STOCHASTIC, chance);
    }
    if IS_LOGARITHMIC {
        if abs(x) < step {
            return sign_of(x / step, IS_STOCHASTIC, chance) * step;
        }
        return with_sign_of(power_of_two(min(abs(x), 1.0), IS_STOCHASTIC, chance), x);
    }
    let steps = 1.0 / step;
    return whole(clamp(x * steps, -steps, steps - 1.0), IS_STOCHASTIC, chance) * step;
}

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = id.y * groups.x * 256u + id.x;
    if index >= numbers.count {
        return;
    }
    var chance = 0.0;
    if IS_STOCHASTIC {
        chance = chances[index];
    }
    var out = level(values[index], chance);
    if IN_STEPS {
        out = round(out * (1.0 / numbers.step));
    } else {
        out *= numbers.scale;
    }
    if HAS_DROPOUT {
        out = select(out, 0.0, drop_chances[index] < numbers.dropped);
    }
    levels[index] = out;
}
