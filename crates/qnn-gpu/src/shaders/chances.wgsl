// Numbers in [0, 1) by their place: the words of ChaCha with eight rounds (Bernstein 2008), as `qnn_core::random` draws them.
// A thread a block of 16.

struct Place {
    // Layer and purpose.
    place: u32,
    count: u32,
    // The first block of these: they may be a part.
    first: u32,
}

@group(0) @binding(0) var<uniform> place: Place;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read_write> chances: array<f32>;

var<private> words: array<u32, 16>;

fn mix(to: u32, other: u32, rotated: u32, by: u32) {
    words[to] += words[other];
    let mixed = words[rotated] ^ words[to];
    words[rotated] = (mixed << by) | (mixed >> (32u - by));
}

fn quarter_round(a: u32, b: u32, c: u32, d: u32) {
    mix(a, b, d, 16u);
    mix(c, d, b, 12u);
    mix(a, b, d, 8u);
    mix(c, d, b, 7u);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let block = id.y * groups.x * 64u + id.x;
    if block * 16u >= place.count {
        return;
    }
    let start = array<u32, 16>(
        0x61707865u, 0x3320646eu, 0x79622d32u, 0x6b206574u,
        step.key[0].x, step.key[0].y, step.key[0].z, step.key[0].w,
        step.key[1].x, step.key[1].y, step.key[1].z, step.key[1].w,
        place.first + block, 0u, (step.step << 16u) | place.place, 0x80000000u | (step.step >> 16u),
    );
    words = start;
    for (var round = 0u; round < 4u; round++) {
        quarter_round(0u, 4u, 8u, 12u);
        quarter_round(1u, 5u, 9u, 13u);
        quarter_round(2u, 6u, 10u, 14u);
        quarter_round(3u, 7u, 11u, 15u);
        quarter_round(0u, 5u, 10u, 15u);
        quarter_round(1u, 6u, 11u, 12u);
        quarter_round(2u, 7u, 8u, 13u);
        quarter_round(3u, 4u, 9u, 14u);
    }
    for (var word = 0u; word < 16u; word++) {
        if block * 16u + word < place.count {
            chances[block * 16u + word] = f32((words[word] + start[word]) >> 8u) / 16777216.0;
        }
    }
}
