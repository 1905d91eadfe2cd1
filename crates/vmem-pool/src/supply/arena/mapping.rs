//! Physical memory and where it is mapped. Driver calls are made here and in the files below only.

mod exchange;
mod host;
mod mend;
mod views;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vmem_core::author::fork;
use vmem_core::{
    Allowance, Device, DriverCode, DriverError, PhysicalHandle, Stream, VirtualMemory,
};

use exchange::Swap;
use host::Reserve;
use views::View;

use crate::space::{Span, pointer};
use crate::supply::{Fresh, Place};

/// A range of addresses and physical memory, in handles of whole granules. Every handle has addresses of
/// its own, its *home*, and can be mapped at aliases besides.
///
/// What it holds is what the driver has not confirmed to have taken back, so the figures stay true
/// whichever call fails.
pub(crate) struct Mapping {
    pub(super) device: Arc<dyn Device>,
    /// All of its addresses.
    pub(super) range: Span,
    pub(super) granule: u64,
    /// What is charged for every handle, if anything is.
    pub(super) allowance: Option<Arc<dyn Allowance>>,
    /// Bytes of the device's memory, wherever they are. Changed by whoever has the handles.
    held: AtomicU64,
    /// The same of the host's memory, and how much of it nothing uses.
    host_held: AtomicU64,
    host_ready: AtomicU64,
    /// The most of the host's memory that may be held.
    host_limit: AtomicU64,
}

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
    /// The host's memory that nothing uses.
    reserve: Reserve,
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
    /// Where it is shown to be copied, of the host's.
    view: View,
}

impl Handles {
    /// The handles that begin at home in a span.
    fn in_span(&self, span: Span) -> Vec<(u64, Piece)> {
        self.at_home.range(span.start..span.end()).map(|(&at, &piece)| (at, piece)).collect()
    }

