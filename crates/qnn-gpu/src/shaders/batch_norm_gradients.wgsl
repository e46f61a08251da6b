// The gradients to gamma and beta of each unit, from the gradient to the outputs, [batch, units]. In hidden layers that is one to
// their quantized values, which passes dropout and the straight-through estimator first (paper eq. 4). A thread a unit.

struct Shape {
    batch: u32,
    units: u32,
    // Of the outputs, the share that was left out, and what the others were multiplied with.
    dropped: f32,
    scale: f32,
    // The place to name where a gradient is not finite.
    failure: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(3) var<storage, read> outputs: array<f32>;
@group(0) @binding(4) var<storage, read> normalized: array<f32>;
@group(0) @binding(5) var<storage, read> drop_chances: array<f32>;
@group(0) @binding(6) var<storage, read_write> gradient: array<f32>;
@group(0) @binding(7) var<storage, read_write> to_gamma: array<f32>;
@group(0) @binding(8) var<storage, read_write> to_beta: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let unit = id.x;
    if unit >= shape.units {
        return;
    }
    var gamma_sum = 0.0;
    var beta_sum = 0.0;
    for (var row = 0u; row < shape.batch; row++) {
        let index = row * shape.units + unit;
        var g = gradient[index];
        if IS_HIDDEN {
            if HAS_DROPOUT {
                g = select(g * shape.scale, 0.0, drop_chances[index] < shape.dropped);
            }
            g = select(0.0, g, abs(outputs[index]) <= 1.0);
            gradient[index] = g;
        }
        beta_sum += g;
        gamma_sum += g * normalized[index];
    }
    to_gamma[unit] = gamma_sum;
    to_beta[unit] = beta_sum;
    if !is_finite(gamma_sum) || !is_finite(beta_sum) {
        fail(shape.failure);
    }
}
