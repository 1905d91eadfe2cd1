//! Recordings of our own.

use std::io::BufRead;

use flate2::Crc;

use super::history::{History, Trouble, Who};
use super::notes::Judge;
use super::numbers::Names;
use super::{Irregularity, ReadError};
use crate::record::format::{
    FRAME_HEADER, Kind, LONGEST_FRAME, LONGEST_LABEL, MAGIC, Previous, given,
};
use crate::record::numbers::{take, unzigzag};
use crate::{Mark, Trace};

/// Reads a recording that starts with [`MAGIC`].
pub(super) fn read(
    file: &str,
    from: &mut impl BufRead,
    judge: &mut Judge,
) -> Result<Trace, ReadError> {
    let mut bytes = Bytes { from, at: 0 };
    let mut reading = Reading { file, history: History::default(), labels: Names::default() };
    let io = |error| ReadError::from_io(file, error);
    bytes.fill(&mut [0; MAGIC.len()]).map_err(io)?;
    let mut frame = Vec::new();
    loop {
        let at = bytes.at;
        let (what, reason) = match bytes.frame(&mut frame) {
            Ok(()) => match reading.entries(&frame, at + FRAME_HEADER, judge)? {
                Frame::Read => continue,
                Frame::Last if bytes.is_at_end().map_err(io)? => break,
                Frame::Last => (Irregularity::Damaged, "more bytes follow the end".to_owned()),
                Frame::Damaged { at, reason } => {
                    judge.note(Irregularity::Damaged, || reading.error(at, reason))?;
                    break;
                }
            },
            Err(Stop::Io(failure)) => return Err(io(failure)),
            Err(Stop::End) => (Irregularity::CutEnd, "the recording has no end".to_owned()),
            Err(Stop::Cut) => (Irregularity::CutEnd, "the recording is cut off".to_owned()),
            Err(Stop::Damaged(reason)) => (Irregularity::Damaged, reason),
        };
        judge.note(what, || reading.error(at, reason))?;
        break;
    }
    let trace = reading.history.finish(file, &reading.labels);
    trace.map_err(|error| ReadError::new(file, error.to_string()))
}

/// Why there is no further frame.
enum Stop {
    Io(std::io::Error),
    /// The file ends where a frame could begin.
    End,
    Cut,
    Damaged(String),
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof => Self::Cut,
            _ => Self::Io(error),
        }
    }
}

/// How the entries of a frame went.
enum Frame {
    Read,
    /// It has the end of the recording.
    Last,
    Damaged {
        at: usize,
        reason: String,
    },
}

struct Reading<'a> {
    file: &'a str,
    history: History,
    labels: Names,
}

