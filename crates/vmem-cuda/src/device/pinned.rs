//! Page-locked host memory.

use std::sync::Arc;

use vmem_core::{DevicePtr, DriverError, Pinned};

use crate::context::{Context, Deferred};
use crate::result::memory;

/// A device's pinned host memory, at one address for host and device by unified addressing.
#[derive(Debug)]
pub(crate) struct CudaPinned {
    context: Arc<Context>,
}

impl CudaPinned {
    pub(super) const fn new(context: Arc<Context>) -> Self {
        Self { context }
    }
}

// SAFETY: contract, devices: each call is the driver's, under the device's own context; the driver
// keeps allocations disjoint, and aligns them to pages.
#[deny(clippy::missing_trait_methods)]
unsafe impl Pinned for CudaPinned {
    fn allocate(&self, bytes: u64) -> Result<DevicePtr, DriverError> {
        self.context.call_relaxed("cuMemHostAlloc", || memory::allocate_pinned(bytes))
    }

    unsafe fn free(&self, ptr: DevicePtr) -> Result<(), DriverError> {
        // SAFETY: contract, devices/handles and devices/pending-work: the caller's promise.
        unsafe { self.context.dispose("cuMemFreeHost", Deferred::Pinned(ptr)) }
    }
}
