//! Refusing to work in the child of a fork.
//!
//! A forked child has its parent's memory but only one of its threads: a lock that another thread
//! held at the fork is never released there, and CUDA cannot be used in it at all. So once a process
//! has opened a device, or initialised a driver to count them, nothing of vmem works in its forked children: calls that return a `Result`
//! answer [`NOT_INITIALIZED`](DriverCode::NOT_INITIALIZED), figures of handles that may be `None`
//! are, drops do nothing, and whatever can do none of these ends the child with a message instead of
//! waiting for a lock that nobody will release: [`Stream::is_retired`](crate::Stream::is_retired),
//! naming a default stream, interning a label, a [`BlockTable`](crate::author::BlockTable), a registry's
//! resources, figures that are plain numbers.
//!
//! A child that calls `exec` is not concerned, nor one whose parent had opened no device. Children
//! made by a raw `clone` system call, which the C library does not see, are not recognised.
//!
//! Authors of resources and devices call [`refuse`] first in whatever takes a lock or calls a
//! driver, skip their drops where [`is_child`], and take their locks by [`locked`].

use std::sync::{LockResult, PoisonError};
// Never loom's: the flag is the process's, not a model's.
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{DriverCode, DriverError};

static IS_CHILD: AtomicBool = AtomicBool::new(false);

/// Returns true if this process was forked from one that had opened a device. One relaxed load.
#[inline]
pub fn is_child() -> bool {
    IS_CHILD.load(Ordering::Relaxed)
}

/// Refuses `call` in a forked child. One relaxed load otherwise.
///
/// # Errors
/// [`NOT_INITIALIZED`](DriverCode::NOT_INITIALIZED) in a forked child.
#[inline]
pub fn refuse(call: &'static str) -> Result<(), DriverError> {
    if is_child() { Err(error(call)) } else { Ok(()) }
}

#[cold]
fn error(call: &'static str) -> DriverError {
    DriverError::new(call, DriverCode::NOT_INITIALIZED).with_detail(WHY)
}

const WHY: &str = "this process was forked from one that had opened a device; start children with \
                   exec, or open devices in the child only";

/// Takes a lock, whether or not a panic has poisoned it: `locked(|| mutex.lock())`, or a
/// reader-writer lock's `read` or `write`.
///
/// In a forked child, where the thread that holds the lock may not exist, it ends the process as
/// [`abort`] does. Whatever can return an error there has called [`refuse`] before.
#[inline]
pub fn locked<G>(lock: impl FnOnce() -> LockResult<G>) -> G {
    if is_child() {
        abort();
    }
    locked_in_parent(lock)
}

/// The same for a caller that has asked whether it is a forked child, and is not.
#[inline]
pub fn locked_in_parent<G>(lock: impl FnOnce() -> LockResult<G>) -> G {
    debug_assert!(!is_child(), "the caller has asked");
    lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends a forked child with a message on standard error.
#[cold]
pub fn abort() -> ! {
    use std::io::Write;
    // Not `eprintln!`, which waits for a lock that a thread of the parent may have held.
    #[cfg(unix)]
    let stderr = std::mem::ManuallyDrop::new({
        use std::os::fd::FromRawFd;
        // SAFETY: descriptor 2 is only written to, and never closed through this handle.
        unsafe { std::fs::File::from_raw_fd(2) }
    });
    #[cfg(not(unix))]
    let stderr = std::io::stderr();
    let _ = (&*stderr).write_all(format!("vmem: {WHY}\n").as_bytes());
    std::process::abort()
}

/// Has the C library tell this process's children that they are children. Authors of devices call it
/// before the first call that initialises a driver; a [`DeviceBase`](crate::author::DeviceBase) does so
/// whenever a device is opened. Only the first call does anything.
pub fn watch() {
    #[cfg(unix)]
    {
        use std::ffi::c_int;
        use std::sync::Once;

        type Handler = Option<unsafe extern "C" fn()>;
        unsafe extern "C" {
            fn pthread_atfork(prepare: Handler, parent: Handler, child: Handler) -> c_int;
        }
        unsafe extern "C" fn note() {
            IS_CHILD.store(true, Ordering::Relaxed);
        }
        static WATCHING: Once = Once::new();
        // It fails for want of memory only; children then meet what the driver answers.
        // SAFETY: POSIX's prototype; the handler makes one atomic store, which is safe after a fork.
        WATCHING.call_once(|| _ = unsafe { pthread_atfork(None, None, Some(note)) });
    }
}
