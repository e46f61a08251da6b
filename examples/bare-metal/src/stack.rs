//! How deep the stack has been: cortex-m-rt paints it before `main`, and what is used loses its paint.

use cortex_m_rt::STACK_PAINT_VALUE;

unsafe extern "C" {
    /// Where the stack begins, which grows downwards; its address alone means something.
    static _stack_start: u32;
    /// The lowest word that the stack may grow to.
    static _stack_end: u32;
}

/// The most bytes of the stack that have been in use.
pub fn most_used() -> usize {
    let (start, end) = (&raw const _stack_start, &raw const _stack_end);
    // SAFETY: the linker script puts both at multiples of four in the RAM, the end below the start.
    let words = unsafe { start.offset_from_unsigned(end) };
    // SAFETY: these words are of the stack's part of the RAM; volatile, since the stack itself is among them.
    let is_painted = |index| unsafe { end.add(index).read_volatile() } == STACK_PAINT_VALUE;
    let unused = (0..words).take_while(|index| is_painted(*index)).count();
    (words - unused) * size_of::<u32>()
}
