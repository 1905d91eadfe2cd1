//! Asking for memory that may rest.

use std::fmt;
use std::sync::Arc;

use vmem_core::{
    AllocError, Block, Capabilities, Device, FreeError, MemoryResource, Request, Stream,
};

/// Asks its upstream for memory that [may rest](Request::that_may_rest) on the host, whatever a request
/// says: for buffers that [spill](crate::Spill) or sleep. Blocks pass unchanged.
#[derive(Debug, Clone)]
pub struct MayRest<U> {
    upstream: U,
}

impl<U> MayRest<U> {
    /// Asks `upstream`.
    pub const fn new(upstream: U) -> Self {
        Self { upstream }
    }

    /// The wrapped resource.
    pub const fn upstream(&self) -> &U {
        &self.upstream
    }

    /// Unwraps the upstream.
    pub fn into_inner(self) -> U {
        self.upstream
    }
}

impl<U: fmt::Display> fmt::Display for MayRest<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MayRest<{}>", self.upstream)
    }
}

// SAFETY: contract, implementing: blocks pass unchanged between the caller and one upstream that keeps
// it.
#[deny(clippy::missing_trait_methods)]
unsafe impl<U: MemoryResource> MemoryResource for MayRest<U> {
    fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        self.upstream.allocate(&request.clone().that_may_rest())
    }

    unsafe fn deallocate(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
        // SAFETY: the caller keeps the freeing clauses, which are the same there.
        unsafe { self.upstream.deallocate(block, stream) }
    }

    fn device(&self) -> &Arc<dyn Device> {
        self.upstream.device()
    }

    fn capabilities(&self) -> Capabilities {
        self.upstream.capabilities()
    }
}
