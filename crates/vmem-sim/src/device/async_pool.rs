//! The stream-ordered pool's calls.

use std::sync::Arc;

use vmem_core::{AsyncPool, DevicePtr, DriverError, RawStream};

use super::Core;
use super::driver::pointer;
use crate::CallKind;

/// A device's stream-ordered pool.
#[derive(Debug)]
pub(crate) struct SimAsyncPool {
    core: Arc<Core>,
}

impl SimAsyncPool {
    pub(super) const fn new(core: Arc<Core>) -> Self {
        Self { core }
    }
}

// SAFETY: contract, devices: blocks in use have disjoint addresses and memory, and every misuse
// that the contract excludes is refused or reported besides.
unsafe impl AsyncPool for SimAsyncPool {
    unsafe fn allocate(&self, bytes: u64, stream: RawStream) -> Result<DevicePtr, DriverError> {
        self.core
            .call(CallKind::AsyncAllocate, |state| state.pool_allocate(bytes, stream))
            .map(pointer)
    }

    unsafe fn free(&self, ptr: DevicePtr, stream: RawStream) -> Result<(), DriverError> {
        self.core.call(CallKind::AsyncFree, |state| state.pool_free(ptr.get(), stream))
    }

    fn trim_to(&self, keep: u64) -> Result<(), DriverError> {
        self.core.call(CallKind::AsyncTrim, |state| {
            state.refuse_unsafe_allocation()?;
            state.release_idle(keep);
            Ok(())
        })
    }

    fn set_release_threshold(&self, bytes: u64) -> Result<(), DriverError> {
        self.core.call(CallKind::AsyncSetThreshold, |state| {
            state.refuse_unsafe_allocation()?;
            state.pool.threshold = bytes;
            Ok(())
        })
    }

    fn release_threshold(&self) -> Result<u64, DriverError> {
        self.core.call(CallKind::AsyncAttribute, |state| {
            state.refuse_unsafe_allocation()?;
            Ok(state.pool.threshold)
        })
    }

    fn reserved(&self) -> Result<u64, DriverError> {
        self.core.call(CallKind::AsyncAttribute, |state| {
            state.refuse_unsafe_allocation()?;
            Ok(state.pool.reserved)
        })
    }
}
