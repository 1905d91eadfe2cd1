//! Physical memory and where it is mapped: in handles of whole granules, each with addresses of its own, its
//! *home*, and at aliases besides. All driver calls but those for the range of addresses are made here and in
//! the files below.

mod exchange;
mod host;
mod mend;
mod views;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use vmem_core::{DriverCode, DriverError, PhysicalHandle, Stream};

use exchange::Swap;

use super::VirtualArena;
use crate::space::{Span, pointer};
use crate::supply::{Place, Plan};

/// How far a series of calls came, in bytes from the start, and what stopped it.
type Progress = (u64, Result<(), DriverError>);

/// The physical memory, which only the thread that grows or shrinks the pool may touch.
#[derive(Default)]
pub(crate) struct Handles {
    /// By where they are at home.
    at_home: BTreeMap<u64, Piece>,
    /// Mapped nowhere, because the driver did not take them back.
    spare: Vec<Piece>,
    /// Homes that stayed mapped when a failed mapping was to be undone. Nothing is placed there.
    stuck: BTreeSet<u64>,
    /// Mapped nowhere either, with what live blocks hold: for nobody but the driver.
    soiled: Vec<Piece>,
    /// The host's memory that nothing uses, and how many bytes of it are to be kept.
    reserve: Vec<Piece>,
    keep: u64,
    /// Memory that was on its way when a call failed, and could not be put back.
    interrupted: Vec<Swap>,
    /// The stream of copies that may still run.
    copies: Option<Stream>,
}

/// A handle, and how many bytes it has.
#[derive(Debug, Clone, Copy)]
struct Piece {
    handle: PhysicalHandle,
    size: u64,
    /// The device's, or the host's.
    place: Place,
    /// Addresses at which it is shown to be copied, of the host's, as far as the calls for that succeeded.
    view: Option<u64>,
    is_shown: bool,
    is_accessible: bool,
}

impl Piece {
    fn new(handle: PhysicalHandle, size: u64, place: Place) -> Self {
        Self { handle, size, place, view: None, is_shown: false, is_accessible: false }
    }
}

impl Handles {
    /// The handles that begin at home in a span.
    fn in_span(&self, span: Span) -> Vec<(u64, Piece)> {
        self.at_home.range(span.start..span.end()).map(|(&at, &piece)| (at, piece)).collect()
    }

    /// What was mapped in a span is not there any more, or is known otherwise.
    fn forget(&mut self, span: Span) {
        self.in_span(span).iter().for_each(|(at, _)| _ = self.at_home.remove(at));
    }

    /// Takes a spare handle of at most so many bytes.
    fn take_spare(&mut self, most: u64) -> Option<Piece> {
        let index = self.spare.iter().position(|piece| piece.size <= most)?;
        Some(self.spare.swap_remove(index))
    }

    /// Bytes of spare handles of one granule, which can be wherever there is to be memory.
    pub(super) fn spare_of(&self, granule: u64) -> u64 {
        granule * self.spare.iter().filter(|piece| piece.size == granule).count() as u64
    }

    /// The handles at these homes, in their order. Of the first only the upper end may be meant, and of the
    /// last only the lower.
    fn shown(&self, homes: &[Span]) -> impl Iterator<Item = Piece> {
        let pieces = homes.iter().flat_map(|home| {
            let first = self.at_home.range(..=home.start).next_back();
            let first = first.filter(|(at, piece)| *at + piece.size > home.start);
            self.at_home.range(first.map_or(home.start, |(&at, _)| at)..home.end())
        });
        pieces.map(|(_, &piece)| piece)
    }
}

impl VirtualArena {
    /// Offers what the driver would not take back to it again, if nothing can use some of that, or only a
    /// request for as much.
    pub(crate) fn release_unusable(&self, held: &mut Handles) {
        if !held.stuck.is_empty()
            || !held.soiled.is_empty()
            || held.spare.iter().any(|piece| piece.size > self.granule)
        {
            self.release_spares(held);
        }
    }

