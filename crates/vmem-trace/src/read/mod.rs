//! Readers: files of several formats, told apart by how they start.

mod error;
mod format;
mod history;
mod lifetime;
mod lines;
mod notes;
mod numbers;
mod recording;
mod rmm;
mod sites;
mod snapshot;
mod source;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

pub use error::ReadError;
pub use format::Format;
pub(crate) use lifetime::HEADER as LIFETIME_HEADER;
use lines::Lines;
use notes::Judge;
pub use notes::{Irregularity, Note};
pub(crate) use rmm::HEADER as RMM_HEADER;
pub use sites::Sites;
pub use snapshot::Frames;
pub use source::Packing;
use source::Source;

use crate::Trace;

/// Options for reading a trace.
///
/// ```
/// use vmem_trace::{Irregularity, ReadOptions, Strictness};
///
/// let log = "Thread,Time,Action,Pointer,Size,Stream\n\
///            1,00:00:00,allocate,0x7f00,1024,0\n\
///            1,00:00:00,allo";
/// let mut options = ReadOptions::default();
/// let reading = options.read("log", log.as_bytes())?;
/// assert_eq!(reading.trace.peak_live(), 1024);
/// assert_eq!(reading.notes[0].what, Irregularity::CutEnd);
///
/// options.strictness = Strictness::Strict;
/// assert_eq!(options.read("log", log.as_bytes()).unwrap_err().line(), Some(3));
/// # Ok::<(), vmem_trace::ReadError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadOptions {
    /// The treatment of irregularities.
    pub strictness: Strictness,
    /// The device whose history is taken from a snapshot of several; `None` for the one with most
    /// entries.
    pub device: Option<u32>,
    /// What of a snapshot's stack frames becomes a label.
    pub frames: Frames,
    /// The most that is read of a file, in bytes after decompression.
    pub max_bytes: u64,
}

/// The treatment of [irregularities](Irregularity).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Strictness {
    /// They are skipped or repaired, and counted: the rest of a file is worth having.
    #[default]
    Tolerant,
    /// The first refuses the file.
    Strict,
}

/// A trace, and notes on the file that it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reading {
    /// The trace.
    pub trace: Trace,
    /// The irregularities of the file, each kind once, in the order in which they were first met.
    pub notes: Vec<Note>,
    /// The format of the file.
    pub format: Format,
    /// The version of the format: a recording's, or a pickle's protocol. `None` where there are none.
    pub version: Option<u32>,
    /// What the file was compressed with, if it was.
    pub packed: Option<Packing>,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            strictness: Strictness::Tolerant,
            device: None,
            frames: Frames::Innermost,
            max_bytes: Self::MAX_BYTES,
        }
    }
}

impl ReadOptions {
    /// The default of [`max_bytes`](Self::max_bytes): 4 GiB, more than the longest trace takes in
    /// any format but JSON with stack frames.
    pub const MAX_BYTES: u64 = 4 << 30;

    /// Reads a trace from a file, in whichever [`Format`] it is, compressed with gzip or zstd or
    /// not. The trace is named after the file, without folder and extensions.
    ///
    /// # Errors
    /// [`ReadError`] if the file cannot be read, is no trace, is longer than
    /// [`max_bytes`](Self::max_bytes), allocates nothing or, when strict, has an irregularity. It
    /// names the file, the line, its text and what is accepted.
    pub fn read_path(&self, path: impl AsRef<Path>) -> Result<Reading, ReadError> {
        self.read_path_with(path.as_ref(), None)
    }

    /// Reads a log of RMM from a file as [`read_path`](Self::read_path) does, and labels its blocks as
    /// [`read_labelled`](Self::read_labelled) does.
    ///
    /// # Errors
    /// Those of both.
    pub fn read_path_labelled(
        &self,
        path: impl AsRef<Path>,
        labels: Sites,
    ) -> Result<Reading, ReadError> {
        self.read_path_with(path.as_ref(), Some(labels))
    }

    fn read_path_with(&self, path: &Path, labels: Option<Sites>) -> Result<Reading, ReadError> {
        let file = path.display().to_string();
        let open = File::open(path).map_err(|error| ReadError::from_io(&file, error))?;
        let mut reading = self.read_with(&file, open, labels)?;
        let packed = path.extension().is_some_and(|ext| ext == "gz" || ext == "zst");
        let name = if packed { path.with_extension("") } else { path.to_owned() };
        let name = name.file_stem().unwrap_or(path.as_os_str());
        reading.trace.name = name.to_string_lossy().into_owned();
        Ok(reading)
    }

