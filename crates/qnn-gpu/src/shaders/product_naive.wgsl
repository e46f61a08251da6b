// The product of floats that is not optimized: a thread a sum, nothing shared. (The authors' own baseline keeps tiles of 16 x 16
// in the memory of its workgroup, and no more than that.) a [rows, terms] times the rows of b [columns, terms].

@compute @workgroup_size(16, 16)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let at = id.xy + shape.first.yx;
    if at.x >= shape.columns || at.y >= shape.rows {
        return;
    }
    var sum = 0.0;
    for (var term = 0u; term < shape.terms; term++) {
        sum += a[at.y * shape.a_strides.x + term * shape.a_strides.y] * b[at.x * shape.b_strides.x + term * shape.b_strides.y];
    }
    store(sum, at);
}
