//! Chunks of any resource. They never join, so memory can be lost to the ends of chunks.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vmem_core::{
    AccessClass, AllocErrorKind, Block, BlockLayout, BoxedError, Capabilities, Device, Label,
    MemoryResource, Request, Stream,
};

use super::{Aliases, Ask, Growth, Miss, Plan, Return, Supply, Way};
use crate::space::{CLEAN, GRAIN, MOST, Need, RangeState, Slot, Space, Span, Tag};

/// A backing that takes chunks of memory from an upstream resource.
pub struct Chunks<U> {
    upstream: U,
    /// Bytes in chunks. Changed by whoever has them.
    held: AtomicU64,
}

/// The chunks, which only the thread that grows or shrinks the pool may touch.
#[derive(Default)]
pub(crate) struct Taken {
    /// The upstream's block of each chunk, by address.
    blocks: HashMap<u64, Block>,
    /// To free chunks on.
    stream: Option<Stream>,
}

/// A chunk to take: how large, and once it is there, where.
pub(crate) struct Take {
    size: u64,
    at: Option<u64>,
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
        Self { upstream, held: AtomicU64::new(0) }
    }
}

impl<U> Chunks<U> {
    /// The resource that the chunks come from.
    pub fn upstream(&self) -> &U {
        &self.upstream
    }
}

impl<U: MemoryResource + 'static> Chunks<U> {
    fn take(&self, request: &Request<'_>, size: u64) -> Result<Block, Miss> {
        let alignment = request.layout.alignment().max(GRAIN);
        let layout = BlockLayout::with_alignment(size, alignment)
            .map_err(|error| Miss::Refused(error.into()))?;
        // Blocks of others will lie in the chunk, with uses of their own.
        let mut request = request.clone().with_label(Label::NONE).with_access(AccessClass::Unknown);
        request.layout = layout;
        self.upstream.allocate(&request).map_err(|error| match error.kind() {
            AllocErrorKind::OutOfMemory | AllocErrorKind::Limit | AllocErrorKind::NeverFits => {
                Miss::Refused(error.into())
            }
            _ => Miss::Fault(error.into()),
        })
    }

    fn free(&self, taken: &mut Taken, chunk: Span) -> Result<(), BoxedError> {
        let stream = match &mut taken.stream {
            Some(stream) => stream,
            none => none.insert(Stream::new(self.upstream.device().clone())?),
        };
        let block = taken.blocks.remove(&chunk.start).ok_or("the chunk is not the backing's")?;
        // SAFETY: contract, freeing/completion-order and freeing/no-later-use: the chunk is claimed and
        // the host has observed that all work on it completed; freeing/valid-stream: the pool's own
        // stream, which nobody captures.
        if let Err(error) = unsafe { self.upstream.deallocate(block, stream) } {
            let text = error.to_string();
            let (block, source) = error.into_parts();
            taken.blocks.insert(chunk.start, block);
            return Err(source.unwrap_or_else(|| text.into()));
        }
        self.held.fetch_sub(chunk.size, Ordering::Relaxed);
        Ok(())
    }
}

