//! Building traces: every event is checked as it is added.

use std::fmt;

use vmem_core::{BlockLayout, Label, LayoutError};

use crate::trace::{Totals, index};
use crate::{Event, Mark, Origin, Trace};

/// Builds a [`Trace`], refusing what no program could have done.
#[derive(Debug, Default)]
pub struct TraceBuilder {
    events: Vec<Event>,
    /// The size in each slot; `None` where nothing is live.
    slots: Vec<Option<u64>>,
    /// Empty slots, last emptied last.
    empty: Vec<u32>,
    live: u64,
    totals: Totals,
    times: Times,
}

/// When things happen, in nanoseconds.
#[derive(Debug, Default)]
struct Times {
    /// The first time there was.
    base: Option<u64>,
    /// The latest, from that.
    now: u64,
    /// For each event so far; empty while there is no time.
    of_events: Vec<u64>,
}

/// An event that cannot be part of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TraceError {
    /// The size is zero or larger than any block.
    Size(LayoutError),
    /// The block to be freed is not live.
    NotLive {
        /// The slot it should have been in.
        slot: u32,
    },
    /// All live blocks together exceed 64 bits.
    LiveOverflow,
    /// A stream or thread number skips one: they count from zero in order of first appearance.
    Gap {
        /// The number given.
        given: u32,
        /// The largest that could have been given.
        largest: u32,
    },
    /// The trace would have more than [`TraceBuilder::MAX_EVENTS`] events.
    TooManyEvents,
}

impl TraceBuilder {
    /// The largest number of events in a trace: 2²⁶, two gibibytes of them.
    pub const MAX_EVENTS: usize = 1 << 26;

    /// A trace without events.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is added from now on happens at `time`, in nanoseconds from any moment. Times do not go back:
    /// an earlier one counts as the latest so far. O(1).
    pub fn at(&mut self, time: u64) {
        let base = *self.times.base.get_or_insert(time);
        self.times.now = self.times.now.max(time.saturating_sub(base));
    }

    /// A block of `size` bytes is allocated. Returns its slot. O(1).
    ///
    /// # Errors
    /// [`TraceError`], with nothing added.
    pub fn allocate(&mut self, size: u64, origin: Origin, label: Label) -> Result<u32, TraceError> {
        BlockLayout::new(size).map_err(TraceError::Size)?;
        let live = self.live.checked_add(size).ok_or(TraceError::LiveOverflow)?;
        let slot = match self.empty.last() {
            Some(&slot) => slot,
            None => self.totals.slots,
        };
        self.push(Event::Allocate { slot, size, origin, label }, Some(origin))?;
        if self.empty.pop().is_some() {
            self.slots[index(slot)] = Some(size);
        } else {
            self.slots.push(Some(size));
            self.totals.slots += 1;
        }
        self.live = live;
        self.totals.peak_live = self.totals.peak_live.max(live);
        self.totals.allocations += 1;
        Ok(slot)
    }

    /// The block in `slot` is freed. Returns its size. O(1).
    ///
    /// # Errors
    /// [`TraceError`], with nothing added.
    pub fn free(&mut self, slot: u32, origin: Origin) -> Result<u64, TraceError> {
        let size = self.size_of(slot).ok_or(TraceError::NotLive { slot })?;
        self.push(Event::Free { slot, origin }, Some(origin))?;
        self.slots[index(slot)] = None;
        self.empty.push(slot);
        self.live -= size;
        Ok(size)
    }

    /// A request for `size` bytes failed. O(1).
    ///
    /// # Errors
    /// [`TraceError`], with nothing added.
    pub fn failure(&mut self, size: u64, origin: Origin) -> Result<(), TraceError> {
        self.push(Event::Failure { size, origin }, Some(origin))
    }

    /// A place is marked. O(1).
    ///
    /// # Errors
    /// [`TraceError::TooManyEvents`], with nothing added.
    pub fn mark(&mut self, mark: Mark) -> Result<(), TraceError> {
        self.push(Event::Mark(mark), None)?;
        if mark == Mark::Pass {
            self.totals.passes += 1;
        }
        Ok(())
    }

    /// The size of the live block in `slot`, in bytes.
    pub fn size_of(&self, slot: u32) -> Option<u64> {
        self.slots.get(index(slot)).copied().flatten()
    }

