//! The CUDA device.

mod async_pool;
mod calls;
mod identify;
mod managed;
mod open;
mod pinned;
mod virtual_memory;

use std::ffi::{c_int, c_void};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use vmem_core::{DeviceFacts, DriverError};

use crate::context::{Context, Current};
use async_pool::CudaAsyncPool;
pub use identify::StreamIdentity;
use managed::CudaManaged;
pub use open::device_count;
use pinned::CudaPinned;
use virtual_memory::CudaVirtualMemory;

/// A CUDA device of this process: one handle of its primary context.
///
/// See the [crate's documentation](crate) for how it uses the driver.
pub struct CudaDevice {
    context: Arc<Context>,
    facts: DeviceFacts,
    virtual_memory: Option<CudaVirtualMemory>,
    managed: Option<CudaManaged>,
    pinned: Option<CudaPinned>,
    async_pool: Option<CudaAsyncPool>,
    absences: Vec<Absence>,
}

/// A part that a device does not have, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Absence {
    /// The part, in words: "virtual memory", say.
    pub part: &'static str,
    /// The evidence: an attribute of the device, or a call that failed when it was tried.
    pub why: String,
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no {}: {}", self.part, self.why)
    }
}

impl CudaDevice {
    /// The parts that the device does not have, and why. Probed once, when it is opened.
    pub fn absences(&self) -> &[Absence] {
        &self.absences
    }

    /// The number of driver calls made for this device, those that failed and those that opened it
    /// included. What a call needs around it, such as entering the context, does not count.
    pub fn driver_calls(&self) -> u64 {
        self.context.calls.load(Ordering::Relaxed)
    }

    /// Makes the device's primary context current to this thread while the answer lives, for calls of
    /// the program's own: through [`Driver::symbol`](crate::Driver::symbol) or `cust`, say.
    ///
    /// # Errors
    /// The [`DriverError`] of making the context current;
    /// [`NOT_INITIALIZED`](vmem_core::DriverCode::NOT_INITIALIZED) in a fork's child,
    /// [`DEINITIALIZED`](vmem_core::DriverCode::DEINITIALIZED) after the driver has shut down,
    /// [`NOT_PERMITTED`](vmem_core::DriverCode::NOT_PERMITTED) in a
    /// [`host_callback`](crate::host_callback).
    pub fn enter(&self) -> Result<Current<'_>, DriverError> {
        self.context.enter("CudaDevice::enter")
    }

    /// The driver's handle of the device: a `CUdevice`.
    pub fn raw_device(&self) -> c_int {
        self.context.device
    }

    /// The driver's handle of the device's primary context, a `CUcontext`, valid while this device is.
    pub fn raw_context(&self) -> *mut c_void {
        self.context.raw().cast()
    }
}

impl fmt::Debug for CudaDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CudaDevice")
            .field("id", &self.context.base.id())
            .field("facts", &self.facts)
            .field("absences", &self.absences)
            .finish_non_exhaustive()
    }
}