    /// Reads a trace from the bytes of a file, from beginning to end. `name` becomes the trace's and
    /// stands for the file in errors.
    ///
    /// O(length). Takes the memory of the trace and of the addresses in it, besides at most a few
    /// megabytes. On top come:
    ///
    /// * of a log of RMM, the names of the threads in the trace;
    /// * of lifetimes, about 100 B for each row of a table until the table ends; rows after the first
    ///   2²⁶ are left out;
    /// * of a snapshot in JSON, the histories of all devices, unless one is chosen, and 32 B for each
    ///   block in use at the end;
    /// * of a pickle, that too, and up to 24 times its length (after decompression), 1 MiB and never
    ///   more than 8 GiB; a pickle whose values would take more, or whose stack frames make labels of
    ///   more than a third of that, is refused;
    /// * of a recording, the texts of all labels that it defines, used or not, and a frame of 64 KiB.
    ///
    /// # Errors
    /// Those of [`read_path`](Self::read_path).
    pub fn read(&self, name: &str, from: impl Read) -> Result<Reading, ReadError> {
        self.read_with(name, from, None)
    }

    /// Reads a log of RMM from its bytes as [`read`](Self::read) does, and labels its blocks. Labels of
    /// blocks that are not in it are [noted](Irregularity::UnusedLabel).
    ///
    /// # Errors
    /// Those of [`read`](Self::read); a file in another format, which has no addresses to go by.
    pub fn read_labelled(
        &self,
        name: &str,
        from: impl Read,
        labels: Sites,
    ) -> Result<Reading, ReadError> {
        self.read_with(name, from, Some(labels))
    }

    fn read_with(
        &self,
        name: &str,
        from: impl Read,
        labels: Option<Sites>,
    ) -> Result<Reading, ReadError> {
        let io = |error: io::Error| ReadError::from_io(name, error);
        let mut judge = Judge::new(self.strictness == Strictness::Strict);
        let mut source = Source::open(from, self.max_bytes).map_err(io)?;
        let format = Format::sniff(&source.prefix);
        if let (Some(format), Some(_)) = (format.filter(|&f| f != Format::RmmLog), &labels) {
            let reason = format!("labels from another file are for logs of RMM; this is {format}");
            return Err(ReadError::new(name, reason));
        }
        let trace = match format {
            Some(Format::RmmLog) => {
                let lines = Lines::new(name, source.read());
                rmm::read(name, lines, labels.unwrap_or_default(), &mut judge)
            }
            Some(Format::Lifetimes) => {
                lifetime::read(name, Lines::new(name, source.read()), &mut judge)
            }
            Some(Format::PyTorchSnapshot) => {
                snapshot::read_json(name, source.read_text(), *self, &mut judge)
            }
            Some(Format::PyTorchPickle) => {
                snapshot::read_pickle(name, &mut source.read(), *self, &mut judge)
            }
            Some(Format::Recording) => recording::read(name, &mut source.read(), &mut judge),
            None => Err(format::unknown(name, &source.prefix)),
        };
        let broken = source.broken().map(|(what, how)| (what, ReadError::new(name, how)));
        let trace = match (trace, broken) {
            (Ok(trace), None) => trace,
            (Ok(trace), Some((what, error))) => {
                judge.notes.retain(|note| note.what != Irregularity::CutEnd);
                judge.note(what, || error)?;
                trace
            }
            // What the reader made of half a file is beside the point.
            (Err(error), broken) => return Err(broken.map_or(error, |(_, error)| error)),
        };
        if trace.allocations() == 0 {
            let notes: Vec<_> = judge.notes.iter().map(|note| format!("; {note}")).collect();
            let reason = format!("nothing is allocated in it{}", notes.concat());
            return Err(ReadError::new(name, reason));
        }
        let Some(format) = format else { return Err(format::unknown(name, &source.prefix)) };
        let version = format.version(&source.prefix);
        Ok(Reading { trace, notes: judge.notes, format, version, packed: source.packed })
    }
}

/// Reads a trace from a file as [`ReadOptions::read_path`] does by default.
///
/// # Errors
/// Those of [`ReadOptions::read_path`].
pub fn read_path(path: impl AsRef<Path>) -> Result<Reading, ReadError> {
    ReadOptions::default().read_path(path)
}

/// Reads a trace from the bytes of a file as [`ReadOptions::read`] does by default.
///
/// ```
/// let reading = vmem_trace::read("two blocks", b"id,lower,upper,size\n0,0,2,64\n1,1,3,32\n")?;
/// assert_eq!(reading.trace.peak_live(), 96);
/// assert!(reading.notes.is_empty());
/// # Ok::<(), vmem_trace::ReadError>(())
/// ```
///
/// # Errors
/// Those of [`ReadOptions::read`].
pub fn read(name: &str, bytes: &[u8]) -> Result<Reading, ReadError> {
    ReadOptions::default().read(name, bytes)
}
