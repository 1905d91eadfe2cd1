//! Addresses at which memory is shown to be copied to where it is to be, or from there.

use vmem_core::author::StreamExt;
use vmem_core::{DriverError, ResidencyError, Stream};

use super::exchange::Swap;
use super::host::driver;
use super::{Mapping, Piece};
use crate::space::{Span, pointer};
use crate::supply::{Moving, Place};

/// How often a call is made before it counts as failed: a wait for copies that may still run.
const WAITS: usize = 2;

/// A handle that is mapped at a stage.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) at: u64,
    pub(super) piece: Piece,
    /// It is mapped nowhere else, and is to be given back once it is not mapped here either.
    pub(super) surplus: bool,
}

impl Mapping {
    /// Shows what of some swaps is on the device.
    pub(super) fn show_on_stage(
        &self,
        swaps: &[Swap],
        moving: &Moving,
        staged: &mut Vec<Staged>,
    ) -> Result<(), DriverError> {
        let Some(stage) = moving.stage else { return Ok(()) };
        let mut at = stage.start;
        for &piece in swaps.iter().filter(|swap| swap.copies()).flat_map(Swap::on_device) {
            self.map_handle(at, piece)?;
            staged.push(Staged { at, piece, surplus: false });
            at += piece.size;
        }
        if at == stage.start {
            return Ok(());
        }
        self.make_accessible(Span::between(stage.start, at))
    }

    /// Copies between the stage and the runs, and waits.
    pub(super) fn copy(
        &self,
        swaps: &[Swap],
        moving: &Moving,
    ) -> Result<u64, (ResidencyError, Option<Stream>)> {
        let Some(stage) = moving.stage.filter(|_| swaps.iter().any(Swap::copies)) else {
            return Ok(0);
        };
        let stream = Stream::new(self.device.clone()).map_err(|error| (driver(error), None))?;
        let mut at = stage.start;
        let mut queued = Ok(());
        for swap in swaps.iter().filter(|swap| swap.copies()) {
            let (run, shown) = (pointer(swap.span.start), pointer(at));
            let (to, from) = if moving.to == Place::Device { (shown, run) } else { (run, shown) };
            queued = stream.with_raw("the pool's copy", |device, raw| {
                // SAFETY: contract, devices/handles and devices/ranges: the stream is ours; both ranges
                // are mapped, with access, until the copy was waited for.
                unsafe { device.copy_within(to, from, swap.span.size, raw) }
            });
            if queued.is_err() {
                break;
            }
            at += swap.span.size;
        }
        let first = wait_for(&stream);
        let mut waited = first.clone();
        for _ in 1..WAITS {
            waited = waited.or_else(|_| wait_for(&stream));
        }
        match (queued.and(first), waited) {
            (Ok(()), _) => Ok(at - stage.start),
            (Err(error), Ok(())) => Err((driver(error), None)),
            (Err(error), Err(_)) => Err((driver(error), Some(stream))),
        }
    }

    /// Unmaps a stage. Returns what the driver kept mapped.
    pub(super) fn clear_stage(&self, staged: Vec<Staged>) -> Vec<Staged> {
        let is_stuck = |staged: &Staged| match self.unmap_handle(staged.at, staged.piece) {
            Ok(()) => false,
            Err(error) => {
                tracing::warn!(%error, "memory stays mapped where it was copied; it is tried again");
                true
            }
        };
        staged.into_iter().filter(is_stuck).collect()
    }
}

/// Waits for the copies on a stream of ours.
pub(super) fn wait_for(copies: &Stream) -> Result<(), DriverError> {
    copies.with_raw("the pool's copy", |device, raw| {
        // SAFETY: contract, devices/handles: a stream of ours.
        unsafe { device.synchronize_stream(raw) }
    })
}
