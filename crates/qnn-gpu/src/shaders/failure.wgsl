// Where in which step training first came upon what is not a number; nothing is learned from there on.

@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read_write> failed: atomic<u32>;

const NOT_FAILED = 0xffffffffu;

// `place` grows with the order of a step's passes.
fn fail(place: u32) {
    atomicMin(&failed, (step.step << 8u) | place);
}

fn has_failed() -> bool {
    return atomicLoad(&failed) != NOT_FAILED;
}
