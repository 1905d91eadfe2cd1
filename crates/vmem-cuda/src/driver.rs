//! Which driver this process uses.

use std::ffi::{CStr, c_void};
use std::fmt;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

use vmem_core::DriverError;

use crate::OpenError;
use crate::error::Version;
use crate::result::device;
use crate::sys::{self, Library};

/// The driver's library that this process has loaded. There is one, which is never unloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Driver {
    /// The newest CUDA version that it supports, as 1000 × major + 10 × minor.
    pub version: u32,
    /// The file it was loaded from, if the loader says.
    pub path: Option<PathBuf>,
    /// True for the software driver of vmem's tests, which simulates its devices.
    pub simulated: bool,
}

/// The driver of this process. If none is loaded, the loader looks for `libcuda.so.1` where it looks
/// for every library: in `LD_LIBRARY_PATH`, its cache, and the system's folders.
///
/// # Errors
/// If there is none, if it [lacks](OpenError::MissingSymbols) what is needed, and the driver's own.
pub fn driver() -> Result<Driver, OpenError> {
    Ok(Driver::loaded(sys::load()?)?)
}

impl Driver {
    /// Loads the driver from a file, rather than from where the loader would find it. It must be done
    /// before a device is opened or counted.
    ///
    /// # Errors
    /// Those of [`driver`], and [`OtherDriver`](OpenError::OtherDriver) if the process has loaded
    /// another file as its driver: by vmem, by a library beside it, or by the program's own linking.
    ///
    /// # Safety
    /// If there is such a file, it is the library of a CUDA driver.
    pub unsafe fn load(file: impl AsRef<Path>) -> Result<Self, OpenError> {
        // SAFETY: the caller's promise.
        Ok(Self::loaded(unsafe { sys::load_from(file.as_ref()) }?)?)
    }

    pub(crate) fn loaded(library: &Library) -> Result<Self, DriverError> {
        Ok(Self {
            version: device::driver_version()?,
            path: library.path.clone(),
            simulated: library.symbol(sys::CONTROL_SYMBOL).is_some(),
        })
    }

    /// The address of one of its functions, for calls that vmem does not make: launching a kernel,
    /// say. None if it has no such symbol.
    ///
    /// Most of them want a [current](crate::CudaDevice::enter) context. The prototype is that of the
    /// symbol, which is not always the one of the same name in the newest header: `cuMemAlloc_v2` is
    /// what `cuda.h` calls `cuMemAlloc`.
    ///
    /// ```no_run
    /// use std::ffi::{c_int, c_void};
    /// use std::mem::transmute;
    ///
    /// type CtxGetDevice = unsafe extern "C" fn(device: *mut c_int) -> c_int;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let device = vmem_cuda::CudaDevice::open(0)?;
    /// let _current = device.enter()?;
    /// let found = vmem_cuda::driver()?.symbol(c"cuCtxGetDevice").ok_or("a driver without it")?;
    /// // SAFETY: this is its prototype in `cuda.h`.
    /// let get = unsafe { transmute::<*mut c_void, CtxGetDevice>(found.as_ptr()) };
    /// let mut ordinal = 0;
    /// // SAFETY: a context is current, and the driver writes to a local.
    /// assert_eq!(unsafe { get(&raw mut ordinal) }, 0);
    /// assert_eq!(ordinal, device.raw_device());
    /// # Ok(())
    /// # }
    /// ```
    pub fn symbol(&self, name: &CStr) -> Option<NonNull<c_void>> {
        sys::load().ok()?.symbol(name.to_str().ok()?)
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.simulated { "software driver" } else { "CUDA driver" };
        write!(f, "{what}, CUDA {}", Version(self.version))?;
        match &self.path {
            Some(path) => write!(f, ", {}", path.display()),
            None => Ok(()),
        }
    }
}
