// The product of floats at its best, the contender of the bits: a [rows, terms] times the rows of b [columns, terms].
//
// A workgroup computes a tile of GROUP_ROWS * 4 ROWS by GROUP_COLUMNS * 4 COLUMNS sums, each of its threads ROWS by COLUMNS
// fours of rows and columns, from DEPTH terms at a time that it keeps in its memory.

const THREADS = GROUP_ROWS * GROUP_COLUMNS;
const TILE_ROWS = GROUP_ROWS * ROWS;
const TILE_COLUMNS = GROUP_COLUMNS * COLUMNS;

// Of each term four neighbouring rows together.
var<workgroup> a_tile: array<array<vec4<f32>, TILE_ROWS>, DEPTH>;
var<workgroup> b_tile: array<array<vec4<f32>, TILE_COLUMNS>, DEPTH>;

// Which four rows and which term the `place`-th read is of: neighbouring threads read neighbouring numbers.
fn place_of(place: u32, fours: u32, strides: vec2<u32>) -> vec2<u32> {
    if strides.y == 1u {
        return vec2<u32>(place / DEPTH, place % DEPTH);
    }
    return vec2<u32>(place % fours, place / fours);
}

fn a_number(row: u32, term: u32) -> f32 {
    if row < shape.rows && term < shape.terms {
        return a[row * shape.a_strides.x + term * shape.a_strides.y];
    }
    return 0.0;
}

fn b_number(column: u32, term: u32) -> f32 {
    if column < shape.columns && term < shape.terms {
        return b[column * shape.b_strides.x + term * shape.b_strides.y];
    }
    return 0.0;
}

@compute @workgroup_size(GROUP_COLUMNS, GROUP_ROWS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let first_row = shape.first.x + group.y * TILE_ROWS * 4u;
    let first_column = shape.first.y + group.x * TILE_COLUMNS * 4u;
    // Four columns a vector, of four rows each.
    var sums = array<array<mat4x4<f32>, COLUMNS>, ROWS>();
    for (var start = 0u; start < shape.terms; start += DEPTH) {
        for (var place = thread; place < TILE_ROWS * DEPTH; place += THREADS) {
            let at = place_of(place, TILE_ROWS, shape.a_strides);
            let row = first_row + 4u * at.x;
            let term = start + at.y;
            a_tile[at.y][at.x] = vec4<f32>(a_number(row, term), a_number(row + 1u, term), a_number(row + 2u, term), a_number(row + 3u, term));
        }
        for (var place = thread; place < TILE_COLUMNS * DEPTH; place += THREADS) {
            let at = place_of(place, TILE_COLUMNS, shape.b_strides);
            let column = first_column + 4u * at.x;
            let term = start + at.y;
            b_tile[at.y][at.x] = vec4<f32>(b_number(column, term), b_number(column + 1u, term), b_number(column + 2u, term), b_number(column + 3u, term));
        }
        workgroupBarrier();
        for (var term = 0u; term < DEPTH; term++) {
            var b_fours: array<vec4<f32>, COLUMNS>;
            for (var column = 0u; column < COLUMNS; column++) {
                b_fours[column] = b_tile[term][local.x + column * GROUP_COLUMNS];
            }
            for (var row = 0u; row < ROWS; row++) {
                let a_four = a_tile[term][local.y + row * GROUP_ROWS];
                for (var column = 0u; column < COLUMNS; column++) {
                    sums[row][column][0] += a_four.x * b_fours[column];
                    sums[row][column][1] += a_four.y * b_fours[column];
                    sums[row][column][2] += a_four.z * b_fours[column];
                    sums[row][column][3] += a_four.w * b_fours[column];
                }
            }
        }
        workgroupBarrier();
    }
    for (var row = 0u; row < ROWS; row++) {
        for (var column = 0u; column < COLUMNS; column++) {
            for (var i = 0u; i < 4u; i++) {
                for (var j = 0u; j < 4u; j++) {
                    let at = vec2<u32>(
                        first_column + 4u * (local.x + column * GROUP_COLUMNS) + j,
                        first_row + 4u * (local.y + row * GROUP_ROWS) + i,
                    );
                    if at.x < shape.columns && at.y < shape.rows {
                        store(sums[row][column][i][j], at);
                    }
                }
            }
        }
    }
}
