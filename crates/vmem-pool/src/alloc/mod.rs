//! The way of a request and of a free, from top to bottom.
//!
//! A request looks, in this order and no further than it must, at
//!
//! 1. what is at hand: what its own stream freed, and what no work touches ([`State::alloc_fast`](crate::streams::State));
//! 2. what goes back and forth between streams ([`State::hand_over`](crate::streams::State));
//! 3. the [stages](Core::STAGES) of the slow path: what other streams freed, more memory, memory that
//!    is in the wrong place; then again after each thing that may help ([`Wait`]).
//!
//! Nothing is remembered of a request that was refused: the next one asks again, because the device
//! may have more by then for reasons that the pool does not see.

mod capture;
mod control;
mod core;
mod growing;
mod growth_lock;
mod home;
mod idle;
#[cfg(test)]
mod many_streams;
mod own;
mod residency;
mod returning;
mod sharing;
mod slow;
#[cfg(test)]
mod slow_tests;
#[cfg(test)]
mod tests;
mod waiting;

pub(crate) use control::Control;
pub(crate) use core::Core;
pub(crate) use residency::Which;
use slow::Slow;
use vmem_core::author::{StreamExt, fork};
use vmem_core::{
    AllocError, AllocErrorKind, Block, ExhaustionReport, FreeError, FreeErrorKind, MemoryEventKind,
    RawBlock, Request, Resting, Stream,
};

use crate::space::{CLEAN, RangeState, Slot, StreamIx, Tag};
use crate::streams::{Lane, Locked, State};
use crate::supply::{Backing, Miss};

/// How often a request that is about to be refused looks again because others made progress. What fits
/// at every moment is found at the first look.
const LOOKS_AGAIN: usize = 4;

/// Why nothing can be placed where addresses are short.
const NO_ADDRESSES: &str = "no stretch of the address range is long enough";

/// A claimed range cut to the request, and the lock; or why there is none.
type Placed<'a> = Result<(Locked<'a>, Slot), Miss>;

/// What a stage found: a claimed range cut to the request, and the lock; nothing; or what ends the
/// way of the request.
type Found<'a> = Result<Option<(Locked<'a>, Slot)>, Miss>;

/// What may make memory usable that was not when a request last looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// Nothing: the first look.
    No,
    /// A wait on the host for the markers of pending frees.
    ForMarkers,
    /// A stream's own thread may have marked what this one could not.
    Again,
    /// What others freed, put back or marked. Not for ever: they may go on taking and freeing what
    /// this request cannot use.
    ForOthers,
}

impl<B: Backing> Core<B> {
    /// The stages of the slow path, from cheap to dear.
    const STAGES: [for<'a> fn(&'a Self, &mut Slow<'_>) -> Found<'a>; 6] = [
        Self::fetch_home,
        Self::share,
        Self::grow_apart,
        Self::grow_for,
        Self::share_everywhere,
        Self::make_room,
    ];

