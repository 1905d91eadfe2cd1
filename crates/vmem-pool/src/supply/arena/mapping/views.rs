//! The addresses at which the host's memory is shown for copies, and the copies through them.
//!
//! Access to the host's memory takes long to set, for each address anew, so a handle keeps its view for as
//! long as it is held. Nothing is mapped only to be copied.

use std::collections::VecDeque;
use std::sync::Arc;

use vmem_core::author::StreamExt;
use vmem_core::{Device, DriverError, Event, ResidencyError, Stream};

use super::exchange::Swap;
use super::host::driver;
use super::{Piece, VirtualArena};
use crate::space::{Span, pointer};

/// Copies that were queued on a stream of their own, in the order of their addresses.
pub(super) struct Copies {
    stream: Stream,
    /// Where those begin that are yet to be waited for one by one.
    marks: VecDeque<(u64, Event)>,
}

impl VirtualArena {
    /// Makes a handle of the host's memory accessible at addresses of its own. Can be tried again.
    pub(super) fn open_view(&self, piece: &mut Piece) -> Result<(), DriverError> {
        let view = match piece.view {
            Some(view) => view,
            None => *piece.view.insert(self.vm().reserve(piece.size)?.get()),
        };
        if !piece.is_shown {
            self.map_handle(view, *piece)?;
            piece.is_shown = true;
        }
        if !piece.is_accessible {
            self.make_accessible(Span::new(view, piece.size))?;
            piece.is_accessible = true;
        }
        Ok(())
    }

    /// Gives these addresses back, if there are any; copies through them were waited for. Can be tried again.
    pub(super) fn close_view(&self, piece: &mut Piece) -> Result<(), DriverError> {
        let Some(view) = piece.view else { return Ok(()) };
        if piece.is_shown {
            self.unmap_handle(view, *piece)?;
            (piece.is_shown, piece.is_accessible) = (false, false);
        }
        // SAFETY: contract, devices/ranges: the whole range, in which nothing is mapped any more.
        unsafe { self.vm().free_range(pointer(view), piece.size) }?;
        piece.view = None;
        Ok(())
    }
}

impl Copies {
    pub(super) fn new(device: Arc<dyn Device>) -> Result<Self, DriverError> {
        Ok(Self { stream: Stream::new(device)?, marks: VecDeque::new() })
    }

    /// Queues the copy of a part of a run from where it is to the host, or from there: between the run's
    /// addresses and the views of its handles on the host.
    pub(super) fn queue(&mut self, swap: &Swap, part: Span) -> Result<(), DriverError> {
        let is_leaving = swap.leaves_device();
        let on_host = if is_leaving { &swap.new } else { &swap.old };
        for &(at, piece) in on_host {
            let common = Span::new(at, piece.size).common(part);
            if common.size == 0 {
                continue;
            }
            let view = piece.view.expect("the host's memory is shown where it is held");
            let (run, view) = (pointer(common.start), pointer(view + (common.start - at)));
            let (to, of) = if is_leaving { (view, run) } else { (run, view) };
            self.stream.with_raw("the pool's copy", |device, raw| {
                // SAFETY: contract, devices/handles and devices/ranges: the stream is ours; both ranges
                // are mapped, with access, until the copy was waited for.
                unsafe { device.copy_within(to, of, common.size, raw) }
            })?;
        }
        Ok(())
    }

    /// What was queued last, from an address on, can be waited for.
    pub(super) fn mark(&mut self, start: u64) -> Result<(), DriverError> {
        self.marks.push_back((start, self.stream.marker()?));
        Ok(())
    }

    /// Waits for what was marked that begins below an address, the lowest first.
    pub(super) fn wait_below(&mut self, end: u64) -> Result<(), DriverError> {
        while self.marks.front().is_some_and(|(start, _)| *start < end)
            && let Some((_, event)) = self.marks.pop_front()
        {
            event.synchronize()?;
        }
        Ok(())
    }

    /// Waits for all, twice if need be. An error comes with the stream if they may still run.
    pub(super) fn finish(
        self,
        queued: Result<(), DriverError>,
    ) -> Result<(), (ResidencyError, Option<Stream>)> {
        let first = wait_for(&self.stream);
        let waited = first.clone().or_else(|_| wait_for(&self.stream));
        match (queued.and(first), waited) {
            (Ok(()), _) => Ok(()),
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
