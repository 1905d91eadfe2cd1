//! Formats, and how to tell them.

use std::fmt;

use super::lines::{Line, Lines};
use super::snapshot::PROTO;
use super::{ReadError, lifetime, rmm};
use crate::record::format::{MAGIC, VERSION};

/// A format that traces can be read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// The log of RMM's logging adaptor: a CSV file with the header
    /// `Thread,Time,Action,Pointer,Size,Stream` and the actions `allocate`, `free` (or
    /// `deallocate`) and `allocate failure`. Events happen in file order; the time of day tells when.
    /// Columns are found by their names; thread and stream may be missing, and so may the header of
    /// a log that was cut out of another. Also the log of RMM's debug logger at the level of traces
    /// (`[thread][time][trace] [A][stream 0x0][256B][0x7f00]`).
    RmmLog,
    /// Lifetimes: a CSV file with the columns `id`, `lower`, `upper` and `size`, found by their
    /// names. Block `id` is live in the half-open interval of times from `lower` up to `upper`.
    /// Events happen in time order, frees before allocations at equal times, in file order beyond
    /// that; one stream, one thread.
    Lifetimes,
    /// A memory snapshot of PyTorch, written as JSON: the history of one device. `alloc` and
    /// `free_requested` are the program's, and so is `free_completed` where no request came before;
    /// what the allocator does (segments, completed frees) is left out, `oom` is noted as a failure.
    /// Blocks that the history does not see allocated, because it began late or its ring buffer was
    /// full, are live from the start. Labels are made of [stack frames](crate::Frames). One thread.
    PyTorchSnapshot,
    /// A memory snapshot of PyTorch as `torch.cuda.memory._dump_snapshot` writes it: a pickle of
    /// protocol 2 to 5, of plain values. Nothing in it is executed.
    PyTorchPickle,
    /// A recording of a [`Recorder`](crate::Recorder), or a trace written by
    /// [`write_recording`](crate::write_recording).
    Recording,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 5] = [
        Self::RmmLog,
        Self::Lifetimes,
        Self::PyTorchSnapshot,
        Self::PyTorchPickle,
        Self::Recording,
    ];

    /// The format of a file, told from how it starts: a recording's first line, the first byte of a
    /// pickle, an opening brace, or the first line that is a header or a row of a table (case and
    /// blanks around fields do not matter). O(length); some kilobytes are enough.
    pub fn sniff(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(MAGIC) {
            return Some(Self::Recording);
        }
        if bytes.first() == Some(&PROTO) && matches!(bytes.get(1), Some(2..=5)) {
            return Some(Self::PyTorchPickle);
        }
        let text = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes).trim_ascii_start();
        if text.first() == Some(&b'{') {
            return Some(Self::PyTorchSnapshot);
        }
        let mut lines = Lines::new("", bytes);
        while let Ok(Some(line)) = lines.next() {
            if line.odd.is_none()
                && let Some(format) = Self::of_line(&line)
            {
                return Some(format);
            }
        }
        None
    }

    /// The version of the format that a file starts with.
    pub(super) fn version(self, start: &[u8]) -> Option<u32> {
        match self {
            Self::Recording => Some(VERSION),
            Self::PyTorchPickle => start.get(1).copied().map(u32::from),
            Self::RmmLog | Self::Lifetimes | Self::PyTorchSnapshot => None,
        }
    }

    fn of_line(line: &Line<'_>) -> Option<Self> {
        let fields = line.fields();
        if lifetime::Columns::of_header(&fields).is_some() {
            return Some(Self::Lifetimes);
        }
        rmm::is_of_log(&fields, &line.text).then_some(Self::RmmLog)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RmmLog => write!(f, "an RMM log ({})", rmm::HEADER),
            Self::Lifetimes => write!(f, "lifetimes ({})", lifetime::HEADER),
            Self::PyTorchSnapshot => f.write_str("a PyTorch memory snapshot in JSON"),
            Self::PyTorchPickle => {
                f.write_str("a PyTorch memory snapshot as _dump_snapshot writes it")
            }
            Self::Recording => f.write_str("a vmem recording"),
        }
    }
}

/// What begins otherwise and is known all the same.
const KNOWN: &[(&[u8], &str)] = &[
    (b"\xfd7zXZ", "it is compressed with xz; `xz -dc FILE | vmem replay -` reads it"),
    (b"BZh", "it is compressed with bzip2; `bzip2 -dc FILE | vmem replay -` reads it"),
    (b"PK\x03\x04", "it is a zip archive (or what torch.save writes); what is in it is not read"),
    (b"\xff\xfe", "it is text in UTF-16; UTF-8 is accepted"),
    (b"\xfe\xff", "it is text in UTF-16; UTF-8 is accepted"),
    (b"vmem recording ", "it is a recording of another version"),
    (b"\x80", "it is a pickle of an unknown protocol; 2 to 5 are accepted"),
    (b"\x7fELF", "it is a program"),
    (b"SQLite format 3", "it is a database of SQLite, such as Nsight Systems exports"),
];

/// An error about a file of no known format.
pub(super) fn unknown(name: &str, prefix: &[u8]) -> ReadError {
    let refuse = |what: &str| {
        let formats = Format::ALL.map(|format| format.to_string()).join(", ");
        ReadError::new(
            name,
            format!("{what}; accepted are {formats}, as they are or in gzip or zstd"),
        )
    };
    if let Some((_, what)) = KNOWN.iter().find(|(start, _)| prefix.starts_with(start)) {
        return refuse(what);
    }
    let start = prefix.trim_ascii_start();
    if start.is_empty() {
        return refuse("it is empty");
    }
    if start.contains(&0) {
        return refuse("it is no text, and nothing else that is known");
    }
    let before = prefix.len() - start.len();
    let line = 1 + prefix[..before].iter().filter(|&&byte| byte == b'\n').count();
    let first = start.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let first = String::from_utf8_lossy(first);
    refuse("it does not start as a trace does").at(line, first.trim_end())
}
