//! Address ranges and physical memory handled apart.

use std::sync::{Arc, OnceLock};

use vmem_core::{DevicePtr, DriverCode, DriverError, PhysicalHandle, VirtualMemory};

use crate::context::{Context, Deferred};
use crate::result::virtual_memory;
use crate::sys::{CUdevice, CUmemLocation};

/// A device's virtual memory management.
#[derive(Debug)]
pub(crate) struct CudaVirtualMemory {
    context: Arc<Context>,
    granularity: u64,
    /// Where the host's memory can be had that was seen to work, if any, once somebody has asked.
    host: OnceLock<Option<CUmemLocation>>,
}

impl CudaVirtualMemory {
    /// Virtual memory that was seen to work: one granule reserved, created, mapped and made
    /// accessible, then given back.
    pub(super) fn probe(context: Arc<Context>) -> Result<Self, DriverError> {
        let device = context.device;
        let granularity = context.call_relaxed("cuMemGetAllocationGranularity", || {
            let granularity = virtual_memory::granularity(device)?;
            if !granularity.is_power_of_two() {
                let error = DriverError::new("cuMemGetAllocationGranularity", DriverCode::UNKNOWN);
                return Err(error.with_detail(format!("{granularity} is not a power of two")));
            }
            try_range(device, virtual_memory::location(device), granularity)?;
            Ok(granularity)
        })?;
        Ok(Self { context, granularity, host: OnceLock::new() })
    }

    /// Where the host's memory can be had: one granule of it was reserved for, created, mapped and made
    /// accessible, then given back. What the device's attributes say is not asked.
    fn host(&self) -> Option<CUmemLocation> {
        *self.host.get_or_init(|| {
            let device = self.context.device;
            virtual_memory::host_locations(device).into_iter().find(|&location| {
                let tried = self
                    .context
                    .call_relaxed("cuMemCreate", || try_range(device, location, self.granularity));
                if let Err(error) = &tried {
                    tracing::debug!(%error, ?location, "the host's memory cannot be mapped");
                }
                tried.is_ok()
            })
        })
    }
}

/// Reserves, then the rest. Here and below, whatever fails, what was made is given back (`and`
/// evaluates its argument either way), and the first error returned.
fn try_range(device: CUdevice, location: CUmemLocation, bytes: u64) -> Result<(), DriverError> {
    let range = virtual_memory::reserve(bytes, bytes)?;
    let mut mapped = false;
    let tried = try_handle(device, location, range, bytes, &mut mapped);
    if mapped {
        // The driver did not unmap it; the addresses stay taken.
        return tried;
    }
    // SAFETY: contract, devices/handles: reserved above; nothing is mapped in it.
    tried.and(unsafe { virtual_memory::free_range(range, bytes) })
}

fn try_handle(
    device: CUdevice,
    location: CUmemLocation,
    range: DevicePtr,
    bytes: u64,
    mapped: &mut bool,
) -> Result<(), DriverError> {
    let handle = virtual_memory::create(location, bytes)?;
    let tried = try_mapping(device, range, bytes, handle, mapped);
    // SAFETY: contract, devices/handles: created above, and used no more.
    tried.and(unsafe { virtual_memory::release(handle) })
}

fn try_mapping(
    device: CUdevice,
    range: DevicePtr,
    bytes: u64,
    handle: PhysicalHandle,
    mapped: &mut bool,
) -> Result<(), DriverError> {
    // SAFETY: contract, devices/handles and devices/ranges: a fresh range and a handle of its size.
    unsafe { virtual_memory::map(range, bytes, handle) }?;
    *mapped = true;
    // SAFETY: contract, devices/ranges: mapped above, and no work uses it.
    let tried = unsafe { virtual_memory::set_access(device, range, bytes) };
    // SAFETY: contract, devices/pending-work: mapped above, and no work was queued on it.
    let unmapped = unsafe { virtual_memory::unmap(range, bytes) };
    *mapped = unmapped.is_err();
    tried.and(unmapped)
}

// SAFETY: contract, devices: each call is the driver's, under the device's own context; the driver
// keeps ranges disjoint and handles valid until released.
#[deny(clippy::missing_trait_methods)]
unsafe impl VirtualMemory for CudaVirtualMemory {
    fn granularity(&self) -> u64 {
        self.granularity
    }

    fn reserve(&self, bytes: u64) -> Result<DevicePtr, DriverError> {
        let reserve = || virtual_memory::reserve(bytes, self.granularity);
        self.context.call_relaxed("cuMemAddressReserve", reserve)
    }

    unsafe fn free_range(&self, base: DevicePtr, bytes: u64) -> Result<(), DriverError> {
        // SAFETY: contract, devices/ranges: the caller's promise.
        let free = || unsafe { virtual_memory::free_range(base, bytes) };
        self.context.call_relaxed("cuMemAddressFree", free)
    }

    fn create(&self, bytes: u64) -> Result<PhysicalHandle, DriverError> {
        let location = virtual_memory::location(self.context.device);
        let create = || virtual_memory::create(location, bytes);
        self.context.call_relaxed("cuMemCreate", create)
    }

    fn has_host_memory(&self) -> bool {
        self.host().is_some()
    }

    fn create_on_host(&self, bytes: u64) -> Result<PhysicalHandle, DriverError> {
        let Some(location) = self.host() else {
            let error = DriverError::new("cuMemCreate", DriverCode::NOT_SUPPORTED);
            return Err(error.with_detail("the device maps no memory of the host"));
        };
        let create = || virtual_memory::create(location, bytes);
        self.context.call_relaxed("cuMemCreate", create)
    }

    unsafe fn release(&self, handle: PhysicalHandle) -> Result<(), DriverError> {
        // SAFETY: contract, devices/handles and devices/pending-work: the caller's promise.
        unsafe { self.context.dispose("cuMemRelease", Deferred::Physical(handle)) }
    }

    unsafe fn map(
        &self,
        at: DevicePtr,
        bytes: u64,
        handle: PhysicalHandle,
    ) -> Result<(), DriverError> {
        // SAFETY: contract, devices/handles and devices/ranges: the caller's promise.
        let map = || unsafe { virtual_memory::map(at, bytes, handle) };
        self.context.call_relaxed("cuMemMap", map)
    }

    unsafe fn set_access(&self, at: DevicePtr, bytes: u64) -> Result<(), DriverError> {
        let device = self.context.device;
        // SAFETY: contract, devices/ranges: the caller's promise.
        let set = || unsafe { virtual_memory::set_access(device, at, bytes) };
        self.context.call_relaxed("cuMemSetAccess", set)
    }

    unsafe fn unmap(&self, at: DevicePtr, bytes: u64) -> Result<(), DriverError> {
        // SAFETY: contract, devices/ranges and devices/pending-work: the caller's promise.
        let unmap = || unsafe { virtual_memory::unmap(at, bytes) };
        self.context.call_relaxed("cuMemUnmap", unmap)
    }
}
