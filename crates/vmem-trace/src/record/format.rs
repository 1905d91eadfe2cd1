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
}

/// Takes fields off the front of a recording; `None` where it ends too early.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decoder<'a>(pub(crate) &'a [u8]);

impl<'a> Decoder<'a> {
    pub(crate) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn entry(&mut self) -> Option<Entry> {
        Some(Entry {
            label: self.u32()?,
            thread: self.u32()?,
            stream: self.u64()?,
            address: self.u64()?,
            size: self.u64()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_decodes_as_it_was_encoded() {
        let entry = Entry { label: 1, thread: u32::MAX, stream: 3, address: u64::MAX - 4, size: 5 };
        let bytes = entry.encode(Kind::Free);
        assert_eq!(Kind::from_byte(bytes[0]), Some(Kind::Free));
        assert_eq!(Decoder(&bytes[1..]).entry(), Some(entry));
        assert_eq!(Decoder(&bytes[2..]).entry(), None);
    }
}
