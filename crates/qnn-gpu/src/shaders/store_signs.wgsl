// Stores the signs that batch normalization and binarization make of integer sums, packed for the layer above: batch
// normalization is monotone, so one comparison with a whole number says the sign. [rows, words of 32 columns].

// Of each column, the least sum with the sign of the other number.
@group(0) @binding(5) var<storage, read> thresholds: array<vec2<i32>>;
@group(0) @binding(6) var<storage, read_write> out: array<u32>;

const TILE_WORDS = TILE_COLUMNS / 32u;
var<workgroup> signs: array<atomic<u32>, TILE_ROWS * TILE_WORDS>;

fn store(sums: array<array<i32, COLUMNS>, ROWS>, local: vec2<u32>, first: vec2<u32>, thread: u32) {
    for (var row = 0u; row < ROWS; row++) {
        for (var column = 0u; column < COLUMNS; column++) {
            let at = vec2<u32>(local.x + column * GROUP_COLUMNS, local.y + row * GROUP_ROWS);
            if first.x + at.x < shape.columns {
                let threshold = thresholds[first.x + at.x];
                if (sums[row][column] >= threshold.x) == (threshold.y > 0) {
                    atomicOr(&signs[at.y * TILE_WORDS + at.x / 32u], 1u << (at.x % 32u));
                }
            }
        }
    }
    workgroupBarrier();
    // Rows are padded to whole 128 bits, as ours are that are multiplied.
    let out_words = (shape.out_stride + 127u) / 128u * 4u;
    for (var place = thread; place < TILE_ROWS * TILE_WORDS; place += THREADS) {
        let row = first.y + place / TILE_WORDS;
        let word = (shape.out_first + first.x) / 32u + place % TILE_WORDS;
        if row < shape.rows && word < out_words {
            out[row * out_words + word] = atomicLoad(&signs[place]);
        }
    }
}
