// Packs whole numbers, [rows, columns], into bit planes, [digits, rows, words]: a thread a word of all planes.

const THREADS = 256u;
var<workgroup> codes: array<u32, THREADS>;

// A workgroup packs 256 columns of a row: neighbouring threads read neighbouring numbers, and share them.
@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = group.z * groups.y + group.y;
    let column = group.x * THREADS + thread;
    var mine = 0u;
    if row < shape.rows && column < shape.columns {
        mine = code(shape.encoding, levels[row * shape.stride + column]);
    }
    codes[thread] = mine;
    workgroupBarrier();
    let in_group = THREADS / 32u;
    for (var place = thread; place < in_group * shape.digits; place += THREADS) {
        let digit = place / in_group;
        let word = group.x * in_group + place % in_group;
        if row < shape.rows && word < shape.words {
            var bits = 0u;
            for (var bit = 0u; bit < 32u; bit++) {
                bits |= ((codes[(place % in_group) * 32u + bit] >> digit) & 1u) << bit;
            }
            planes[(digit * shape.rows + row) * shape.words + word] = bits;
        }
    }
}
