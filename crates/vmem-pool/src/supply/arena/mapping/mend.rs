//! What failures have left undone, done later; and memory that rests and belongs to no block any more.

use vmem_core::DriverError;
use vmem_core::author::StreamExt;

use super::exchange::{Swap, placed};
use super::{Handles, Mapping, Piece, Side};
use crate::space::Span;
use crate::supply::exchange::Displaced;
use crate::supply::resting::{Leaving, Place};

impl Mapping {
    /// Tries again what failures have left undone.
    pub(in super::super) fn mend(&self, held: &mut Handles) -> Vec<Displaced> {
        let mut mended = Vec::new();
        if let Some(copies) = &held.copies {
            let waited = copies.with_raw("the pool's copy", |device, raw| {
                // SAFETY: contract, devices/handles: a stream of ours.
                unsafe { device.synchronize_stream(raw) }
            });
            if waited.is_err() {
                return mended;
            }
            held.copies = None;
        }
        for mut swap in std::mem::take(&mut held.interrupted) {
            if self.undo_swap(&mut swap).is_err() {
                held.interrupted.push(swap);
                continue;
            }
            let Swap { span, old, new, .. } = swap;
            let place = match old.first().map(|piece| piece.side) {
                None => Some(Place::Nowhere),
                Some(Side::Host) => Some(Place::Host),
                Some(Side::Device) => None,
            };
            let cuts = match old.is_empty() {
                true => vec![span],
                false => {
                    placed(span.start, &old).map(|(at, piece)| Span::new(at, piece.size)).collect()
                }
            };
            held.at_home.extend(placed(span.start, &old));
            new.into_iter().for_each(|piece| self.dispose(held, piece));
            mended.push(Displaced { span, place, cuts });
        }
        mended
    }

    /// Unmaps what belongs to no block any more and is not the device's, and gives it up.
    pub(in super::super) fn leave(&self, held: &mut Handles, leaving: &mut [Leaving]) {
        for leaving in leaving {
            leaving.gone = match leaving.place {
                Place::Nowhere => true,
                Place::Host => self.leave_host(held, leaving.span).is_ok(),
                // Copies that could not be waited for may still run through it.
                Place::Displaced => {
                    held.copies.is_none() && self.leave_displaced(held, leaving.span).is_ok()
                }
            };
        }
    }

    fn leave_host(&self, held: &mut Handles, span: Span) -> Result<(), DriverError> {
        let here = held.at_home.range(span.start..span.end());
        let pieces: Vec<(u64, Piece)> = here.map(|(&at, &piece)| (at, piece)).collect();
        for (at, piece) in pieces {
            self.unmap_handle(at, piece)?;
            held.at_home.remove(&at);
            self.dispose(held, piece);
        }
        Ok(())
    }

    fn leave_displaced(&self, held: &mut Handles, span: Span) -> Result<(), DriverError> {
        let Some(index) = held.interrupted.iter().position(|swap| swap.span == span) else {
            return Ok(());
        };
        let mut swap = held.interrupted.swap_remove(index);
        let unmapped = self.unmap_all(&mut swap);
        if unmapped.is_err() {
            held.interrupted.push(swap);
            return unmapped;
        }
        let pieces = swap.old.into_iter().chain(swap.new);
        pieces.for_each(|piece| self.dispose(held, piece));
        Ok(())
    }

    fn unmap_all(&self, swap: &mut Swap) -> Result<(), DriverError> {
        for (at, piece) in placed(swap.span.start, &swap.new).take(swap.mapped).rev() {
            self.unmap_handle(at, piece)?;
            swap.mapped -= 1;
        }
        for (at, piece) in placed(swap.span.start, &swap.old).skip(swap.unmapped) {
            self.unmap_handle(at, piece)?;
            swap.unmapped += 1;
        }
        Ok(())
    }
}
