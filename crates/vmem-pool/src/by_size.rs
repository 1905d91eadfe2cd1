//! Small blocks apart from large ones.

use std::fmt;
use std::sync::Arc;

use vmem_core::{
    AllocError, Block, BlockLayout, Capabilities, Device, FreeError, MemoryResource, Request,
    Stream,
};

use crate::{BuildError, BuildErrorKind};

/// Two resources in one: requests of up to a limit go to the first, larger ones to the second.
///
/// In one pool, small blocks that outlive the large ones around them keep memory from being returned or
/// moved. In a pool of their own they keep little:
///
/// ```
/// use vmem_pool::{BySize, Pool, PoolConfig, VirtualArena};
/// use vmem_sim::SimDevice;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = SimDevice::new(1 << 30);
/// let pool = || Pool::new(VirtualArena::new(device.clone())?, PoolConfig::default());
/// let (small, large) = (pool()?, pool()?);
/// let handles = [small.handle(), large.handle()];
/// let memory = BySize::new(small, large, 4096)?;
/// # drop((handles, memory));
/// # Ok(())
/// # }
/// ```
pub struct BySize<S, L> {
    small: S,
    large: L,
    limit: u64,
}

impl<S: MemoryResource, L: MemoryResource> BySize<S, L> {
    /// A resource that takes blocks of up to `limit` bytes from `small`, and all others from `large`.
    ///
    /// # Errors
    /// [`TwoDevices`](BuildErrorKind::TwoDevices) if the resources are on different devices.
    pub fn new(small: S, large: L, limit: u64) -> Result<Self, BuildError> {
        if small.device().id() == large.device().id() {
            Ok(Self { small, large, limit })
        } else {
            Err(BuildError::new(BuildErrorKind::TwoDevices))
        }
    }
}

impl<S, L> BySize<S, L> {
    /// The resource of small blocks.
    pub fn small(&self) -> &S {
        &self.small
    }

    /// The resource of large blocks.
    pub fn large(&self) -> &L {
        &self.large
    }

    fn is_small(&self, layout: BlockLayout) -> bool {
        layout.size() <= self.limit
    }
}

// SAFETY: contract, implementing: each block is one of the upstream's that its size tells, which keeps
// the clauses; a block of a changed size, or of another resource, is refused by the upstream that it
// comes to.
#[deny(clippy::missing_trait_methods)]
unsafe impl<S: MemoryResource, L: MemoryResource> MemoryResource for BySize<S, L> {
    fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        if self.is_small(request.layout) {
            self.small.allocate(request)
        } else {
            self.large.allocate(request)
        }
    }

    unsafe fn deallocate(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
        if self.is_small(block.layout()) {
            // SAFETY: the caller keeps the freeing clauses, which are the same there.
            unsafe { self.small.deallocate(block, stream) }
        } else {
            // SAFETY: as above.
            unsafe { self.large.deallocate(block, stream) }
        }
    }

    fn device(&self) -> &Arc<dyn Device> {
        self.large.device()
    }

    /// What blocks of both sizes can do.
    fn capabilities(&self) -> Capabilities {
        let (small, large) = (self.small.capabilities(), self.large.capabilities());
        Capabilities::new(small.features & large.features)
    }
}

impl<S: fmt::Debug, L: fmt::Debug> fmt::Debug for BySize<S, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { small, large, limit } = self;
        f.debug_struct("BySize")
            .field("small", small)
            .field("large", large)
            .field("limit", limit)
            .finish()
    }
}

impl<S: fmt::Display, L: fmt::Display> fmt::Display for BySize<S, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { small, large, limit } = self;
        write!(f, "BySize<{small}, {large}>(up to {limit} B)")
    }
}
