// Stores integer sums as they are, [rows, columns].

@group(0) @binding(5) var<storage, read_write> out: array<i32>;

fn store(sums: array<array<i32, COLUMNS>, ROWS>, local: vec2<u32>, first: vec2<u32>, thread: u32) {
    for (var row = 0u; row < ROWS; row++) {
        for (var column = 0u; column < COLUMNS; column++) {
            let at = first + vec2<u32>(local.x + column * GROUP_COLUMNS, local.y + row * GROUP_ROWS);
            if at.x < shape.columns && at.y < shape.rows {
                out[at.y * shape.out_stride + shape.out_first + at.x] = sums[row][column];
            }
        }
    }
}
