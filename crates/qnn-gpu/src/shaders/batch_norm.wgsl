// What batch normalization multiplies with: x, or AP2(x) where that is shift-based (paper Algorithm 2).

const EPSILON = 1e-4;

fn factor(x: f32) -> f32 {
    if IS_SHIFT {
        return ap2(x);
    }
    return x;
}
