//! Chunks of any resource. They never join, so memory can be lost to the ends of chunks.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use vmem_core::author::fork;
use vmem_core::{
    AllocErrorKind, Block, BlockLayout, BoxedError, Capabilities, Device, Features, Label,
    MemoryResource, Stream,
};

use super::{Growth, GrowthFailure, Pending, Sealed};
use crate::WindowInfo;
use crate::engine::{Core, State};
use crate::ladder::Climb;
use crate::lanes::CLEAN;
use crate::space::{GRAIN, MOST, RangeState, Slot, Tag, visits};
use crate::sync::{Mutex, MutexGuard};

/// A backing that takes chunks of memory from an upstream resource.
pub struct Chunks<U> {
    upstream: U,
    /// The upstream's block of each chunk, by address.
    blocks: Mutex<HashMap<u64, Block>>,
}

impl<U: MemoryResource + 'static> Chunks<U> {
    /// Chunks of `upstream`.
    ///
    /// A pool calls `upstream` while it holds the lock under which it grows and shrinks. A hook in
    /// `upstream`, as of an `OnFailure` of `vmem-adaptors`, that needs this pool belongs above the pool:
    /// below it, on the thread that called, it gets what is free in the pool, and an error for what the
    /// pool would have to take or return memory for; and it must not wait for another thread that uses
    /// the pool.
    pub fn new(upstream: U) -> Self {
        Self { upstream, blocks: Mutex::default() }
    }
}

impl<U> Chunks<U> {
    /// The resource that the chunks come from.
    pub fn upstream(&self) -> &U {
        &self.upstream
    }

    fn blocks(&self) -> MutexGuard<'_, HashMap<u64, Block>> {
        visits::note_lock();
        fork::locked(|| self.blocks.lock())
    }
}

impl<U: MemoryResource + 'static> Chunks<U> {
    fn take(&self, climb: &Climb<'_>, size: u64) -> Result<Block, GrowthFailure> {
        let alignment = climb.need.alignment;
        let layout = BlockLayout::with_alignment(size, alignment)
            .map_err(|error| GrowthFailure::Refused(error.into()))?;
        let mut request = climb.request.clone().with_label(Label::NONE);
        request.layout = layout;
        self.upstream.allocate(&request).map_err(|error| match error.kind() {
            AllocErrorKind::OutOfMemory | AllocErrorKind::Limit | AllocErrorKind::NeverFits => {
                GrowthFailure::Refused(error.into())
            }
            _ => GrowthFailure::Fault(error.into()),
        })
    }
}

impl<U: MemoryResource + 'static> Sealed for Chunks<U> {
    fn device(&self) -> &Arc<dyn Device> {
        self.upstream.device()
    }

    fn capabilities(&self) -> Capabilities {
        self.upstream.capabilities()
    }

    fn granule(&self) -> u64 {
        GRAIN
    }

    fn address_ranges(&self) -> Vec<(u64, u64)> {
        Vec::new()
    }

    /// The upstream may hold more than the device has, as managed memory does.
    fn most(&self) -> u64 {
        MOST
    }

    fn pending(&self) -> Pending {
        Pending::Stays
    }

    fn default_growth(&self) -> Growth {
        Growth::Double
    }

    fn resume(_core: &Core<Self>, _climb: &Climb<'_>) -> Option<Slot> {
        None
    }

    fn grow(core: &Core<Self>, climb: &mut Climb<'_>) -> Result<Slot, GrowthFailure> {
        let needed = climb.need.size;
        let reserved = core.lock().counters.reserved;
        let room = (core.ceiling - reserved).min(MOST);
        if needed > room {
            return Err(GrowthFailure::Ceiling);
        }
        let policy = core.config.growth.unwrap_or_else(|| core.backing.default_growth());
        // `room` may be odd where there is no ceiling; chunks lie on the grain.
        let target = policy.target(needed, reserved, room) / GRAIN * GRAIN;
        let (block, size) = match core.backing.take(climb, target) {
            Ok(block) => (block, target),
            Err(GrowthFailure::Refused(_)) if target > needed => {
                (core.backing.take(climb, needed)?, needed)
            }
            Err(failure) => return Err(failure),
        };
        let start = block.ptr().get();
        core.backing.blocks().insert(start, block);
        let mut state = core.lock();
        // The upstream's memory is the requesting stream's to use; others wait for that stream.
        let ordered = core.backing.capabilities().has(Features::STREAM_ORDERED);
        let rest = match climb.lane {
            lane if lane == CLEAN.lane => CLEAN,
            lane if ordered => state.lanes.open_tag(lane),
            lane => Tag { lane, epoch: 0 },
        };
        let slot = state.space.add_segment(start, size, RangeState::Claimed);
        state.fit(slot, climb.need, rest);
        state.set_reserved(reserved + size);
        Ok(slot)
    }

    fn make_room(
        core: &Core<Self>,
        climb: &mut Climb<'_>,
        service: &mut Option<Stream>,
    ) -> Result<Option<Slot>, GrowthFailure> {
        core.trim_and_grow(climb, service)
    }

    fn give_back(
        core: &Core<Self>,
        keep: u64,
        service: &mut Option<Stream>,
    ) -> (u64, Option<BoxedError>) {
        let mut returned = 0;
        loop {
            let before = returned;
            for chunk @ (slot, start, size) in whole_chunks(core) {
                if !claim_chunk(core, chunk, keep) {
                    continue;
                }
                if let Err(error) = free_chunk(core, start, service) {
                    core.lock().space.set_state(slot, RangeState::Free(CLEAN));
                    return (returned, Some(error));
                }
                let mut state = core.lock();
                state.space.remove_segment(slot);
                let held = state.counters.reserved - size;
                state.set_reserved(held);
                returned += size;
            }
            // Others may have freed more meanwhile.
            if returned == before {
                return (returned, None);
            }
        }
    }

    fn returnable(core: &Core<Self>) -> u64 {
        let state = core.lock();
        let free = state.space.free_stretches(|tag| !state.is_out_of_reach(tag));
        drop(state);
        let blocks = core.backing.blocks();
        let is_whole = |start, size| blocks.get(&start).is_some_and(|block| block.size() == size);
        let sizes = free.into_iter().map(|(start, end)| (start, end - start));
        sizes.filter(|&(start, size)| is_whole(start, size)).map(|(_, size)| size).sum()
    }

    fn movable(_core: &Core<Self>) -> u64 {
        0
    }

    fn windows_info(&self) -> Vec<WindowInfo> {
        Vec::new()
    }

    #[inline]
    fn lends(&self, _start: u64) -> bool {
        false
    }

    fn take_back(_core: &Core<Self>, state: &mut State, slot: Slot, tag: Tag) {
        state.space.set_state(slot, RangeState::Free(tag));
    }
}

