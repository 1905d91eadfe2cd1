//! What a pool consists of.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use vmem_core::author::{StreamObserver, fork};
use vmem_core::{
    BlockLayout, Capabilities, DeviceId, Event, Features, MemoryEvent, MemoryEventKind, Request,
    Resting, Stream, StreamId,
};

use super::{NO_ADDRESSES, Slow};
use crate::space::{CLEAN, Fit, GRAIN, MOST, Need, RangeState, Span};
use crate::streams::{Reuse, State, Streams};
use crate::supply::{Aliases, Backing, Miss};
use crate::sync::Mutex;
use crate::{BuildError, BuildErrorKind, Counters, Placement, PoolConfig};

/// A pool's inside. Driver calls are made without the pool's lock; whoever makes them has claimed the
/// ranges they concern.
pub(crate) struct Core<B: Backing> {
    pub(crate) streams: Streams,
    pub(crate) supply: B,
    pub(crate) config: PoolConfig,
    pub(crate) ceiling: u64,
    pub(super) device: DeviceId,
    fit: Fit,
    /// Somebody wants to know of every request and free: an observer, or the pool itself, which counts
    /// what is needed at most, or looks where memory lies.
    pub(super) is_watched: bool,
    /// Held while memory is taken from or returned to the supply, over the driver calls. Taken before
    /// the pool's lock.
    pub(super) growing: Mutex<B::Held>,
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
        let may_ask = config.placement == Placement::ByCompletion;
        if let (Some(bytes), Some(arena)) = (config.host_ceiling, supply.arena()) {
            arena.limit_host(bytes);
        }
        let addresses = supply.addresses();
        let aliases = Aliases::new(addresses.map_or(u64::MAX, |(_, aliases_from)| aliases_from));
        let mut state = State::new(fit, reuse, config.batch, aliases);
        if let Some((all, aliases_from)) = addresses {
            for (from, upto) in [(all.start, aliases_from), (aliases_from, all.end())] {
                if from < upto {
                    state.space.add_segment(Span::between(from, upto), RangeState::Unmapped);
                }
            }
        }
        let device = supply.device().clone();
        let core = Arc::new_cyclic(|me: &Weak<Self>| Self {
            device: device.id(),
            streams: Streams::new(device, reuse, may_ask, me.clone(), state),
            is_watched: config.auto_trim.is_some()
                || config.observer.is_some()
                || config.resting == Resting::Planned,
            supply,
            config,
            ceiling,
            fit,
            growing: Mutex::default(),
        });
        if core.config.initial > 0
            && let Err(error) = core.take_initial()
        {
            core.shut_down();
            return Err(error);
        }
        Ok(core)
    }

    fn take_initial(&self) -> Result<(), BuildError> {
        let stream = Stream::new(self.streams.device.clone()).map_err(BuildError::refused)?;
        let layout = BlockLayout::new(self.config.initial).map_err(BuildError::refused)?;
        let need = self.need(layout);
        if need.size > MOST {
            return Err(BuildError::refused("a pool takes less than 1 TiB at once"));
        }
        let request = Request::new(layout, &stream);
        let mut slow = Slow::new(&request, CLEAN.lane, need);
        let grown = self.grow(&mut slow).map(|(_, slot)| slot);
        self.tell_changes(&slow.changes);
        let slot = grown.map_err(|miss| match miss {
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
            self.streams.lock().space.set_state(slot, RangeState::Free(CLEAN));
        }
        ready.map_err(BuildError::refused)
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

    /// What a request of this layout needs of a range.
    #[inline]
    pub(super) fn need(&self, layout: BlockLayout) -> Need {
        let grains = layout.rounded_to(GRAIN);
        let size = match self.fit {
            Fit::Best => grains,
            Fit::Bins => grains.next_power_of_two(),
        };
        Need { size, alignment: layout.alignment().max(GRAIN) }
    }

    /// Tells the observer, if there is one. Not to be called under the lock.
    ///
    /// An observer must not panic. If it does all the same, that ends here: the event has happened, and
    /// unwinding would take a block along that its owner never saw, or come out of a drop.
    pub(super) fn tell(
        &self,
        kind: MemoryEventKind,
        detail: impl FnOnce(MemoryEvent) -> MemoryEvent,
    ) {
        if let Some(observer) = &self.config.observer {
            let event = detail(MemoryEvent::new(kind, self.streams.id));
            if catch_unwind(AssertUnwindSafe(|| observer.event(&event))).is_err() {
                tracing::error!(?event, "an observer panicked");
            }
        }
    }

    /// Tells the observer, and the log, what was taken, moved and returned. Not to be called under the lock.
    pub(super) fn tell_changes(&self, changes: &Counters) {
        let tell = |bytes, kind: fn(u64) -> MemoryEventKind| {
            if bytes > 0 {
                self.tell(kind(bytes), |event| event);
            }
        };
        tell(changes.bytes_moved, |bytes| MemoryEventKind::Move { bytes });
        tell(changes.bytes_trimmed, |bytes| MemoryEventKind::Trim { bytes });
        tell(changes.bytes_grown, |bytes| MemoryEventKind::Growth { bytes });
        if changes.bytes_grown > 0 {
            tracing::debug!(bytes = changes.bytes_grown, "the pool grew");
        }
    }
}

impl<B: Backing> StreamObserver for Core<B> {
    fn retiring(&self, stream: StreamId, marker: Option<&Event>) {
        self.streams.retire(stream, marker);
        self.tell(MemoryEventKind::Retire, |event| event.with_stream(stream));
    }
}

impl<B: Backing> fmt::Debug for Core<B> {
    /// A few figures: what holds a pool may be printed however much is in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if fork::is_child() {
            return write!(f, "{}(of the process that forked)", self.name());
        }
        let counters = self.streams.lock().counters;
        f.debug_struct(self.name())
            .field("live", &counters.live)
            .field("reserved", &counters.reserved)
            .field("blocks", &(counters.allocations - counters.frees))
            .field("backing", &self.supply)
            .finish_non_exhaustive()
    }
}
