//! The driver's stream-ordered allocator, in a pool of our own.

use std::sync::Arc;

use vmem_core::author::fork;
use vmem_core::{AsyncPool, DevicePtr, DriverError, RawStream};

use crate::context::Context;
use crate::result::pool;
use crate::sys::CUmemoryPool;

/// A device's stream-ordered pool. Nobody else allocates from it, so that its figures are ours.
#[derive(Debug)]
pub(crate) struct CudaAsyncPool {
    context: Arc<Context>,
    pool: Handle,
}

/// The driver's handle, which every thread may use.
#[derive(Debug, Clone, Copy)]
struct Handle(CUmemoryPool);

// SAFETY: a pool is a name to the driver; its documentation lets every thread use it.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl CudaAsyncPool {
    /// A pool that keeps up to `threshold` unused bytes over a synchronisation. The driver's default,
    /// zero, would give everything back at every wait.
    pub(super) fn create(context: Arc<Context>, threshold: u64) -> Result<Self, DriverError> {
        let create = || pool::create(context.device);
        let raw = context.call_relaxed("cuMemPoolCreate", create)?;
        let made = Self { context, pool: Handle(raw) };
        made.set_release_threshold(threshold)?;
        Ok(made)
    }

    fn raw(&self) -> CUmemoryPool {
        self.pool.0
    }
}

// SAFETY: contract, devices: each call is the driver's, under the device's own context; the driver
// keeps allocations disjoint.
#[deny(clippy::missing_trait_methods)]
unsafe impl AsyncPool for CudaAsyncPool {
    unsafe fn allocate(&self, bytes: u64, stream: RawStream) -> Result<DevicePtr, DriverError> {
        // SAFETY: contract, devices/handles and devices/threads: the caller's promise; the pool
        // lives.
        let allocate = || unsafe { pool::allocate(self.raw(), bytes, stream) };
        self.context.call_relaxed("cuMemAllocFromPoolAsync", allocate)
    }

    unsafe fn free(&self, ptr: DevicePtr, stream: RawStream) -> Result<(), DriverError> {
        // SAFETY: contract, devices/handles, devices/pending-work and devices/threads: the caller's
        // promise.
        self.context.call_relaxed("cuMemFreeAsync", || unsafe { pool::free(ptr, stream) })
    }

    fn trim_to(&self, keep: u64) -> Result<(), DriverError> {
        // SAFETY: contract, devices/handles: the pool lives.
        let trim = || unsafe { pool::trim_to(self.raw(), keep) };
        self.context.call_relaxed("cuMemPoolTrimTo", trim)
    }

    fn set_release_threshold(&self, bytes: u64) -> Result<(), DriverError> {
        // SAFETY: contract, devices/handles: the pool lives.
        let set = || unsafe { pool::set_release_threshold(self.raw(), bytes) };
        self.context.call_relaxed("cuMemPoolSetAttribute", set)
    }

    fn release_threshold(&self) -> Result<u64, DriverError> {
        // SAFETY: contract, devices/handles: the pool lives.
        let ask = || unsafe { pool::release_threshold(self.raw()) };
        self.context.call_relaxed("cuMemPoolGetAttribute", ask)
    }

    fn reserved(&self) -> Result<u64, DriverError> {
        // SAFETY: contract, devices/handles: the pool lives.
        let ask = || unsafe { pool::reserved(self.raw()) };
        self.context.call_relaxed("cuMemPoolGetAttribute", ask)
    }
}

impl Drop for CudaAsyncPool {
    fn drop(&mut self) {
        if fork::is_child() {
            return;
        }
        // SAFETY: contract, devices/handles: the pool is ours, and this is its last use.
        let destroy = || unsafe { pool::destroy(self.raw()) };
        if let Err(error) = self.context.call_relaxed("cuMemPoolDestroy", destroy) {
            self.context.base.drop_failures().record("a stream-ordered pool", &error);
        }
    }
}
