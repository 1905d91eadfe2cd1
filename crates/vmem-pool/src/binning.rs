//! The simple pool: powers of two that never join.

use std::fmt;
use std::sync::Arc;

use vmem_core::{
    AllocError, Block, Capabilities, Device, FreeError, MemoryResource, Request, Stream,
};

use crate::space::Fit;
use crate::{BuildError, Chunks, Growth, Pool, PoolConfig, PoolHandle};

/// A pool whose blocks are powers of two bytes, at least 256, each taken from the upstream on its
/// own and reused only for its own size.
///
/// It needs nothing of the device but plain memory and wastes up to half of it: the fallback where
/// nothing better can be built. Streams, ceilings, trimming and refusals are those of [`Pool`]: a
/// request is refused only if no free block of its size is left and, after all free blocks of
/// every size went back to the upstream, there is no room for another.
pub struct BinningPool<U: MemoryResource + 'static> {
    pool: Pool<Chunks<U>>,
}

impl<U: MemoryResource + 'static> BinningPool<U> {
    /// A pool over `upstream`. The configuration's growth is ignored: every block is taken on its
    /// own.
    ///
    /// # Errors
    /// Those of [`Pool::new`].
    pub fn new(upstream: U, config: PoolConfig) -> Result<Self, BuildError> {
        let config = config.with_growth(Growth::Exact);
        let pool = Pool::with_fit(Chunks::new(upstream), config, Fit::Bins)?;
        Ok(Self { pool })
    }

    /// The resource that the blocks come from.
    pub fn upstream(&self) -> &U {
        self.pool.backing().upstream()
    }

    /// A handle that reads and controls the pool.
    pub fn handle(&self) -> PoolHandle {
        self.pool.handle()
    }
}

// SAFETY: contract, implementing: every call goes to the pool, which keeps it.
#[deny(clippy::missing_trait_methods)]
unsafe impl<U: MemoryResource + 'static> MemoryResource for BinningPool<U> {
    fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        self.pool.allocate(request)
    }

    unsafe fn deallocate(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
        // SAFETY: the caller keeps the freeing clauses, which are the same there.
        unsafe { self.pool.deallocate(block, stream) }
    }

    fn device(&self) -> &Arc<dyn Device> {
        self.pool.device()
    }

    fn capabilities(&self) -> Capabilities {
        self.pool.capabilities()
    }
}

impl<U: MemoryResource + 'static> fmt::Debug for BinningPool<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pool.fmt(f)
    }
}

impl<U: MemoryResource + 'static> fmt::Display for BinningPool<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BinningPool<{}>", self.upstream())
    }
}
