//! The functions that every driver must have, loaded together. The software driver exports all of
//! these, and what `cust` links besides.
//!
//! Of the symbols' versions those are used whose prototypes stand here; the unsuffixed names of
//! `_v2` functions are older ones.

#![allow(non_snake_case, reason = "CUDA's names")]

use std::ffi::{c_char, c_int, c_uint, c_ulonglong, c_void};
use std::ptr::NonNull;

use super::types::{
    CUcontext, CUdevice, CUdeviceptr, CUevent, CUmemAccessDesc, CUmemAllocationProp,
    CUmemGenericAllocationHandle, CUmemPoolProps, CUmemoryPool, CUstream,
};
use super::{Code, library};

macro_rules! functions {
    ($(fn $name:ident($($argument:ident: $type:ty),* $(,)?);)*) => {
        /// The functions of the driver without which vmem opens no device, by symbol. All exist since
        /// CUDA 11.4.
        pub const REQUIRED_SYMBOLS: &[&str] = &[$(stringify!($name)),*];

        /// Where the functions of a loaded driver are.
        #[derive(Debug)]
        pub(super) struct Functions {
            $($name: unsafe extern "C" fn($($type),*) -> Code,)*
        }

        impl Functions {
            /// Looks for all of them.
            ///
            /// # Errors
            /// The symbols that are not there.
            ///
            /// # Safety
            /// What `find` returns is the address of the driver's function with that symbol, which
            /// stays loaded for as long as a value of this type is used.
            pub(super) unsafe fn find(
                find: impl Fn(&'static str) -> Option<NonNull<c_void>>,
            ) -> Result<Self, Vec<&'static str>> {
                let mut missing = Vec::new();
                $(
                    let $name = find(stringify!($name));
                    if $name.is_none() {
                        missing.push(stringify!($name));
                    }
                )*
                let ($(Some($name),)*) = ($($name,)*) else {
                    return Err(missing);
                };
                Ok(Self {$(
                    // SAFETY: the function of this symbol, by the caller's promise; the prototype is
                    // that of the driver's header.
                    $name: unsafe {
                        std::mem::transmute::<
                            *mut c_void,
                            unsafe extern "C" fn($($type),*) -> Code,
                        >($name.as_ptr())
                    },
                )*})
            }
        }

        $(
            /// The driver's function of this name; not initialised (3), as of a driver before
            /// `cuInit`, while none is loaded.
            pub(crate) unsafe fn $name($($argument: $type),*) -> Code {
                match library::functions() {
                    // SAFETY: the caller's promise, which is what the driver's function asks for.
                    Some(functions) => unsafe { (functions.$name)($($argument),*) },
                    None => Code::NOT_INITIALIZED,
                }
            }
        )*

        /// The prototypes beside those of `cust_raw`.
        #[cfg(all(test, feature = "cust"))]
        pub(super) mod compared {
            use super::*;
            use crate::sys::compared::{Shape, underscore};

            /// Each function's name, our prototype, and `cust_raw`'s, in words.
            pub(in crate::sys) fn prototypes() -> Vec<(&'static str, String, String)> {
                vec![$({
                    type Ours = unsafe extern "C" fn($($type),*) -> Code;
                    let theirs: unsafe extern "C" fn($(underscore!($argument)),*) -> _ =
                        cust_raw::$name;
                    (stringify!($name), Ours::shape(), shape_of(theirs))
                }),*]
            }

            fn shape_of<T: Shape>(_: T) -> String {
                T::shape()
            }
        }
    };
}

