//! Other memory at the addresses of live blocks, in place of what is mapped there.
//!
//! The memory that is there keeps what it holds until all is done, whichever way it goes: what was moved
//! out of its place is held, and shown elsewhere for the copy. So an exchange can be undone at any point.
//! What cannot be undone either, because another call fails, is kept with all that belongs to it until a
//! later attempt succeeds.

use std::collections::BTreeSet;

use vmem_core::{DriverError, ResidencyError, ResidencyErrorKind, Stream};

use super::host::driver;
use super::views::Copies;
use super::{Handles, Piece, VirtualArena};
use crate::space::Span;
use crate::supply::arena::handles;
use crate::supply::{Moving, Place, Supply};

/// A run of addresses, with what is mapped there and what is to be, by address.
#[derive(Debug)]
pub(super) struct Swap {
    pub(super) span: Span,
    pub(super) old: Vec<(u64, Piece)>,
    pub(super) new: Vec<(u64, Piece)>,
    /// How many of the old handles are unmapped, from the first.
    unmapped: usize,
    /// How many of the new ones are mapped, from the first.
    mapped: usize,
    /// Old handles were mapped again and cannot be accessed yet.
    inaccessible: bool,
}

impl Swap {
    fn copies(&self) -> bool {
        !self.old.is_empty() && !self.new.is_empty()
    }

    /// Whether it is copied from the device to the host.
    pub(super) fn leaves_device(&self) -> bool {
        self.copies() && self.old.iter().all(|(_, piece)| piece.place == Place::Device)
    }

    /// Whether it is copied from the host to the device.
    fn comes_back(&self) -> bool {
        self.copies() && self.new.iter().all(|(_, piece)| piece.place == Place::Device)
    }
}

impl VirtualArena {
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
            Ok(()) => {
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
        // A granule in which a block begins or ends is a handle of its own on the device.
        let borders = moving.edges.iter().flat_map(|&edge| {
            let granule = edge / self.granule * self.granule;
            [granule, edge.next_multiple_of(self.granule)]
        });
        let borders: BTreeSet<u64> = borders.collect();
        let mut swaps: Vec<Swap> = Vec::new();
        for &span in &moving.runs {
            let old = held.in_span(span);
            let (new, unmapped, mapped, inaccessible) = (Vec::new(), 0, 0, false);
            let mut swap = Swap { span, old, new, unmapped, mapped, inaccessible };
            let acquired = self.acquire(held, &mut swap, moving.to, &borders, ceiling);
            let Err(error) = acquired else {
                swaps.push(swap);
                continue;
            };
            let made = std::iter::once(swap).chain(swaps).flat_map(|swap| swap.new);
            made.for_each(|(_, piece)| self.dispose(held, piece));
            // The runs behind it lack all of theirs.
            let behind = moving.runs.iter().filter(|run| run.start > span.start);
            let behind: u64 = behind.map(|run| run.size).sum();
            return Err(match error.missing() {
                Some(missing) => error.with_missing(missing + behind),
                None => error,
            });
        }
        Ok(swaps)
    }

    /// Handles for all of a run, each of which is made for what is missing yet.
    fn acquire(
        &self,
        held: &mut Handles,
        swap: &mut Swap,
        to: Place,
        borders: &BTreeSet<u64>,
        ceiling: u64,
    ) -> Result<(), ResidencyError> {
        let Span { mut start, size } = swap.span;
        while start < swap.span.end() {
            let missing = swap.span.end() - start;
            let piece = match to {
                Place::Device => {
                    let border = borders.range(start + 1..).next();
                    let most = border.map_or(missing, |border| missing.min(border - start));
                    let largest = handles::largest_to_rest(self.held(), size, self.granule);
                    self.take_of_device(held, most, largest, missing, ceiling)?
                }
                Place::Host => self.take_of_host(held, missing)?,
                Place::Nowhere | Place::Displaced => break,
            };
            swap.new.push((start, piece));
            start += piece.size;
        }
        Ok(())
    }

    /// A handle of the device's memory of at most `most` bytes, or `largest` if it is new, where `missing` are
    /// missing. What there is without more memory serves before all, though it be larger than `most`.
    fn take_of_device(
        &self,
        held: &mut Handles,
        most: u64,
        largest: u64,
        missing: u64,
        ceiling: u64,
    ) -> Result<Piece, ResidencyError> {
        let room = self.room(ceiling);
        let spare = held.take_spare(most);
        let spare = spare.or_else(|| if room < missing { held.take_spare(missing) } else { None });
        if let Some(spare) = spare {
            return Ok(spare);
        }
        if room == 0 {
            return Err(above_ceiling(ceiling, missing));
        }
        self.create_upto(most.min(largest).min(room)).map_err(|error| {
            let full = ResidencyError::new(ResidencyErrorKind::DeviceFull);
            match error.is_out_of_memory() {
                true => full.with_missing(missing).with_source(error),
                false => driver(error),
            }
        })
    }

    /// How much more of the device's memory may be held, in bytes of whole granules.
    fn room(&self, ceiling: u64) -> u64 {
        ceiling.saturating_sub(self.held()) / self.granule * self.granule
    }