    /// Takes a spare handle of at most so many bytes.
    fn take_spare(&mut self, most: u64) -> Option<Piece> {
        let index = self.spare.iter().position(|piece| piece.size <= most)?;
        Some(self.spare.swap_remove(index))
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

impl Mapping {
    pub(super) fn new(device: Arc<dyn Device>, range: Span, granule: u64) -> Self {
        Self {
            device,
            range,
            granule,
            allowance: None,
            held: AtomicU64::new(0),
            host_held: AtomicU64::new(0),
            host_ready: AtomicU64::new(0),
            host_limit: AtomicU64::new(u64::MAX),
        }
    }

    /// Physical bytes held, mapped or not.
    pub(super) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Physical bytes held that are mapped nowhere, and can be wherever there is to be memory.
    pub(super) fn spare(&self, held: &Handles) -> u64 {
        let granules = held.spare.iter().filter(|piece| piece.size == self.granule);
        granules.map(|piece| piece.size).sum()
    }

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

    /// Maps memory at home at all of several unmapped spans, or at none.
    pub(super) fn map_all(&self, held: &mut Handles, fresh: &mut Fresh) -> Result<(), DriverError> {
        let Fresh { spans, largest, apart, handles } = fresh;
        let last = spans.len().saturating_sub(1);
        for (i, &span) in spans.iter().enumerate() {
            let apart = *apart && i == last;
            if let Err(error) = self.map(held, span, *largest, apart, handles) {
                spans[..i].iter().for_each(|&mapped| self.undo(held, mapped));
                handles.clear();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Maps memory at home at every granule of an unmapped span and makes it accessible. If a call
    /// fails, undoes exactly the mappings it made.
    fn map(
        &self,
        held: &mut Handles,
        span: Span,
        largest: u64,
        apart: bool,
        handles: &mut Vec<Span>,
    ) -> Result<(), DriverError> {
        let mut done = 0;
        let mut result = Ok(());
        let together = if apart { span.size - self.granule } else { span.size };
        while done < span.size && result.is_ok() {
            let upto = if done < together { together } else { span.size };
            let rest = Span::between(span.start + done, span.start + upto);
            result = self.map_one(held, rest, largest).map(|size| {
                handles.push(Span::new(rest.start, size));
                done += size;
            });
        }
        let accessible = result.and_then(|()| self.make_accessible(span));
        if accessible.is_err() {
            self.undo(held, Span::new(span.start, done));
        }
        accessible
    }

    /// Unmaps memory that was mapped at home for nothing. What the driver keeps is unmapped when
    /// [`release_spares`](Self::release_spares) asks again, or used when its addresses are.
    pub(super) fn undo(&self, held: &mut Handles, span: Span) {
        let (done, _) = self.unmap(held, span, false);
        let left = held.in_span(Span::between(span.start + done, span.end()));
        held.stuck.extend(left.into_iter().map(|(at, _)| at));
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
            let (_, stopped) = self.unmap(held, Span::new(at, piece.size), false);
            stopped.map_or(Ok(()), Err)?;
            held.stuck.remove(&at);
            return self.map_one(held, span, largest);
        }
        let room = span.size.min(largest);
        let piece = match held.take_spare(room) {
            Some(piece) => piece,
            None => self.create_upto(room)?,
        };
        if let Err(error) = self.map_handle(span.start, piece) {
            self.release(held, piece);
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
            let (done, stopped) = self.hide(held, mapped, homes);
            (error, stopped.map(|_| Span::between(alias + done, at)))
        })
    }

    /// Unmaps an alias of these homes, as far as it reaches, through which no work is pending, handle by
    /// handle. Returns how many bytes are unmapped, from the start, and what stopped it.
    pub(super) fn hide(
        &self,
        held: &Handles,
        alias: Span,
        homes: &[Span],
    ) -> (u64, Option<DriverError>) {
        let mut at = alias.start;
        for piece in held.shown(homes) {
            if at >= alias.end() {
                break;
            }
            if let Err(error) = self.unmap_handle(at, piece) {
                return (at - alias.start, Some(error));
            }
            at += piece.size;
        }
        (alias.size, None)
    }

    /// Unmaps every handle of a span of homes that no work touches and that no alias shows, from the
    /// lowest, as far as the driver agrees, and releases it, or keeps it to be mapped elsewhere. Returns
    /// how many bytes are unmapped, and what stopped it.
    pub(super) fn unmap(
        &self,
        held: &mut Handles,
        span: Span,
        keep: bool,
    ) -> (u64, Option<DriverError>) {
        for (at, piece) in held.in_span(span) {
            if let Err(error) = self.unmap_handle(at, piece) {
                return (at - span.start, Some(error));
            }
            held.at_home.remove(&at);
            match keep {
                true => held.spare.push(piece),
                false => self.release(held, piece),
            }
        }
        (span.size, None)
    }

    /// Offers what the driver would not take back to it again.
    pub(crate) fn release_spares(&self, held: &mut Handles) {
        for at in std::mem::take(&mut held.stuck) {
            if let Some(piece) = held.at_home.get(&at).copied() {
                self.undo(held, Span::new(at, piece.size));
            }
        }
        for piece in std::mem::take(&mut held.spare) {
            self.release(held, piece);
        }
        for piece in std::mem::take(&mut held.soiled) {
            self.release_soiled(held, piece);
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
        created.map(|handle| Piece { handle, size, place: Place::Device, view: View::default() })
    }

    /// Gives a handle that is mapped nowhere back, or keeps it as a spare if the driver refuses.
    fn release(&self, held: &mut Handles, piece: Piece) {
        if let Err(error) = self.try_release(piece) {
            held.spare.push(piece);
            tracing::warn!(%error, "physical memory was not taken back; it is kept for reuse");
        }
    }

    /// The same for one with what live blocks hold, which nobody else is to find in it.
    fn release_soiled(&self, held: &mut Handles, piece: Piece) {
        if let Err(error) = self.try_release(piece) {
            held.soiled.push(piece);
            tracing::warn!(%error, "physical memory was not taken back; it is offered again");
        }
    }

    fn try_release(&self, piece: Piece) -> Result<(), DriverError> {
        // SAFETY: contract, devices/handles: a handle of ours; it is used again only if this fails.
        unsafe { self.vm().release(piece.handle) }?;
        self.held.fetch_sub(piece.size, Ordering::Relaxed);
        if let Some(allowance) = &self.allowance {
            allowance.give_back(piece.size);
        }
        Ok(())
    }

    fn map_handle(&self, at: u64, piece: Piece) -> Result<(), DriverError> {
        // SAFETY: contract, devices/handles and devices/ranges: unmapped granules of our range, a
        // whole handle of ours.
        unsafe { self.vm().map(pointer(at), piece.size, piece.handle) }
    }

    fn unmap_handle(&self, at: u64, piece: Piece) -> Result<(), DriverError> {
        // SAFETY: contract, devices/ranges and devices/pending-work: one whole mapping; the caller
        // has claimed the range and the host has observed that all work through it completed.
        unsafe { self.vm().unmap(pointer(at), piece.size) }
    }

    /// Only for what was just mapped: access is never set over a range in use.
    fn make_accessible(&self, span: Span) -> Result<(), DriverError> {
        // SAFETY: contract, devices/ranges: exactly the mappings just made, which nothing uses yet.
        unsafe { self.vm().set_access(pointer(span.start), span.size) }
    }

    fn vm(&self) -> &dyn VirtualMemory {
        self.device.virtual_memory().expect("the device had virtual memory at construction")
    }
}

impl Drop for Mapping {
    /// Gives the address range back. What is still held is live, or could not be returned: it leaks
    /// with its addresses, and the pool has reported it.
    fn drop(&mut self) {
        if fork::is_child() {
            return;
        }
        if self.held() + self.held_on_host() > 0 {
            return;
        }
        let Span { start, size } = self.range;
        // SAFETY: contract, devices/ranges: the whole range, in which nothing is mapped any more.
        if let Err(error) = unsafe { self.vm().free_range(pointer(start), size) } {
            self.device.base().drop_failures().record("an address range", &error);
        }
    }
}
