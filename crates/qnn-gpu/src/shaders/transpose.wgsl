// [rows, columns] to [columns, rows], in squares of 16 that a workgroup keeps in its memory.

struct Shape {
    rows: u32,
    columns: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> numbers: array<f32>;
@group(0) @binding(2) var<storage, read_write> transposed: array<f32>;

// A row more than the square has, so that its columns lie in different banks of the memory.
var<workgroup> square: array<array<f32, 17>, 16>;

@compute @workgroup_size(16, 16)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let at = group.xy * 16u + local.xy;
    if at.x < shape.columns && at.y < shape.rows {
        square[local.y][local.x] = numbers[at.y * shape.columns + at.x];
    }
    workgroupBarrier();
    let turned = group.yx * 16u + local.xy;
    if turned.x < shape.rows && turned.y < shape.columns {
        transposed[turned.y * shape.rows + turned.x] = square[local.x][local.y];
    }
}
