// Moves a parameter along its gradient, as `qnn_core::optim` does it, but none of its numbers beyond a limit on either side of
// zero. Nothing moves in a step that has failed. A thread a number.

struct Parameter {
    count: u32,
    // Of the layer's learning rate.
    scale: f32,
    limit: f32,
    betas: vec2<f32>,
    // The place to name where a gradient is not finite.
    failure: u32,
}

@group(0) @binding(0) var<uniform> parameter: Parameter;
@group(0) @binding(3) var<storage, read> gradient: array<f32>;
@group(0) @binding(4) var<storage, read_write> values: array<f32>;
@group(0) @binding(5) var<storage, read_write> momentum: array<f32>;
@group(0) @binding(6) var<storage, read_write> variance: array<f32>;

const EPSILON = 1e-8;
const SETTLED = 1e-18;

fn settled(x: f32, least: f32) -> f32 {
    return select(x, 0.0, abs(x) < least);
}

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = id.y * groups.x * 256u + id.x;
    if index >= parameter.count || has_failed() {
        return;
    }
    let g = gradient[index];
    if !is_finite(g * g) {
        fail(parameter.failure);
        return;
    }
    let rate = parameter.scale * step.rate;
    let beta_1 = parameter.betas.x;
    let beta_2 = parameter.betas.y;
    var moved: f32;
    if OPTIMIZER == SGD {
        let velocity = settled(beta_1 * momentum[index] - rate * g, SETTLED);
        momentum[index] = velocity;
        moved = values[index] + velocity;
    } else {
        let mean = settled(beta_1 * momentum[index] + (1.0 - beta_1) * g, SETTLED);
        momentum[index] = mean;
        var size: f32;
        if OPTIMIZER == ADAM {
            size = settled(beta_2 * variance[index] + (1.0 - beta_2) * (g * g), SETTLED * SETTLED);
        } else {
            size = settled(max(beta_2 * variance[index], abs(g)), SETTLED);
        }
        variance[index] = size;
        if OPTIMIZER == ADAM {
            moved = values[index] - rate * mean / (sqrt(size) + EPSILON);
        } else if OPTIMIZER == ADAMAX {
            moved = values[index] - rate * mean / (size + EPSILON);
        } else {
            moved = values[index] - mean * (ap2(rate) * ap2(1.0 / (size + EPSILON)));
        }
    }
    values[index] = clamp(moved, -parameter.limit, parameter.limit);
}
