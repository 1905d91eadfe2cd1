//! The addresses at which the host's memory is shown for copies, and the copies through them.
//!
//! Access to the host's memory takes long to set, for each address anew, so a handle keeps its view for as
//! long as it is held. Nothing is mapped only to be copied.

use std::collections::VecDeque;

use vmem_core::author::StreamExt;
use vmem_core::{DevicePtr, DriverError, Event, ResidencyError, Stream};

use super::exchange::{Swap, placed};
use super::host::driver;
use super::{Mapping, Piece};
use crate::space::{Span, pointer};

/// How often a wait for copies that may still run is tried before they are left to be waited for later.
const WAITS: usize = 2;

/// Addresses of one handle, as far as the driver's calls for them have succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct View {
    base: Option<DevicePtr>,
    is_mapped: bool,
    is_accessible: bool,
}

/// Copies that were queued on a stream of their own, in the order of their addresses.
pub(super) struct Copies {
    stream: Stream,
    /// Where those end that are to be waited for one by one.
    marks: VecDeque<(u64, Event)>,
    /// Everything marked below this address is complete.
    waited: u64,
    pub(super) copied: u64,
}

impl Mapping {
    /// Makes a handle of the host's memory accessible at addresses of its own. Can be tried again.
    pub(super) fn open_view(&self, piece: &mut Piece) -> Result<(), DriverError> {
        let view = &mut piece.view;
        let base = match view.base {
            Some(base) => base,
            None => *view.base.insert(self.vm().reserve(piece.size)?),
        };
        if !view.is_mapped {
            // SAFETY: contract, devices/handles and devices/ranges: a range of ours in which nothing is
            // mapped, as large as the handle, which is ours.
            unsafe { self.vm().map(base, piece.size, piece.handle) }?;
            view.is_mapped = true;
        }
        if !view.is_accessible {
            // SAFETY: contract, devices/ranges: the mapping just made, which nothing uses yet.
            unsafe { self.vm().set_access(base, piece.size) }?;
            view.is_accessible = true;
        }
        Ok(())
    }

    /// Gives these addresses back. Can be tried again.
    pub(super) fn close_view(&self, piece: &mut Piece) -> Result<(), DriverError> {
        let view = &mut piece.view;
        let Some(base) = view.base else { return Ok(()) };
        if view.is_mapped {
            // SAFETY: contract, devices/ranges and devices/pending-work: one whole mapping; the host has
            // waited for all copies through it.
            unsafe { self.vm().unmap(base, piece.size) }?;
            (view.is_mapped, view.is_accessible) = (false, false);
        }
        // SAFETY: contract, devices/ranges: the whole range, in which nothing is mapped any more.
        unsafe { self.vm().free_range(base, piece.size) }?;
        view.base = None;
        Ok(())
    }

    pub(super) fn copies(&self) -> Result<Copies, DriverError> {
        let stream = Stream::new(self.device.clone())?;
        Ok(Copies { stream, marks: VecDeque::new(), waited: 0, copied: 0 })
    }
}

impl Copies {
    /// Queues the copy of a part of a run from where it is to the host, or from there: between the run's
    /// addresses and the views of its handles on the host.
    pub(super) fn queue(&mut self, swap: &Swap, part: Span) -> Result<(), DriverError> {
        let is_leaving = swap.leaves_device();
        let on_host = if is_leaving { &swap.new } else { &swap.old };
        for (at, piece) in placed(swap.span.start, on_host) {
            let (from, upto) = (part.start.max(at), part.end().min(at + piece.size));
            if from >= upto {
                continue;
            }
            let base = piece.view.base.expect("the host's memory is shown where it is held");
            let (run, view) = (pointer(from), pointer(base.get() + (from - at)));
            let (to, of) = if is_leaving { (view, run) } else { (run, view) };
            self.stream.with_raw("the pool's copy", |device, raw| {
                // SAFETY: contract, devices/handles and devices/ranges: the stream is ours; both ranges
                // are mapped, with access, until the copy was waited for.
                unsafe { device.copy_within(to, of, upto - from, raw) }
            })?;
            self.copied += upto - from;
        }
        Ok(())
    }

    /// What was queued by now, up to an address, can be waited for.
    pub(super) fn mark(&mut self, upto: u64) -> Result<(), DriverError> {
        self.marks.push_back((upto, self.stream.marker()?));
        Ok(())
    }

    /// Waits for what was marked below an address, the lowest first.
    pub(super) fn wait_below(&mut self, end: u64) -> Result<(), DriverError> {
        while self.waited < end
            && let Some((upto, event)) = self.marks.pop_front()
        {
            event.synchronize()?;
            self.waited = upto;
        }
        Ok(())
    }

    /// Waits for all. An error comes with the stream if they may still run.
    pub(super) fn finish(
        self,
        queued: Result<(), DriverError>,
    ) -> Result<u64, (ResidencyError, Option<Stream>)> {
        let first = wait_for(&self.stream);
        let mut waited = first.clone();
        for _ in 1..WAITS {
            waited = waited.or_else(|_| wait_for(&self.stream));
        }
        match (queued.and(first), waited) {
            (Ok(()), _) => Ok(self.copied),
            (Err(error), Ok(())) => Err((driver(error), None)),
            (Err(error), Err(_)) => Err((driver(error), Some(self.stream))),
        }
    }
}

/// Waits for the copies on a stream of ours.
pub(super) fn wait_for(copies: &Stream) -> Result<(), DriverError> {
    copies.with_raw("the pool's copy", |device, raw| {
        // SAFETY: contract, devices/handles: a stream of ours.
        unsafe { device.synchronize_stream(raw) }
    })
}
