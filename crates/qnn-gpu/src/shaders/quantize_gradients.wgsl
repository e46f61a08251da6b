// Gradients, [rows, columns], to levels, as `qnn_core::quant::GradientQuantizer` does it: whole multiples of a unit that fits the
// largest of the row; where they are not IN_UNITS, what those are worth. A workgroup a row.

struct Shape {
    rows: u32,
    columns: u32,
    // How many units the largest level is.
    largest: f32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read> chances: array<f32>;
@group(0) @binding(3) var<storage, read_write> levels: array<f32>;
@group(0) @binding(4) var<storage, read_write> units: array<f32>;

const THREADS = 128u;
var<workgroup> parts: array<f32, THREADS>;

// The level of g in a row whose largest magnitude is `largest`.
fn level(g: f32, largest: f32, unit: f32, chance: f32) -> f32 {
    if unit == 0.0 {
        return 0.0;
    }
    var in_units = clamp(g / unit, -shape.largest, shape.largest);
    if IS_LOGARITHMIC {
        // The unit may be larger than it should be, where that were below float32's smallest normal number.
        let most = ap2(largest) / unit;
        in_units = clamp(in_units, -most, most);
    }
    if !IS_LOGARITHMIC || abs(in_units) < 1.0 {
        return whole(in_units, IS_STOCHASTIC, chance);
    }
    return with_sign_of(power_of_two(abs(in_units), IS_STOCHASTIC, chance), g);
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = group.y * groups.x + group.x;
    // The same for the whole workgroup, but compilers cannot know.
    let first = min(row, shape.rows - 1u) * shape.columns;
    var largest = 0.0;
    for (var column = thread; column < shape.columns; column += THREADS) {
        largest = max(largest, abs(gradient[first + column]));
    }
    parts[thread] = largest;
    workgroupBarrier();
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        if thread < half {
            parts[thread] = max(parts[thread], parts[thread + half]);
        }
        workgroupBarrier();
    }
    if row >= shape.rows {
        return;
    }
    largest = parts[0];
    var unit = 0.0;
    if largest != 0.0 && IS_LOGARITHMIC {
        unit = max(ap2(largest) / shape.largest, 1.1754944e-38);
    } else if largest != 0.0 {
        unit = largest / shape.largest;
    }
    for (var column = thread; column < shape.columns; column += THREADS) {
        let index = first + column;
        var chance = 0.0;
        if IS_STOCHASTIC {
            chance = chances[index];
        }
        if BITS == 32u {
            levels[index] = gradient[index];
        } else if IN_UNITS {
            levels[index] = level(gradient[index], largest, unit, chance);
        } else {
            levels[index] = level(gradient[index], largest, unit, chance) * unit;
        }
    }
    if thread == 0u {
        units[row] = select(1.0, unit, IN_UNITS);
    }
}
