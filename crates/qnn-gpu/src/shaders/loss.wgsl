// The loss of each image's logits, [batch, CLASSES], and its gradient. A thread an image.

struct Shape {
    batch: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> gradient: array<f32>;
// Of each image its loss, and 1 where the answer is right.
@group(0) @binding(4) var<storage, read_write> outcomes: array<vec2<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let image = id.x;
    if image >= shape.batch {
        return;
    }
    let first = image * CLASSES;
    let label = labels[image];
    var best = 0u;
    for (var number = 1u; number < CLASSES; number++) {
        if logits[first + number] > logits[first + best] {
            best = number;
        }
    }
    var loss = 0.0;
    if IS_SQUARED_HINGE {
        let mean = 1.0 / f32(shape.batch * CLASSES);
        for (var number = 0u; number < CLASSES; number++) {
            let aim = select(-1.0, 1.0, number == label);
            let logit = logits[first + number];
            let margin = max(1.0 - aim * logit, 0.0);
            loss += margin * margin * mean;
            gradient[first + number] = -2.0 * aim * margin * mean;
        }
    } else {
        let mean = 1.0 / f32(shape.batch);
        let largest = logits[first + best];
        var sum = 0.0;
        for (var number = 0u; number < CLASSES; number++) {
            sum += exp(logits[first + number] - largest);
        }
        for (var number = 0u; number < CLASSES; number++) {
            let share = exp(logits[first + number] - largest) / sum;
            let aim = select(0.0, 1.0, number == label);
            gradient[first + number] = (share - aim) * mean;
            if number == label {
                loss -= log(max(share, 1.1754944e-38)) * mean;
            }
        }
    }
    outcomes[image] = vec2<f32>(loss, select(0.0, 1.0, best == label));
}
