//! The trace model: a validated sequence of allocations and frees.

use vmem_core::Label;

use crate::{TraceBuilder, TraceError};

/// Which stream and host thread did something.
///
/// Both are numbers of the trace, counted from zero in order of first appearance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Origin {
    /// The stream's number.
    pub stream: u32,
    /// The thread's number.
    pub thread: u32,
}

impl Origin {
    /// Stream number `stream`, used by the first thread.
    pub const fn stream(stream: u32) -> Self {
        Self { stream, thread: 0 }
    }
}

/// One thing that happened.
///
/// A block is named by its *slot*, an index into the table of live blocks. A slot is used again
/// after its block was freed, so a table of [`Trace::slots`] entries is enough to replay a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum Event {
    /// A block was allocated into a slot that was empty.
    Allocate {
        /// Where the block goes in the table of live blocks.
        slot: u32,
        /// The size asked for, in bytes; a valid size of a block layout.
        size: u64,
        /// Who allocated.
        origin: Origin,
        /// What the memory was for.
        label: Label,
    },
    /// The block in a slot was freed.
    Free {
        /// The block's place in the table of live blocks.
        slot: u32,
        /// Who freed; not always the stream that allocated.
        origin: Origin,
    },
    /// A request failed where the trace was taken. A note: nothing became live.
    Failure {
        /// The size asked for, in bytes.
        size: u64,
        /// Who asked.
        origin: Origin,
    },
    /// A place in the trace.
    Mark(Mark),
}

/// A place in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum Mark {
    /// A repetition of the whole pattern begins.
    Pass,
    /// A page of a paged workload has ended: of its blocks only its outputs are live.
    Page,
}

/// A sequence of allocations and frees in which every free frees a live block.
///
/// Plain data: it refers to no device and can be replayed any number of times. Made by a
/// [`TraceBuilder`], a reader or a [`Workload`](crate::Workload). Blocks may be live at its end.
///
/// ```
/// use vmem_core::Label;
/// use vmem_trace::{Origin, TraceBuilder};
///
/// # fn main() -> Result<(), vmem_trace::TraceError> {
/// let mut builder = TraceBuilder::new();
/// let a = builder.allocate(1000, Origin::default(), Label::NONE)?;
/// let b = builder.allocate(500, Origin::default(), Label::NONE)?;
/// builder.free(a, Origin::default())?;
/// builder.free(b, Origin::default())?;
/// let trace = builder.finish("two blocks");
/// assert_eq!(trace.peak_live(), 1500);
/// assert_eq!(trace.allocations(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    pub(crate) name: String,
    pub(crate) events: Vec<Event>,
    /// In nanoseconds from the first event; empty if not known.
    pub(crate) times: Vec<u64>,
    pub(crate) totals: Totals,
}

/// Figures of a trace, kept while it is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Totals {
    pub(crate) allocations: u64,
    pub(crate) peak_live: u64,
    pub(crate) slots: u32,
    pub(crate) streams: u32,
    pub(crate) threads: u32,
    pub(crate) passes: u32,
}

impl Trace {
    /// The trace's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The events, in order.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// When each event happened, in nanoseconds from the first one; `None` if that is not known. Never
    /// decreases.
    pub fn times(&self) -> Option<&[u64]> {
        (!self.times.is_empty()).then_some(&self.times)
    }

    /// The same without times: what a program asked for, not when. A recording of it is a third shorter.
    pub fn without_times(self) -> Self {
        Self { times: Vec::new(), ..self }
    }

    /// The number of blocks that were allocated.
    pub fn allocations(&self) -> u64 {
        self.totals.allocations
    }

    /// The largest sum of the sizes of live blocks, in bytes. No device below it can run the trace.
    pub fn peak_live(&self) -> u64 {
        self.totals.peak_live
    }

    /// The largest number of blocks live at once, which is the size of a table of live blocks.
    pub fn slots(&self) -> u32 {
        self.totals.slots
    }

    /// The number of streams.
    pub fn streams(&self) -> u32 {
        self.totals.streams
    }

    /// The number of host threads.
    pub fn threads(&self) -> u32 {
        self.totals.threads
    }

    /// The number of marked passes.
    pub fn passes(&self) -> u32 {
        self.totals.passes
    }

    /// Repeats the trace `passes` times, each time marked as a pass, with everything still live
    /// at the end of a pass freed there, by its allocating stream and thread. Times and the marks of
    /// passes within the trace are dropped. O(events × passes).
    ///
    /// # Errors
    /// [`TraceError::TooManyEvents`] if the result would be longer than
    /// [`TraceBuilder::MAX_EVENTS`].
    pub fn repeated(&self, passes: u32) -> Result<Self, TraceError> {
        let mut builder = TraceBuilder::new();
        for _ in 0..passes {
            self.append_pass(&mut builder)?;
        }
        Ok(builder.finish(self.name.clone()))
    }

    fn append_pass(&self, builder: &mut TraceBuilder) -> Result<(), TraceError> {
        builder.mark(Mark::Pass)?;
        let mut live: Vec<Option<(u32, Origin)>> = Vec::new();
        for event in &self.events {
            match *event {
                Event::Allocate { slot, size, origin, label } => {
                    let index = index(slot);
                    if live.len() <= index {
                        live.resize(index + 1, None);
                    }
                    live[index] = Some((builder.allocate(size, origin, label)?, origin));
                }
                Event::Free { slot, origin } => {
                    let held = live.get_mut(index(slot)).and_then(Option::take);
                    let (slot, _) = held.ok_or(TraceError::NotLive { slot })?;
                    builder.free(slot, origin)?;
                }
                Event::Failure { size, origin } => builder.failure(size, origin)?,
                Event::Mark(Mark::Pass) => {}
                Event::Mark(mark) => builder.mark(mark)?,
            }
        }
        for (slot, origin) in live.into_iter().flatten() {
            builder.free(slot, origin)?;
        }
        Ok(())
    }
}

/// A slot as an index.
pub(crate) fn index(slot: u32) -> usize {
    usize::try_from(slot).expect("a slot indexes a table in memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_trace_frees_what_is_left_and_has_the_same_peak() {
        let mut builder = TraceBuilder::new();
        let a = builder.allocate(10, Origin::default(), Label::NONE).unwrap();
        builder.allocate(20, Origin::default(), Label::NONE).unwrap();
        builder.free(a, Origin::default()).unwrap();
        let trace = builder.finish("t");
        let thrice = trace.repeated(3).unwrap();
        assert_eq!((trace.passes(), thrice.passes()), (0, 3));
        assert_eq!(thrice.peak_live(), trace.peak_live());
        assert_eq!(thrice.allocations(), 6);
        assert_eq!(thrice.slots(), 2);
        assert_eq!(thrice.events().len(), 3 * 5);
    }
}