    /// Maps memory at home at all of a plan's unmapped spans, or at none, and makes it accessible. If a call
    /// fails, undoes exactly the mappings it made.
    pub(super) fn map_all(&self, held: &mut Handles, plan: &mut Plan) -> Result<(), DriverError> {
        for (i, &span) in plan.fresh.iter().enumerate() {
            let apart = plan.apart && i == plan.fresh.len() - 1;
            let together = if apart { span.end() - self.granule } else { span.end() };
            let mut at = span.start;
            let mut result = Ok(());
            while at < span.end() && result.is_ok() {
                let upto = if at < together { together } else { span.end() };
                result = self.map_one(held, Span::between(at, upto), plan.largest).map(|size| {
                    plan.handles.push(Span::new(at, size));
                    at += size;
                });
            }
            if let Err(error) = result.and_then(|()| self.make_accessible(span)) {
                self.undo(held, Span::between(span.start, at));
                plan.fresh[..i].iter().for_each(|&mapped| self.undo(held, mapped));
                plan.handles.clear();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Unmaps memory that was mapped at home for nothing. What the driver keeps is unmapped when
    /// [`release_spares`](Self::release_spares) asks again, or used when its addresses are.
    pub(super) fn undo(&self, held: &mut Handles, span: Span) {
        let (done, _) = self.unmap(held, span, false);
        let left = held.at_home.range(span.start + done..span.end());
        held.stuck.extend(left.map(|(&at, _)| at));
    }

    /// Maps one handle where an unmapped span begins. Returns its size.
    fn map_one(&self, held: &mut Handles, span: Span, largest: u64) -> Result<u64, DriverError> {
        if let Some((&at, &piece)) = held.at_home.range(..span.end()).next_back()
            && at + piece.size > span.start
        {
            // What is mapped there is stuck.
            if at == span.start && piece.size <= span.size {
                held.stuck.remove(&at);
                return Ok(piece.size);
            }
            self.unmap(held, Span::new(at, piece.size), false).1?;
            held.stuck.remove(&at);
            return self.map_one(held, span, largest);
        }
        let room = span.size.min(largest);
        let piece = match held.take_spare(room) {
            Some(piece) => piece,
            None => self.create_upto(room)?,
        };
        if let Err(error) = self.map_handle(span.start, piece) {
            self.release(piece, &mut held.spare);
            return Err(error);
        }
        held.at_home.insert(span.start, piece);
        Ok(piece.size)
    }

    /// Maps the memory that is at home at `homes`, one after the other, at an unmapped alias as well,
    /// and makes it accessible there. If a call fails, undoes exactly the mappings it made; says where
    /// it could not.
    pub(super) fn show(
        &self,
        held: &Handles,
        alias: u64,
        homes: &[Span],
    ) -> Result<(), (DriverError, Option<Span>)> {
        let mut at = alias;
        let mut result = Ok(());
        for piece in held.shown(homes) {
            result = self.map_handle(at, piece);
            if result.is_err() {
                break;
            }
            at += piece.size;
        }
        let mapped = Span::between(alias, at);
        let accessible = result.and_then(|()| self.make_accessible(mapped));
        accessible.map_err(|error| {
            let (done, hidden) = self.hide(held, mapped, homes);
            (error, hidden.err().map(|_| Span::between(alias + done, at)))
        })
    }

    /// Unmaps an alias of these homes, as far as it reaches, through which no work is pending, handle by
    /// handle. Returns how many bytes are unmapped, from the start, and what stopped it.
    pub(super) fn hide(&self, held: &Handles, alias: Span, homes: &[Span]) -> Progress {
        let mut at = alias.start;
        for piece in held.shown(homes) {
            if at >= alias.end() {
                break;
            }
            if let Err(error) = self.unmap_handle(at, piece) {
                return (at - alias.start, Err(error));
            }
            at += piece.size;
        }
        (alias.size, Ok(()))
    }

    /// Unmaps every handle of a span of homes that no work touches and that no alias shows, from the
    /// lowest, as far as the driver agrees, and releases it, or keeps it to be mapped elsewhere, as it keeps
    /// the host's. Returns how many bytes are unmapped, and what stopped it.
    pub(super) fn unmap(&self, held: &mut Handles, span: Span, keep: bool) -> Progress {
        for (at, piece) in held.in_span(span) {
            if let Err(error) = self.unmap_handle(at, piece) {
                return (at - span.start, Err(error));
            }
            held.at_home.remove(&at);
            match (piece.place, keep) {
                (Place::Host, _) => self.give_to_reserve(held, piece),
                (_, true) => held.spare.push(piece),
                (_, false) => self.release(piece, &mut held.spare),
            }
        }
        (span.size, Ok(()))
    }

    /// Offers what the driver would not take back to it again.
    pub(crate) fn release_spares(&self, held: &mut Handles) {
        for at in std::mem::take(&mut held.stuck) {
            if let Some(piece) = held.at_home.get(&at).copied() {
                self.undo(held, Span::new(at, piece.size));
            }
        }
        for refused in [&mut held.spare, &mut held.soiled] {
            for piece in std::mem::take(refused) {
                self.release(piece, refused);
            }
        }
    }

    /// A new handle of at most so many bytes, whole granules: half of them, and so on, where there is no
    /// more. The allowance is charged for it until it is released.
    fn create_upto(&self, most: u64) -> Result<Piece, DriverError> {
        let mut size = most;
        loop {
            match self.create(size) {
                Err(error) if error.is_out_of_memory() && size > self.granule => {
                    size = (size / 2).next_multiple_of(self.granule);
                }
                created => return created,
            }
        }
    }

    fn create(&self, size: u64) -> Result<Piece, DriverError> {
        let allowance = self.allowance.as_ref();
        if let Some(allowance) = allowance.filter(|allowance| !allowance.take(size)) {
            let refused = DriverError::new("Allowance::take", DriverCode::OUT_OF_MEMORY);
            return Err(refused.with_detail(format!("{allowance:?} has not {size} B left")));
        }
        let created = self.vm().create(size);
        match created {
            Ok(_) => _ = self.held.fetch_add(size, Ordering::Relaxed),
            Err(_) => allowance.into_iter().for_each(|it| it.give_back(size)),
        }
        created.map(|handle| Piece::new(handle, size, Place::Device))
    }

    /// Gives a handle back that is mapped nowhere, or adds it to what the driver refused.
    fn release(&self, piece: Piece, refused: &mut Vec<Piece>) {
        if let Err(error) = self.try_release(piece, refused) {
            tracing::warn!(%error, "physical memory was not taken back; it is kept, and offered again");
        }
    }

    fn try_release(&self, piece: Piece, refused: &mut Vec<Piece>) -> Result<(), DriverError> {
        let mut piece = piece;
        let released = self.close_view(&mut piece).and_then(|()| {
            // SAFETY: contract, devices/handles: a handle of ours; it is used again only if this fails.
            unsafe { self.vm().release(piece.handle) }
        });
        if released.is_err() {
            refused.push(piece);
        } else if piece.place == Place::Host {
            self.host_held.fetch_sub(piece.size, Ordering::Relaxed);
        } else {
            self.held.fetch_sub(piece.size, Ordering::Relaxed);
            self.allowance.iter().for_each(|allowance| allowance.give_back(piece.size));
        }
        released
    }

    fn map_handle(&self, at: u64, piece: Piece) -> Result<(), DriverError> {
        // SAFETY: contract, devices/handles and devices/ranges: unmapped granules of a range of ours, a
        // whole handle of ours.
        unsafe { self.vm().map(pointer(at), piece.size, piece.handle) }
    }

    fn unmap_handle(&self, at: u64, piece: Piece) -> Result<(), DriverError> {
        // SAFETY: contract, devices/ranges and devices/pending-work: one whole mapping; the caller
        // has claimed the range, and the host has observed that all work through it completed.
        unsafe { self.vm().unmap(pointer(at), piece.size) }
    }

    /// Only for what was just mapped: access is never set over a range in use.
    fn make_accessible(&self, span: Span) -> Result<(), DriverError> {
        // SAFETY: contract, devices/ranges: exactly the mappings just made, which nothing uses yet.
        unsafe { self.vm().set_access(pointer(span.start), span.size) }
    }
}
