// The inner loops of products on what never leaves the registers: the most that an adapter could do if every word is counted.
// Four chains of four numbers each, so that a thread always has work. (Tiles that carry and save count fewer words.)

// x: rounds.
@group(0) @binding(0) var<uniform> shape: vec4<u32>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let seed = vec4<u32>(1u, 2u, 3u, 4u) * (id.x + 1u) * 2654435761u;
    var result = vec4<u32>();
    if IS_SIGNS {
        var counts = array<vec4<u32>, 4>(seed, seed + 1u, seed + 2u, seed + 3u);
        for (var round = 0u; round < shape.x; round++) {
            counts[0] += countOneBits(seed ^ counts[0]);
            counts[1] += countOneBits(seed ^ counts[1]);
            counts[2] += countOneBits(seed ^ counts[2]);
            counts[3] += countOneBits(seed ^ counts[3]);
        }
        result = counts[0] + counts[1] + counts[2] + counts[3];
    } else {
        let factor = vec4<f32>(seed >> vec4<u32>(9u)) / 8388608.0;
        var sums = array<vec4<f32>, 4>(factor, factor + 1.0, factor + 2.0, factor + 3.0);
        for (var round = 0u; round < shape.x; round++) {
            sums[0] += factor * sums[0];
            sums[1] += factor * sums[1];
            sums[2] += factor * sums[2];
            sums[3] += factor * sums[3];
        }
        result = bitcast<vec4<u32>>(sums[0] + sums[1] + sums[2] + sums[3]);
    }
    // Nothing may be left out as if nobody wanted it.
    if result.x == 7u && result.y == 7u {
        out[0] = result.z + result.w;
    }
}
