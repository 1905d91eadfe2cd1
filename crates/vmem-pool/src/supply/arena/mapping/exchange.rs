//! Other memory at the addresses of live blocks, in place of what is mapped there.
//!
//! The memory that is there keeps what it holds until all is done, whichever way it goes: what was moved
//! out of its place is held, and shown elsewhere for the copy. So an exchange can be undone at any point.
//! What cannot be undone either, because another call fails, is kept with all that belongs to it until a
//! later attempt succeeds.

use vmem_core::{DriverError, ResidencyError, ResidencyErrorKind, Stream};

use super::host::driver;
use super::stage::Staged;
use super::{Handles, Mapping, Piece};
use crate::space::Span;
use crate::supply::arena::handles;
use crate::supply::{Moving, Place};

/// A run of addresses, with what is mapped there and what is to be.
#[derive(Debug)]
pub(super) struct Swap {
    pub(super) span: Span,
    pub(super) old: Vec<Piece>,
    pub(super) new: Vec<Piece>,
    /// How many of the old handles are unmapped, from the first.
    pub(super) unmapped: usize,
    /// How many of the new ones are mapped, from the first.
    pub(super) mapped: usize,
    /// Old handles were mapped again and cannot be accessed yet.
    inaccessible: bool,
}

impl Swap {
    pub(super) fn copies(&self) -> bool {
        !self.old.is_empty() && !self.new.is_empty()
    }

    /// The handles on the device, of a swap between device and host.
    pub(super) fn on_device(&self) -> &[Piece] {
        let is_there = |pieces: &[Piece]| pieces.first().is_some_and(|p| p.place == Place::Device);
        if is_there(&self.old) { &self.old } else { &self.new }
    }
}

/// The handles with the addresses they have in a run.
pub(super) fn placed(start: u64, pieces: &[Piece]) -> std::vec::IntoIter<(u64, Piece)> {
    let mut at = start;
    let mut placed = Vec::with_capacity(pieces.len());
    for &piece in pieces {
        placed.push((at, piece));
        at += piece.size;
    }
    placed.into_iter()
}

impl Mapping {
    /// Gives claimed or live addresses other memory, all of them or none, where the pool may hold so many
    /// bytes of the device's.
    ///
    /// # Errors
    /// Why none of them have; what of that could not be undone is noted.
    pub(crate) fn exchange(
        &self,
        held: &mut Handles,
        moving: &mut Moving,
        ceiling: u64,
    ) -> Result<(), ResidencyError> {
        if held.copies.is_some() {
            let error = ResidencyError::new(ResidencyErrorKind::Driver);
            return Err(error.with_source("copies of an earlier move cannot be waited for"));
        }
        let mut swaps = self.acquire_all(held, moving, ceiling)?;
        let mut staged = Vec::new();
        let carried = self.carry(&mut swaps, moving, &mut staged);
        let (error, stuck) = match carried {
            Ok(copied) => {
                moving.copied = copied;
                (None, self.commit(held, moving, swaps, staged))
            }
            Err((error, None)) => (Some(error), self.roll_back(held, moving, swaps, staged)),
            Err((error, Some(copies))) => {
                // Everything stays as it is, because copies may still run.
                moving.displaced = swaps.iter().map(|swap| swap.span).collect();
                moving.displaced.iter().for_each(|&span| held.forget(span));
                held.interrupted.extend(swaps);
                held.copies = Some(copies);
                (Some(error), staged)
            }
        };
        moving.kept = stuck.iter().map(|it| Span::new(it.at, it.piece.size)).collect();
        held.staged.extend(stuck);
        match error {
            None => Ok(()),
            Some(error) if moving.displaced.is_empty() => Err(error),
            Some(error) => Err(ResidencyError::new(ResidencyErrorKind::Split).with_source(error)),
        }
    }

