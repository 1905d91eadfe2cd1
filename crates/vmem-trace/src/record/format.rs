//! The format of recordings.
//!
//! A recording starts with [`MAGIC`]; entries follow, each a kind byte and its fields in
//! little-endian order:
//!
//! | kind | fields |
//! |---|---|
//! | 0, a label | number `u32`, length `u32`, that many bytes of UTF-8 |
//! | 1, allocate · 2, free · 3, failure | label `u32`, thread `u32`, stream `u64`, address `u64`, size `u64` |
//!
//! Labels are defined before they are used, in ascending order from 1; 0 is no label. Streams and
//! threads are numbers that stand for nothing else. The address of a failure is 0.

/// What a recording starts with.
pub(crate) const MAGIC: &[u8] = b"vmem recording 1\n";

/// The longest label that is written, in bytes; what is longer is cut.
pub(crate) const LONGEST_LABEL: usize = 4096;

/// What an entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Label = 0,
    Allocate = 1,
    Free = 2,
    Failure = 3,
}

/// An entry that is not a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) label: u32,
    pub(crate) thread: u32,
    pub(crate) stream: u64,
    pub(crate) address: u64,
    pub(crate) size: u64,
}

impl Kind {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        let all = [Self::Label, Self::Allocate, Self::Free, Self::Failure];
        all.into_iter().find(|&kind| kind as u8 == byte)
    }
}

impl Entry {
    /// Its length in bytes, with the kind.
    pub(crate) const LENGTH: usize = 33;

    pub(crate) fn encode(&self, kind: Kind) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        bytes[0] = kind as u8;
        bytes[1..5].copy_from_slice(&self.label.to_le_bytes());
        bytes[5..9].copy_from_slice(&self.thread.to_le_bytes());
        bytes[9..17].copy_from_slice(&self.stream.to_le_bytes());
        bytes[17..25].copy_from_slice(&self.address.to_le_bytes());
        bytes[25..33].copy_from_slice(&self.size.to_le_bytes());
        bytes
    }

    /// What was encoded, from what follows the kind.
    pub(crate) fn decode(bytes: &[u8; Self::LENGTH - 1]) -> Self {
        let u32_at = |at: usize| u32::from_le_bytes(array(bytes, at));
        let u64_at = |at: usize| u64::from_le_bytes(array(bytes, at));
        Self {
            label: u32_at(0),
            thread: u32_at(4),
            stream: u64_at(8),
            address: u64_at(16),
            size: u64_at(24),
        }
    }
}

fn array<const N: usize>(bytes: &[u8; Entry::LENGTH - 1], at: usize) -> [u8; N] {
    let mut taken = [0; N];
    taken.copy_from_slice(&bytes[at..at + N]);
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_decodes_as_it_was_encoded() {
        let entry = Entry { label: 1, thread: u32::MAX, stream: 3, address: u64::MAX - 4, size: 5 };
        let bytes = entry.encode(Kind::Free);
        assert_eq!(Kind::from_byte(bytes[0]), Some(Kind::Free));
        assert_eq!(Entry::decode(bytes[1..].try_into().unwrap()), entry);
    }
}