impl<U: MemoryResource + 'static> Supply for Chunks<U> {
    type Held = Taken;
    type Work = Take;

    fn device(&self) -> &Arc<dyn Device> {
        self.upstream.device()
    }

    fn capabilities(&self) -> Capabilities {
        self.upstream.capabilities()
    }

    fn granule(&self) -> u64 {
        GRAIN
    }

    fn addresses(&self) -> Vec<Span> {
        Vec::new()
    }

    fn aliases_from(&self) -> u64 {
        u64::MAX
    }

    /// The upstream may hold more than the device has, as managed memory does.
    fn most(&self) -> u64 {
        MOST
    }

    fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    fn moves(&self) -> bool {
        false
    }

    fn grows_in_captures(&self) -> bool {
        false
    }

    fn default_growth(&self) -> Growth {
        Growth::Double
    }

    fn let_go_of_stuck(&self, _taken: &mut Taken) {}

    fn let_go_of_spares(&self, _taken: &mut Taken) {}

    fn resume(
        &self,
        _space: &mut Space,
        _aliases: &mut Aliases,
        _ask: &Ask<'_>,
        _allowed: &dyn Fn(Tag) -> bool,
    ) -> Option<Plan<Take>> {
        None
    }

    fn extend(
        &self,
        _taken: &Taken,
        space: &mut Space,
        ask: &Ask<'_>,
        size: u64,
    ) -> Result<Plan<Take>, Miss> {
        if ask.need.size > ask.room {
            return Err(Miss::Ceiling);
        }
        let work = Take { size, at: None };
        Ok(Plan { claim: space.begin_claim(), way: Way::Growth, work })
    }

    fn gathering_saves(&self, _: &Space, _: &Aliases, _: &Ask<'_>) -> bool {
        false
    }

    fn gather(
        &self,
        _taken: &Taken,
        _space: &mut Space,
        _aliases: &Aliases,
        _ask: &Ask<'_>,
    ) -> Result<Plan<Take>, Miss> {
        Err(Miss::Addresses)
    }

    fn has_addresses(&self, _space: &Space, _aliases: &Aliases, _need: Need) -> bool {
        false
    }

    fn too_many(&self, _aliases: &Aliases) -> Option<u64> {
        None
    }

    fn carry_out(
        &self,
        taken: &mut Taken,
        plan: &mut Plan<Take>,
        request: &Request<'_>,
    ) -> Result<(), Miss> {
        let block = self.take(request, plan.work.size)?;
        let start = block.ptr().get();
        taken.blocks.insert(start, block);
        self.held.fetch_add(plan.work.size, Ordering::Relaxed);
        plan.work.at = Some(start);
        Ok(())
    }

    fn finish(
        &self,
        space: &mut Space,
        _aliases: &mut Aliases,
        plan: Plan<Take>,
        need: Need,
        rest: Tag,
    ) -> Slot {
        let start = plan.work.at.expect("the plan was carried out");
        space.finish_with(plan.claim, Span::new(start, plan.work.size), need, rest)
    }

    fn give_up(&self, space: &mut Space, _aliases: &mut Aliases, plan: Plan<Take>) {
        space.give_up(plan.claim);
    }

    /// Chunks that are wholly free and complete, the largest first, as long as at least `keep` bytes are
    /// left without them.
    fn surplus(&self, space: &mut Space, _aliases: &mut Aliases, keep: u64) -> Option<Return> {
        let clean = space.whole_segments().filter(|&slot| space[slot].tag() == Some(CLEAN));
        let mut whole: Vec<(Slot, Span)> = clean.map(|slot| (slot, space[slot].span())).collect();
        whole.sort_unstable_by_key(|(_, chunk)| std::cmp::Reverse((chunk.size, chunk.start)));
        let mut spare = self.held().saturating_sub(keep);
        let mut going = Return::default();
        for (slot, chunk) in whole {
            if chunk.size <= spare {
                spare -= chunk.size;
                space.claim(slot);
                going.memory.push((slot, chunk));
            }
        }
        (!going.memory.is_empty()).then_some(going)
    }

    fn give_back(&self, taken: &mut Taken, going: &mut Return) -> Result<(), BoxedError> {
        for &(_, chunk) in &going.memory {
            self.free(taken, chunk)?;
            going.gone += chunk.size;
        }
        Ok(())
    }

    fn note_gone(&self, space: &mut Space, _aliases: &mut Aliases, going: Return) {
        let mut gone = going.gone;
        for (slot, chunk) in going.memory {
            if chunk.size <= gone {
                gone -= chunk.size;
                space.remove_segment(slot);
            } else {
                gone = 0;
                space.set_state(slot, RangeState::Free(CLEAN));
            }
        }
    }

    fn returnable(&self, space: &Space, _aliases: &Aliases, usable: &dyn Fn(Tag) -> bool) -> u64 {
        let chunks: HashSet<Span> = space.segments().collect();
        let free = space.free_stretches(usable).into_iter();
        free.filter(|free| chunks.contains(free)).map(|free| free.size).sum()
    }

    fn movable(&self, _: &Space, _: &Aliases, _: &dyn Fn(Tag) -> bool) -> u64 {
        0
    }
}

impl<U> fmt::Debug for Chunks<U> {
    /// The upstream by its type only: what it prints of itself is not for the pool to bound.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.held.load(Ordering::Relaxed);
        write!(f, "Chunks<{}> {{ held: {held}, .. }}", std::any::type_name::<U>())
    }
}

impl<U: fmt::Display> fmt::Display for Chunks<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunks<{}>", self.upstream)
    }
}
