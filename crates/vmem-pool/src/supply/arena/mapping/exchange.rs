//! Other memory at the addresses of live blocks, in place of what is mapped there.
//!
//! The memory that is there keeps what it holds until all is done, whichever way it goes: what was moved
//! out of its place is held, and shown elsewhere for the copy. So an exchange can be undone at any point.
//! What cannot be undone either, because another call fails, is kept with all that belongs to it until a
//! later attempt succeeds.

use vmem_core::{DriverError, ResidencyError, ResidencyErrorKind, Stream};

use super::host::driver;
use super::views::Copies;
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

    /// Whether it is copied from the device to the host.
    pub(super) fn leaves_device(&self) -> bool {
        self.copies() && self.old.iter().all(|piece| piece.place == Place::Device)
    }

    /// Whether it is copied from the host to the device.
    fn comes_back(&self) -> bool {
        self.copies() && self.new.iter().all(|piece| piece.place == Place::Device)
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
        let error = match self.carry(&mut swaps) {
            Ok(copied) => {
                moving.copied = copied;
                self.commit(held, moving, swaps);
                return Ok(());
            }
            Err((error, None)) => {
                self.roll_back(held, moving, swaps);
                error
            }
            Err((error, Some(copies))) => {
                // Everything stays as it is, because copies may still run.
                moving.displaced = swaps.iter().map(|swap| swap.span).collect();
                moving.displaced.iter().for_each(|&span| held.forget(span));
                held.interrupted.extend(swaps);
                held.copies = Some(copies);
                error
            }
        };
        match moving.displaced.is_empty() {
            true => Err(error),
            false => Err(ResidencyError::new(ResidencyErrorKind::Split).with_source(error)),
        }
    }

    /// The memory that is to be there, all of it or none.
    fn acquire_all(
        &self,
        held: &mut Handles,
        moving: &Moving,
        ceiling: u64,
    ) -> Result<Vec<Swap>, ResidencyError> {
        if moving.to == Place::Device {
            let all: u64 = moving.runs.iter().map(|run| run.size).sum();
            let spare: u64 = held.spare.iter().map(|piece| piece.size).sum();
            let room = self.room(ceiling);
            if all > room + spare {
                return Err(above_ceiling(ceiling, all - room - spare));
            }
        }
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
                    // The runs behind it lack all of theirs.
                    let behind = moving.runs.iter().filter(|run| run.start > span.start);
                    let behind: u64 = behind.map(|run| run.size).sum();
                    let made = swaps.into_iter().flat_map(|swap| swap.new);
                    made.for_each(|piece| self.dispose(held, piece));
                    return Err(match error.missing() {
                        Some(missing) => error.with_missing(missing + behind),
                        None => error,
                    });
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
            if let Some(spare) = held.take_spare(missing) {
                return Ok(spare);
            }
            let room = self.room(ceiling);
            if room == 0 {
                return Err(above_ceiling(ceiling, missing));
            }
            let most = handles::largest_to_rest(self.held(), bytes, self.granule).min(missing);
            self.create_upto(most.min(room)).map_err(|error| {
                let full = ResidencyError::new(ResidencyErrorKind::DeviceFull);
                match error.is_out_of_memory() {
                    true => full.with_missing(missing).with_source(error),
                    false => driver(error),
                }
            })
        })
    }

    /// How much more of the device's memory may be held, in bytes of whole granules.
    fn room(&self, ceiling: u64) -> u64 {
        ceiling.saturating_sub(self.held()) / self.granule * self.granule
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

    /// Copies, and swaps. What leaves the device is copied before that, what comes to it after; meanwhile
    /// the calls for other handles are made. Returns the bytes copied. An error comes with the stream of
    /// the copies if they may still run.
    fn carry(&self, swaps: &mut [Swap]) -> Result<u64, (ResidencyError, Option<Stream>)> {
        let plain = |error: DriverError| (driver(error), None);
        if !swaps.iter().any(Swap::copies) {
            let swapped = swaps.iter_mut().try_for_each(|swap| self.swap(swap, None));
            return swapped.map(|()| 0).map_err(plain);
        }
        let mut copies = self.copies().map_err(plain)?;
        let mut queued = Ok(());
        for swap in swaps.iter().filter(|swap| swap.leaves_device()) {
            queued = queued.and_then(|()| {
                placed(swap.span.start, &swap.new).try_for_each(|(at, piece)| {
                    copies.queue(swap, Span::new(at, piece.size))?;
                    copies.mark(at + piece.size)
                })
            });
        }
        for swap in swaps {
            queued = queued.and_then(|()| self.swap(swap, Some(&mut copies)));
        }
        copies.finish(queued)
    }

    /// Unmaps what is there and maps the new memory, handle by handle: what is to be copied from there
    /// after that was done, what is to be copied there before.
    fn swap(&self, swap: &mut Swap, mut copies: Option<&mut Copies>) -> Result<(), DriverError> {
        let old: Vec<(u64, Piece)> = placed(swap.span.start, &swap.old).collect();
        let new: Vec<(u64, Piece)> = placed(swap.span.start, &swap.new).collect();
        for &(at, piece) in &new {
            let part = Span::new(at, piece.size);
            self.unmap_upto(swap, &old, part.end(), copies.as_deref_mut())?;
            self.map_handle(at, piece)?;
            swap.mapped += 1;
            self.make_accessible(part)?;
            if let Some(copies) = copies.as_deref_mut().filter(|_| swap.comes_back()) {
                copies.queue(swap, part)?;
            }
        }
        self.unmap_upto(swap, &old, swap.span.end(), copies)
    }

    /// Unmaps the old handles that begin below an address, once they are copied.
    fn unmap_upto(
        &self,
        swap: &mut Swap,
        old: &[(u64, Piece)],
        end: u64,
        mut copies: Option<&mut Copies>,
    ) -> Result<(), DriverError> {
        while let Some(&(at, piece)) = old.get(swap.unmapped).filter(|&&(at, _)| at < end) {
            if let Some(copies) = copies.as_deref_mut().filter(|_| swap.leaves_device()) {
                copies.wait_below(at + piece.size)?;
            }
            self.unmap_handle(at, piece)?;
            swap.unmapped += 1;
        }
        Ok(())
    }

    /// Unmaps what is left of what was there.
    pub(super) fn unmap_old(&self, swap: &mut Swap) -> Result<(), DriverError> {
        let old = placed(swap.span.start, &swap.old);
        self.unmap_upto(swap, old.as_slice(), swap.span.end(), None)
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

    /// The new memory is in its place: what was there goes.
    fn commit(&self, held: &mut Handles, moving: &mut Moving, swaps: Vec<Swap>) {
        for Swap { span, old, new, .. } in swaps {
            held.forget(span);
            if new.is_empty() {
                moving.handles.push(span);
            }
            for (at, piece) in placed(span.start, &new) {
                held.at_home.insert(at, piece);
                moving.handles.push(Span::new(at, piece.size));
            }
            old.into_iter().for_each(|piece| self.dispose(held, piece));
        }
    }

    /// Puts back what was there, as far as that succeeds.
    fn roll_back(&self, held: &mut Handles, moving: &mut Moving, swaps: Vec<Swap>) {
        for mut swap in swaps.into_iter().rev() {
            match self.undo_swap(&mut swap) {
                Ok(()) => swap.new.into_iter().for_each(|piece| self.dispose(held, piece)),
                Err(again) => {
                    tracing::warn!(error = %again, "memory could not be put back; it is tried again");
                    moving.displaced.push(swap.span);
                    held.forget(swap.span);
                    held.interrupted.push(swap);
                }
            }
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

fn above_ceiling(ceiling: u64, missing: u64) -> ResidencyError {
    let full = ResidencyError::new(ResidencyErrorKind::DeviceFull).with_missing(missing);
    full.with_source(format!("the pool may hold {ceiling} B of the device"))
}

impl Handles {
    /// What was mapped in a span is not there any more, or is known otherwise.
    fn forget(&mut self, span: Span) {
        self.in_span(span).iter().for_each(|(at, _)| _ = self.at_home.remove(at));
    }
}
