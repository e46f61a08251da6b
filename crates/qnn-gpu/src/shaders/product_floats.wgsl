// What both products of floats take and give.

struct Shape {
    rows: u32,
    columns: u32,
    terms: u32,
    // Row and column of the first sum.
    first: vec2<u32>,
    // How far rows and terms lie apart.
    a_strides: vec2<u32>,
    b_strides: vec2<u32>,
    // Where the sums go: how far rows lie apart, the first column, and whether they are added to what is there.
    out_stride: u32,
    out_first: u32,
    adds: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
// What the numbers of a row are worth.
@group(0) @binding(3) var<storage, read> a_units: array<f32>;
@group(0) @binding(4) var<storage, read> b_units: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;

fn store(sum: f32, at: vec2<u32>) {
    let place = at.y * shape.out_stride + shape.out_first + at.x;
    let number = sum * (a_units[at.y] * b_units[at.x]);
    if shape.adds != 0u {
        out[place] += number;
    } else {
        out[place] = number;
    }
}
