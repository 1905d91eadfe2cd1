//! Virtual memory.

use std::ptr;

use vmem_core::{DevicePtr, DriverError, PhysicalHandle};

use super::memory::pointer;
use super::{check, size};
use crate::sys::{
    self, CUdevice, CUmemAccessDesc, CUmemAllocationFlags, CUmemAllocationProp, CUmemLocation,
};

/// The exact properties of all physical memory that vmem asks of a driver.
fn properties(location: CUmemLocation) -> CUmemAllocationProp {
    CUmemAllocationProp {
        type_: sys::CU_MEM_ALLOCATION_TYPE_PINNED,
        requestedHandleTypes: sys::CU_MEM_HANDLE_TYPE_NONE,
        location,
        win32HandleMetaData: ptr::null_mut(),
        allocFlags: CUmemAllocationFlags {
            compressionType: 0,
            gpuDirectRDMACapable: 0,
            usage: 0,
            reserved: [0; 4],
        },
    }
}

/// A device's memory.
pub(crate) const fn location(device: CUdevice) -> CUmemLocation {
    CUmemLocation { type_: sys::CU_MEM_LOCATION_TYPE_DEVICE, id: device }
}

/// Places on the host whose memory a device may be able to map, the best first: what is nearest to it,
/// then anywhere.
pub(crate) fn host_locations(device: CUdevice) -> Vec<CUmemLocation> {
    let node = super::device::attribute(device, sys::CU_DEVICE_ATTRIBUTE_HOST_NUMA_ID);
    // Less than zero where the host has no such nodes.
    let node = node.ok().filter(|&node| node >= 0);
    let near = node.map(|id| CUmemLocation { type_: sys::CU_MEM_LOCATION_TYPE_HOST_NUMA, id });
    let anywhere = CUmemLocation { type_: sys::CU_MEM_LOCATION_TYPE_HOST, id: 0 };
    near.into_iter().chain([anywhere]).collect()
}

/// The unit of all sizes and addresses, for these properties.
pub(crate) fn granularity(device: CUdevice) -> Result<u64, DriverError> {
    let option = sys::CU_MEM_ALLOC_GRANULARITY_MINIMUM;
    let properties = properties(location(device));
    let mut bytes = 0;
    // SAFETY: the driver reads and writes locals.
    let code = unsafe {
        sys::cuMemGetAllocationGranularity(&raw mut bytes, &raw const properties, option)
    };
    check("cuMemGetAllocationGranularity", code)?;
    Ok(bytes as u64)
}

/// Reserves a range of addresses.
pub(crate) fn reserve(bytes: u64, alignment: u64) -> Result<DevicePtr, DriverError> {
    let mut address = 0;
    let (bytes, alignment) = (size(bytes), size(alignment));
    // SAFETY: the driver writes to a local.
    let code = unsafe { sys::cuMemAddressReserve(&raw mut address, bytes, alignment, 0, 0) };
    check("cuMemAddressReserve", code)?;
    pointer("cuMemAddressReserve", address)
}

/// Gives back a reserved range.
///
/// # Safety
/// It was reserved so, and nothing is mapped in it.
pub(crate) unsafe fn free_range(base: DevicePtr, bytes: u64) -> Result<(), DriverError> {
    // SAFETY: the caller's promise.
    check("cuMemAddressFree", unsafe { sys::cuMemAddressFree(base.get(), size(bytes)) })
}

/// Takes physical memory.
pub(crate) fn create(location: CUmemLocation, bytes: u64) -> Result<PhysicalHandle, DriverError> {
    let properties = properties(location);
    let mut handle = 0;
    // SAFETY: the driver reads and writes locals.
    let code = unsafe { sys::cuMemCreate(&raw mut handle, size(bytes), &raw const properties, 0) };
    check("cuMemCreate", code)?;
    Ok(PhysicalHandle(handle))
}

/// Gives up a handle.
///
/// # Safety
/// It is valid and not used again.
pub(crate) unsafe fn release(handle: PhysicalHandle) -> Result<(), DriverError> {
    // SAFETY: the caller's promise.
    check("cuMemRelease", unsafe { sys::cuMemRelease(handle.0) })
}

/// Maps a whole handle.
///
/// # Safety
/// The range lies in a reserved one, nothing is mapped there, and the handle is valid and of that
/// size.
pub(crate) unsafe fn map(
    at: DevicePtr,
    bytes: u64,
    handle: PhysicalHandle,
) -> Result<(), DriverError> {
    // SAFETY: the caller's promise.
    check("cuMemMap", unsafe { sys::cuMemMap(at.get(), size(bytes), 0, handle.0, 0) })
}

/// Lets a device read and write a mapped range.
///
/// # Safety
/// It consists of whole mappings that no work uses.
pub(crate) unsafe fn set_access(
    device: CUdevice,
    at: DevicePtr,
    bytes: u64,
) -> Result<(), DriverError> {
    let access = CUmemAccessDesc {
        location: location(device),
        flags: sys::CU_MEM_ACCESS_FLAGS_PROT_READWRITE,
    };
    // SAFETY: the caller's promise; the driver reads one local.
    let code = unsafe { sys::cuMemSetAccess(at.get(), size(bytes), &raw const access, 1) };
    check("cuMemSetAccess", code)
}

/// Unmaps a range.
///
/// # Safety
/// It consists of whole mappings, and no work is pending through them.
pub(crate) unsafe fn unmap(at: DevicePtr, bytes: u64) -> Result<(), DriverError> {
    // SAFETY: the caller's promise.
    check("cuMemUnmap", unsafe { sys::cuMemUnmap(at.get(), size(bytes)) })
}
