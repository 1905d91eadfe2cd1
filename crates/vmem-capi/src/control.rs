//! What a program asks of a device besides memory.

use std::ffi::c_char;

use crate::abi::place;
use crate::boundary::guard;
use crate::instance::{instance, visit_all};
use crate::memory::{handle, vmem_stream};
use crate::status::{Failure, vmem_status};

/// The version of this interface. A change that programs must know of makes it greater; new functions,
/// and new fields at the end of structs, do not.
pub const VMEM_ABI_VERSION: u32 = 1;

/// The version of the interface that the library has: `VMEM_ABI_VERSION` of the header it was built with.
#[unsafe(no_mangle)]
pub extern "C" fn vmem_abi_version() -> u32 {
    VMEM_ABI_VERSION
}

/// The library's own version, `"0.1.0"` say.
#[unsafe(no_mangle)]
pub extern "C" fn vmem_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// How many devices the driver sees: 0 where it sees none.
///
/// VMEM_ERROR_NO_DRIVER where there is no driver, VMEM_ERROR_DRIVER_TOO_OLD where it lacks functions.
///
/// # Safety
/// `count` may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmem_device_count(count: *mut i32) -> vmem_status {
    guard("vmem_device_count", || {
        let count = place(count, "count")?;
        let devices = vmem_cuda::device_count().map_err(|error| Failure::from(&error))?;
        // SAFETY: the caller's promise.
        unsafe { count.put(i32::try_from(devices).unwrap_or(i32::MAX)) };
        Ok(())
    })
}

/// Returns memory that is free and that nothing pending uses to the device, without waiting, and says how
/// many bytes. `returned` may be null.
///
/// # Safety
/// `returned` is null or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmem_trim(device: i32, returned: *mut u64) -> vmem_status {
    guard("vmem_trim", || {
        let bytes = instance(device)?.runtime.trim();
        // SAFETY: the caller's promise.
        unsafe { say(returned, bytes) };
        Ok(())
    })
}

/// The same, after a wait for the frees that are pending on streams which can be named.
///
/// # Safety
/// `returned` is null or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmem_wait_and_trim(device: i32, returned: *mut u64) -> vmem_status {
    guard("vmem_wait_and_trim", || {
        let bytes = instance(device)?.runtime.free_pool_memory();
        // SAFETY: the caller's promise.
        unsafe { say(returned, bytes) };
        Ok(())
    })
}

/// # Safety
/// `to` is null or may be written to.
unsafe fn say(to: *mut u64, bytes: u64) {
    if let Ok(to) = place(to, "returned") {
        // SAFETY: the caller's promise.
        unsafe { to.put(bytes) };
    }
}

/// Waits for the whole device, after which all that was freed before can be used by every stream: also what
/// was freed on streams that have been destroyed since, and on the default streams of threads that have
/// ended. It breaks every capture in progress on the device, so that nothing here does it of its own accord.
///
/// After `vmem_close` it does the same for what was freed since, as long as there is something.
///
/// VMEM_ERROR_CAPTURING if the driver refused it for a capture, which is broken then.
#[unsafe(no_mangle)]
pub extern "C" fn vmem_synchronize(device: i32) -> vmem_status {
    guard("vmem_synchronize", || {
        visit_all(device, |one| one.runtime.synchronize().map_err(Failure::from_handle))
    })
}

/// Promises that a stream is not destroyed before `vmem_forget_stream` is called for it. Such a stream can be
/// named at any time: nobody has to ask which stream its handle means, blocks can be allocated on it while
/// it captures, and what is freed on it is found by other streams at once. For streams that last, as those
/// of a framework's pool do, and for those whose owner is kept alive. Nothing for 0, 1 and 2.
///
/// # Safety
/// The stream is valid until it is forgotten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmem_hold_stream(device: i32, stream: vmem_stream) -> vmem_status {
    guard("vmem_hold_stream", || {
        // SAFETY: the caller's promise.
        unsafe { instance(device)?.streams.hold(handle(stream)) }
    })
}

/// Tells that a stream is about to be destroyed, or that a thread which used its default stream (2) is about
/// to end: it is marked, and other streams can use what was freed on it once the work that is on it now is
/// over. So work on it that comes later must not use blocks that were freed on it before. Blocks of it that
/// are still out are best freed first: what is freed later under its handle goes by what `vmem_free` says of
/// handles. Nothing for 0 and 1, and for a stream that no call has named.
///
/// It may be called after `vmem_close` too, as long as blocks are out or memory waits, and then acts on what
/// the device was before as well.
///
/// VMEM_ERROR_CAPTURING while the stream captures; it is then as it was.
///
/// # Safety
/// The stream is valid during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmem_forget_stream(device: i32, stream: vmem_stream) -> vmem_status {
    guard("vmem_forget_stream", || {
        // SAFETY: the caller's promise.
        visit_all(device, |one| unsafe { one.streams.forget(handle(stream)) })
    })
}
