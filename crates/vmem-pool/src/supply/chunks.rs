//! Chunks of any resource. They never join, so memory can be lost to the ends of chunks.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vmem_core::{
    AccessClass, AllocErrorKind, Block, BlockLayout, BoxedError, Capabilities, Device, Label,
    MemoryResource, Request, Stream,
};

use super::{Ask, Growth, Memory, Miss, Plan, Return, Supply, Way};
use crate::space::{CLEAN, GRAIN, MOST, Span};

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

impl<U> Chunks<U> {
    /// The resource that the chunks come from.
    pub fn upstream(&self) -> &U {
        &self.upstream
    }
}

impl<U: MemoryResource + 'static> Supply for Chunks<U> {
    type Held = Taken;

    fn device(&self) -> &Arc<dyn Device> {
        self.upstream.device()
    }

    fn capabilities(&self) -> Capabilities {
        self.upstream.capabilities()
    }

    fn granule(&self) -> u64 {
        GRAIN
    }

    fn addresses(&self) -> Option<(Span, u64)> {
        None
    }

    /// The upstream may hold more than the device has, as managed memory does.
    fn most(&self) -> u64 {
        MOST
    }

    fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    fn default_growth(&self) -> Growth {
        Growth::Double
    }

    fn extend(&self, _taken: &Taken, ask: &Ask<'_>, size: u64) -> Result<Plan, Miss> {
        if ask.need.size > ask.room {
            return Err(Miss::Ceiling);
        }
        Ok(Plan { largest: size, ..Plan::new(Way::Growth, Vec::new()) })
    }

    fn carry_out(
        &self,
        taken: &mut Taken,
        plan: &mut Plan,
        request: &Request<'_>,
    ) -> Result<(), Miss> {
        let size = plan.largest;
        let block = self.take(request, size)?;
        let start = block.ptr().get();
        taken.blocks.insert(start, block);
        self.held.fetch_add(size, Ordering::Relaxed);
        plan.handles.push(Span::new(start, size));
        Ok(())
    }

    /// Chunks that are wholly free and complete, the largest first, as long as at least `keep` bytes are
    /// left without them.
    fn surplus(&self, memory: &Memory<'_>, keep: u64) -> Vec<Span> {
        let free = memory.space.indexes.free_of(CLEAN.lane).map(|slot| memory.space[slot].span());
        let mut whole: Vec<Span> = free.flat_map(|free| memory.aliases.cuts.whole(free)).collect();
        whole.sort_unstable_by_key(|chunk| std::cmp::Reverse((chunk.size, chunk.start)));
        let mut spare = self.held().saturating_sub(keep);
        whole.retain(|chunk| {
            let goes = chunk.size <= spare;
            spare -= if goes { chunk.size } else { 0 };
            goes
        });
        whole
    }

    fn give_back(&self, taken: &mut Taken, going: &mut Return) -> Result<(), BoxedError> {
        for &chunk in &going.memory {
            self.free(taken, chunk)?;
            going.gone += chunk.size;
        }
        Ok(())
    }

    fn returnable(&self, memory: &Memory<'_>, free: &[Span]) -> u64 {
        memory.aliases.cuts.in_whole(free)
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
