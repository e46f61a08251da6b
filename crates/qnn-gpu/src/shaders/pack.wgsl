// What both ways of packing take and give.

struct Shape {
    rows: u32,
    columns: u32,
    // Of 32 bits each, in a row of a plane.
    words: u32,
    digits: u32,
    encoding: u32,
    // How far rows of levels lie apart.
    stride: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> levels: array<f32>;
@group(0) @binding(2) var<storage, read_write> planes: array<u32>;
