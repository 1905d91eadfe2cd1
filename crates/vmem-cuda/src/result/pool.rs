//! The stream-ordered pool.

use std::ffi::{c_int, c_void};
use std::ptr;

use vmem_core::{DevicePtr, DriverError, RawStream};

use super::memory::pointer;
use super::{check, size, stream};
use crate::sys::{self, CUdevice, CUmemLocation, CUmemPoolProps, CUmemoryPool};

/// Creates a pool of a device's memory.
pub(crate) fn create(device: CUdevice) -> Result<CUmemoryPool, DriverError> {
    let properties = CUmemPoolProps {
        allocType: sys::CU_MEM_ALLOCATION_TYPE_PINNED,
        handleTypes: sys::CU_MEM_HANDLE_TYPE_NONE,
        location: CUmemLocation { type_: sys::CU_MEM_LOCATION_TYPE_DEVICE, id: device },
        win32SecurityAttributes: ptr::null_mut(),
        // Later versions gave some of these bytes a meaning, for which zero is the default.
        reserved: [0; 64],
    };
    let mut pool = ptr::null_mut();
    // SAFETY: the driver reads and writes locals.
    check("cuMemPoolCreate", unsafe {
        sys::cuMemPoolCreate(&raw mut pool, &raw const properties)
    })?;
    Ok(pool)
}

/// Destroys a pool.
///
/// # Safety
/// It is valid and not used again.
pub(crate) unsafe fn destroy(pool: CUmemoryPool) -> Result<(), DriverError> {
    // SAFETY: the caller's promise.
    check("cuMemPoolDestroy", unsafe { sys::cuMemPoolDestroy(pool) })
}

/// Sets how many unused bytes a pool keeps over a synchronisation.
///
/// # Safety
/// It is valid.
pub(crate) unsafe fn set_release_threshold(
    pool: CUmemoryPool,
    bytes: u64,
) -> Result<(), DriverError> {
    let mut bytes = bytes;
    let value = (&raw mut bytes).cast::<c_void>();
    let attribute = sys::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the caller's promise; the driver reads 64 bits, as this attribute has, from a local.
    let code = unsafe { sys::cuMemPoolSetAttribute(pool, attribute, value) };
    check("cuMemPoolSetAttribute", code)
}

/// How many unused bytes a pool keeps over a synchronisation.
///
/// # Safety
/// It is valid.
pub(crate) unsafe fn release_threshold(pool: CUmemoryPool) -> Result<u64, DriverError> {
    // SAFETY: the caller's promise.
    unsafe { attribute(pool, sys::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD) }
}

/// Bytes that a pool holds from its device.
///
/// # Safety
/// It is valid.
pub(crate) unsafe fn reserved(pool: CUmemoryPool) -> Result<u64, DriverError> {
    // SAFETY: the caller's promise.
    unsafe { attribute(pool, sys::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT) }
}

/// An attribute of 64 bits.
///
/// # Safety
/// The pool is valid.
unsafe fn attribute(pool: CUmemoryPool, attribute: c_int) -> Result<u64, DriverError> {
    let mut value = 0_u64;
    let data = (&raw mut value).cast::<c_void>();
    // SAFETY: the caller's promise; the driver writes at most 64 bits to a local.
    let code = unsafe { sys::cuMemPoolGetAttribute(pool, attribute, data) };
    check("cuMemPoolGetAttribute", code)?;
    Ok(value)
}

/// Returns memory to the device until at most `keep` bytes are held unused.
///
/// # Safety
/// The pool is valid.
pub(crate) unsafe fn trim_to(pool: CUmemoryPool, keep: u64) -> Result<(), DriverError> {
    // SAFETY: the caller's promise.
    check("cuMemPoolTrimTo", unsafe { sys::cuMemPoolTrimTo(pool, size(keep)) })
}

/// Queues an allocation.
///
/// # Safety
/// Pool and stream are valid, the stream callable from this thread.
pub(crate) unsafe fn allocate(
    pool: CUmemoryPool,
    bytes: u64,
    stream: RawStream,
) -> Result<DevicePtr, DriverError> {
    let stream = stream::handle(stream);
    let mut address = 0;
    // SAFETY: the caller's promise; the driver writes to a local.
    let code = unsafe { sys::cuMemAllocFromPoolAsync(&raw mut address, size(bytes), pool, stream) };
    check("cuMemAllocFromPoolAsync", code)?;
    pointer("cuMemAllocFromPoolAsync", address)
}

/// Queues a free.
///
/// # Safety
/// `ptr` came from [`allocate`], every access is ordered before the stream's tail, and the stream
/// is valid and callable from this thread.
pub(crate) unsafe fn free(ptr: DevicePtr, stream: RawStream) -> Result<(), DriverError> {
    // SAFETY: the caller's promise.
    check("cuMemFreeAsync", unsafe { sys::cuMemFreeAsync(ptr.get(), stream::handle(stream)) })
}
