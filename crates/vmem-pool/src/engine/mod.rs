//! What a pool, its handles and the streams it has seen share.

mod auto_trim;
mod control;
mod growing;
mod hit;
#[cfg(test)]
mod many_streams;
mod markers;
mod order;
mod retire;
mod state;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Weak};

pub(crate) use control::Control;
pub(crate) use growing::Growing;
pub(crate) use order::Waited;
pub(crate) use state::{Locked, State};
use vmem_core::author::{StreamExt, fork};
use vmem_core::{
    AllocError, AllocErrorKind, Block, BlockLayout, BoxedError, Capabilities, DeviceId, Features,
    FreeError, FreeErrorKind, MemoryEvent, MemoryEventKind, RawBlock, Request, ResourceId, Stream,
};

use crate::ladder::{Climb, HandOver};
use crate::lanes::{CLEAN, Lane, Reuse};
use crate::space::{Fit, GRAIN, MOST, Need, RangeState, Slot, Tag, visits};
use crate::supply::{Aliases, Backing, Miss};
use crate::sync::{Mutex, MutexGuard};
use crate::{BuildError, BuildErrorKind, Placement, PoolConfig};

/// A pool's inside. Driver calls are made without the state's lock; whoever makes them has claimed
/// the ranges they concern.
pub(crate) struct Core<B: Backing> {
    pub(crate) id: ResourceId,
    pub(crate) supply: B,
    pub(crate) config: PoolConfig,
    pub(crate) ceiling: u64,
    device: DeviceId,
    fit: Fit,
    pub(crate) reuse: Reuse,
    watch: Watch,
    state: Mutex<State>,
    /// Held while memory is taken from or returned to the supply, over the driver calls. Taken before
    /// the state's lock.
    growing: Mutex<B::Held>,
    me: Weak<Self>,
}

/// Why nothing can be placed where addresses are short.
pub(crate) const NO_ADDRESSES: &str = "no stretch of the address range is long enough";

/// Who wants to know of every request and free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watch {
    Nobody,
    /// An observer.
    Observer,
    /// The pool itself, which counts what is needed at most; there may be an observer too.
    Trim,
}

impl<B: Backing> Core<B> {
    pub(crate) fn new(supply: B, config: PoolConfig, fit: Fit) -> Result<Arc<Self>, BuildError> {
        let granule = supply.granule();
        let ceiling = config.ceiling.map_or(u64::MAX, |bytes| bytes - bytes % granule);
        if let (0, Some(asked)) = (ceiling, config.ceiling) {
            let kind = BuildErrorKind::CeilingTooLow { ceiling: asked, granule };
            return Err(BuildError::new(kind));
        }
        if config.initial > ceiling {
            let kind = BuildErrorKind::InitialAboveCeiling { initial: config.initial, ceiling };
            return Err(BuildError::new(kind));
        }
        let observed = supply.capabilities().has(Features::HOST_ACCESSIBLE);
        let reuse = if observed { Reuse::Observed } else { Reuse::StreamOrdered };
        let device = supply.device().id();
        let watch = match (&config.auto_trim, &config.observer) {
            (Some(_), _) => Watch::Trim,
            (None, Some(_)) => Watch::Observer,
            (None, None) => Watch::Nobody,
        };
        let state =
            Mutex::new(State::new(fit, reuse, config.batch, Aliases::new(supply.aliases_from())));
        let core = Arc::new_cyclic(|me| Self {
            id: ResourceId::new(),
            supply,
            config,
            ceiling,
            device,
            fit,
            reuse,
            watch,
            state,
            growing: Mutex::default(),
            me: me.clone(),
        });
        for span in core.supply.addresses() {
            core.lock().space.add_segment(span, RangeState::Unmapped);
        }
        if core.config.initial > 0
            && let Err(error) = core.take_initial()
        {
            core.shut_down();
            return Err(error);
        }
        Ok(core)
    }