impl Reading<'_> {
    fn error(&self, at: usize, reason: impl std::fmt::Display) -> ReadError {
        ReadError::new(self.file, format!("at byte {at}: {reason}"))
    }

    /// Reads the entries of a frame, which begin at byte `start` of the file.
    fn entries(
        &mut self,
        frame: &[u8],
        start: usize,
        judge: &mut Judge,
    ) -> Result<Frame, ReadError> {
        let mut fields = Fields { rest: frame };
        let mut previous = Previous::default();
        let mut at = start;
        let Some(mut time) = fields.number() else {
            return Ok(Frame::Damaged { at, reason: "a frame without a time".to_owned() });
        };
        while let Some(first) = fields.byte() {
            at = start + frame.len() - fields.rest.len() - 1;
            let done = match Kind::of(first) {
                Some(Kind::Label) => self.label(&mut fields),
                Some(Kind::End) if fields.number().is_some() && fields.rest.is_empty() => {
                    return Ok(Frame::Last);
                }
                Some(kind) => self.entry(kind, first, &mut fields, &mut previous, &mut time, at),
                None => Err(Odd::Damaged(format!("an entry that begins with {first:#04x}"))),
            };
            match done {
                // Frees are noted late where threads meet; the history knows what to make of it.
                Ok(()) | Err(Odd::Trouble(Trouble::StillLive { .. })) => {}
                Err(Odd::Trouble(trouble)) => {
                    let words = trouble.words("at byte");
                    let Some(what) = trouble.what() else { return Err(self.error(at, words)) };
                    judge.note(what, || self.error(at, words))?;
                }
                Err(Odd::Damaged(reason)) => return Ok(Frame::Damaged { at, reason }),
            }
        }
        Ok(Frame::Read)
    }

    fn label(&mut self, fields: &mut Fields<'_>) -> Result<(), Odd> {
        let length = fields.number().and_then(|length| usize::try_from(length).ok());
        let name = length.filter(|&length| length <= LONGEST_LABEL).and_then(|l| fields.some(l));
        let name = name.and_then(|name| str::from_utf8(name).ok());
        let reason = || format!("a label that is no text in UTF-8 of up to {LONGEST_LABEL} bytes");
        self.labels.push(name.ok_or_else(reason)?);
        Ok(())
    }

    fn entry(
        &mut self,
        kind: Kind,
        first: u8,
        fields: &mut Fields<'_>,
        previous: &mut Previous,
        time: &mut u64,
        at: usize,
    ) -> Result<(), Odd> {
        let cut = || format!("an entry of kind {} whose fields are no numbers", kind as u8);
        *time = time.saturating_add(fields.number().ok_or_else(cut)?);
        self.history.at(*time);
        if let Kind::Pass | Kind::Page = kind {
            let mark = if kind == Kind::Pass { Mark::Pass } else { Mark::Page };
            return self.history.mark(mark).map_err(Odd::Trouble);
        }
        if first & given::LABEL != 0 {
            previous.label = fields.small().ok_or_else(cut)?;
        }
        if first & given::THREAD != 0 {
            previous.thread = fields.small().ok_or_else(cut)?;
        }
        if first & given::STREAM != 0 {
            previous.stream = fields.number().ok_or_else(cut)?;
        }
        if kind != Kind::Failure {
            let distance = unzigzag(fields.number().ok_or_else(cut)?);
            previous.address = previous.address.wrapping_add(distance.cast_unsigned());
        }
        let size = fields.number().ok_or_else(cut)?;
        let Previous { label, thread, stream, address } = *previous;
        if crate::trace::index(label) > self.labels.len() {
            return Err(Odd::Damaged(format!("label {label} is not defined")));
        }
        let who = Who { stream, thread: thread.into() };
        match kind {
            Kind::Allocate => self.history.allocate((address, size), who, at, label),
            Kind::Free => self.history.free(address, Some(size), who),
            _ => self.history.failure(size, who),
        }
        .map_err(Odd::Trouble)
    }
}

/// Why an entry could not be taken as it is.
enum Odd {
    Damaged(String),
    Trouble(Trouble),
}

impl From<String> for Odd {
    fn from(reason: String) -> Self {
        Self::Damaged(reason)
    }
}

/// What is left of a frame.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    fn some(&mut self, count: usize) -> Option<&'a [u8]> {
        let (some, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(some)
    }

    fn number(&mut self) -> Option<u64> {
        let (number, rest) = take(self.rest)?;
        self.rest = rest;
        Some(number)
    }

    fn small(&mut self) -> Option<u32> {
        self.number().and_then(|number| u32::try_from(number).ok())
    }
}

/// What is left of a recording.
struct Bytes<'a, R> {
    from: &'a mut R,
    at: usize,
}

impl<R: BufRead> Bytes<'_, R> {
    /// Reads the entries of the next frame.
    fn frame(&mut self, into: &mut Vec<u8>) -> Result<(), Stop> {
        if self.is_at_end()? {
            return Err(Stop::End);
        }
        let mut header = [[0; 4]; 2];
        self.fill(header.as_flattened_mut())?;
        let [length, sum] = header.map(u32::from_le_bytes);
        let length = crate::trace::index(length);
        if !(1..=LONGEST_FRAME).contains(&length) {
            return Err(Stop::Damaged(format!(
                "a frame of {length} bytes; accepted are 1 to {LONGEST_FRAME}"
            )));
        }
        into.resize(length, 0);
        self.fill(into)?;
        let mut crc = Crc::new();
        crc.update(into);
        if crc.sum() != sum {
            return Err(Stop::Damaged("a frame whose checksum does not match".to_owned()));
        }
        Ok(())
    }

    fn is_at_end(&mut self) -> std::io::Result<bool> {
        loop {
            match self.from.fill_buf() {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                other => return other.map(<[u8]>::is_empty),
            }
        }
    }

    fn fill(&mut self, into: &mut [u8]) -> std::io::Result<()> {
        self.from.read_exact(into)?;
        self.at += into.len();
        Ok(())
    }
}
