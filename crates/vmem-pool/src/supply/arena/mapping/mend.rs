//! What failures have left undone, done later; and memory that rests and belongs to no block any more.

use vmem_core::DriverError;

use super::exchange::{Swap, placed};
use super::views::wait_for;
use super::{Handles, Mapping};
use crate::space::Span;
use crate::supply::Place;

impl Mapping {
    /// Tries again what failures have left undone. Returns the handles that had been displaced and are mapped
    /// again, with where their memory is.
    pub(crate) fn mend(&self, held: &mut Handles) -> Vec<(Span, Place)> {
        let mut mended = Vec::new();
        if let Some(copies) = &held.copies {
            if wait_for(copies).is_err() {
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
            if old.is_empty() {
                mended.push((span, Place::Nowhere));
            }
            for (at, piece) in placed(span.start, &old) {
                mended.push((Span::new(at, piece.size), piece.place));
                held.at_home.insert(at, piece);
            }
            new.into_iter().for_each(|piece| self.dispose(held, piece));
        }
        mended
    }

    /// Unmaps what belongs to no block any more and is not the device's, and gives it up. Returns whether
    /// the driver agreed.
    pub(crate) fn leave(&self, held: &mut Handles, span: Span, place: Place) -> bool {
        match place {
            Place::Host => self.leave_host(held, span).is_ok(),
            // Copies that could not be waited for may still run through it.
            Place::Displaced => held.copies.is_none() && self.leave_displaced(held, span).is_ok(),
            Place::Nowhere | Place::Device => true,
        }
    }

    fn leave_host(&self, held: &mut Handles, span: Span) -> Result<(), DriverError> {
        for (at, piece) in held.in_span(span) {
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
        let unmapped = self.unmap_new(&mut swap).and_then(|()| self.unmap_old(&mut swap));
        if unmapped.is_err() {
            held.interrupted.push(swap);
            return unmapped;
        }
        let pieces = swap.old.into_iter().chain(swap.new);
        pieces.for_each(|piece| self.dispose(held, piece));
        Ok(())
    }
}
