// The product of small integers in bit planes: a [rows, terms] times the rows of b [columns, terms], pair of planes by pair
// of planes with AND (or XOR, for two planes of signs) and a count of ones. What becomes of the sums is in store_*.wgsl.
//
// A workgroup computes a tile of GROUP_ROWS * ROWS by GROUP_COLUMNS * COLUMNS sums, each of its threads ROWS by COLUMNS
// of them: it reads DEPTH times 128 bits of each row into its memory, where every word serves a whole row of sums.

struct Shape {
    rows: u32,
    columns: u32,
    terms: u32,
    // Of 128 bits each, in a row of a plane.
    words: u32,
    // Row and column of the first sum.
    first: vec2<u32>,
    // Where the sums go: how far rows lie apart, the first column, and whether they are added to what is there.
    out_stride: u32,
    out_first: u32,
    adds: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
// [digits, rows, words] and [digits, columns, words].
@group(0) @binding(1) var<storage, read> a: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<u32>>;
// Sums of the integers of each row, their offsets not counted.
@group(0) @binding(3) var<storage, read> a_sums: array<i32>;
@group(0) @binding(4) var<storage, read> b_sums: array<i32>;

const THREADS = GROUP_ROWS * GROUP_COLUMNS;
const TILE_ROWS = GROUP_ROWS * ROWS;
const TILE_COLUMNS = GROUP_COLUMNS * COLUMNS;

var<workgroup> a_tile: array<array<vec4<u32>, TILE_ROWS>, DEPTH>;
var<workgroup> b_tile: array<array<vec4<u32>, TILE_COLUMNS>, DEPTH>;

fn both(x: vec4<u32>, y: vec4<u32>) -> vec4<u32> {
    if IS_SIGNS {
        return x ^ y;
    }
    return x & y;
}

@compute @workgroup_size(GROUP_COLUMNS, GROUP_ROWS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let first_row = shape.first.x + group.y * TILE_ROWS;
    let first_column = shape.first.y + group.x * TILE_COLUMNS;
    var sums = array<array<i32, COLUMNS>, ROWS>();
    for (var a_digit = 0u; a_digit < A_DIGITS; a_digit++) {
        for (var b_digit = 0u; b_digit < B_DIGITS; b_digit++) {
            // With an initializer: without one, Chromium's SwiftShader does not begin anew in each turn of the loop.
            var ones = array<array<u32, COLUMNS>, ROWS>();
            // Carry-save: single and twofold ones that wait to be counted.
            var single = array<array<u32, COLUMNS>, ROWS>();
            var twofold = array<array<u32, COLUMNS>, ROWS>();
            for (var start = 0u; start < shape.words; start += DEPTH) {
                for (var place = thread; place < TILE_ROWS * DEPTH; place += THREADS) {
                    let row = first_row + place / DEPTH;
                    let word = start + place % DEPTH;
                    var bits = vec4<u32>();
                    if row < shape.rows && word < shape.words {
                        bits = a[(a_digit * shape.rows + row) * shape.words + word];
                    }
                    a_tile[place % DEPTH][place / DEPTH] = bits;
                }
                for (var place = thread; place < TILE_COLUMNS * DEPTH; place += THREADS) {
                    let column = first_column + place / DEPTH;
                    let word = start + place % DEPTH;
                    var bits = vec4<u32>();
                    if column < shape.columns && word < shape.words {
                        bits = b[(b_digit * shape.columns + column) * shape.words + word];
                    }
                    b_tile[place % DEPTH][place / DEPTH] = bits;
                }
                workgroupBarrier();
                for (var word = 0u; word < DEPTH; word++) {
                    var b_words: array<vec4<u32>, COLUMNS>;
                    for (var column = 0u; column < COLUMNS; column++) {
                        b_words[column] = b_tile[word][local.x + column * GROUP_COLUMNS];
                    }
                    for (var row = 0u; row < ROWS; row++) {
                        let a_word = a_tile[word][local.y + row * GROUP_ROWS];
                        for (var column = 0u; column < COLUMNS; column++) {
                            let bits = both(a_word, b_words[column]);
                            if CARRY_SAVE {
                                // Full adders: three bits of one worth make one of it and one of twice as much.
                                let s = single[row][column];
                                let first = s ^ bits.x;
                                let single_1 = first ^ bits.y;
                                let carry_1 = (s & bits.x) | (first & bits.y);
                                let second = single_1 ^ bits.z;
                                single[row][column] = second ^ bits.w;
                                let carry_2 = (single_1 & bits.z) | (second & bits.w);
                                let t = twofold[row][column];
                                let third = t ^ carry_1;
                                twofold[row][column] = third ^ carry_2;
                                ones[row][column] += countOneBits((t & carry_1) | (third & carry_2));
                            } else {
                                let counts = countOneBits(bits);
                                ones[row][column] += counts.x + counts.y + counts.z + counts.w;
                            }
                        }
                    }
                }
                workgroupBarrier();
            }
            let factor = coefficient(A_ENCODING, A_DIGITS, a_digit) * coefficient(B_ENCODING, B_DIGITS, b_digit);
            for (var row = 0u; row < ROWS; row++) {
                for (var column = 0u; column < COLUMNS; column++) {
                    var count = ones[row][column];
                    if CARRY_SAVE {
                        count = 4u * count + 2u * countOneBits(twofold[row][column]) + countOneBits(single[row][column]);
                    }
                    sums[row][column] += factor * i32(count);
                }
            }
        }
    }
    let a_offset = offset(A_ENCODING);
    let b_offset = offset(B_ENCODING);
    for (var row = 0u; row < ROWS; row++) {
        for (var column = 0u; column < COLUMNS; column++) {
            let at_row = min(first_row + local.y + row * GROUP_ROWS, shape.rows - 1u);
            let at_column = min(first_column + local.x + column * GROUP_COLUMNS, shape.columns - 1u);
            if IS_SIGNS {
                // Every difference counts -1 where an agreement counts +1; `sums` holds four times the differences.
                sums[row][column] = i32(shape.terms) - sums[row][column] / 2;
            } else {
                sums[row][column] += i32(shape.terms) * a_offset * b_offset + a_offset * b_sums[at_column] + b_offset * a_sums[at_row];
            }
        }
    }
    store(sums, local.xy, vec2<u32>(first_column, first_row), thread);
}
