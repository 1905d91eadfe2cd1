//! Our declarations beside `cust_raw`'s.

use std::ffi::c_void;
use std::mem::offset_of;

use super::*;

/// A type's form in the driver's calling convention, in words. Signs do not matter to it.
pub(super) trait Shape {
    /// The words.
    fn shape() -> String;
}

impl<T: Shape> Shape for *mut T {
    fn shape() -> String {
        format!("*mut {}", T::shape())
    }
}

impl<T: Shape> Shape for *const T {
    fn shape() -> String {
        format!("*const {}", T::shape())
    }
}

macro_rules! shapes {
    (opaque: $($opaque:ty),*; plain: $($plain:ty),* $(,)?) => {
        $(impl Shape for $opaque {
            fn shape() -> String {
                "something".to_owned()
            }
        })*
        $(impl Shape for $plain {
            fn shape() -> String {
                format!("{} bytes at {}", size_of::<Self>(), align_of::<Self>())
            }
        })*
    };
}

shapes! {
    opaque: c_void, CUctx_st, CUstream_st, CUevent_st, CUmemPoolHandle_st, cust_raw::CUctx_st,
        cust_raw::CUstream_st, cust_raw::CUevent_st, cust_raw::CUmemPoolHandle_st;
    plain: i8, u8, u16, i32, u32, u64, usize, f32, Code, CUmemAllocationProp, CUmemAccessDesc, CUmemPoolProps,
        cust_raw::CUresult, cust_raw::CUdevice_attribute, cust_raw::CUstreamCaptureStatus,
        cust_raw::CUstreamCaptureMode, cust_raw::CUmem_advise, cust_raw::CUmem_range_attribute,
        cust_raw::CUmemPool_attribute, cust_raw::CUmemAllocationGranularity_flags,
        cust_raw::CUmemAllocationProp, cust_raw::CUmemAccessDesc, cust_raw::CUmemPoolProps,
}

macro_rules! functions {
    ($($argument:ident)*) => {
        impl<$($argument: Shape,)* R: Shape> Shape for unsafe extern "C" fn($($argument),*) -> R {
            fn shape() -> String {
                let arguments: Vec<String> = vec![$($argument::shape()),*];
                format!("({}) -> {}", arguments.join(", "), R::shape())
            }
        }
    };
}

functions! {}
functions! { A }
functions! { A B }
functions! { A B C }
functions! { A B C D }
functions! { A B C D E }

/// A type to be inferred, for each argument.
macro_rules! underscore {
    ($argument:ident) => {
        _
    };
}
pub(super) use underscore;

#[test]
fn every_function_has_the_form_that_cust_raw_declares() {
    let prototypes = functions::compared::prototypes();
    assert_eq!(prototypes.len(), REQUIRED_SYMBOLS.len());
    for (name, ours, theirs) in prototypes {
        assert_eq!(ours, theirs, "{name}");
    }
}

/// Requires that a structure, and each of its fields, lies where `cust_raw` has it.
macro_rules! same_layout {
    ($($ours:ident $theirs:ident { $($field:ident),* })*) => {$(
        assert_eq!(size_of::<$ours>(), size_of::<cust_raw::$theirs>(), stringify!($ours));
        assert_eq!(align_of::<$ours>(), align_of::<cust_raw::$theirs>(), stringify!($ours));
        $(assert_eq!(
            offset_of!($ours, $field),
            offset_of!(cust_raw::$theirs, $field),
            stringify!($ours.$field)
        );)*
    )*};
}

#[test]
fn every_structure_is_laid_out_as_cust_raws() {
    same_layout! {
        CUmemLocation CUmemLocation { type_, id }
        CUmemAllocationProp CUmemAllocationProp {
            type_, requestedHandleTypes, location, win32HandleMetaData, allocFlags
        }
        CUmemAllocationFlags CUmemAllocationProp_st__bindgen_ty_1 {
            compressionType, gpuDirectRDMACapable, usage, reserved
        }
        CUmemAccessDesc CUmemAccessDesc { location, flags }
        CUmemPoolProps CUmemPoolProps {
            allocType, handleTypes, location, win32SecurityAttributes, reserved
        }
    }
    assert_eq!(size_of::<CUdevice>(), size_of::<cust_raw::CUdevice>());
    assert_eq!(size_of::<CUdeviceptr>(), size_of::<cust_raw::CUdeviceptr>());
    let handles = size_of::<cust_raw::CUmemGenericAllocationHandle>();
    assert_eq!(size_of::<CUmemGenericAllocationHandle>(), handles);
}

/// Requires that a constant has the value of `cust_raw`'s, in the enum named.
macro_rules! same_values {
    ($($of:ident { $($name:ident),* $(,)? })*) => {
        $($(assert_eq!(
            i64::from($name),
            cust_raw::$of::$name as i64,
            stringify!($name)
        );)*)*
    };
}

#[test]
fn every_constant_has_cust_raws_value() {
    same_values! {
        CUdevice_attribute {
            CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING,
            CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY,
            CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS,
            CU_DEVICE_ATTRIBUTE_VIRTUAL_ADDRESS_MANAGEMENT_SUPPORTED,
            CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED,
        }
        CUstream_flags { CU_STREAM_NON_BLOCKING }
        CUstreamCaptureMode { CU_STREAM_CAPTURE_MODE_RELAXED }
        CUevent_flags { CU_EVENT_DISABLE_TIMING }
        CUmemAttach_flags { CU_MEM_ATTACH_GLOBAL }
        CUmem_advise {
            CU_MEM_ADVISE_SET_READ_MOSTLY,
            CU_MEM_ADVISE_UNSET_READ_MOSTLY,
            CU_MEM_ADVISE_SET_PREFERRED_LOCATION,
            CU_MEM_ADVISE_UNSET_PREFERRED_LOCATION,
            CU_MEM_ADVISE_SET_ACCESSED_BY,
            CU_MEM_ADVISE_UNSET_ACCESSED_BY,
        }
        CUmem_range_attribute { CU_MEM_RANGE_ATTRIBUTE_LAST_PREFETCH_LOCATION }
        CUmemPool_attribute {
            CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT
        }
        CUmemAllocationType { CU_MEM_ALLOCATION_TYPE_PINNED }
        CUmemAllocationHandleType { CU_MEM_HANDLE_TYPE_NONE }
        CUmemLocationType { CU_MEM_LOCATION_TYPE_DEVICE }
        CUmemAccess_flags { CU_MEM_ACCESS_FLAGS_PROT_READWRITE }
        CUmemAllocationGranularity_flags { CU_MEM_ALLOC_GRANULARITY_MINIMUM }
    }
    assert_eq!(CU_MEMHOSTALLOC_PORTABLE, cust_raw::CU_MEMHOSTALLOC_PORTABLE);
    assert_eq!(CU_MEMHOSTALLOC_DEVICEMAP, cust_raw::CU_MEMHOSTALLOC_DEVICEMAP);
    assert_eq!(OLDEST_DRIVER, cust_raw::CUDA_VERSION);
    for (ours, theirs) in [
        (Code::SUCCESS, cust_raw::CUresult::CUDA_SUCCESS),
        (Code::NOT_INITIALIZED, cust_raw::CUresult::CUDA_ERROR_NOT_INITIALIZED),
        (Code::NOT_READY, cust_raw::CUresult::CUDA_ERROR_NOT_READY),
        (Code::STREAM_CAPTURE_IMPLICIT, cust_raw::CUresult::CUDA_ERROR_STREAM_CAPTURE_IMPLICIT),
    ] {
        assert_eq!(i64::from(ours.0), theirs as i64);
    }
}