    fn take_initial(&self) -> Result<(), BuildError> {
        let stream = Stream::new(self.supply.device().clone()).map_err(BuildError::refused)?;
        let layout = BlockLayout::new(self.config.initial).map_err(BuildError::refused)?;
        let need = self.need(layout);
        if need.size > MOST {
            return Err(BuildError::refused("a pool takes less than 1 TiB at once"));
        }
        let request = Request::new(layout, &stream);
        let mut climb = Climb::new(&request, CLEAN.lane, need);
        let slot = self.grow(&mut climb).map_err(|miss| match miss {
            Miss::Refused(source) | Miss::Fault(source) => BuildError::refused(source),
            Miss::Addresses | Miss::Skip(_) => BuildError::refused(NO_ADDRESSES),
            Miss::Ceiling => BuildError::new(BuildErrorKind::InitialAboveCeiling {
                initial: self.config.initial,
                ceiling: self.ceiling,
            }),
        })?;
        // A stream-ordered upstream's memory is usable in that stream's order only. After a failure it
        // can still be given back if a second wait does not fail too.
        let ready = stream.synchronize();
        if ready.is_ok() || stream.synchronize().is_ok() {
            self.lock().space.set_state(slot, RangeState::Free(CLEAN));
        }
        ready.map_err(BuildError::refused)
    }

