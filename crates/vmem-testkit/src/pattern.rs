//! Bytes that tell one block's contents from another's.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Finding;
use crate::rng::Rng;

/// What a block is filled with: each quarter with a byte of its own, never zero, so that a shifted,
/// a shorter and an overlapping block all show. Written with fills alone: no host memory has to
/// outlive the queued work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pattern {
    quarters: [u8; 4],
    /// What may stand in place of any byte.
    or: Option<u8>,
}

impl Pattern {
    /// What cleared memory holds: zeros, and `unwritten` where nothing was ever written.
    pub(crate) fn cleared(unwritten: u8) -> Self {
        Self { quarters: [0; 4], or: Some(unwritten) }
    }

    /// A pattern not used before (in 2²⁸).
    pub(crate) fn unique() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let [a, b, c, d, ..] = Rng::new(NEXT.fetch_add(1, Ordering::Relaxed)).next().to_le_bytes();
        Self { quarters: [a | 1, b | 1, c | 1, d | 1], or: None }
    }

    /// The non-empty parts of a block of `size` bytes, each with its byte.
    pub(crate) fn parts(self, size: u64) -> impl Iterator<Item = (Range<u64>, u8)> {
        let quarter = size.div_ceil(4);
        (0..4).zip(self.quarters).filter_map(move |(i, byte)| {
            let part = (quarter * i).min(size)..(quarter * (i + 1)).min(size);
            (!part.is_empty()).then_some((part, byte))
        })
    }

    /// Compares the bytes of a whole block.
    pub(crate) fn compare(self, bytes: &[u8]) -> Result<(), Finding> {
        for (part, expected) in self.parts(bytes.len() as u64) {
            let index = |at: u64| usize::try_from(at).expect("an offset into host memory");
            let part = index(part.start)..index(part.end);
            if let Some(at) =
                bytes[part.clone()].iter().position(|&b| b != expected && Some(b) != self.or)
            {
                let at = part.start + at;
                let found = bytes[at];
                return Err(Finding::new(format!(
                    "wrong bytes: {found:#04x} instead of {expected:#04x} at offset {at} of {}",
                    bytes.len()
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(pattern: Pattern, size: u64) -> Vec<u8> {
        let parts = pattern.parts(size);
        parts.flat_map(|(part, byte)| part.map(move |_| byte)).collect()
    }

    #[test]
    fn the_parts_cover_a_block_once() {
        for size in 1..20 {
            let pattern = Pattern::unique();
            let bytes = bytes(pattern, size);
            assert_eq!(bytes.len() as u64, size);
            assert!(pattern.compare(&bytes).is_ok());
        }
    }

    #[test]
    fn one_wrong_byte_is_found_wherever_it_is() {
        let pattern = Pattern::unique();
        let right = bytes(pattern, 13);
        for i in 0..right.len() {
            let mut wrong = right.clone();
            wrong[i] ^= 0x10;
            let error = pattern.compare(&wrong).unwrap_err();
            assert!(error.to_string().contains(&format!("offset {i} of 13")));
        }
    }
}
