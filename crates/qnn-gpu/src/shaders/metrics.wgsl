// The loss of the batch and the right answers in it: one workgroup.

struct Shape {
    batch: u32,
    // The place to name where the loss is not finite.
    failure: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(3) var<storage, read> outcomes: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read_write> metrics: array<vec2<f32>>;

const THREADS = 64u;
var<workgroup> parts: array<vec2<f32>, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(local_invocation_index) thread: u32) {
    var sum = vec2<f32>();
    for (var image = thread; image < shape.batch; image += THREADS) {
        sum += outcomes[image];
    }
    parts[thread] = sum;
    workgroupBarrier();
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        if thread < half {
            parts[thread] += parts[thread + half];
        }
        workgroupBarrier();
    }
    if thread == 0u {
        if !is_finite(parts[0].x) {
            fail(shape.failure);
        }
        metrics[step.slot] = parts[0];
    }
}