    /// The memory that is to be there, all of it or none.
    fn acquire_all(
        &self,
        held: &mut Handles,
        moving: &Moving,
        ceiling: u64,
    ) -> Result<Vec<Swap>, ResidencyError> {
        let mut swaps: Vec<Swap> = Vec::new();
        for &span in &moving.runs {
            let new = match moving.to {
                Place::Device => self.take_of_device(held, span.size, ceiling),
                Place::Host => self.take_of_host(held, span.size),
                Place::Nowhere | Place::Displaced => Ok(Vec::new()),
            };
            match new {
                Ok(new) => {
                    let old = held.in_span(span).into_iter().map(|(_, piece)| piece).collect();
                    let (unmapped, mapped, inaccessible) = (0, 0, false);
                    swaps.push(Swap { span, old, new, unmapped, mapped, inaccessible });
                }
                Err(error) => {
                    let made = swaps.into_iter().flat_map(|swap| swap.new);
                    made.for_each(|piece| self.dispose(held, piece));
                    return Err(error);
                }
            }
        }
        Ok(swaps)
    }

    fn take_of_device(
        &self,
        held: &mut Handles,
        bytes: u64,
        ceiling: u64,
    ) -> Result<Vec<Piece>, ResidencyError> {
        self.take_all(held, bytes, |held, missing| {
            let most = handles::largest_to_rest(self.held(), bytes, self.granule).min(missing);
            if let Some(spare) = held.take_spare(most) {
                return Ok(spare);
            }
            let full = || ResidencyError::new(ResidencyErrorKind::DeviceFull);
            if most > ceiling.saturating_sub(self.held()) {
                let reason = format!("the pool may hold {ceiling} B of the device");
                return Err(full().with_source(reason));
            }
            self.create_upto(most).map_err(|error| match error.is_out_of_memory() {
                true => full().with_source(error),
                false => driver(error),
            })
        })
    }

    /// Handles of so many bytes together, each of which is made for what is missing yet. What was made by
    /// the time a call fails is given up.
    pub(super) fn take_all(
        &self,
        held: &mut Handles,
        bytes: u64,
        make: impl Fn(&mut Handles, u64) -> Result<Piece, ResidencyError>,
    ) -> Result<Vec<Piece>, ResidencyError> {
        let mut taken: Vec<Piece> = Vec::new();
        let mut missing = bytes;
        while missing > 0 {
            match make(held, missing) {
                Ok(piece) => {
                    missing -= piece.size;
                    taken.push(piece);
                }
                Err(error) => {
                    taken.into_iter().for_each(|piece| self.dispose(held, piece));
                    return Err(error);
                }
            }
        }
        Ok(taken)
    }

    /// Shows what is on the device at the stage, copies, and swaps: what leaves the device is copied once
    /// the host's memory is in its place, what comes to it before that. Returns the bytes copied. An
    /// error comes with the stream of the copies if they may still run.
    fn carry(
        &self,
        swaps: &mut [Swap],
        moving: &Moving,
        staged: &mut Vec<Staged>,
    ) -> Result<u64, (ResidencyError, Option<Stream>)> {
        let plain = |error: DriverError| (driver(error), None);
        self.show_on_stage(swaps, moving, staged).map_err(plain)?;
        if moving.to == Place::Device {
            let copied = self.copy(swaps, moving)?;
            self.swap_all(swaps).map_err(plain)?;
            return Ok(copied);
        }
        self.swap_all(swaps).map_err(plain)?;
        self.copy(swaps, moving)
    }

    fn swap_all(&self, swaps: &mut [Swap]) -> Result<(), DriverError> {
        swaps.iter_mut().try_for_each(|swap| self.swap(swap))
    }

    fn swap(&self, swap: &mut Swap) -> Result<(), DriverError> {
        self.unmap_old(swap)?;
        for (at, piece) in placed(swap.span.start, &swap.new) {
            self.map_handle(at, piece)?;
            swap.mapped += 1;
        }
        if swap.new.is_empty() { Ok(()) } else { self.make_accessible(swap.span) }
    }

    /// Unmaps what is left of what was there.
    pub(super) fn unmap_old(&self, swap: &mut Swap) -> Result<(), DriverError> {
        for (at, piece) in placed(swap.span.start, &swap.old).skip(swap.unmapped) {
            self.unmap_handle(at, piece)?;
            swap.unmapped += 1;
        }
        Ok(())
    }

