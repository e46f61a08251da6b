// Batch normalization of the test phase, one affine map a unit, in the place of the sums, [rows, units]. A thread a sum.

struct Shape {
    count: u32,
    units: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> affine: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read_write> outputs: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = id.y * groups.x * 256u + id.x;
    if index < shape.count {
        let map = affine[index % shape.units];
        outputs[index] = map.x * outputs[index] + map.y;
    }
}
