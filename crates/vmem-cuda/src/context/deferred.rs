//! What was dropped inside a host function of the driver, destroyed later.

use std::sync::atomic::Ordering;

use vmem_core::author::fork;
use vmem_core::{DevicePtr, DriverError, PhysicalHandle, RawEvent, RawStream};

use super::Context;
use crate::result;

/// Something to destroy that is owned by nobody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deferred {
    Event(RawEvent),
    Stream(RawStream),
    /// Plain or managed memory.
    Memory(DevicePtr),
    Pinned(DevicePtr),
    Physical(PhysicalHandle),
}

impl Deferred {
    /// Destroys it.
    ///
    /// # Safety
    /// It is valid and not used again; memory has no work pending on it.
    pub(crate) unsafe fn destroy(self) -> Result<(), DriverError> {
        match self {
            // SAFETY: the caller's promise.
            Self::Event(event) => unsafe { result::event::destroy(event) },
            // SAFETY: the caller's promise.
            Self::Stream(stream) => unsafe { result::stream::destroy(stream) },
            // SAFETY: the caller's promise.
            Self::Memory(ptr) => unsafe { result::memory::free(ptr) },
            // SAFETY: the caller's promise.
            Self::Pinned(ptr) => unsafe { result::memory::free_pinned(ptr) },
            // SAFETY: the caller's promise.
            Self::Physical(handle) => unsafe { result::virtual_memory::release(handle) },
        }
    }
}

impl Context {
    pub(super) fn defer(&self, what: Deferred) {
        let mut deferred = fork::locked(|| self.deferred.lock());
        deferred.push(what);
        self.deferred_len.store(deferred.len(), Ordering::Release);
    }

    /// Destroys what was kept. The context is current.
    pub(super) fn destroy_deferred(&self) {
        let kept = {
            let mut deferred = fork::locked(|| self.deferred.lock());
            self.deferred_len.store(0, Ordering::Release);
            std::mem::take(&mut *deferred)
        };
        for what in kept {
            // SAFETY: contract, devices/handles and devices/pending-work: `dispose` was given it by
            // its owner.
            if let Err(error) = unsafe { what.destroy() } {
                self.base.drop_failures().record("what a host function dropped", &error);
            }
        }
    }
}
