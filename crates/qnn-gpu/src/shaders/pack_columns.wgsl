// Packs whole numbers, [rows, columns], into the bit planes of their transpose, [digits, columns, words of rows]: a thread a
// word of all planes; neighbouring threads read neighbouring numbers.

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let column = id.x;
    let word = id.y;
    if column >= shape.columns {
        return;
    }
    var bits = array<u32, 8>();
    for (var bit = 0u; bit < 32u; bit++) {
        let row = word * 32u + bit;
        if row < shape.rows {
            let mine = code(shape.encoding, levels[row * shape.stride + column]);
            for (var digit = 0u; digit < 8u; digit++) {
                bits[digit] |= ((mine >> digit) & 1u) << bit;
            }
        }
    }
    for (var digit = 0u; digit < shape.digits; digit++) {
        planes[(digit * shape.columns + column) * shape.words + word] = bits[digit];
    }
}
