//! Managed memory.

use std::ffi::{c_int, c_void};

use vmem_core::{DevicePtr, DriverError, RawStream};

use super::memory::pointer;
use super::{check, size, stream};
use crate::sys::{self, CUdevice};

/// The host, where a device is asked for.
pub(crate) const HOST: CUdevice = -1;

/// Allocates managed memory that every stream of every device may access.
pub(crate) fn allocate(bytes: u64) -> Result<DevicePtr, DriverError> {
    let mut address = 0;
    let flags = sys::CU_MEM_ATTACH_GLOBAL;
    // SAFETY: the driver writes to a local.
    let code = unsafe { sys::cuMemAllocManaged(&raw mut address, size(bytes), flags) };
    check("cuMemAllocManaged", code)?;
    pointer("cuMemAllocManaged", address)
}

/// Advises the driver on a range.
///
/// # Safety
/// It is a valid managed one.
pub(crate) unsafe fn advise(
    ptr: DevicePtr,
    bytes: u64,
    advice: c_int,
    device: CUdevice,
) -> Result<(), DriverError> {
    // SAFETY: the caller's promise.
    let code = unsafe { sys::cuMemAdvise(ptr.get(), size(bytes), advice, device) };
    check("cuMemAdvise", code)
}

/// Queues moving a range's pages.
///
/// # Safety
/// It is a valid managed one, the stream is callable from this thread.
pub(crate) unsafe fn prefetch(
    ptr: DevicePtr,
    bytes: u64,
    to: CUdevice,
    stream: RawStream,
) -> Result<(), DriverError> {
    let stream = stream::handle(stream);
    // SAFETY: the caller's promise.
    let code = unsafe { sys::cuMemPrefetchAsync(ptr.get(), size(bytes), to, stream) };
    check("cuMemPrefetchAsync", code)
}

/// Where a range was last prefetched to: a device, [`HOST`], or another number for nowhere.
///
/// # Safety
/// It is a valid managed one.
pub(crate) unsafe fn last_prefetch(ptr: DevicePtr, bytes: u64) -> Result<CUdevice, DriverError> {
    let attribute = sys::CU_MEM_RANGE_ATTRIBUTE_LAST_PREFETCH_LOCATION;
    let mut location: CUdevice = 0;
    let data = (&raw mut location).cast::<c_void>();
    // SAFETY: the caller's promise; the driver writes an integer to a local.
    let code = unsafe {
        sys::cuMemRangeGetAttribute(data, size_of::<CUdevice>(), attribute, ptr.get(), size(bytes))
    };
    check("cuMemRangeGetAttribute", code)?;
    Ok(location)
}
