//! A layer over a pool, with one planted bug.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use vmem_core::author::StreamExt;
use vmem_core::{
    AllocError, AllocErrorKind, Block, BlockLayout, Capabilities, Device, FreeError,
    MemoryResource, RawBlock, Request, Stream, StreamKind,
};

/// What is wrong with a [`Faulty`] layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    /// Nothing: the control.
    None,
    /// The pool is told of another stream than the one that freed, so that reuse waits for nothing.
    SkipsWaits,
    /// A block may start where another live one does.
    Overlaps,
    /// The pool counts a byte too much for each block.
    Miscounts,
    /// Every third request is refused.
    Refuses,
    /// Every third free never reaches the pool.
    LosesFrees,
    /// The pool outlives its stack.
    KeepsThePool,
    /// What is handed out holds bytes of somebody's.
    Unclean,
    /// A borrowed stream is named by whatever call comes next, whether or not that vouches for it.
    KeepsVouching,
}

/// Hands a pool's blocks on. Those that it lies about it keeps the truth of.
#[derive(Debug)]
pub(super) struct Faulty {
    bug: Bug,
    pool: Arc<dyn MemoryResource>,
    /// Nothing is ever queued on it.
    idle: Stream,
    allocations: AtomicU64,
    frees: AtomicU64,
    live: Mutex<HashMap<Key, RawBlock>>,
    /// The last stream that was vouched for.
    lent: Mutex<Option<Stream>>,
}

/// A block's slot and generation.
type Key = (u32, u32);

impl Faulty {
    pub(super) fn new(bug: Bug, pool: Arc<dyn MemoryResource>, device: &Arc<dyn Device>) -> Self {
        if bug == Bug::KeepsThePool {
            std::mem::forget(pool.clone());
        }
        let idle = Stream::new(device.clone()).expect("a new device has room for a stream");
        let (allocations, frees) = (AtomicU64::new(0), AtomicU64::new(0));
        let (live, lent) = (Mutex::default(), Mutex::default());
        Self { bug, pool, idle, allocations, frees, live, lent }
    }

    fn live(&self) -> MutexGuard<'_, HashMap<Key, RawBlock>> {
        self.live.lock().expect("nothing panics under this lock")
    }

    /// Marks the last stream that was vouched for, as nobody may who does not vouch for it.
    #[expect(unsafe_code, reason = "the bug is what this must not do")]
    fn name_lent(&self, stream: &Stream) {
        if self.bug != Bug::KeepsVouching {
            return;
        }
        let mut lent = self.lent.lock().expect("nothing panics under this lock");
        if let Some(lent) = &*lent {
            // SAFETY: none. That is the bug.
            let _ = unsafe { lent.vouched(|| lent.marker()) };
        }
        if stream.kind() == StreamKind::Borrowed {
            *lent = Some(stream.clone());
        }
    }

    /// What the holder of a block is told of it.
    fn lie(&self, truth: RawBlock, asked: BlockLayout) -> RawBlock {
        let mut told = truth.with_layout(asked);
        let mut live = self.live();
        if self.bug == Bug::Overlaps {
            let fits = |other: &&RawBlock| {
                other.layout().size() >= asked.size()
                    && other.ptr().is_aligned_to(asked.alignment())
            };
            // The lowest of all, because a table has no order that could be reproduced.
            let other = live.values().filter(fits).map(|other| other.ptr()).min();
            told = told.with_ptr(other.unwrap_or(truth.ptr()));
        }
        live.insert(key(&truth), truth);
        told
    }
}

fn key(block: &RawBlock) -> Key {
    (block.slot(), block.generation())
}

/// Whether this is a third call.
fn third(calls: &AtomicU64) -> bool {
    calls.fetch_add(1, Ordering::Relaxed) % 3 == 2
}

impl std::fmt::Display for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Faulty<{}>", self.pool)
    }
}

#[expect(unsafe_code, reason = "a resource is an unsafe trait")]
// SAFETY: contract, implementing: kept without a bug; with one it is broken on purpose, on a
// simulated device that tolerates it.
#[deny(clippy::missing_trait_methods)]
unsafe impl MemoryResource for Faulty {
    fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        let asked = request.layout;
        if self.bug == Bug::Refuses && third(&self.allocations) {
            return Err(AllocError::new(AllocErrorKind::OutOfMemory, asked, "Faulty"));
        }
        self.name_lent(request.stream);
        let mut request = request.clone();
        if self.bug == Bug::Miscounts {
            request.layout = BlockLayout::with_alignment(asked.size() + 1, asked.alignment())?;
        }
        let told = self.lie(self.pool.allocate(&request)?.into_raw(), asked);
        if self.bug == Bug::Unclean {
            let _ = request.stream.with_raw("Faulty", |device, raw| {
                // SAFETY: contract, devices/ranges: the block that the pool has just issued.
                unsafe { device.fill(told.ptr(), 0x5e, asked.size(), raw) }
            });
        }
        // SAFETY: the block that the pool issued, unless a bug says otherwise.
        Ok(unsafe { Block::from_raw(told) })
    }

    unsafe fn deallocate(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
        if self.bug == Bug::LosesFrees && third(&self.frees) {
            return Ok(());
        }
        let told = block.into_raw();
        let truth = self.live().get(&key(&told)).copied();
        let stream = if self.bug == Bug::SkipsWaits { &self.idle } else { stream };
        // SAFETY: the pool's own block, or one that the pool refuses.
        let block = unsafe { Block::from_raw(truth.unwrap_or(told)) };
        // SAFETY: the caller keeps the freeing clauses, which are the same there; with a bug the
        // wrong stream is named on purpose.
        let freed = unsafe { self.pool.deallocate(block, stream) };
        if let Err(error) = freed {
            // SAFETY: what the caller gave and gets back.
            let given = unsafe { Block::from_raw(told) };
            return Err(FreeError::new(error.kind(), given, "Faulty"));
        }
        self.live().remove(&key(&told));
        Ok(())
    }

    fn device(&self) -> &Arc<dyn Device> {
        self.pool.device()
    }

    fn capabilities(&self) -> Capabilities {
        self.pool.capabilities()
    }
}
