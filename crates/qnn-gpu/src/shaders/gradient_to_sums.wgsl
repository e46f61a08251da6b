// The gradient to the sums that batch normalization took in, [batch, units], in the place of that to its outputs. A thread a
// number.

struct Shape {
    batch: u32,
    units: u32,
    // The place to name where a gradient is not finite.
    failure: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(3) var<storage, read> normalized: array<f32>;
@group(0) @binding(4) var<storage, read> statistics: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read> gamma: array<f32>;
@group(0) @binding(6) var<storage, read> to_gamma: array<f32>;
@group(0) @binding(7) var<storage, read> to_beta: array<f32>;
@group(0) @binding(8) var<storage, read_write> gradient: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = id.y * groups.x * 256u + id.x;
    if index >= shape.batch * shape.units {
        return;
    }
    let unit = index % shape.units;
    let batch = f32(shape.batch);
    let scale = factor(gamma[unit]) * statistics[unit].y / batch;
    let g = scale * (batch * gradient[index] - to_beta[unit] - normalized[index] * to_gamma[unit]);
    gradient[index] = g;
    if !is_finite(g) {
        fail(shape.failure);
    }
}
