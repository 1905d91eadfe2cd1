//! The primary context of a device: retained once, current during every call.

mod deferred;
mod entry;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use vmem_core::author::{DeviceBase, DropFailure, fork};
use vmem_core::{DriverCode, DriverError};

use crate::callback::{in_host_callback, refuse_in_host_callback};
use crate::result;
use crate::sys::{CUcontext, CUdevice};
pub(crate) use deferred::Deferred;
pub use entry::Current;
use entry::Relaxed;

/// A device's primary context, as one owner of it, and what its parts share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) base: DeviceBase,
    pub(crate) device: CUdevice,
    raw: Handle,
    /// Whether the driver has said that it shuts down.
    shut_down: AtomicBool,
    /// What was dropped where the driver could not be called, and how much of it there is.
    deferred: Mutex<Vec<Deferred>>,
    deferred_len: AtomicUsize,
    /// Calls made for the device.
    pub(crate) calls: AtomicU64,
}

/// The driver's handle, which every thread may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Handle(CUcontext);

// SAFETY: a context is a name to the driver; its documentation lets every thread use it.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Context {
    /// Retains a device's primary context.
    pub(crate) fn retain(device: CUdevice) -> Result<Self, DriverError> {
        Ok(Self {
            base: DeviceBase::new(log),
            device,
            raw: Handle(result::context::retain_primary(device)?),
            shut_down: AtomicBool::new(false),
            deferred: Mutex::default(),
            deferred_len: AtomicUsize::new(0),
            calls: AtomicU64::new(0),
        })
    }

    pub(crate) fn raw(&self) -> CUcontext {
        self.raw.0
    }

    /// One or more driver calls, with the context current.
    pub(crate) fn call<T>(
        &self,
        name: &'static str,
        call: impl FnOnce() -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        let _current = self.enter(name)?;
        self.note(call())
    }

    /// The same for calls that a capture anywhere in the process forbids: they are made under the
    /// relaxed mode, in which they break none.
    pub(crate) fn call_relaxed<T>(
        &self,
        name: &'static str,
        call: impl FnOnce() -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        let _current = self.enter(name)?;
        let _relaxed = Relaxed::new(&self.base)?;
        self.note(call())
    }

    /// Destroys or frees something, or keeps it for later if the driver may not be called here.
    ///
    /// # Safety
    /// As [`Deferred::destroy`].
    pub(crate) unsafe fn dispose(
        &self,
        name: &'static str,
        what: Deferred,
    ) -> Result<(), DriverError> {
        if in_host_callback() {
            self.defer(what);
            return Ok(());
        }
        // SAFETY: the caller's promise.
        self.call_relaxed(name, || unsafe { what.destroy() })
    }

    /// Makes the context current while the answer lives.
    pub(crate) fn enter(&self, name: &'static str) -> Result<Current<'_>, DriverError> {
        self.refuse_unusable(name)?;
        let current = Current::new(self)?;
        if self.deferred_len.load(Ordering::Acquire) != 0 {
            let _relaxed = Relaxed::new(&self.base)?;
            self.destroy_deferred();
        }
        Ok(current)
    }

    /// Refuses where the driver must not be called.
    fn refuse_unusable(&self, name: &'static str) -> Result<(), DriverError> {
        let refuse = |code, why| Err(DriverError::new(name, code).with_detail(why));
        fork::refuse(name)?;
        if self.shut_down.load(Ordering::Acquire) {
            return refuse(DriverCode::DEINITIALIZED, "the driver has shut down");
        }
        refuse_in_host_callback(name)
    }

    /// Counts a call, and remembers that the driver has shut down: calling it once more could crash.
    fn note<T>(&self, result: Result<T, DriverError>) -> Result<T, DriverError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = &result
            && error.code() == DriverCode::DEINITIALIZED
        {
            self.shut_down.store(true, Ordering::Release);
        }
        result
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // A forked child never retained it, and a driver that has shut down has dropped it.
        if fork::is_child() || self.shut_down.load(Ordering::Acquire) {
            return;
        }
        if let Err(error) = self.release() {
            self.base.drop_failures().record("a device's primary context", &error);
        }
    }
}

impl Context {
    /// Destroys what is left to destroy and gives the context up.
    fn release(&self) -> Result<(), DriverError> {
        const NAME: &str = "cuDevicePrimaryCtxRelease";
        self.refuse_unusable(NAME)?;
        if self.deferred_len.load(Ordering::Acquire) != 0 {
            drop(self.enter(NAME));
        }
        // SAFETY: retained by `retain`, and this is the end of its only owner.
        unsafe { result::context::release_primary(self.device) }
    }
}

fn log(failure: &DropFailure) {
    tracing::warn!("CUDA device: {failure}");
}
