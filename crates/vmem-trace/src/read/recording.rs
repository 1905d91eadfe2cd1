//! Recordings of our own.

use std::io::BufRead;

use super::history::{History, Trouble, Who};
use super::notes::Judge;
use super::numbers::Names;
use super::{Irregularity, ReadError};
use crate::Trace;
use crate::record::format::{Entry, Kind, LONGEST_LABEL, MAGIC};

/// Reads a recording that starts with [`MAGIC`].
pub(super) fn read(
    file: &str,
    from: &mut impl BufRead,
    judge: &mut Judge,
) -> Result<Trace, ReadError> {
    let mut bytes = Bytes { from, at: 0 };
    let mut history = History::default();
    let mut labels = Names::default();
    let io = |error| ReadError::from_io(file, error);
    bytes.array::<{ MAGIC.len() }>().map_err(io)?;
    loop {
        let at = bytes.at;
        let error = |reason: String| ReadError::new(file, format!("at byte {at}: {reason}"));
        let read = match bytes.array().map_err(io)? {
            None => break,
            Some([kind]) => match Kind::from_byte(kind) {
                Some(Kind::Label) => label(&mut bytes, &mut labels),
                Some(kind) => entry(&mut bytes, kind, labels.len(), at, &mut history),
                None => Err(Stop::Damaged(format!(
                    "an entry of the unknown kind {kind}; accepted are 0 to 3"
                ))),
            },
        };
        let (what, reason) = match read {
            Ok(()) => continue,
            // Frees are noted late where threads meet; the history knows what to make of it.
            Err(Stop::Trouble(Trouble::StillLive { .. })) => continue,
            Err(Stop::Trouble(trouble)) => {
                let words = trouble.words("at byte");
                let Some(what) = trouble.what() else { return Err(error(words)) };
                judge.note(what, || error(words))?;
                continue;
            }
            Err(Stop::Io(failure)) => return Err(io(failure)),
            Err(Stop::Cut) => (Irregularity::CutEnd, "the recording is cut off".to_owned()),
            Err(Stop::Damaged(reason)) => (Irregularity::Damaged, reason),
        };
        judge.note(what, || error(reason))?;
        break;
    }
    let trace = history.finish(file, &labels);
    trace.map_err(|error| ReadError::new(file, error.to_string()))
}

/// Why an entry could not be taken as it is.
enum Stop {
    Io(std::io::Error),
    Cut,
    Damaged(String),
    Trouble(Trouble),
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

fn label(bytes: &mut Bytes<'_, impl BufRead>, labels: &mut Names) -> Result<(), Stop> {
    let number = u32::from_le_bytes(bytes.array()?.ok_or(Stop::Cut)?);
    let length = u32::from_le_bytes(bytes.array()?.ok_or(Stop::Cut)?);
    let length = usize::try_from(length).ok().filter(|&length| length <= LONGEST_LABEL);
    let Some(length) = length else {
        return Err(Stop::Damaged(format!("a label longer than {LONGEST_LABEL} bytes")));
    };
    let name = bytes.some(length)?.ok_or(Stop::Cut)?;
    let name = str::from_utf8(&name)
        .map_err(|_| Stop::Damaged("a label is not text in UTF-8".to_owned()))?;
    if usize::try_from(number) != Ok(labels.len() + 1) {
        return Err(Stop::Damaged(format!("label {number} is out of order")));
    }
    labels.push(name);
    Ok(())
}

fn entry(
    bytes: &mut Bytes<'_, impl BufRead>,
    kind: Kind,
    labels: usize,
    at: usize,
    history: &mut History,
) -> Result<(), Stop> {
    let entry = Entry::decode(&bytes.array()?.ok_or(Stop::Cut)?);
    let Entry { label, thread, stream, address, size } = entry;
    if usize::try_from(label).map_or(true, |label| label > labels) {
        return Err(Stop::Damaged(format!("label {label} is not defined")));
    }
    let who = Who { stream, thread: thread.into() };
    match kind {
        Kind::Allocate => history.allocate((address, size), who, at, label),
        Kind::Free => history.free(address, Some(size), who),
        Kind::Failure | Kind::Label => history.failure(size, who),
    }
    .map_err(Stop::Trouble)
}

/// What is left of a recording.
struct Bytes<'a, R> {
    from: &'a mut R,
    at: usize,
}

impl<R: BufRead> Bytes<'_, R> {
    /// So many bytes; `None` if the file ends first.
    fn array<const N: usize>(&mut self) -> std::io::Result<Option<[u8; N]>> {
        let mut bytes = [0; N];
        Ok(self.fill(&mut bytes)?.then_some(bytes))
    }

    fn some(&mut self, count: usize) -> std::io::Result<Option<Vec<u8>>> {
        let mut bytes = vec![0; count];
        Ok(self.fill(&mut bytes)?.then_some(bytes))
    }

    fn fill(&mut self, into: &mut [u8]) -> std::io::Result<bool> {
        match self.from.read_exact(into) {
            Ok(()) => {
                self.at += into.len();
                Ok(true)
            }
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}
