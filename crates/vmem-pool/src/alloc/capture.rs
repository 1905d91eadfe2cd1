//! Requests of streams that capture a graph.

use vmem_core::author::StreamExt;
use vmem_core::{AllocError, AllocErrorKind, Request};

use super::{Core, NO_ADDRESSES, Slow};
use crate::space::Slot;
use crate::streams::Locked;
use crate::supply::{Backing, Miss};

impl<B: Backing> Core<B> {
    /// Whether the request's stream captures, as far as this thread can tell.
    pub(super) fn is_capturing(&self, request: &Request<'_>) -> Result<bool, AllocError> {
        let stream = request.stream;
        if stream.is_retired() {
            return Err(AllocError::new(
                AllocErrorKind::InvalidStream,
                request.layout,
                self.name(),
            ));
        }
        // Only its own thread can make a stream wait that is not callable here.
        let is_capturing = stream.is_callable_here().then(|| stream.is_capturing());
        is_capturing
            .unwrap_or(Ok(false))
            .map_err(|error| AllocError::from_driver(error, request.layout, self.name()))
    }

    /// A capturing stream gets no more than what others have finished with, as far as that is known, and growth
    /// beside what is at hand: every other stage asks about events or waits for them, which a capture would
    /// record or break.
    pub(super) fn grow_in_capture<'a>(
        &'a self,
        slow: &mut Slow<'_>,
    ) -> Result<(Locked<'a>, Slot), AllocError> {
        let refusal = AllocError::new(AllocErrorKind::Capturing, slow.request.layout, self.name());
        slow.captures = true;
        // What others are likely to need again is better than nothing.
        slow.spares = false;
        let mut state = self.streams.lock();
        if let Some(slot) = state.take_complete(slow) {
            return Ok((state, slot));
        }
        drop(state);
        // Measured (benches/probes/captures.py): calls of virtual memory management are of no concern to
        // captures of any mode.
        if !self.supply.moves() {
            return Err(refusal);
        }
        self.grow(slow).map_err(|miss| match miss {
            Miss::Skip(_) | Miss::Ceiling => refusal,
            Miss::Addresses => refusal.with_source(NO_ADDRESSES),
            Miss::Refused(source) => refusal.with_source(source),
            miss @ Miss::Fault(_) => self.refuse(slow, miss),
        })
    }
}
