//! Size classes: floating-point numbers of few digits, as in two-level segregated fit (Masmano et
//! al., "TLSF: a New Dynamic Memory Allocator for Real-Time Systems", 2004). Unlike there, a class
//! says only where to look: the best fit inside it is found exactly.

use super::super::GRAIN;

/// Binary digits after the leading one that tell classes apart: sizes in a class differ by at most
/// 1/32.
const DIGITS: u32 = 5;

/// How many sizes in grains have a class of their own at the lower end.
const EXACT: usize = 1 << (DIGITS + 1);

/// How many classes there are: sizes up to 2⁶⁴ bytes.
pub(super) const CLASSES: usize = class_of(u64::MAX) + 1;

/// The class of a size in bytes. It does not decrease with the size.
#[inline]
pub(in super::super) const fn class_of(size: u64) -> usize {
    let grains = size / GRAIN;
    if grains < EXACT as u64 {
        return low_bits(grains);
    }
    let shift = grains.ilog2() - DIGITS;
    // The leading digit of the shifted size adds one to the exponent's part.
    (shift as usize) * (1 << DIGITS) + low_bits(grains >> shift)
}

/// A number known to be small.
#[expect(clippy::cast_possible_truncation, reason = "the callers pass numbers below 64")]
#[inline]
const fn low_bits(number: u64) -> usize {
    number as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_grow_with_the_size_and_are_narrow() {
        let mut last = 0;
        let sizes = (0..4096).chain((12..56).flat_map(|e| {
            let octave = 1_u64 << e;
            (0..64).map(move |i| octave + i * (octave / 64))
        }));
        for grains in sizes {
            let class = class_of(grains * GRAIN);
            assert!(class == last || class == last + 1, "{grains} grains are in class {class}");
            last = class;
        }
        assert!(last < CLASSES);
        assert_ne!(class_of(63 * GRAIN), class_of(64 * GRAIN));
        assert_eq!(class_of(64 * GRAIN), class_of(65 * GRAIN));
        assert_ne!(class_of(65 * GRAIN), class_of(66 * GRAIN));
    }
}
