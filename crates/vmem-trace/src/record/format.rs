//! The format of recordings, written; `docs/formats.md` has its layout byte by byte.
//!
//! After [`MAGIC`] come frames, each with its length and a checksum, so that a file that was cut anywhere
//! is read up to its last whole frame. Nothing in a frame but the numbers of labels refers to another.

use std::io::{self, Write};

use flate2::Crc;
use vmem_core::Label;

use super::numbers::{Bytes, LONGEST, zigzag};
use crate::trace::index;
use crate::{Mark, Origin};

/// What a recording starts with.
pub(crate) const MAGIC: &[u8] = b"vmem recording 2\n";

/// The version in [`MAGIC`].
pub(crate) const VERSION: u32 = 2;

/// The longest label that is written, in bytes; what is longer is cut.
pub(crate) const LONGEST_LABEL: usize = 4096;

/// What is before the entries of a frame: their length in bytes and their CRC-32, as `u32` each.
pub(crate) const FRAME_HEADER: usize = 8;

/// The longest that the entries of a frame are, in bytes.
pub(crate) const LONGEST_FRAME: usize = 64 << 10;

/// The longest entry that defines no label: its first byte, two numbers of 32 bits and four of 64.
const LONGEST_ENTRY: usize = 1 + 2 * 5 + 4 * LONGEST;

/// What an entry says, as the low bits of its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Label = 0,
    Allocate = 1,
    Free = 2,
    Failure = 3,
    Pass = 4,
    Page = 5,
    End = 6,
}

/// Which fields follow the first byte of an entry, as further bits of it. Without one a field is as in the
/// entry before.
pub(crate) mod given {
    pub(crate) const LABEL: u8 = 1 << 3;
    pub(crate) const THREAD: u8 = 1 << 4;
    pub(crate) const STREAM: u8 = 1 << 5;
}

/// What the fields of an entry are told from: the entry before, or zeroes at the start of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Previous {
    pub(crate) label: u32,
    pub(crate) thread: u32,
    pub(crate) stream: u64,
    pub(crate) address: u64,
}

/// What happened to memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) label: Label,
    pub(crate) thread: u32,
    pub(crate) stream: u64,
    /// The block's; of no meaning in a failure.
    pub(crate) address: u64,
    pub(crate) size: u64,
}

impl Entry {
    /// One of this origin, of which nothing else is said yet.
    pub(crate) fn of(origin: Origin) -> Self {
        let Origin { stream, thread } = origin;
        Self { label: Label::NONE, thread, stream: stream.into(), address: 0, size: 0 }
    }
}

impl Kind {
    /// The kind of an entry by its first byte.
    pub(crate) fn of(byte: u8) -> Option<Self> {
        use Kind::{Allocate, End, Failure, Free, Label, Page, Pass};
        let all = [Label, Allocate, Free, Failure, Pass, Page, End];
        let fields = match all.get(usize::from(byte & 7))? {
            Allocate | Failure => given::LABEL | given::THREAD | given::STREAM,
            Free => given::THREAD | given::STREAM,
            Label | Pass | Page | End => 0,
        };
        all.get(usize::from(byte & 7)).copied().filter(|_| byte & !7 & !fields == 0)
    }
}

/// Writes a recording, a frame at a time.
pub(crate) struct Encoder<W> {
    to: W,
    /// The frame that is being filled, with room for its header.
    frame: Vec<u8>,
    previous: Previous,
    /// When the last entry happened, in nanoseconds.
    time: u64,
    /// The numbers of the labels defined so far, by their indices; 0 for others.
    labels: Vec<u32>,
    /// How many are defined.
    defined: u32,
}

const _: () = assert!(LONGEST_ENTRY <= Bytes::PLACES);

impl<W: Write> Encoder<W> {
    /// The longest frame that is written, in bytes: room for a few labels.
    const FRAME: usize = 16 << 10;

    /// Begins a recording.
    ///
    /// # Errors
    /// The error of the writer.
    pub(crate) fn new(mut to: W) -> io::Result<Self> {
        to.write_all(MAGIC)?;
        Ok(Self {
            to,
            frame: Vec::with_capacity(Self::FRAME),
            previous: Previous::default(),
            time: 0,
            labels: Vec::new(),
            defined: 0,
        })
    }

    /// Something happened to memory, so many nanoseconds after the recording began; times do not go back.
    ///
    /// # Errors
    /// The error of the writer, if the frame had to be written.
    pub(crate) fn entry(&mut self, kind: Kind, entry: &Entry, time: u64) -> io::Result<()> {
        // Of a free the label is its block's.
        let label = if kind == Kind::Free { None } else { Some(self.number(entry.label)?) };
        self.make_room(LONGEST_ENTRY)?;
        let previous = self.previous;
        let label = label.unwrap_or(previous.label);
        let mut first = kind as u8;
        for (differs, bit) in [
            (label != previous.label, given::LABEL),
            (entry.thread != previous.thread, given::THREAD),
            (entry.stream != previous.stream, given::STREAM),
        ] {
            first |= if differs { bit } else { 0 };
        }
        let mut bytes = self.begin(first, time);
        if first & given::LABEL != 0 {
            bytes.put(label.into());
        }
        if first & given::THREAD != 0 {
            bytes.put(entry.thread.into());
        }
        if first & given::STREAM != 0 {
            bytes.put(entry.stream);
        }
        let mut address = previous.address;
        if kind != Kind::Failure {
            address = entry.address;
            bytes.put(zigzag(entry.address.wrapping_sub(previous.address).cast_signed()));
        }
        bytes.put(entry.size);
        self.frame.extend_from_slice(bytes.as_slice());
        self.previous = Previous { label, thread: entry.thread, stream: entry.stream, address };
        Ok(())
    }

