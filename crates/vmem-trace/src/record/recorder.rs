//! An observer that writes recordings.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};

use vmem_core::author::fork;
use vmem_core::{Label, MemoryEvent, MemoryEventKind, MemoryObserver};

use super::format::{Entry, Kind, LONGEST_LABEL, MAGIC};

/// Writes allocations, frees and failures to a file or another writer.
///
/// An event costs a short lock and 33 bytes in a buffer; no heap memory. Other kinds of events are
/// ignored. The first error of the writer ends the recording; [`flush`](Self::flush) returns it.
///
/// # When the process dies
/// The buffer is written after every [`MOST_UNWRITTEN`](Self::MOST_UNWRITTEN) events, at every
/// failure, by [`flush`](Self::flush) and when the recorder is dropped. A process that is killed or
/// aborts loses at most the events since then, always fewer than that; the file is read up to its
/// end, wherever that is. What was written is the operating system's: a machine that stops may lose
/// more.
pub struct Recorder {
    state: Mutex<State>,
}

struct State {
    buffer: Vec<u8>,
    to: Box<dyn Write + Send>,
    /// The numbers of labels already defined.
    labels: HashMap<Label, u32>,
    last_label: (Label, u32),
    events: u64,
    /// How many of them are in the buffer.
    unwritten: usize,
    error: Option<io::Error>,
}

impl Recorder {
    /// Events are written after this many, so that fewer are lost when the process dies: 128.
    pub const MOST_UNWRITTEN: usize = 128;

    /// How many bytes are buffered at most: room for that many events and a few labels.
    const BUFFER: usize = 16 << 10;

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
    pub fn new(mut to: impl Write + Send + 'static) -> io::Result<Self> {
        to.write_all(MAGIC)?;
        Ok(Self {
            state: Mutex::new(State {
                buffer: Vec::with_capacity(Self::BUFFER),
                to: Box::new(to),
                labels: HashMap::new(),
                last_label: (Label::NONE, 0),
                events: 0,
                unwritten: 0,
                error: None,
            }),
        })
    }

    /// Writes what is buffered. Returns how many events have been recorded. Recording can go on.
    ///
    /// # Errors
    /// The first error of the writer, once; what happened after it is lost. In a [forked](fork) child
    /// always.
    pub fn flush(&self) -> io::Result<u64> {
        fork::refuse("Recorder::flush").map_err(io::Error::other)?;
        let mut state = self.lock();
        state.flush();
        match state.error.take() {
            Some(error) => {
                // Whatever comes now would follow a gap.
                state.error = Some(io::ErrorKind::BrokenPipe.into());
                Err(error)
            }
            None => Ok(state.events),
        }
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
        let mut entry = Entry {
            label: 0,
            thread: thread_number(),
            stream: event.stream.map_or(0, |stream| stream.get()),
            address,
            size: layout.size(),
        };
        let mut state = self.lock();
        if state.error.is_some() {
            return;
        }
        entry.label = state.number(event.label);
        state.append(&entry.encode(kind));
        state.events += 1;
        state.unwritten += 1;
        // Memory that ran out is often the last thing that a process tells.
        if kind == Kind::Failure || state.unwritten >= Self::MOST_UNWRITTEN {
            state.write_out();
        }
    }
}

impl State {
    /// The number of a label, defined now if it is new.
    fn number(&mut self, label: Label) -> u32 {
        if label == Label::NONE {
            return 0;
        }
        if label == self.last_label.0 {
            return self.last_label.1;
        }
        let number = match self.labels.get(&label) {
            Some(&number) => number,
            None => self.define(label),
        };
        self.last_label = (label, number);
        number
    }

    fn define(&mut self, label: Label) -> u32 {
        // There are fewer than 2³² labels in a process, and longer names are cut.
        let number = u32::try_from(self.labels.len() + 1).unwrap_or(0);
        let name = label.as_str();
        let name = &name[..name.floor_char_boundary(LONGEST_LABEL)];
        let length = u32::try_from(name.len()).unwrap_or(0);
        self.append(&[Kind::Label as u8]);
        self.append(&number.to_le_bytes());
        self.append(&length.to_le_bytes());
        self.append(name.as_bytes());
        self.labels.insert(label, number);
        number
    }

    fn append(&mut self, bytes: &[u8]) {
        if self.buffer.len() + bytes.len() > self.buffer.capacity() {
            self.write_out();
        }
        self.buffer.extend_from_slice(bytes);
    }

    fn write_out(&mut self) {
        if self.error.is_none() {
            self.error = self.to.write_all(&self.buffer).err();
        }
        self.buffer.clear();
        self.unwritten = 0;
    }

    fn flush(&mut self) {
        self.write_out();
        if self.error.is_none() {
            self.error = self.to.flush().err();
        }
    }
}

impl Drop for State {
    /// Writes what is buffered; an error has nowhere to go but `flush`, which was not called.
    fn drop(&mut self) {
        if fork::is_child() {
            return;
        }
        self.flush();
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
