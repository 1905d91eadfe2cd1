//! Asking the program to free something.

use std::cell::Cell;
use std::ffi::c_void;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vmem_adaptors::{Reclaimers, Registration};
use vmem_core::author::fork;

use crate::boundary::guard;
use crate::instance::{instance, is_open};
use crate::status::{Failure, vmem_status};

/// Frees what the program can spare of a device, and returns how many bytes that was. `wanted` is what is
/// missing of a request, or `UINT64_MAX` for all that can be spared.
#[allow(non_camel_case_types, reason = "a name of the C header")]
pub type vmem_pressure_fn =
    Option<unsafe extern "C" fn(arg: *mut c_void, device: i32, wanted: u64) -> u64>;

/// Gives up the argument of a callback.
#[allow(non_camel_case_types, reason = "a name of the C header")]
pub type vmem_release_fn = Option<unsafe extern "C" fn(arg: *mut c_void)>;

/// A program's function with its argument, which is released with the last use of this.
struct Callback {
    call: unsafe extern "C" fn(arg: *mut c_void, device: i32, wanted: u64) -> u64,
    arg: *mut c_void,
    release: vmem_release_fn,
    device: i32,
    /// It was replaced, and is not called any more.
    is_over: AtomicBool,
}

// SAFETY: `vmem_set_pressure_callback` has the caller promise that any thread may call it.
unsafe impl Send for Callback {}
// SAFETY: as above, several at once.
unsafe impl Sync for Callback {}

thread_local! {
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// Whether the calling thread runs short inside a callback.
pub(crate) fn is_running() -> bool {
    RUNNING.with(Cell::get)
}

impl Callback {
    fn ask(&self, wanted: u64) -> u64 {
        if self.is_over.load(Ordering::Acquire) {
            return 0;
        }
        let before = RUNNING.with(|running| running.replace(true));
        // SAFETY: the caller of `vmem_set_pressure_callback` promised that it may be called so.
        let freed = unsafe { (self.call)(self.arg, self.device, wanted) };
        RUNNING.with(|running| running.set(before));
        freed
    }
}

impl Drop for Callback {
    fn drop(&mut self) {
        if fork::is_child() {
            return;
        }
        if let Some(release) = self.release {
            // SAFETY: the caller of `vmem_set_pressure_callback` promised that it may be called so; nobody
            // calls the callback any more, as this was the last use.
            unsafe { release(self.arg) };
        }
    }
}

/// The pressure callback of a device. Not to be dropped under a lock.
#[derive(Debug)]
pub(crate) struct Pressure {
    callback: Arc<Callback>,
    _registration: Registration,
}

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callback").field("device", &self.device).finish_non_exhaustive()
    }
}

impl Pressure {
    fn new(reclaimers: &Reclaimers, callback: Callback) -> Self {
        let callback = Arc::new(callback);
        let asked = callback.clone();
        let ask = move |wanted| asked.ask(wanted);
        let registration = reclaimers.register_with("vmem_set_pressure_callback", ask);
        Self { callback, _registration: registration }
    }
}

/// Sets what is asked for memory when a request would fail for want of it, in place of the one before; null
/// for none. It is called on the thread that runs short, without a lock of this library held, by several
/// threads at once if several run short. It may free, and call everything here; what it allocates itself is
/// refused rather than asked for again. It is asked as long as it frees something, and must return: it
/// throws nothing and jumps nowhere.
///
/// A call of the one before that is in progress on another thread goes on, and this function does not wait
/// for it. `release` says when `arg` is of no use any more: it is called with it once, when the callback was
/// replaced or the device closed and the last call in progress has ended, on the thread that comes last,
/// without a lock held; and not at exit. It may be null. Where this function fails, it is not called.
///
/// VMEM_ERROR_UNSUPPORTED unless the device was opened with `VMEM_OOM_SAFETY=1`.
///
/// # Safety
/// `callback` can be called with `arg` by any thread until `release` is, and `release` by any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmem_set_pressure_callback(
    device: i32,
    callback: vmem_pressure_fn,
    arg: *mut c_void,
    release: vmem_release_fn,
) -> vmem_status {
    guard("vmem_set_pressure_callback", || {
        let instance = instance(device)?;
        if instance.stack()?.recovery.is_none() {
            let prefix = &instance.runtime.config().prefix;
            let text = format!(
                "device {device} was opened without recovery, which asks for memory; open it with \
                 {prefix}_OOM_SAFETY=1"
            );
            return Err(Failure::new(vmem_status::VMEM_ERROR_UNSUPPORTED, text));
        }
        let new = callback.map(|call| Callback {
            call,
            arg,
            release,
            device,
            is_over: AtomicBool::new(false),
        });
        let mut pressure = fork::locked(|| instance.pressure.lock());
        let before = pressure.take();
        if let Some(before) = &before {
            // A request asks one or the other.
            before.callback.is_over.store(true, Ordering::Release);
        }
        *pressure = new.map(|new| Pressure::new(instance.runtime.reclaimers(), new));
        drop(pressure);
        drop(before);
        if !is_open(device, &instance) {
            // Whoever closed it may have looked before.
            let late = fork::locked(|| instance.pressure.lock()).take();
            drop(late);
        }
        Ok(())
    })
}