    /// Copies, and swaps. What leaves the device is copied before that, what comes to it after; meanwhile
    /// the calls for other handles are made. An error comes with the stream of the copies if they may still
    /// run.
    fn carry(&self, swaps: &mut [Swap]) -> Result<(), (ResidencyError, Option<Stream>)> {
        let plain = |error: DriverError| (driver(error), None);
        if !swaps.iter().any(Swap::copies) {
            return swaps.iter_mut().try_for_each(|swap| self.swap(swap, None)).map_err(plain);
        }
        let mut copies = Copies::new(self.device.clone()).map_err(plain)?;
        let leaving = swaps.iter().filter(|swap| swap.leaves_device());
        let mut parts = leaving.flat_map(|swap| swap.new.iter().map(move |part| (swap, part)));
        let mut queued = parts.try_for_each(|(swap, &(at, piece))| {
            copies.queue(swap, Span::new(at, piece.size))?;
            copies.mark(at)
        });
        for swap in swaps {
            queued = queued.and_then(|()| self.swap(swap, Some(&mut copies)));
        }
        copies.finish(queued)
    }

    /// Unmaps what is there and maps the new memory, handle by handle: what is to be copied from there
    /// after that was done, what is to be copied there before.
    fn swap(&self, swap: &mut Swap, mut copies: Option<&mut Copies>) -> Result<(), DriverError> {
        while let Some(&(at, piece)) = swap.new.get(swap.mapped) {
            let part = Span::new(at, piece.size);
            self.unmap_upto(swap, part.end(), copies.as_deref_mut())?;
            self.map_handle(at, piece)?;
            swap.mapped += 1;
            self.make_accessible(part)?;
            if let Some(copies) = copies.as_deref_mut().filter(|_| swap.comes_back()) {
                copies.queue(swap, part)?;
            }
        }
        self.unmap_upto(swap, swap.span.end(), copies)
    }

    /// Unmaps the old handles that begin below an address, once they are copied.
    pub(super) fn unmap_upto(
        &self,
        swap: &mut Swap,
        end: u64,
        mut copies: Option<&mut Copies>,
    ) -> Result<(), DriverError> {
        while let Some(&(at, piece)) = swap.old.get(swap.unmapped).filter(|(at, _)| *at < end) {
            if let Some(copies) = copies.as_deref_mut().filter(|_| swap.leaves_device()) {
                copies.wait_below(at + piece.size)?;
            }
            self.unmap_handle(at, piece)?;
            swap.unmapped += 1;
        }
        Ok(())
    }

    /// Unmaps what is there of the new memory.
    pub(super) fn unmap_new(&self, swap: &mut Swap) -> Result<(), DriverError> {
        for &(at, piece) in swap.new[..swap.mapped].iter().rev() {
            self.unmap_handle(at, piece)?;
            swap.mapped -= 1;
        }
        Ok(())
    }

    /// Maps again what was there, as far as it is not. Can be tried again where it stopped.
    pub(super) fn undo_swap(&self, swap: &mut Swap) -> Result<(), DriverError> {
        self.unmap_new(swap)?;
        for &(at, piece) in swap.old[..swap.unmapped].iter().rev() {
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
        for swap in swaps {
            if swap.copies() {
                moving.moved.copied += swap.span.size;
            }
            held.forget(swap.span);
            if swap.new.is_empty() {
                moving.handles.push(swap.span);
            }
            moving.handles.extend(swap.new.iter().map(|(at, piece)| Span::new(*at, piece.size)));
            held.at_home.extend(swap.new);
            swap.old.into_iter().for_each(|(_, piece)| self.dispose(held, piece));
        }
    }

    /// Puts back what was there, as far as that succeeds.
    fn roll_back(&self, held: &mut Handles, moving: &mut Moving, swaps: Vec<Swap>) {
        for mut swap in swaps.into_iter().rev() {
            match self.undo_swap(&mut swap) {
                Ok(()) => swap.new.into_iter().for_each(|(_, piece)| self.dispose(held, piece)),
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
            _ => self.release(piece, &mut held.soiled),
        }
    }

    /// Makes the alias addresses of handles their home, from the first: unmaps each where it was. Returns
    /// how many are, and what stopped it.
    pub(crate) fn settle_in(
        &self,
        held: &mut Handles,
        moves: &[(Span, u64)],
    ) -> (usize, Result<(), DriverError>) {
        for (done, &(home, at)) in moves.iter().enumerate() {
            let Some(&piece) = held.at_home.get(&home.start) else { return (done, Ok(())) };
            if let Err(error) = self.unmap_handle(home.start, piece) {
                return (done, Err(error));
            }
            held.at_home.remove(&home.start);
            held.at_home.insert(at, piece);
        }
        (moves.len(), Ok(()))
    }
}

fn above_ceiling(ceiling: u64, missing: u64) -> ResidencyError {
    let full = ResidencyError::new(ResidencyErrorKind::DeviceFull).with_missing(missing);
    full.with_source(format!("the pool may hold {ceiling} B of the device"))
}
