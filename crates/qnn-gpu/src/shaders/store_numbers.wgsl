// Stores integer sums as the numbers that they are worth, [rows, columns].

@group(0) @binding(5) var<storage, read> a_units: array<f32>;
@group(0) @binding(6) var<storage, read> b_units: array<f32>;
@group(0) @binding(7) var<storage, read_write> out: array<f32>;

fn store(sums: array<array<i32, COLUMNS>, ROWS>, local: vec2<u32>, first: vec2<u32>, thread: u32) {
    for (var row = 0u; row < ROWS; row++) {
        for (var column = 0u; column < COLUMNS; column++) {
            let at = first + vec2<u32>(local.x + column * GROUP_COLUMNS, local.y + row * GROUP_ROWS);
            if at.x < shape.columns && at.y < shape.rows {
                let place = at.y * shape.out_stride + shape.out_first + at.x;
                let number = f32(sums[row][column]) * (a_units[at.y] * b_units[at.x]);
                if shape.adds != 0u {
                    out[place] += number;
                } else {
                    out[place] = number;
                }
            }
        }
    }
}