functions! {
    // The driver and its devices.
    fn cuInit(flags: c_uint);
    fn cuDriverGetVersion(version: *mut c_int);
    fn cuGetErrorName(code: Code, name: *mut *const c_char);
    fn cuGetErrorString(code: Code, text: *mut *const c_char);
    fn cuGetProcAddress(
        name: *const c_char,
        function: *mut *mut c_void,
        version: c_int,
        flags: u64,
    );
    fn cuDeviceGetCount(count: *mut c_int);
    fn cuDeviceGet(device: *mut CUdevice, ordinal: c_int);
    fn cuDeviceGetName(name: *mut c_char, len: c_int, device: CUdevice);
    fn cuDeviceTotalMem_v2(bytes: *mut usize, device: CUdevice);
    fn cuDeviceGetAttribute(value: *mut c_int, attribute: c_int, device: CUdevice);

    // Contexts.
    fn cuDevicePrimaryCtxRetain(context: *mut CUcontext, device: CUdevice);
    fn cuDevicePrimaryCtxRelease_v2(device: CUdevice);
    fn cuCtxGetCurrent(context: *mut CUcontext);
    fn cuCtxPushCurrent_v2(context: CUcontext);
    fn cuCtxPopCurrent_v2(context: *mut CUcontext);
    fn cuCtxSynchronize();

    // Streams. The capture status and the capture mode are enums in C, and the driver writes them.
    fn cuStreamCreate(stream: *mut CUstream, flags: c_uint);
    fn cuStreamDestroy_v2(stream: CUstream);
    fn cuStreamQuery(stream: CUstream);
    fn cuStreamSynchronize(stream: CUstream);
    fn cuStreamWaitEvent(stream: CUstream, event: CUevent, flags: c_uint);
    fn cuStreamGetCtx(stream: CUstream, context: *mut CUcontext);
    fn cuStreamIsCapturing(stream: CUstream, status: *mut c_int);
    fn cuThreadExchangeStreamCaptureMode(mode: *mut c_int);

    // Events.
    fn cuEventCreate(event: *mut CUevent, flags: c_uint);
    fn cuEventDestroy_v2(event: CUevent);
    fn cuEventRecord(event: CUevent, stream: CUstream);
    fn cuEventQuery(event: CUevent);
    fn cuEventSynchronize(event: CUevent);
    fn cuEventElapsedTime(milliseconds: *mut f32, start: CUevent, end: CUevent);

    // Plain and pinned memory, copies and fills.
    fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize);
    fn cuMemAlloc_v2(address: *mut CUdeviceptr, bytes: usize);
    fn cuMemFree_v2(address: CUdeviceptr);
    fn cuMemHostAlloc(address: *mut *mut c_void, bytes: usize, flags: c_uint);
    fn cuMemFreeHost(address: *mut c_void);
    fn cuMemcpyHtoDAsync_v2(
        to: CUdeviceptr,
        from: *const c_void,
        bytes: usize,
        stream: CUstream,
    );
    fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: CUdeviceptr, bytes: usize, stream: CUstream);
    fn cuMemcpyDtoDAsync_v2(to: CUdeviceptr, from: CUdeviceptr, bytes: usize, stream: CUstream);
    fn cuMemsetD8Async(to: CUdeviceptr, value: u8, bytes: usize, stream: CUstream);
    fn cuMemsetD16Async(to: CUdeviceptr, value: u16, count: usize, stream: CUstream);
    fn cuMemsetD32Async(to: CUdeviceptr, value: u32, count: usize, stream: CUstream);

    // Managed memory. Freed by `cuMemFree_v2`.
    fn cuMemAllocManaged(address: *mut CUdeviceptr, bytes: usize, flags: c_uint);
    fn cuMemAdvise(address: CUdeviceptr, bytes: usize, advice: c_int, device: CUdevice);
    fn cuMemPrefetchAsync(
        address: CUdeviceptr,
        bytes: usize,
        to: CUdevice,
        stream: CUstream,
    );
    fn cuMemRangeGetAttribute(
        data: *mut c_void,
        data_bytes: usize,
        attribute: c_int,
        address: CUdeviceptr,
        bytes: usize,
    );

    // The stream-ordered pool.
    fn cuMemPoolCreate(pool: *mut CUmemoryPool, properties: *const CUmemPoolProps);
    fn cuMemPoolDestroy(pool: CUmemoryPool);
    fn cuMemPoolSetAttribute(pool: CUmemoryPool, attribute: c_int, value: *mut c_void);
    fn cuMemPoolGetAttribute(pool: CUmemoryPool, attribute: c_int, value: *mut c_void);
    fn cuMemPoolTrimTo(pool: CUmemoryPool, keep: usize);
    fn cuMemAllocFromPoolAsync(
        address: *mut CUdeviceptr,
        bytes: usize,
        pool: CUmemoryPool,
        stream: CUstream,
    );
    fn cuMemFreeAsync(address: CUdeviceptr, stream: CUstream);

    // Virtual memory.
    fn cuMemGetAllocationGranularity(
        bytes: *mut usize,
        properties: *const CUmemAllocationProp,
        option: c_int,
    );
    fn cuMemAddressReserve(
        address: *mut CUdeviceptr,
        bytes: usize,
        alignment: usize,
        at: CUdeviceptr,
        flags: c_ulonglong,
    );
    fn cuMemAddressFree(address: CUdeviceptr, bytes: usize);
    fn cuMemCreate(
        handle: *mut CUmemGenericAllocationHandle,
        bytes: usize,
        properties: *const CUmemAllocationProp,
        flags: c_ulonglong,
    );
    fn cuMemRelease(handle: CUmemGenericAllocationHandle);
    fn cuMemMap(
        address: CUdeviceptr,
        bytes: usize,
        offset: usize,
        handle: CUmemGenericAllocationHandle,
        flags: c_ulonglong,
    );
    fn cuMemUnmap(address: CUdeviceptr, bytes: usize);
    fn cuMemSetAccess(
        address: CUdeviceptr,
        bytes: usize,
        access: *const CUmemAccessDesc,
        count: usize,
    );
}
