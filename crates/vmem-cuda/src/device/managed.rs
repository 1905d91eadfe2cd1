//! Managed memory: one address for host and device.

use std::ffi::c_int;
use std::sync::Arc;

use vmem_core::{Advice, DevicePtr, DriverCode, DriverError, Location, Managed, RawStream};

use crate::context::{Context, Deferred};
use crate::result::managed;
use crate::sys::{self, CUdevice};

/// A device's managed memory.
#[derive(Debug)]
pub(crate) struct CudaManaged {
    context: Arc<Context>,
    concurrent: bool,
}

impl CudaManaged {
    pub(super) const fn new(context: Arc<Context>, concurrent: bool) -> Self {
        Self { context, concurrent }
    }

    /// The driver's word for a place; `None` for one that later versions of the seam may add.
    fn place(&self, location: Location) -> Option<CUdevice> {
        match location {
            Location::Device => Some(self.context.device),
            Location::Host => Some(managed::HOST),
            _ => None,
        }
    }

    /// The driver's word for an advice, and the device that it concerns; where it concerns none, the
    /// driver ignores it.
    fn translate(&self, advice: Advice) -> Option<(c_int, CUdevice)> {
        let device = self.context.device;
        Some(match advice {
            Advice::ReadMostly => (sys::CU_MEM_ADVISE_SET_READ_MOSTLY, device),
            Advice::UnsetReadMostly => (sys::CU_MEM_ADVISE_UNSET_READ_MOSTLY, device),
            Advice::PreferredLocation(location) => {
                (sys::CU_MEM_ADVISE_SET_PREFERRED_LOCATION, self.place(location)?)
            }
            Advice::UnsetPreferredLocation => (sys::CU_MEM_ADVISE_UNSET_PREFERRED_LOCATION, device),
            Advice::AccessedBy(location) => {
                (sys::CU_MEM_ADVISE_SET_ACCESSED_BY, self.place(location)?)
            }
            Advice::UnsetAccessedBy(location) => {
                (sys::CU_MEM_ADVISE_UNSET_ACCESSED_BY, self.place(location)?)
            }
            // An advice that later versions of the seam may add.
            _ => return None,
        })
    }
}

// SAFETY: contract, devices: each call is the driver's, under the device's own context; the driver
// keeps allocations disjoint.
#[deny(clippy::missing_trait_methods)]
unsafe impl Managed for CudaManaged {
    fn concurrent_access(&self) -> bool {
        self.concurrent
    }

    fn allocate(&self, bytes: u64) -> Result<DevicePtr, DriverError> {
        self.context.call_relaxed("cuMemAllocManaged", || managed::allocate(bytes))
    }

    unsafe fn free(&self, ptr: DevicePtr) -> Result<(), DriverError> {
        // SAFETY: contract, devices/handles and devices/pending-work: the caller's promise.
        unsafe { self.context.dispose("cuMemFree", Deferred::Memory(ptr)) }
    }

    unsafe fn advise(&self, ptr: DevicePtr, bytes: u64, advice: Advice) -> Result<(), DriverError> {
        let Some((advice, device)) = self.translate(advice) else {
            return Err(DriverError::new("cuMemAdvise", DriverCode::NOT_SUPPORTED));
        };
        // SAFETY: contract, devices/ranges: the caller's promise.
        let advise = || unsafe { managed::advise(ptr, bytes, advice, device) };
        self.context.call_relaxed("cuMemAdvise", advise)
    }

    unsafe fn prefetch(
        &self,
        ptr: DevicePtr,
        bytes: u64,
        to: Location,
        stream: RawStream,
    ) -> Result<(), DriverError> {
        let Some(to) = self.place(to) else {
            return Err(DriverError::new("cuMemPrefetchAsync", DriverCode::NOT_SUPPORTED));
        };
        // SAFETY: contract, devices/handles, devices/ranges and devices/threads: the caller's
        // promise.
        let prefetch = || unsafe { managed::prefetch(ptr, bytes, to, stream) };
        self.context.call_relaxed("cuMemPrefetchAsync", prefetch)
    }

    unsafe fn last_prefetch(
        &self,
        ptr: DevicePtr,
        bytes: u64,
    ) -> Result<Option<Location>, DriverError> {
        // SAFETY: contract, devices/ranges: the caller's promise.
        let ask = || unsafe { managed::last_prefetch(ptr, bytes) };
        let location = self.context.call_relaxed("cuMemRangeGetAttribute", ask)?;
        Ok(match location {
            managed::HOST => Some(Location::Host),
            device if device == self.context.device => Some(Location::Device),
            _ => None,
        })
    }
}
