//! Size classes: floating-point numbers of few digits, as in two-level segregated fit (Masmano et
//! al., "TLSF: a New Dynamic Memory Allocator for Real-Time Systems", 2004). Unlike there, a class
//! says only where to look: the best fit inside it is found exactly.

/// Binary digits after the leading one that tell classes apart: sizes in a class differ by at most
/// 1/32.
const DIGITS: u32 = 5;

/// How many classes there are.
pub(super) const CLASSES: usize = class_of(u32::MAX) + 1;

/// The class of a size in grains. It does not decrease with the size.
#[inline]
pub(in super::super) const fn class_of(grains: u32) -> usize {
    // Below twice 2^DIGITS every size has a class of its own, without a branch: the shift is zero there.
    let shift = (grains | 1 << DIGITS).ilog2() - DIGITS;
    // The leading digit of the shifted size adds one to the exponent's part.
    (shift * (1 << DIGITS) + (grains >> shift)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_grow_with_the_size_and_are_narrow() {
        let mut last = 0;
        let sizes = (0..4096).chain((12..32).flat_map(|e| {
            let octave = 1_u32 << e;
            (0..64).map(move |i| octave + i * (octave / 64))
        }));
        for grains in sizes {
            let class = class_of(grains);
            assert!(class == last || class == last + 1, "{grains} grains are in class {class}");
            last = class;
        }
        assert!(last < CLASSES);
        assert_ne!(class_of(63), class_of(64));
        assert_eq!(class_of(64), class_of(65));
        assert_ne!(class_of(65), class_of(66));
    }
}
