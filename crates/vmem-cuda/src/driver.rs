//! Which driver this process has loaded.

use std::fmt;
use std::path::PathBuf;

use vmem_core::DriverError;

use crate::error::Version;
use crate::result::device;
use crate::sys;

/// The driver's library that this process has loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Driver {
    /// The newest CUDA version that it supports, as 1000 × major + 10 × minor.
    pub version: u32,
    /// The file it was loaded from, if the loader says.
    pub path: Option<PathBuf>,
    /// Whether it is the software driver of this repository, which simulates its devices.
    pub simulated: bool,
}

/// The driver's library that this process has loaded.
///
/// # Errors
/// The driver's.
pub fn driver() -> Result<Driver, DriverError> {
    let version = device::driver_version()?;
    Ok(Driver { version, path: loader::library(), simulated: loader::has_control() })
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

#[cfg(unix)]
mod loader {
    //! What the dynamic loader knows.

    use std::ffi::{CStr, CString, OsStr, c_void};
    use std::mem::MaybeUninit;
    use std::os::unix::ffi::OsStrExt;
    use std::path::PathBuf;

    use super::sys;

    /// The file that the driver's functions are in.
    pub(super) fn library() -> Option<PathBuf> {
        let function = find(sys::LINKED_SYMBOLS.first()?)?;
        let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
        // SAFETY: the loader compares the address and writes to a local.
        if unsafe { libc::dladdr(function, info.as_mut_ptr()) } == 0 {
            return None;
        }
        // SAFETY: written by the successful call, and valid before it: zeros are null pointers.
        let name = unsafe { info.assume_init() }.dli_fname;
        if name.is_null() {
            return None;
        }
        // SAFETY: a C string that lives as long as the library, which is never unloaded.
        let name = unsafe { CStr::from_ptr(name) };
        let path = PathBuf::from(OsStr::from_bytes(name.to_bytes()));
        // Libraries are found through links that say little.
        Some(path.canonicalize().unwrap_or(path))
    }

    pub(super) fn has_control() -> bool {
        find(sys::CONTROL_SYMBOL).is_some()
    }

    fn find(name: &str) -> Option<*mut c_void> {
        let name = CString::new(name).ok()?;
        // SAFETY: a C string; the search has no effect.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        (!found.is_null()).then_some(found)
    }
}

#[cfg(not(unix))]
mod loader {
    //! Nothing is asked of other loaders; the software driver exists on Unix only.

    use std::path::PathBuf;

    pub(super) const fn library() -> Option<PathBuf> {
        None
    }

    pub(super) const fn has_control() -> bool {
        false
    }
}
