//! What failures have left undone, done later; and memory that rests and belongs to no block any more.

use vmem_core::DriverError;

use super::exchange::{Swap, placed};
use super::stage::wait_for;
use super::{Handles, Mapping, Piece};
use crate::space::Span;
use crate::supply::Place;

impl Mapping {
    /// Tries again what failures have left undone. Returns the stretches of stages that nothing is mapped at
    /// any more, and the handles that had been displaced and are mapped again, with where their memory is.
    pub(crate) fn mend(&self, held: &mut Handles) -> (Vec<Span>, Vec<(Span, Place)>) {
        let (mut unmapped, mut mended) = (Vec::new(), Vec::new());
        if let Some(copies) = &held.copies {
            if wait_for(copies).is_err() {
                return (unmapped, mended);
            }
            held.copies = None;
        }
        for staged in std::mem::take(&mut held.staged) {
            if self.unmap_handle(staged.at, staged.piece).is_err() {
                held.staged.push(staged);
                continue;
            }
            unmapped.push(Span::new(staged.at, staged.piece.size));
            if staged.surplus {
                self.dispose(held, staged.piece);
            }
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
            self.dispose_all(held, new);
        }
        (unmapped, mended)
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

    /// Gives handles up that are mapped nowhere, unless they are at a stage, where they are marked.
    fn dispose_all(&self, held: &mut Handles, pieces: impl IntoIterator<Item = Piece>) {
        let mut staged = std::mem::take(&mut held.staged);
        pieces.into_iter().for_each(|piece| self.dispose_but_stuck(held, piece, &mut staged));
        held.staged = staged;
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
        self.dispose_all(held, swap.old.into_iter().chain(swap.new));
        Ok(())
    }
}