    /// A place is marked.
    ///
    /// # Errors
    /// Those of [`entry`](Self::entry).
    pub(crate) fn mark(&mut self, mark: Mark, time: u64) -> io::Result<()> {
        self.make_room(LONGEST_ENTRY)?;
        let kind = match mark {
            Mark::Pass => Kind::Pass,
            Mark::Page => Kind::Page,
        };
        let bytes = self.begin(kind as u8, time);
        self.frame.extend_from_slice(bytes.as_slice());
        Ok(())
    }

    /// Writes the end of the recording, after which nothing may come.
    ///
    /// # Errors
    /// The error of the writer.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        self.make_room(LONGEST_ENTRY)?;
        let bytes = self.begin(Kind::End as u8, self.time);
        self.frame.extend_from_slice(bytes.as_slice());
        self.flush()
    }

    /// Writes what there is of a frame.
    ///
    /// # Errors
    /// The error of the writer.
    pub(crate) fn write_out(&mut self) -> io::Result<()> {
        let Some(entries) = self.frame.get(FRAME_HEADER..).filter(|entries| !entries.is_empty())
        else {
            return Ok(());
        };
        let mut crc = Crc::new();
        crc.update(entries);
        // A frame is shorter than 2³² bytes.
        let length = u32::try_from(entries.len()).unwrap_or(0);
        self.frame[..4].copy_from_slice(&length.to_le_bytes());
        self.frame[4..FRAME_HEADER].copy_from_slice(&crc.sum().to_le_bytes());
        let written = self.to.write_all(&self.frame);
        self.frame.clear();
        self.previous = Previous::default();
        written
    }

    /// The same, and asks the writer to pass it on.
    ///
    /// # Errors
    /// The error of the writer.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.write_out()?;
        self.to.flush()
    }

    /// The first byte of an entry, and its time since the one before.
    fn begin(&mut self, first: u8, time: u64) -> Bytes {
        let time = time.max(self.time);
        let mut bytes = Bytes::new(first);
        bytes.put(time - self.time);
        self.time = time;
        bytes
    }

    /// The number of a label, defined now if it is new.
    fn number(&mut self, label: Label) -> io::Result<u32> {
        if label == Label::NONE {
            return Ok(0);
        }
        match self.labels.get(index(label.index())) {
            Some(&number @ 1..) => Ok(number),
            _ => self.define(label),
        }
    }

    fn define(&mut self, label: Label) -> io::Result<u32> {
        let name = label.as_str();
        let name = &name[..name.floor_char_boundary(LONGEST_LABEL)];
        self.make_room(LONGEST_ENTRY + name.len())?;
        let mut bytes = Bytes::new(Kind::Label as u8);
        bytes.put(name.len() as u64);
        self.frame.extend_from_slice(bytes.as_slice());
        self.frame.extend_from_slice(name.as_bytes());
        let index = index(label.index());
        if index >= self.labels.len() {
            self.labels.resize(index + 1, 0);
        }
        // There are fewer than 2³² labels in a process.
        self.defined += 1;
        self.labels[index] = self.defined;
        Ok(self.defined)
    }

    /// Makes sure that so much has room in the frame, which is begun if it is empty.
    fn make_room(&mut self, bytes: usize) -> io::Result<()> {
        if self.frame.len() + FRAME_HEADER + LONGEST + bytes > self.frame.capacity() {
            self.write_out()?;
        }
        if self.frame.is_empty() {
            // The header, the last byte of which comes with the time so far.
            self.frame.extend_from_slice(&[0; FRAME_HEADER - 1]);
            let mut start = Bytes::new(0);
            start.put(self.time);
            self.frame.extend_from_slice(start.as_slice());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_never_longer_than_is_made_room_for() {
        let mut written = Vec::new();
        let mut encoder = Encoder::new(&mut written).unwrap();
        let far = Entry {
            label: Label::intern("format/far"),
            thread: u32::MAX,
            stream: u64::MAX,
            address: 1 << 63,
            size: u64::MAX,
        };
        encoder.entry(Kind::Allocate, &far, u64::MAX).unwrap();
        encoder.flush().unwrap();
        let label = 2 + far.label.as_str().len();
        let start = MAGIC.len() + FRAME_HEADER + 1;
        // The label's number is small here, and takes one byte of the five it could.
        assert_eq!(written.len() - start - label, LONGEST_ENTRY - 4);
    }

    #[test]
    fn a_first_byte_has_no_bits_that_mean_nothing() {
        let known = (0..=u8::MAX).filter(|&byte| Kind::of(byte).is_some()).count();
        assert_eq!(known, 8 + 4 + 8 + 4);
        assert_eq!(Kind::of(7), None);
        assert_eq!(Kind::of(Kind::Free as u8 | given::LABEL), None);
        assert_eq!(Kind::of(Kind::Allocate as u8 | 1 << 6), None);
    }
}
