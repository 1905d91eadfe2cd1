//! Watching a stack while a trace is replayed on it.

use vmem_core::{AllocError, RawBlock};

use crate::Event;

/// Told of each event of a [watched](crate::replay_watched) replay once it has been carried out, so that
/// the stack can be looked at as it then is.
pub trait Watch {
    /// An event has been carried out.
    fn after(&mut self, moment: &Moment);

    /// The request at `index` of the trace was refused, which ends the replay. Everything that was
    /// live then still is.
    fn refused(&mut self, index: usize, error: &AllocError);
}

/// An event that has been carried out.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Moment {
    /// The event's place in the trace, counted from 0.
    pub index: usize,
    /// The event.
    pub event: Event,
    /// The block that was allocated or freed.
    pub block: Option<RawBlock>,
    /// The driver calls of the stack so far, those of the replay itself not among them.
    pub driver_calls: Option<u64>,
}