/// The chunks that are wholly free and complete, with their starts and sizes, the largest first. Takes
/// `O(n log n)` steps.
fn whole_chunks<U: MemoryResource + 'static>(core: &Core<Chunks<U>>) -> Vec<(Slot, u64, u64)> {
    let mut state = core.lock();
    state.settle();
    let whole = state.space.whole_segments();
    let mut whole: Vec<_> =
        whole.filter(|(slot, ..)| state.space[*slot].tag() == Some(CLEAN)).collect();
    drop(state);
    whole.sort_unstable_by_key(|&(_, start, size)| std::cmp::Reverse((size, start)));
    whole
}

/// Claims a chunk if it is still wholly free, and at least `keep` bytes would be left without it.
fn claim_chunk<U: MemoryResource + 'static>(
    core: &Core<Chunks<U>>,
    (slot, start, size): (Slot, u64, u64),
    keep: u64,
) -> bool {
    let mut state = core.lock();
    let spare = state.counters.reserved.saturating_sub(keep);
    let is_whole = |range: &crate::space::Range| {
        (range.start, range.size(), range.tag()) == (start, size, Some(CLEAN))
    };
    let claimed = size <= spare && state.space.get(slot).is_some_and(is_whole);
    if claimed {
        state.space.claim(slot);
    }
    claimed
}

fn free_chunk<U: MemoryResource + 'static>(
    core: &Core<Chunks<U>>,
    start: u64,
    service: &mut Option<Stream>,
) -> Result<(), BoxedError> {
    let chunks = &core.backing;
    let stream = match service {
        Some(stream) => stream,
        None => service.insert(Stream::new(chunks.upstream.device().clone())?),
    };
    let block = chunks.blocks().remove(&start).ok_or("the chunk is not the backing's")?;
    // SAFETY: contract, freeing/completion-order and freeing/no-later-use: the chunk is claimed and
    // the host has observed that all work on it completed; freeing/valid-stream: the pool's own
    // stream, which nobody captures.
    if let Err(error) = unsafe { chunks.upstream.deallocate(block, stream) } {
        let text = error.to_string();
        let (block, source) = error.into_parts();
        chunks.blocks().insert(start, block);
        return Err(source.unwrap_or_else(|| text.into()));
    }
    Ok(())
}

impl<U> fmt::Debug for Chunks<U> {
    /// The upstream by its type only: what it prints of itself is not for the pool to bound.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chunks = self.blocks().len();
        write!(f, "Chunks<{}> {{ chunks: {chunks}, .. }}", std::any::type_name::<U>())
    }
}

impl<U: fmt::Display> fmt::Display for Chunks<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunks<{}>", self.upstream)
    }
}
