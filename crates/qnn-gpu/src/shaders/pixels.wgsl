// 8-bit pixels, four a word, to whole numbers; and dropout. A thread a pixel.

struct Pixels {
    count: u32,
    // The share that is left out.
    dropped: f32,
}

@group(0) @binding(0) var<uniform> pixels: Pixels;
@group(0) @binding(1) var<storage, read> bytes: array<u32>;
@group(0) @binding(2) var<storage, read> drop_chances: array<f32>;
@group(0) @binding(3) var<storage, read_write> levels: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = id.y * groups.x * 256u + id.x;
    if index >= pixels.count {
        return;
    }
    var out = f32((bytes[index / 4u] >> (8u * (index % 4u))) & 255u);
    if HAS_DROPOUT {
        out = select(out, 0.0, drop_chances[index] < pixels.dropped);
    }
    levels[index] = out;
}
