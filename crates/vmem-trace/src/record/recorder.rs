//! An observer that writes recordings.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;
use std::{fmt, mem};

use vmem_core::author::fork;
use vmem_core::{MemoryEvent, MemoryEventKind, MemoryObserver};

use super::format::{Encoder, Entry, Kind};

/// Writes allocations, frees and failures, with their times, to a file or another writer.
///
/// An event costs a short lock, a look at the clock and some ten bytes in a buffer; no heap memory. Other
/// kinds of events are ignored. The first error of the writer ends the recording;
/// [`flush`](Self::flush) and [`finish`](Self::finish) return it.
///
/// # When the process dies
/// The buffer is written after every [`MOST_UNWRITTEN`](Self::MOST_UNWRITTEN) events, at every
/// failure, by [`flush`](Self::flush) and when the recorder is finished or dropped. A process that is
/// killed or aborts loses at most the events since then, always fewer than that; the file is read up to
/// the last whole frame in it, wherever it was cut. What was written is the operating system's: a machine
/// that stops may lose more.
pub struct Recorder {
    state: Mutex<State>,
    began: Instant,
}

struct State {
    encoder: Encoder<Box<dyn Write + Send>>,
    events: u64,
    /// How many of them are in the buffer.
    unwritten: usize,
    /// The end is written; nothing comes after it.
    ended: bool,
    error: Option<io::Error>,
}

impl Recorder {
    /// Events are written after this many, so that fewer are lost when the process dies: 128.
    pub const MOST_UNWRITTEN: usize = 128;

    /// Records into a new file at `path`, replacing what is there.
    ///
    /// # Errors
    /// If the file cannot be created or written.
    pub fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::new(File::create(path)?)
    }

    /// Records to a writer, which needs no buffer of its own.
    ///
    /// # Errors
    /// The error of the writer, if it cannot be written to.
    pub fn new(to: impl Write + Send + 'static) -> io::Result<Self> {
        let to: Box<dyn Write + Send> = Box::new(to);
        let encoder = Encoder::new(to)?;
        let state = State { encoder, events: 0, unwritten: 0, ended: false, error: None };
        Ok(Self { state: Mutex::new(state), began: Instant::now() })
    }

    /// Writes what is buffered. Returns how many events have been recorded. Recording can go on: without
    /// [`finish`](Self::finish) what is written so far reads as one that was cut.
    ///
    /// # Errors
    /// The first error of the writer, once; what happened after it is lost. In a [forked](fork) child
    /// always.
    pub fn flush(&self) -> io::Result<u64> {
        fork::refuse("Recorder::flush").map_err(io::Error::other)?;
        let mut state = self.lock();
        state.carry_out(Encoder::flush);
        state.answer()
    }

    /// Ends the recording, as dropping the recorder does. Returns how many events it has; later ones are
    /// ignored.
    ///
    /// # Errors
    /// Those of [`flush`](Self::flush).
    pub fn finish(&self) -> io::Result<u64> {
        fork::refuse("Recorder::finish").map_err(io::Error::other)?;
        let mut state = self.lock();
        state.end();
        state.answer()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        fork::locked(|| self.state.lock())
    }
}

impl MemoryObserver for Recorder {
    /// In a [forked](fork) child, whose writes would mix with its parent's, it does nothing.
    fn event(&self, event: &MemoryEvent) {
        if fork::is_child() {
            return;
        }
        let (kind, address, layout) = match event.kind {
            MemoryEventKind::Allocate { ptr, layout } => (Kind::Allocate, ptr.get(), layout),
            MemoryEventKind::Free { ptr, layout } => (Kind::Free, ptr.get(), layout),
            MemoryEventKind::Failure { layout } => (Kind::Failure, 0, layout),
            _ => return,
        };
        let entry = Entry {
            label: event.label,
            thread: thread_number(),
            stream: event.stream.map_or(0, |stream| stream.get()),
            address,
            size: layout.size(),
        };
        let time = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut state = self.lock();
        if state.error.is_some() || state.ended {
            return;
        }
        state.carry_out(|encoder| encoder.entry(kind, &entry, time));
        state.events += 1;
        state.unwritten += 1;
        // Memory that ran out is often the last thing that a process tells.
        if kind == Kind::Failure || state.unwritten >= Self::MOST_UNWRITTEN {
            state.carry_out(Encoder::write_out);
            state.unwritten = 0;
        }
    }
}

impl State {
    /// Lets the encoder do something, unless the writer has failed.
    fn carry_out(
        &mut self,
        work: impl FnOnce(&mut Encoder<Box<dyn Write + Send>>) -> io::Result<()>,
    ) {
        if self.error.is_none() {
            self.error = work(&mut self.encoder).err();
        }
    }

    fn end(&mut self) {
        if !mem::replace(&mut self.ended, true) {
            self.carry_out(Encoder::end);
        }
    }

    fn answer(&mut self) -> io::Result<u64> {
        match self.error.take() {
            Some(error) => {
                // Whatever comes now would follow a gap.
                self.error = Some(io::ErrorKind::BrokenPipe.into());
                Err(error)
            }
            None => Ok(self.events),
        }
    }
}

impl Drop for State {
    /// Writes the end; an error has nowhere to go but `finish`, which was not called.
    fn drop(&mut self) {
        if fork::is_child() {
            return;
        }
        self.end();
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Recorder")
            .field("events", &state.events)
            .field("error", &state.error)
            .finish_non_exhaustive()
    }
}

/// The calling thread's number, from 0 in the order in which threads first record.
fn thread_number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    thread_local! {
        static NUMBER: u32 = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    NUMBER.try_with(|number| *number).unwrap_or(u32::MAX)
}
