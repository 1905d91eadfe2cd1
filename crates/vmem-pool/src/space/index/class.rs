//! Size classes: floating-point numbers of few digits, as in two-level segregated fit (Masmano et
//! al., "TLSF: a New Dynamic Memory Allocator for Real-Time Systems", 2004). Unlike there, a class
//! says only where to look: the best fit inside it is found exactly.

/// Binary digits after the leading one that tell classes apart: sizes in a class differ by at most
/// 1/32.
const DIGITS: u32 = 5;

/// How many classes there are.
const CLASSES: usize = class_of(u32::MAX) + 1;

/// A power of two, so that a class finds its word without a comparison.
const WORDS: usize = CLASSES.div_ceil(64).next_power_of_two();

/// The class of a size in grains. It does not decrease with the size.
#[inline]
pub(in super::super) const fn class_of(grains: u32) -> usize {
    // Below twice 2^DIGITS every size has a class of its own, without a branch: the shift is zero there.
    let shift = (grains | 1 << DIGITS).ilog2() - DIGITS;
    // The leading digit of the shifted size adds one to the exponent's part.
    (shift * (1 << DIGITS) + (grains >> shift)) as usize
}

/// A set of classes.
#[derive(Debug, Default)]
pub(super) struct Classes {
    words: [u64; WORDS],
    /// Which of the words are not zero.
    above: u64,
}

const _: () = assert!(WORDS <= 64, "one word says which words are not zero");

impl Classes {
    #[inline]
    pub(super) fn has(&self, class: usize) -> bool {
        self.words[class / 64 % WORDS] >> (class % 64) & 1 == 1
    }

    #[inline]
    pub(super) fn insert(&mut self, class: usize) {
        self.words[class / 64 % WORDS] |= 1 << (class % 64);
        self.above |= 1 << (class / 64 % WORDS);
    }

    #[inline]
    pub(super) fn remove(&mut self, class: usize) {
        let word = &mut self.words[class / 64 % WORDS];
        *word &= !(1 << (class % 64));
        let empty = u64::from(*word == 0);
        self.above &= !(empty << (class / 64 % WORDS));
    }

    /// The first class from this one on.
    #[inline]
    pub(super) fn next(&self, class: usize) -> Option<usize> {
        let word = class / 64;
        let bits = self.words.get(word)? & (u64::MAX << (class % 64));
        if bits != 0 {
            return Some(word * 64 + bits.trailing_zeros() as usize);
        }
        let words = self.above & (u64::MAX << word << 1);
        if words == 0 {
            return None;
        }
        let word = words.trailing_zeros() as usize;
        Some(word * 64 + self.words[word].trailing_zeros() as usize)
    }

    /// All of them from this one on, in order.
    pub(super) fn from(&self, class: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(self.next(class), |class| self.next(class + 1))
    }

    pub(super) fn last(&self) -> Option<usize> {
        let last = |(word, bits): (usize, &u64)| {
            (*bits != 0).then(|| word * 64 + 63 - bits.leading_zeros() as usize)
        };
        self.words.iter().enumerate().rev().find_map(last)
    }
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
