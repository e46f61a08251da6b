// The mean and variance of each unit's sums over the batch, [batch, units]; they join the running ones. A thread a unit, so
// that the numbers are added up in the order in which the processor adds them.

struct Shape {
    batch: u32,
    units: u32,
    // Of the newest batch in the running statistics.
    share: f32,
    // The place to name where a sum is not finite.
    failure: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(3) var<storage, read> sums: array<f32>;
// Mean and 1 / deviation.
@group(0) @binding(4) var<storage, read_write> statistics: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read_write> running_mean: array<f32>;
@group(0) @binding(6) var<storage, read_write> running_variance: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let unit = id.x;
    if unit >= shape.units {
        return;
    }
    var mean = 0.0;
    for (var row = 0u; row < shape.batch; row++) {
        mean += sums[row * shape.units + unit];
    }
    mean /= f32(shape.batch);
    var variance = 0.0;
    for (var row = 0u; row < shape.batch; row++) {
        let centred = sums[row * shape.units + unit] - mean;
        variance += centred * factor(centred);
    }
    variance /= f32(shape.batch);
    if !is_finite(variance) {
        fail(shape.failure);
        return;
    }
    statistics[unit] = vec2<f32>(mean, factor(1.0 / sqrt(variance + EPSILON)));
    if !has_failed() {
        running_mean[unit] += shape.share * (mean - running_mean[unit]);
        running_variance[unit] += shape.share * (variance - running_variance[unit]);
    }
}
