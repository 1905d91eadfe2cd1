//! Readers: files of several formats, told apart by how they start.

mod error;
mod lifetime;
mod numbers;
mod recording;
mod rmm;
mod snapshot;
mod table;

use std::fmt;
use std::path::Path;

pub use error::ReadError;
pub(crate) use lifetime::HEADER as LIFETIME_HEADER;
use numbers::Numbers;
pub(crate) use rmm::HEADER as RMM_HEADER;
use table::Table;

use crate::Trace;
use crate::record::format::MAGIC;

/// A format that traces can be read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// The log of RMM's logging adaptor: a CSV file with the header
    /// `Thread,Time,Action,Pointer,Size,Stream` and the actions `allocate`, `free` (or
    /// `deallocate`) and `allocate failure`. Events happen in file order; the time is not used.
    RmmLog,
    /// Lifetimes: a CSV file with the header `id,lower,upper,size`. Block `id` is live in the
    /// half-open interval of times from `lower` up to `upper`. Events happen in time order, frees
    /// before allocations at equal times, in file order beyond that; one stream, one thread.
    Lifetimes,
    /// A memory snapshot of PyTorch, written as JSON: the history of the one device that has any.
    /// `alloc` and `free_requested` are the program's; what the allocator does (segments,
    /// completed frees) is left out, `oom` is noted as a failure. One thread.
    PyTorchSnapshot,
    /// What a [`Recorder`](crate::Recorder) wrote.
    Recording,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 4] =
        [Self::RmmLog, Self::Lifetimes, Self::PyTorchSnapshot, Self::Recording];

    /// The format of a file, told from how it starts: a CSV header (case and blanks around fields
    /// do not matter), an opening brace, or a recording's first line.
    pub fn sniff(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(MAGIC) {
            return Some(Self::Recording);
        }
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes).trim_ascii_start();
        if bytes.first() == Some(&b'{') {
            return Some(Self::PyTorchSnapshot);
        }
        let first = bytes.split(|&byte| byte == b'\n').next()?;
        let fields = || first.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        let csv = [(Self::RmmLog, rmm::HEADER), (Self::Lifetimes, lifetime::HEADER)];
        csv.into_iter().find_map(|(format, header)| {
            let header = header.split(',').map(str::as_bytes);
            let lower = |field: &[u8]| field.to_ascii_lowercase();
            fields().map(lower).eq(header.map(lower)).then_some(format)
        })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RmmLog => write!(f, "an RMM log ({})", rmm::HEADER),
            Self::Lifetimes => write!(f, "lifetimes ({})", lifetime::HEADER),
            Self::PyTorchSnapshot => f.write_str("a PyTorch memory snapshot in JSON"),
            Self::Recording => f.write_str("a vmem recording"),
        }
    }
}

/// Reads a trace from a file, in whichever [`Format`] it is. The trace is named after the file,
/// without folder and extension.
///
/// # Errors
/// [`ReadError`], which names the file, the line, its text and what is accepted.
pub fn read_path(path: impl AsRef<Path>) -> Result<Trace, ReadError> {
    let path = path.as_ref();
    let file = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| ReadError::from_io(&file, error))?;
    let name = path.file_stem().unwrap_or(path.as_os_str());
    read(&file, &bytes).map(|trace| Trace { name: name.to_string_lossy().into_owned(), ..trace })
}

/// Reads a trace from the bytes of a file, in whichever [`Format`] it is. `name` becomes the
/// trace's and stands for the file in errors.
///
/// ```
/// let trace = vmem_trace::read("two blocks", b"id,lower,upper,size\n0,0,2,64\n1,1,3,32\n")?;
/// assert_eq!(trace.peak_live(), 96);
///
/// let error = vmem_trace::read("bad", b"id,lower,upper,size\n0,5,5,64\n").unwrap_err();
/// assert_eq!(error.line(), Some(2));
/// # Ok::<(), vmem_trace::ReadError>(())
/// ```
///
/// # Errors
/// [`ReadError`], which names the line, its text and what is accepted.
pub fn read(name: &str, bytes: &[u8]) -> Result<Trace, ReadError> {
    let refuse = |what: &str| {
        let formats = Format::ALL.map(|format| format.to_string()).join(", ");
        ReadError::new(name, format!("{what}; accepted are {formats}"))
    };
    let trace = match Format::sniff(bytes) {
        Some(Format::RmmLog) => rmm::read(Table::after_header(name, text(name, bytes)?))?,
        Some(Format::Lifetimes) => lifetime::read(Table::after_header(name, text(name, bytes)?))?,
        Some(Format::PyTorchSnapshot) => snapshot::read(name, text(name, bytes)?)?,
        Some(Format::Recording) => recording::read(name, bytes)?,
        None if bytes.trim_ascii().is_empty() => return Err(refuse("it is empty")),
        None => {
            let start = bytes.trim_ascii_start();
            let line = line_after(&bytes[..bytes.len() - start.len()]);
            let first = start.split(|&byte| byte == b'\n').next().unwrap_or_default();
            let first = String::from_utf8_lossy(first);
            return Err(refuse("it does not start as a trace does").at(line, &first));
        }
    };
    if trace.allocations() == 0 {
        return Err(ReadError::new(name, "nothing is allocated in it"));
    }
    Ok(trace)
}

/// A file as text, without a byte order mark.
fn text<'a>(name: &str, bytes: &'a [u8]) -> Result<&'a str, ReadError> {
    let text = str::from_utf8(bytes).map_err(|error| {
        let line = line_after(&bytes[..error.valid_up_to()]);
        ReadError::new(name, "it is not text in UTF-8").at(line, "")
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// The number of the line, counted from 1, that comes after `bytes`.
fn line_after(bytes: &[u8]) -> usize {
    1 + bytes.iter().filter(|&&byte| byte == b'\n').count()
}