    /// Unmaps what is there of the new memory.
    pub(super) fn unmap_new(&self, swap: &mut Swap) -> Result<(), DriverError> {
        for (at, piece) in placed(swap.span.start, &swap.new).take(swap.mapped).rev() {
            self.unmap_handle(at, piece)?;
            swap.mapped -= 1;
        }
        Ok(())
    }

    /// Maps again what was there, as far as it is not. Can be tried again where it stopped.
    pub(super) fn undo_swap(&self, swap: &mut Swap) -> Result<(), DriverError> {
        self.unmap_new(swap)?;
        for (at, piece) in placed(swap.span.start, &swap.old).take(swap.unmapped).rev() {
            swap.inaccessible = true;
            self.map_handle(at, piece)?;
            swap.unmapped -= 1;
        }
        if swap.inaccessible {
            self.make_accessible(swap.span)?;
            swap.inaccessible = false;
        }
        Ok(())
    }

    /// Nothing keeps the new memory from its place: what was there goes. Returns what is stuck at the stage.
    fn commit(
        &self,
        held: &mut Handles,
        moving: &mut Moving,
        swaps: Vec<Swap>,
        staged: Vec<Staged>,
    ) -> Vec<Staged> {
        let mut stuck = self.clear_stage(staged);
        for Swap { span, old, new, .. } in swaps {
            held.forget(span);
            if new.is_empty() {
                moving.handles.push(span);
            }
            for (at, piece) in placed(span.start, &new) {
                held.at_home.insert(at, piece);
                moving.handles.push(Span::new(at, piece.size));
            }
            old.into_iter().for_each(|piece| self.dispose_but_stuck(held, piece, &mut stuck));
        }
        stuck
    }

    /// Puts back what was there, as far as that succeeds. Returns what is stuck at the stage.
    fn roll_back(
        &self,
        held: &mut Handles,
        moving: &mut Moving,
        swaps: Vec<Swap>,
        staged: Vec<Staged>,
    ) -> Vec<Staged> {
        let mut undone = Vec::new();
        for mut swap in swaps.into_iter().rev() {
            match self.undo_swap(&mut swap) {
                Ok(()) => undone.extend(swap.new),
                Err(again) => {
                    tracing::warn!(error = %again, "memory could not be put back; it is tried again");
                    moving.displaced.push(swap.span);
                    held.forget(swap.span);
                    held.interrupted.push(swap);
                }
            }
        }
        let mut stuck = self.clear_stage(staged);
        undone.into_iter().for_each(|piece| self.dispose_but_stuck(held, piece, &mut stuck));
        stuck
    }

    /// Gives memory up that is mapped nowhere, unless it is at a stage, where it is marked.
    pub(super) fn dispose_but_stuck(&self, held: &mut Handles, piece: Piece, stuck: &mut [Staged]) {
        match stuck.iter_mut().find(|staged| staged.piece.handle == piece.handle) {
            Some(staged) => staged.surplus = true,
            None => self.dispose(held, piece),
        }
    }

    /// Gives up a handle that is mapped nowhere.
    pub(super) fn dispose(&self, held: &mut Handles, piece: Piece) {
        match piece.place {
            Place::Host => self.give_to_reserve(held, piece),
            _ => self.release_soiled(held, piece),
        }
    }

    /// Makes the alias addresses of handles their home, from the first: unmaps each where it was. Returns
    /// how many are, and what stopped it.
    pub(crate) fn settle_in(
        &self,
        held: &mut Handles,
        moves: &[(Span, u64)],
    ) -> (usize, Option<DriverError>) {
        for (done, &(home, at)) in moves.iter().enumerate() {
            let Some(&piece) = held.at_home.get(&home.start) else { return (done, None) };
            if let Err(error) = self.unmap_handle(home.start, piece) {
                return (done, Some(error));
            }
            held.at_home.remove(&home.start);
            held.at_home.insert(at, piece);
        }
        (moves.len(), None)
    }
}

impl Handles {
    /// What was mapped in a span is not there any more, or is known otherwise.
    fn forget(&mut self, span: Span) {
        self.in_span(span).iter().for_each(|(at, _)| _ = self.at_home.remove(at));
    }
}
