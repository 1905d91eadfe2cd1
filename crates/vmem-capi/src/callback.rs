//! Asking the program to free something.

use std::cell::Cell;
use std::ffi::c_void;

use vmem_core::author::fork;

use crate::boundary::guard;
use crate::instance::instance;
use crate::status::{Failure, vmem_status};

/// Frees what the program can spare of a device, and returns how many bytes that was. `wanted` is what is
/// missing of a request, or `UINT64_MAX` for all that can be spared.
#[allow(non_camel_case_types, reason = "a name of the C header")]
pub type vmem_pressure_fn =
    Option<unsafe extern "C" fn(arg: *mut c_void, device: i32, wanted: u64) -> u64>;

/// A program's function with its argument.
struct Callback {
    call: unsafe extern "C" fn(arg: *mut c_void, device: i32, wanted: u64) -> u64,
    arg: *mut c_void,
    device: i32,
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
        let before = RUNNING.with(|running| running.replace(true));
        // SAFETY: the caller of `vmem_set_pressure_callback` promised that it may be called so.
        let freed = unsafe { (self.call)(self.arg, self.device, wanted) };
        RUNNING.with(|running| running.set(before));
        freed
    }
}

/// Sets what is asked for memory when a request would fail for want of it, in place of the one before; null
/// for none. It is called on the thread that runs short, without a lock of this library held, by several
/// threads at once if several run short. It may free, and call everything here; what it allocates itself is
/// refused rather than asked for again. It is asked as long as it frees something, and must return: it
/// throws nothing and jumps nowhere. A call in progress on another thread when it is replaced still ends.
///
/// VMEM_ERROR_UNSUPPORTED unless the device was opened with `VMEM_OOM_SAFETY=1`.
///
/// # Safety
/// `callback` can be called with `arg` by any thread until it is replaced or the device ends.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmem_set_pressure_callback(
    device: i32,
    callback: vmem_pressure_fn,
    arg: *mut c_void,
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
        let registration = callback.map(|call| {
            let callback = Callback { call, arg, device };
            let ask = move |wanted| callback.ask(wanted);
            instance.runtime.reclaimers().register_with("vmem_set_pressure_callback", ask)
        });
        let mut pressure = fork::locked(|| instance.pressure.lock());
        let before = std::mem::replace(&mut *pressure, registration);
        drop(pressure);
        drop(before);
        Ok(())
    })
}
