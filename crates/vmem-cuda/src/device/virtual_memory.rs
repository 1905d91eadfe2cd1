//! Address ranges and physical memory handled apart.

use std::sync::Arc;

use vmem_core::{DevicePtr, DriverCode, DriverError, PhysicalHandle, VirtualMemory};

use crate::context::{Context, Deferred};
use crate::result::virtual_memory;
use crate::sys::CUdevice;

/// A device's virtual memory management.
#[derive(Debug)]
pub(crate) struct CudaVirtualMemory {
    context: Arc<Context>,
    granularity: u64,
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
            try_range(device, granularity)?;
            Ok(granularity)
        })?;
        Ok(Self { context, granularity })
    }
}

/// Reserves, then the rest. Here and below, whatever fails, what was made is given back (`and`
/// evaluates its argument either way), and the first error returned.
fn try_range(device: CUdevice, bytes: u64) -> Result<(), DriverError> {
    let range = virtual_memory::reserve(bytes, bytes)?;
    let mut mapped = false;
    let tried = try_handle(device, range, bytes, &mut mapped);
    if mapped {
        // The driver did not unmap it; the addresses stay taken.
        return tried;
    }
    // SAFETY: contract, devices/handles: reserved above; nothing is mapped in it.
    tried.and(unsafe { virtual_memory::free_range(range, bytes) })
}

fn try_handle(
    device: CUdevice,
    range: DevicePtr,
    bytes: u64,
    mapped: &mut bool,
) -> Result<(), DriverError> {
    let handle = virtual_memory::create(device, bytes)?;
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
        let create = || virtual_memory::create(self.context.device, bytes);
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