    /// Locks the state.
    pub(crate) fn lock(&self) -> Locked<'_> {
        Locked::new(self.lock_at_hand())
    }

    /// Locks the state for what lets go of no handle.
    #[inline]
    fn lock_at_hand(&self) -> MutexGuard<'_, State> {
        visits::note_lock();
        // A panic under the lock is a bug in the pool's own arithmetic; the tests look for them.
        fork::locked(|| self.state.lock())
    }

    /// Locks growth.
    ///
    /// # Errors
    /// Those of [`Growing::new`].
    pub(crate) fn lock_growth(&self) -> Result<Growing<'_, B::Held>, BoxedError> {
        visits::note_lock();
        Growing::new(self.id, || fork::locked(|| self.growing.lock()))
    }

    /// What errors call the pool.
    #[inline]
    pub(crate) fn name(&self) -> &'static str {
        match self.fit {
            Fit::Best => "Pool",
            Fit::Bins => "BinningPool",
        }
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        self.supply.capabilities().with(Features::STREAM_ORDERED | Features::TRIMS)
    }

    #[inline]
    fn need(&self, layout: BlockLayout) -> Need {
        let grains = layout.rounded_to(GRAIN);
        let size = match self.fit {
            Fit::Best => grains,
            Fit::Bins => grains.next_power_of_two(),
        };
        Need { size, alignment: layout.alignment().max(GRAIN) }
    }

    #[inline]
    pub(crate) fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        if self.watch == Watch::Nobody
            && !fork::is_child()
            && request.stream.device_id() == self.device
            && let Some(block) = self.take_at_hand(request, self.need(request.layout))
        {
            return Ok(block);
        }
        self.allocate_slowly(request)
    }

    /// The same for requests that miss, that are refused, or that somebody watches.
    #[inline(never)]
    fn allocate_slowly(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        let (layout, stream) = (request.layout, request.stream);
        fork::refuse(self.name())
            .map_err(|error| AllocError::from_driver(error, layout, self.name()))?;
        let result = self.find_block(request).map_err(|error| match error.kind() {
            // The driver was not asked: the stream was retired on the way.
            AllocErrorKind::DeviceFault if stream.is_retired() => {
                let kind = AllocErrorKind::InvalidStream;
                AllocError::new(kind, layout, self.name()).with_source(error)
            }
            _ => error,
        });
        if let Some(observer) = &self.config.observer {
            let kind = match &result {
                Ok(block) => MemoryEventKind::Allocate { ptr: block.ptr(), layout },
                Err(_) => MemoryEventKind::Failure { layout },
            };
            let event = MemoryEvent::new(kind, self.id).with_stream(stream.id());
            observer.event(&event.with_label(request.label));
        }
        result
    }

    fn find_block(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        let layout = request.layout;
        if request.stream.device_id() != self.device {
            let kind = AllocErrorKind::InvalidStream;
            return Err(AllocError::new(kind, layout, self.name()));
        }
        let need = self.need(layout);
        let at_hand = match self.watch {
            Watch::Observer => self.take_at_hand(request, need),
            Watch::Nobody | Watch::Trim => None,
        };
        at_hand.map_or_else(|| self.find_elsewhere(request, need), Ok)
    }

    fn find_elsewhere(&self, request: &Request<'_>, need: Need) -> Result<Block, AllocError> {
        let (layout, stream) = (request.layout, request.stream);
        let fail = |kind| AllocError::new(kind, layout, self.name());
        let fault = |error| AllocError::from_driver(error, layout, self.name());
        let (mut state, mut lane) = self.enter(stream);
        if state.lanes.get(lane).is_some_and(|lane| lane.front().is_wanted()) {
            // Nobody else can mark this thread's lane for the thief that asked.
            let pin = self.pin_locked(&mut state);
            drop(state);
            self.close(lane).map_err(fault)?;
            drop(pin);
            (state, lane) = self.enter(stream);
        }
        // Blocks freed on this stream by other threads rely on these waits, which were asked for
        // before the frees: seen under the lock, which is held from here on, none is missed.
        while stream.has_pending_waits() {
            drop(state);
            stream.queue_pending_waits().map_err(fault)?;
            (state, lane) = self.enter(stream);
        }
        if state.lanes.get(lane).is_none_or(Lane::has_ended) {
            drop(state);
            return Err(fail(AllocErrorKind::InvalidStream));
        }
        if let Some(slot) = state.hit(lane, need) {
            return Ok(state.issue(slot, request, self.id));
        }
        let mut climb = Climb::new(request, lane, need);
        match state.hand_over(&mut climb) {
            HandOver::Now(slot) => return Ok(state.issue(slot, request, self.id)),
            HandOver::After(claim, marker) => {
                drop(state);
                let waited = stream.wait(&marker);
                drop(marker);
                state = self.lock();
                if waited.is_ok() {
                    state.counters.waits += 1;
                    let slot = state.finish(claim, lane, need, Waited::Yes);
                    return Ok(self.mark_rest(state, lane, request, slot));
                }
                // The ladder finds out what is wrong, and what else there is.
                state.space.give_up(claim);
                climb.made_progress(1);
            }
            HandOver::No => {}
        }
        let pin = self.pin_locked(&mut state);
        drop(state);
        let found = self.climb(climb);
        let owed = if found.is_ok() { stream.queue_pending_waits() } else { Ok(()) };
        let mut state = self.lock();
        pin.unpin(&mut state);
        let slot = found.inspect_err(|_| state.counters.failures += 1)?;
        if let Err(error) = owed {
            let tag = state.lanes.open_tag(lane);
            self.release(&mut state, slot, tag);
            return Err(fault(error));
        }
        Ok(self.mark_rest(state, lane, request, slot))
    }

    /// The block of a request, for which its stream may have been made to wait. What is left of the memory that
    /// it waited for, and what was freed on the stream, is marked if nobody else could do that later.
    fn mark_rest(
        &self,
        mut state: Locked<'_>,
        lane: u32,
        request: &Request<'_>,
        slot: Slot,
    ) -> Block {
        let stream = request.stream;
        let block = state.issue(slot, request, self.id);
        let needed =
            stream.is_bound() && stream.is_callable_here() && state.lanes.needs_marks(lane);
        if needed
            && state.lanes.get(lane).is_some_and(Lane::has_unmarked_frees)
            && let Err(error) = self.close_locked(state, lane)
        {
            tracing::debug!(%error, "what a request left could not be marked");
        }
        block
    }

    #[inline]
    pub(crate) fn deallocate(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
        let raw = block.raw();
        if self.watch == Watch::Nobody
            && !fork::is_child()
            && stream.device_id() == self.device
            && raw.owner() == self.id
            && let Some(close) = self.free_at_hand(&raw, stream)
        {
            if close {
                self.close_due(stream);
            }
            return Ok(());
        }
        self.deallocate_slowly(block, stream)
    }

    /// The same for frees that take more than the lock, that are refused, or that somebody watches.
    #[inline(never)]
    fn deallocate_slowly(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
        if let Err(error) = fork::refuse(self.name()) {
            return Err(FreeError::from_driver(error, block, self.name()));
        }
        if stream.device_id() != self.device {
            return Err(FreeError::new(FreeErrorKind::InvalidStream, block, self.name()));
        }
        if block.owner() != self.id {
            return Err(FreeError::new(FreeErrorKind::Foreign, block, self.name()));
        }
        if let Some(policy) = self.config.auto_trim {
            // Before this free, whose pending work would keep its neighbours. It is marked below.
            self.trim_unneeded(policy);
        }
        let raw = block.raw();
        let Some(close) = self.free_elsewhere(&raw, stream) else {
            return Err(FreeError::new(FreeErrorKind::Stale, block, self.name()));
        };
        if close {
            self.close_due(stream);
        }
        if let Some(observer) = &self.config.observer {
            let kind = MemoryEventKind::Free { ptr: raw.ptr(), layout: raw.layout() };
            observer.event(
                &MemoryEvent::new(kind, self.id).with_stream(stream.id()).with_label(raw.label()),
            );
        }
        Ok(())
    }

    #[cold]
    fn close_due(&self, stream: &Stream) {
        if let Err(error) = self.close_batch(stream) {
            // The next marker covers these frees too; nothing is lost but a chance to share them.
            tracing::debug!(%error, "a batch of frees could not be marked");
        }
    }

    /// Ends the block and frees its memory. Returns whether the lane's batch is to be closed, or
    /// `None` if there is no such block.
    fn free_elsewhere(&self, raw: &RawBlock, stream: &Stream) -> Option<bool> {
        let (mut state, lane) = self.enter(stream);
        let slot = state.space.end_block(raw)?;
        let size = state.space[slot].size();
        let (tag, close) = state.lanes.tag_free(lane, size);
        self.release(&mut state, slot, tag);
        Some(
            close
                || self
                    .config
                    .auto_trim
                    .is_some_and(|policy| state.holds_more_than(policy.threshold)),
        )
    }

    /// Whether the pool may ask the device how far it has come.
    pub(crate) fn may_ask(&self) -> bool {
        self.config.placement == Placement::ByCompletion
    }

    /// Makes a claimed or live range free.
    fn release(&self, state: &mut State, slot: Slot, tag: Tag) {
        let State { space, aliases, .. } = state;
        if aliases.lend(space[slot].start) {
            aliases.take_back(space, slot, tag);
        } else {
            space.set_state(slot, RangeState::Free(tag));
        }
    }

    /// Tells the observer, if there is one. Not to be called under the lock.
    pub(crate) fn tell(&self, kind: MemoryEventKind) {
        if let Some(observer) = &self.config.observer {
            observer.event(&MemoryEvent::new(kind, self.id));
        }
    }
}

impl<B: Backing> fmt::Debug for Core<B> {
    /// A few figures: what holds a pool may be printed however much is in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if fork::is_child() {
            return write!(f, "{}(of the process that forked)", self.name());
        }
        let state = self.lock();
        let (live, reserved) = (state.live(), state.counters.reserved);
        let blocks = state.allocations() - state.frees();
        drop(state);
        f.debug_struct(self.name())
            .field("live", &live)
            .field("reserved", &reserved)
            .field("blocks", &blocks)
            .field("backing", &self.supply)
            .finish_non_exhaustive()
    }
}
