//! Types and constants of the driver's header, under their C names.
//!
//! What is an enum in C is an integer here: a driver may write values that a Rust enum lacks. Structures
//! are read by the driver and never written. The feature `cust` has a test that compares all of it with
//! `cust_raw`'s declarations.

#![allow(non_snake_case, reason = "CUDA's names")]

use std::ffi::{c_int, c_uint, c_void};

macro_rules! handles {
    ($($(#[$doc:meta])* $name:ident = *mut $opaque:ident;)*) => {$(
        #[repr(C)]
        #[derive(Debug)]
        pub(crate) struct $opaque([u8; 0]);

        $(#[$doc])*
        pub(crate) type $name = *mut $opaque;
    )*};
}

handles! {
    /// A context.
    CUcontext = *mut CUctx_st;
    /// A stream.
    CUstream = *mut CUstream_st;
    /// An event.
    CUevent = *mut CUevent_st;
    /// A stream-ordered pool.
    CUmemoryPool = *mut CUmemPoolHandle_st;
}

/// A device.
pub(crate) type CUdevice = c_int;
/// An address that the device understands.
pub(crate) type CUdeviceptr = u64;
/// Physical memory.
pub(crate) type CUmemGenericAllocationHandle = u64;

/// Where memory is.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct CUmemLocation {
    pub(crate) type_: c_int,
    pub(crate) id: c_int,
}

/// What physical memory is to be.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct CUmemAllocationProp {
    pub(crate) type_: c_int,
    pub(crate) requestedHandleTypes: c_int,
    pub(crate) location: CUmemLocation,
    pub(crate) win32HandleMetaData: *mut c_void,
    pub(crate) allocFlags: CUmemAllocationFlags,
}

/// The structure without a name in [`CUmemAllocationProp`].
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct CUmemAllocationFlags {
    pub(crate) compressionType: u8,
    pub(crate) gpuDirectRDMACapable: u8,
    pub(crate) usage: u16,
    pub(crate) reserved: [u8; 4],
}

/// Who may access mapped memory, and how.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct CUmemAccessDesc {
    pub(crate) location: CUmemLocation,
    pub(crate) flags: c_int,
}

/// What a stream-ordered pool is to be.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct CUmemPoolProps {
    pub(crate) allocType: c_int,
    pub(crate) handleTypes: c_int,
    pub(crate) location: CUmemLocation,
    pub(crate) win32SecurityAttributes: *mut c_void,
    pub(crate) reserved: [u8; 64],
}

// CUdevice_attribute
pub(crate) const CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING: c_int = 41;
pub(crate) const CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY: c_int = 83;
pub(crate) const CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS: c_int = 89;
pub(crate) const CU_DEVICE_ATTRIBUTE_VIRTUAL_ADDRESS_MANAGEMENT_SUPPORTED: c_int = 102;
pub(crate) const CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED: c_int = 115;
pub(crate) const CU_DEVICE_ATTRIBUTE_HOST_NUMA_ID: c_int = 134;

// CUstream_flags, CUstreamCaptureMode, CUevent_flags
pub(crate) const CU_STREAM_NON_BLOCKING: c_uint = 1;
pub(crate) const CU_STREAM_CAPTURE_MODE_RELAXED: c_int = 2;
pub(crate) const CU_EVENT_DISABLE_TIMING: c_uint = 2;

// Of cuMemHostAlloc
pub(crate) const CU_MEMHOSTALLOC_PORTABLE: c_uint = 1;
pub(crate) const CU_MEMHOSTALLOC_DEVICEMAP: c_uint = 2;

// CUmemAttach_flags, CUmem_advise, CUmem_range_attribute
pub(crate) const CU_MEM_ATTACH_GLOBAL: c_uint = 1;
pub(crate) const CU_MEM_ADVISE_SET_READ_MOSTLY: c_int = 1;
pub(crate) const CU_MEM_ADVISE_UNSET_READ_MOSTLY: c_int = 2;
pub(crate) const CU_MEM_ADVISE_SET_PREFERRED_LOCATION: c_int = 3;
pub(crate) const CU_MEM_ADVISE_UNSET_PREFERRED_LOCATION: c_int = 4;
pub(crate) const CU_MEM_ADVISE_SET_ACCESSED_BY: c_int = 5;
pub(crate) const CU_MEM_ADVISE_UNSET_ACCESSED_BY: c_int = 6;
pub(crate) const CU_MEM_RANGE_ATTRIBUTE_LAST_PREFETCH_LOCATION: c_int = 4;

// CUmemPool_attribute
pub(crate) const CU_MEMPOOL_ATTR_RELEASE_THRESHOLD: c_int = 4;
pub(crate) const CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT: c_int = 5;

// CUmemAllocationType, CUmemAllocationHandleType, CUmemLocationType, CUmemAccess_flags,
// CUmemAllocationGranularity_flags
pub(crate) const CU_MEM_ALLOCATION_TYPE_PINNED: c_int = 1;
pub(crate) const CU_MEM_HANDLE_TYPE_NONE: c_int = 0;
pub(crate) const CU_MEM_LOCATION_TYPE_DEVICE: c_int = 1;
pub(crate) const CU_MEM_LOCATION_TYPE_HOST: c_int = 2;
pub(crate) const CU_MEM_LOCATION_TYPE_HOST_NUMA: c_int = 3;
pub(crate) const CU_MEM_ACCESS_FLAGS_PROT_READWRITE: c_int = 3;
pub(crate) const CU_MEM_ALLOC_GRANULARITY_MINIMUM: c_int = 0;
