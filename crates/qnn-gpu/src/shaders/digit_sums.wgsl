// The sum of the integers of each row of bit planes, their offsets not counted: a workgroup a row.

struct Shape {
    rows: u32,
    // Of 32 bits each, in a row of a plane.
    words: u32,
    digits: u32,
    encoding: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> planes: array<u32>;
@group(0) @binding(2) var<storage, read_write> sums: array<i32>;

const THREADS = 64u;
var<workgroup> parts: array<i32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = group.y * groups.x + group.x;
    var sum = 0;
    if row < shape.rows {
        for (var digit = 0u; digit < shape.digits; digit++) {
            var ones = 0;
            for (var word = thread; word < shape.words; word += THREADS) {
                ones += i32(countOneBits(planes[(digit * shape.rows + row) * shape.words + word]));
            }
            sum += coefficient(shape.encoding, shape.digits, digit) * ones;
        }
    }
    parts[thread] = sum;
    workgroupBarrier();
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        if thread < half {
            parts[thread] += parts[thread + half];
        }
        workgroupBarrier();
    }
    if thread == 0u && row < shape.rows {
        sums[row] = parts[0];
    }
}
