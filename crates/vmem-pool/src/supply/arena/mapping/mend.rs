//! What failures have left undone, done later; and memory that rests and belongs to no block any more.

use vmem_core::DriverError;

use super::views::wait_for;
use super::{Handles, VirtualArena};
use crate::space::Span;
use crate::supply::Place;

impl VirtualArena {
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
            if swap.old.is_empty() {
                mended.push((swap.span, Place::Nowhere));
            }
            let old = swap.old.iter();
            mended.extend(old.map(|(at, piece)| (Span::new(*at, piece.size), piece.place)));
            held.at_home.extend(swap.old);
            swap.new.into_iter().for_each(|(_, piece)| self.dispose(held, piece));
        }
        mended
    }

    /// Unmaps what belongs to no block any more and is not the device's, and gives it up. Returns whether
    /// the driver agreed.
    pub(crate) fn leave(&self, held: &mut Handles, span: Span, place: Place) -> bool {
        match place {
            Place::Host => self.unmap(held, span, false).1.is_ok(),
            // Copies that could not be waited for may still run through it.
            Place::Displaced => held.copies.is_none() && self.leave_displaced(held, span).is_ok(),
            Place::Nowhere | Place::Device => true,
        }
    }

    fn leave_displaced(&self, held: &mut Handles, span: Span) -> Result<(), DriverError> {
        let Some(index) = held.interrupted.iter().position(|swap| swap.span == span) else {
            return Ok(());
        };
        let mut swap = held.interrupted.swap_remove(index);
        let end = span.end();
        let unmapped =
            self.unmap_new(&mut swap).and_then(|()| self.unmap_upto(&mut swap, end, None));
        if unmapped.is_err() {
            held.interrupted.push(swap);
            return unmapped;
        }
        let pieces = swap.old.into_iter().chain(swap.new);
        pieces.for_each(|(_, piece)| self.dispose(held, piece));
        Ok(())
    }
}
