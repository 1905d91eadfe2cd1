//! Plain and pinned memory, copies and fills.

use std::ffi::c_void;
use std::ptr;

use vmem_core::{DevicePtr, DriverCode, DriverError, MemoryInfo, RawStream};

use super::{check, size, stream};
use crate::sys::{self, CUdeviceptr};

/// Asks how much memory is free.
pub(crate) fn info() -> Result<MemoryInfo, DriverError> {
    let (mut free, mut total) = (0, 0);
    // SAFETY: the driver writes to locals.
    check("cuMemGetInfo", unsafe { sys::cuMemGetInfo_v2(&raw mut free, &raw mut total) })?;
    Ok(MemoryInfo::new(free as u64, total as u64))
}

/// Allocates device memory.
pub(crate) fn allocate(bytes: u64) -> Result<DevicePtr, DriverError> {
    let mut address = 0;
    // SAFETY: the driver writes to a local.
    check("cuMemAlloc", unsafe { sys::cuMemAlloc_v2(&raw mut address, size(bytes)) })?;
    pointer("cuMemAlloc", address)
}

/// Frees device or managed memory.
///
/// # Safety
/// `ptr` came from an allocation of either, and no work is pending on it.
pub(crate) unsafe fn free(ptr: DevicePtr) -> Result<(), DriverError> {
    // SAFETY: the caller's promise.
    check("cuMemFree", unsafe { sys::cuMemFree_v2(ptr.get()) })
}

/// Allocates host memory that every context may access, at the same address as the host.
pub(crate) fn allocate_pinned(bytes: u64) -> Result<DevicePtr, DriverError> {
    let mut address = ptr::null_mut();
    let flags = sys::CU_MEMHOSTALLOC_PORTABLE | sys::CU_MEMHOSTALLOC_DEVICEMAP;
    // SAFETY: the driver writes to a local.
    let code = unsafe { sys::cuMemHostAlloc(&raw mut address, size(bytes), flags) };
    check("cuMemHostAlloc", code)?;
    pointer("cuMemHostAlloc", address.expose_provenance() as u64)
}

/// Frees pinned memory.
///
/// # Safety
/// `ptr` came from [`allocate_pinned`], and no work is pending on it.
pub(crate) unsafe fn free_pinned(ptr: DevicePtr) -> Result<(), DriverError> {
    // SAFETY: the caller's promise.
    check("cuMemFreeHost", unsafe { sys::cuMemFreeHost(host(ptr).cast()) })
}

/// Queues a copy to the device.
///
/// # Safety
/// Handle, ranges and host memory are valid until it completed.
pub(crate) unsafe fn copy_from_host(
    to: DevicePtr,
    from: *const u8,
    bytes: u64,
    stream: RawStream,
) -> Result<(), DriverError> {
    let (from, stream) = (from.cast::<c_void>(), stream::handle(stream));
    // SAFETY: the caller's promise.
    let code = unsafe { sys::cuMemcpyHtoDAsync_v2(to.get(), from, size(bytes), stream) };
    check("cuMemcpyHtoDAsync", code)
}

/// Queues a copy to the host.
///
/// # Safety
/// Handle, ranges and host memory are valid until it completed.
pub(crate) unsafe fn copy_to_host(
    to: *mut u8,
    from: DevicePtr,
    bytes: u64,
    stream: RawStream,
) -> Result<(), DriverError> {
    let (to, stream) = (to.cast::<c_void>(), stream::handle(stream));
    // SAFETY: the caller's promise.
    let code = unsafe { sys::cuMemcpyDtoHAsync_v2(to, from.get(), size(bytes), stream) };
    check("cuMemcpyDtoHAsync", code)
}

/// Queues a copy within the device.
///
/// # Safety
/// Handle and ranges are valid until it completed; the ranges do not overlap.
pub(crate) unsafe fn copy_within(
    to: DevicePtr,
    from: DevicePtr,
    bytes: u64,
    stream: RawStream,
) -> Result<(), DriverError> {
    let stream = stream::handle(stream);
    // SAFETY: the caller's promise.
    let code = unsafe { sys::cuMemcpyDtoDAsync_v2(to.get(), from.get(), size(bytes), stream) };
    check("cuMemcpyDtoDAsync", code)
}

/// Queues a fill.
///
/// # Safety
/// Handle and range are valid until it completed.
pub(crate) unsafe fn fill(
    to: DevicePtr,
    value: u8,
    bytes: u64,
    stream: RawStream,
) -> Result<(), DriverError> {
    let stream = stream::handle(stream);
    // SAFETY: the caller's promise.
    let code = unsafe { sys::cuMemsetD8Async(to.get(), value, size(bytes), stream) };
    check("cuMemsetD8Async", code)
}

/// Queues a fill with words of 16 bits.
///
/// # Safety
/// Handle and range are valid until it completed; the address is a multiple of 2.
pub(crate) unsafe fn fill_u16(
    to: DevicePtr,
    value: u16,
    count: u64,
    stream: RawStream,
) -> Result<(), DriverError> {
    let stream = stream::handle(stream);
    // SAFETY: the caller's promise.
    let code = unsafe { sys::cuMemsetD16Async(to.get(), value, size(count), stream) };
    check("cuMemsetD16Async", code)
}

/// Queues a fill with words of 32 bits.
///
/// # Safety
/// Handle and range are valid until it completed; the address is a multiple of 4.
pub(crate) unsafe fn fill_u32(
    to: DevicePtr,
    value: u32,
    count: u64,
    stream: RawStream,
) -> Result<(), DriverError> {
    let stream = stream::handle(stream);
    // SAFETY: the caller's promise.
    let code = unsafe { sys::cuMemsetD32Async(to.get(), value, size(count), stream) };
    check("cuMemsetD32Async", code)
}

/// Where the host finds memory that it shares with the device.
fn host(ptr: DevicePtr) -> *mut u8 {
    ptr::with_exposed_provenance_mut(size(ptr.get()))
}

/// The address that a successful `call` wrote.
pub(super) fn pointer(call: &'static str, address: CUdeviceptr) -> Result<DevicePtr, DriverError> {
    let null = || DriverError::new(call, DriverCode::UNKNOWN).with_detail("null, and no error");
    DevicePtr::new(address).ok_or_else(null)
}
