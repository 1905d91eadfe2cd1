//! Other memory at the addresses of live blocks, in place of what is mapped there.
//!
//! The memory that is there keeps what it holds until all is done, whichever way it goes: what was moved
//! out of its place is held, and shown elsewhere for the copy. So an exchange can be undone at any point.
//! What cannot be undone either, because another call fails, is kept with all that belongs to it until a
//! later attempt succeeds.

use vmem_core::{DriverError, ResidencyError, ResidencyErrorKind, Stream};

use super::host::driver;
use super::stage::Staged;
use super::{Handles, Mapping, Piece, Side};
use crate::space::Span;
use crate::supply::arena::handles;
use crate::supply::exchange::{Exchange, Exchanged, To, Undone};

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
        let is_there = |pieces: &[Piece]| pieces.first().is_some_and(|p| p.side == Side::Device);
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
    /// Gives addresses other memory, all of them or none.
    pub(crate) fn exchange(&self, held: &mut Handles, job: &Exchange) -> Result<Exchanged, Undone> {
        if held.copies.is_some() {
            let error = ResidencyError::new(ResidencyErrorKind::Driver);
            return Err(error.with_source("copies of an earlier move cannot be waited for").into());
        }
        let mut swaps = self.acquire_all(held, job)?;
        let mut staged = Vec::new();
        match self.carry(&mut swaps, job, &mut staged) {
            Ok(copied) => Ok(self.commit(held, swaps, staged, copied)),
            Err((error, None)) => Err(self.roll_back(held, swaps, staged, error)),
            Err((error, Some(copies))) => Err(interrupt(held, swaps, staged, copies, error)),
        }
    }

    /// The memory that is to be there, all of it or none.
    fn acquire_all(&self, held: &mut Handles, job: &Exchange) -> Result<Vec<Swap>, ResidencyError> {
        let mut swaps: Vec<Swap> = Vec::new();
        for &span in &job.runs {
            let new = match job.to {
                To::Nowhere => Ok(Vec::new()),
                To::Host => self.take_of_host(held, span.size),
                To::Device => self.take_of_device(held, span.size, job.ceiling),
            };
            match new {
                Ok(new) => {
                    let old = held.at_home.range(span.start..span.end());
                    let old = old.map(|(_, &piece)| piece).collect();
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
        let mut taken: Vec<Piece> = Vec::new();
        let mut missing = bytes;
        while missing > 0 {
            let most = handles::largest_to_rest(self.held(), bytes, self.granule).min(missing);
            let spare = held.spare.iter().position(|piece| piece.size <= most);
            let made = match spare {
                Some(index) => Ok(held.spare.swap_remove(index)),
                None if most > ceiling.saturating_sub(self.held()) => {
                    let full = ResidencyError::new(ResidencyErrorKind::DeviceFull);
                    Err(full.with_source(format!("the pool may hold {ceiling} B of the device")))
                }
                None => self.create_upto(most).map_err(|error| match error.is_out_of_memory() {
                    true => ResidencyError::new(ResidencyErrorKind::DeviceFull).with_source(error),
                    false => driver(error),
                }),
            };
            match made {
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
        job: &Exchange,
        staged: &mut Vec<Staged>,
    ) -> Result<u64, (ResidencyError, Option<Stream>)> {
        let plain = |error: DriverError| (driver(error), None);
        self.show_on_stage(swaps, job, staged).map_err(plain)?;
        if job.to == To::Device {
            let copied = self.copy(swaps, job)?;
            self.swap_all(swaps).map_err(plain)?;
            return Ok(copied);
        }
        self.swap_all(swaps).map_err(plain)?;
        self.copy(swaps, job)
    }

    fn swap_all(&self, swaps: &mut [Swap]) -> Result<(), DriverError> {
        swaps.iter_mut().try_for_each(|swap| self.swap(swap))
    }

    fn swap(&self, swap: &mut Swap) -> Result<(), DriverError> {
        for (at, piece) in placed(swap.span.start, &swap.old) {
            self.unmap_handle(at, piece)?;
            swap.unmapped += 1;
        }
        for (at, piece) in placed(swap.span.start, &swap.new) {
            self.map_handle(at, piece)?;
            swap.mapped += 1;
        }
        if swap.new.is_empty() { Ok(()) } else { self.make_accessible(swap.span) }
    }

    /// Maps again what was there, as far as it is not. Can be tried again where it stopped.
    pub(super) fn undo_swap(&self, swap: &mut Swap) -> Result<(), DriverError> {
        for (at, piece) in placed(swap.span.start, &swap.new).take(swap.mapped).rev() {
            self.unmap_handle(at, piece)?;
            swap.mapped -= 1;
        }
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

    /// Nothing keeps the new memory from its place: what was there goes.
    fn commit(
        &self,
        held: &mut Handles,
        swaps: Vec<Swap>,
        staged: Vec<Staged>,
        copied: u64,
    ) -> Exchanged {
        let mut stuck = self.clear_stage(staged);
        let mut handles = Vec::new();
        for Swap { span, old, new, .. } in swaps {
            held.forget(span);
            if new.is_empty() {
                handles.push(span);
            }
            for (at, piece) in placed(span.start, &new) {
                held.at_home.insert(at, piece);
                handles.push(Span::new(at, piece.size));
            }
            old.into_iter().for_each(|piece| self.dispose_but_stuck(held, piece, &mut stuck));
        }
        let kept = stuck.iter().map(|staged| Span::new(staged.at, staged.piece.size)).collect();
        held.staged.extend(stuck);
        Exchanged { handles, copied, kept }
    }

    fn roll_back(
        &self,
        held: &mut Handles,
        swaps: Vec<Swap>,
        staged: Vec<Staged>,
        error: ResidencyError,
    ) -> Undone {
        let mut displaced = Vec::new();
        let mut undone = Vec::new();
        for mut swap in swaps.into_iter().rev() {
            match self.undo_swap(&mut swap) {
                Ok(()) => undone.extend(swap.new),
                Err(again) => {
                    tracing::warn!(error = %again, "memory could not be put back; it is tried again");
                    displaced.push(swap.span);
                    held.forget(swap.span);
                    held.interrupted.push(swap);
                }
            }
        }
        let mut stuck = self.clear_stage(staged);
        undone.into_iter().for_each(|piece| self.dispose_but_stuck(held, piece, &mut stuck));
        let kept = stuck.iter().map(|staged| Span::new(staged.at, staged.piece.size)).collect();
        held.staged.extend(stuck);
        Undone { error: split(error, &displaced), displaced, kept }
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
        match piece.side {
            Side::Device => self.release_soiled(held, piece),
            Side::Host => self.give_to_reserve(held, piece),
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

/// Keeps everything as it is, because copies may still run.
fn interrupt(
    held: &mut Handles,
    swaps: Vec<Swap>,
    staged: Vec<Staged>,
    copies: Stream,
    error: ResidencyError,
) -> Undone {
    let displaced: Vec<Span> = swaps.iter().map(|swap| swap.span).collect();
    let kept = staged.iter().map(|staged| Span::new(staged.at, staged.piece.size)).collect();
    displaced.iter().for_each(|&span| held.forget(span));
    held.interrupted.extend(swaps);
    held.staged.extend(staged);
    held.copies = Some(copies);
    Undone { error: split(error, &displaced), displaced, kept }
}

fn split(error: ResidencyError, displaced: &[Span]) -> ResidencyError {
    if displaced.is_empty() {
        return error;
    }
    ResidencyError::new(ResidencyErrorKind::Split).with_source(error)
}

impl Handles {
    /// What was mapped in a span is not there any more, or is known otherwise.
    fn forget(&mut self, span: Span) {
        let here = self.at_home.range(span.start..span.end());
        let here: Vec<u64> = here.map(|(&at, _)| at).collect();
        here.into_iter().for_each(|at| _ = self.at_home.remove(&at));
    }
}