    /// The sum of the sizes of the blocks live now, in bytes.
    pub fn live(&self) -> u64 {
        self.live
    }

    /// The number of events so far.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Returns true if there is no event yet.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The trace, under a name.
    pub fn finish(self, name: impl Into<String>) -> Trace {
        // Where no time passes nothing is known of it.
        let times = if self.times.now > 0 { self.times.of_events } else { Vec::new() };
        Trace { name: name.into(), events: self.events, times, totals: self.totals }
    }

    fn push(&mut self, event: Event, origin: Option<Origin>) -> Result<(), TraceError> {
        if self.events.len() >= Self::MAX_EVENTS {
            return Err(TraceError::TooManyEvents);
        }
        if let Some(Origin { stream, thread }) = origin {
            let streams = count(self.totals.streams, stream)?;
            self.totals.threads = count(self.totals.threads, thread)?;
            self.totals.streams = streams;
        }
        if self.times.base.is_some() {
            self.times.of_events.resize(self.events.len(), 0);
            self.times.of_events.push(self.times.now);
        }
        self.events.push(event);
        Ok(())
    }
}

/// How many numbers there are when `given` is used after the first `known`.
fn count(known: u32, given: u32) -> Result<u32, TraceError> {
    if given > known {
        let largest = known;
        return Err(TraceError::Gap { given, largest });
    }
    // Each new number needs an event, so there are far fewer than 2³² of them.
    Ok(known.max(given + 1))
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(error) => write!(f, "the size cannot be allocated: {error}"),
            Self::NotLive { slot } => write!(f, "no live block is in slot {slot}"),
            Self::LiveOverflow => f.write_str("the live blocks together exceed 64 bits"),
            Self::Gap { given, largest } => write!(
                f,
                "streams and threads are numbered from 0 in order of appearance: \
                 {given} skips {largest}"
            ),
            Self::TooManyEvents => {
                write!(f, "a trace has at most {} events", TraceBuilder::MAX_EVENTS)
            }
        }
    }
}

impl std::error::Error for TraceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Size(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Origin = Origin::stream(0);

    #[test]
    fn slots_are_used_again_and_a_second_free_is_refused() {
        let mut builder = TraceBuilder::new();
        let a = builder.allocate(8, HERE, Label::NONE).unwrap();
        assert_eq!(builder.free(a, HERE), Ok(8));
        assert_eq!(builder.free(a, HERE), Err(TraceError::NotLive { slot: a }));
        assert_eq!(builder.allocate(9, HERE, Label::NONE), Ok(a));
        assert_eq!(builder.size_of(a), Some(9));
        assert_eq!(builder.finish("t").slots(), 1);
    }

    #[test]
    fn times_count_from_the_first_and_do_not_go_back() {
        let mut builder = TraceBuilder::new();
        let a = builder.allocate(8, HERE, Label::NONE).unwrap();
        for time in [5_000, 7_000, 6_000, 9_000] {
            builder.at(time);
            builder.failure(1, HERE).unwrap();
        }
        builder.free(a, HERE).unwrap();
        assert_eq!(builder.finish("t").times(), Some(&[0, 0, 2_000, 2_000, 4_000, 4_000][..]));
        let mut builder = TraceBuilder::new();
        builder.at(5_000);
        builder.failure(1, HERE).unwrap();
        assert_eq!(builder.finish("no time passes").times(), None);
    }

    #[test]
    fn a_refused_event_leaves_the_trace_as_it_was() {
        let mut builder = TraceBuilder::new();
        let zero = builder.allocate(0, HERE, Label::NONE);
        assert_eq!(zero, Err(TraceError::Size(LayoutError::ZeroSize)));
        let gap = Err(TraceError::Gap { given: 1, largest: 0 });
        assert_eq!(builder.allocate(1, Origin::stream(1), Label::NONE), gap);
        let half = 1 << 62;
        for _ in 0..3 {
            builder.allocate(half, HERE, Label::NONE).unwrap();
        }
        let full = builder.allocate(half, HERE, Label::NONE);
        assert_eq!(full, Err(TraceError::LiveOverflow));
        assert_eq!((builder.len(), builder.live()), (3, 3 * half));
        assert_eq!(builder.finish("t").slots(), 3);
    }
}