    #[inline]
    pub(crate) fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        if request.resting == Resting::Planned {
            // What is at hand may not be apart from others' memory.
            return self.alloc_watched(request, None);
        }
        let plain = !self.is_watched && !fork::is_child();
        if plain && request.stream.device_id() == self.device {
            let need = self.need(request.layout);
            let mut state = self.streams.lock_fast();
            if let Some(block) = state.alloc_fast(request, need, self.streams.id) {
                return Ok(block);
            }
            return self.alloc_watched(request, Some(Locked::new(state)));
        }
        self.alloc_watched(request, None)
    }

    /// A request that misses, that is refused, or that somebody watches.
    #[inline(never)]
    fn alloc_watched(
        &self,
        request: &Request<'_>,
        state: Option<Locked<'_>>,
    ) -> Result<Block, AllocError> {
        let (layout, stream) = (request.layout, request.stream);
        let fail = |kind| AllocError::new(kind, layout, self.name());
        let result = match fork::refuse(self.name()) {
            Err(error) => return Err(AllocError::from_driver(error, layout, self.name())),
            Ok(()) if stream.device_id() == self.device => {
                self.alloc_slow(request, state.unwrap_or_else(|| self.streams.lock()))
            }
            Ok(()) => Err(fail(AllocErrorKind::InvalidStream)),
        };
        let result = result.map_err(|error| match error.kind() {
            // The driver was not asked: the stream was retired on the way.
            AllocErrorKind::DeviceFault if stream.is_retired() => {
                fail(AllocErrorKind::InvalidStream).with_source(error)
            }
            _ => error,
        });
        let kind = match &result {
            Ok(block) => MemoryEventKind::Allocate { ptr: block.ptr(), layout },
            Err(_) => MemoryEventKind::Failure { layout },
        };
        self.tell(kind, |event| event.with_stream(stream.id()).with_label(request.label));
        result
    }

    /// The same under the lock, which is let go wherever the driver is called.
    fn alloc_slow<'a>(
        &'a self,
        request: &Request<'_>,
        state: Locked<'a>,
    ) -> Result<Block, AllocError> {
        let (layout, stream, need) = (request.layout, request.stream, self.need(request.layout));
        let fail = |kind| AllocError::new(kind, layout, self.name());
        let fault = |error| AllocError::from_driver(error, layout, self.name());
        let (mut state, mut lane) = self.streams.enter(state, stream);
        if state.lanes.table.get(lane).is_some_and(|lane| lane.front.is_wanted()) {
            // Nobody else can mark this thread's lane for the thief that asked.
            self.streams.close_in_call(state, lane).map_err(fault)?;
            (state, lane) = self.streams.enter(self.streams.lock(), stream);
        }
        // Blocks freed on this stream by other threads rely on these waits, which were asked for
        // before the frees: seen under the lock, which is held from here on, none is missed.
        while stream.has_pending_waits() {
            drop(state);
            stream.queue_pending_waits().map_err(fault)?;
            (state, lane) = self.streams.enter(self.streams.lock(), stream);
        }
        if state.lanes.table.get(lane).is_none_or(Lane::has_ended) {
            drop(state);
            return Err(fail(AllocErrorKind::InvalidStream));
        }
        let own = self.needs_own(request, need);
        if let Some(slot) = self.hit(&mut state, lane, need, own) {
            return Ok(self.issue(state, request, (lane, lane), slot));
        }
        state.lanes.note_miss(lane, layout.size());
        let mut slow = Slow::new(request, lane, need);
        slow.own = own;
        slow.away = state.bring_home(lane);
        if slow.away
            && let Some(slot) = self.hit(&mut state, lane, need, own)
        {
            state.counters.completed += 1;
            return Ok(self.issue(state, request, (lane, lane), slot));
        }
        slow.spares = self.may_spare(&state, need);
        if !slow.own
            && let Some((mut claim, marker)) = state.hand_over(&mut slow)
        {
            let is_handed_over = match marker {
                None => {
                    state.counters.completed += 1;
                    true
                }
                Some(marker) => {
                    drop(state);
                    claim.waited = stream.wait(&marker).is_ok();
                    drop(marker);
                    state = self.streams.lock();
                    state.counters.waits += u64::from(claim.waited);
                    claim.waited
                }
            };
            if is_handed_over {
                let slot = state.finish_shared(claim, &mut slow);
                return Ok(self.issue(state, request, (lane, slow.home), slot));
            }
            // The stages find out what is wrong, and what else there is.
            slow.put_back(&mut state, claim);
        }
        let allocated = self.alloc_in_stages(state, &mut slow);
        self.tell_changes(&slow.changes);
        allocated
    }

    /// The same for a request that has found nothing yet that it could have without more ado.
    fn alloc_in_stages<'a>(
        &'a self,
        state: Locked<'a>,
        slow: &mut Slow<'_>,
    ) -> Result<Block, AllocError> {
        let (request, lane) = (slow.request, slow.lane);
        let pin = state.pins.clone();
        let (mut state, slot) = self.find(state, slow).inspect_err(|_| {
            self.streams.lock().counters.failures += 1;
        })?;
        if request.stream.has_pending_waits() {
            drop(state);
            let queued = request.stream.queue_pending_waits();
            state = self.streams.lock();
            if let Err(error) = queued {
                let tag = state.lanes.table.open_tag(lane);
                state.release(slot, tag, tag);
                return Err(AllocError::from_driver(error, request.layout, self.name()));
            }
        }
        drop(pin);
        Ok(self.issue(state, request, (lane, slow.home), slot))
    }

    /// The block of a request, for which its stream may have been made to wait. What is left of the memory
    /// that it waited for, and what was freed on the stream, is marked if nobody else could do that later.
    fn issue(
        &self,
        mut state: Locked<'_>,
        request: &Request<'_>,
        (lane, home): (StreamIx, StreamIx),
        slot: Slot,
    ) -> Block {
        let stream = request.stream;
        let bytes = state.space[slot].size();
        state.lanes.table.note_taken(home, bytes);
        let block = state.issue(slot, request, home, self.streams.id);
        state.most_needed = state.most_needed.max(state.counters.live);
        let needed =
            stream.is_bound() && stream.is_callable_here() && state.lanes.table.needs_marks(lane);
        if needed
            && state.lanes.table.get(lane).is_some_and(Lane::has_unmarked_frees)
            && let Err(error) = self.streams.close_in_call(state, lane)
        {
            tracing::debug!(%error, "what a request left could not be marked");
        }
        block
    }

    /// Memory for a request that has found none at hand. It is claimed.
    fn find<'a>(
        &'a self,
        mut state: Locked<'a>,
        slow: &mut Slow<'_>,
    ) -> Result<(Locked<'a>, Slot), AllocError> {
        if slow.need.size > self.ceiling.min(self.supply.most()) {
            drop(state);
            return Err(self.refusal(slow, AllocErrorKind::NeverFits));
        }
        if let Some(slot) = self.resume(&mut state, slow) {
            return Ok((state, slot));
        }
        drop(state);
        if self.is_capturing(slow.request)? {
            return self.grow_in_capture(slow);
        }
        self.try_stages(slow).map_err(|miss| self.refuse(slow, miss))
    }

    /// Looks for memory stage after stage, then again after each thing that may make some usable.
    fn try_stages<'a>(&'a self, slow: &mut Slow<'_>) -> Placed<'a> {
        let others = std::iter::repeat_n(Wait::ForOthers, LOOKS_AGAIN);
        let first = [Wait::No, Wait::ForMarkers, Wait::Again];
        for wait in first.into_iter().chain(others) {
            if !self.wait(slow, wait)? {
                continue;
            }
            for stage in Self::STAGES {
                if let Some(found) = stage(self, slow)? {
                    return Ok(found);
                }
            }
        }
        Err(slow.refused.take().unwrap_or(Miss::Ceiling))
    }

    /// The error of a request, for what it came to nothing.
    fn refuse(&self, slow: &Slow<'_>, miss: Miss) -> AllocError {
        match miss {
            Miss::Ceiling | Miss::Skip(_) => self.refusal(slow, AllocErrorKind::Limit),
            Miss::Addresses => {
                self.refusal(slow, AllocErrorKind::OutOfMemory).with_source(NO_ADDRESSES)
            }
            Miss::Refused(source) => {
                self.refusal(slow, AllocErrorKind::OutOfMemory).with_source(source)
            }
            Miss::Fault(source) => {
                let layout = slow.request.layout;
                AllocError::new(AllocErrorKind::DeviceFault, layout, self.name())
                    .with_source(source)
            }
        }
    }

    /// An error with the state of the pool and what was tried.
    fn refusal(&self, slow: &Slow<'_>, kind: AllocErrorKind) -> AllocError {
        let layout = slow.request.layout;
        let mut report = ExhaustionReport::new(layout.size());
        report.rounded = slow.need.size;
        report.ceiling = (self.ceiling < u64::MAX).then_some(self.ceiling);
        report.attempts.clone_from(&slow.attempts);
        self.streams.note_orphans();
        let mut state = self.streams.lock();
        state.lanes.contend_bound();
        report.quarantined = state.quarantined();
        report.live = state.counters.live;
        report.reserved = state.counters.reserved;
        report.largest_free = state.largest_complete(slow.lane);
        drop(state);
        AllocError::new(kind, layout, self.name()).with_report(report)
    }

    #[inline]
    pub(crate) fn deallocate(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
        let raw = block.raw();
        if !self.is_watched
            && !fork::is_child()
            && stream.device_id() == self.device
            && raw.owner() == self.streams.id
            && let Some(close) = self.free_fast(&raw, stream)
        {
            if close {
                self.close_due(stream);
            }
            return Ok(());
        }
        self.free_watched(block, stream)
    }

    /// Under the lock, which is let go before the caller marks anything.
    #[inline]
    fn free_fast(&self, raw: &RawBlock, stream: &Stream) -> Option<bool> {
        self.streams.lock_fast().free_fast(raw, stream)
    }

    /// A free that takes more than the lock, that is refused, or that somebody watches.
    #[inline(never)]
    fn free_watched(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
        if let Err(error) = fork::refuse(self.name()) {
            return Err(FreeError::from_driver(error, block, self.name()));
        }
        if stream.device_id() != self.device {
            return Err(FreeError::new(FreeErrorKind::InvalidStream, block, self.name()));
        }
        if block.owner() != self.streams.id {
            return Err(FreeError::new(FreeErrorKind::Foreign, block, self.name()));
        }
        if let Some(policy) = self.config.auto_trim {
            // Before this free, whose pending work would keep its neighbours. It is marked below.
            self.trim_unneeded(policy);
        }
        let raw = block.raw();
        let Some(close) = self.free_slow(&raw, stream) else {
            return Err(FreeError::new(FreeErrorKind::Stale, block, self.name()));
        };
        if close {
            self.close_due(stream);
        }
        let kind = MemoryEventKind::Free { ptr: raw.ptr(), layout: raw.layout() };
        self.tell(kind, |event| event.with_stream(stream.id()).with_label(raw.label()));
        Ok(())
    }

    /// Ends the block and frees its memory, wherever that is at home. Returns whether the lane's batch
    /// is to be closed, or `None` if there is no such block.
    fn free_slow(&self, raw: &RawBlock, stream: &Stream) -> Option<bool> {
        let (mut state, lane) = self.streams.enter(self.streams.lock(), stream);
        let home = state.space.ranges.home_of(raw)?;
        let space = &mut state.space;
        let slot = space.ranges.end_block(raw, home).or_else(|| space.ranges.end_resting(raw))?;
        state.counters.count_free(raw.layout().size());
        let size = state.space[slot].size();
        let (tag, close) = state.lanes.table.tag_free(lane, size);
        let (free, marked) = match home == lane {
            true => (tag, false),
            false => state.tag_away(tag, home, size),
        };
        state.release(slot, tag, free);
        let trims =
            self.config.auto_trim.is_some_and(|it| state.counters.holds_more_than(it.threshold));
        Some(close || marked || trims)
    }

    #[cold]
    fn close_due(&self, stream: &Stream) {
        if let Err(error) = self.streams.close_batch(stream) {
            // The next marker covers these frees too; nothing is lost but a chance to share them.
            tracing::debug!(%error, "a batch of frees could not be marked");
        }
    }
}

impl State {
    /// Makes a claimed or live range, last used as `tag` says, free with the tag `free`.
    fn release(&mut self, slot: Slot, tag: Tag, free: Tag) {
        let (mut memory, lanes) = self.parts();
        if memory.aliases.lend(memory.space[slot].start) || memory.space[slot].is_resting() {
            memory.take_back(slot, tag, |lender| match lender == CLEAN.lane {
                true => free,
                false => lanes.tag_at(lender, tag),
            });
        } else {
            memory.space.set_state(slot, RangeState::Free(free));
        }
    }
}
