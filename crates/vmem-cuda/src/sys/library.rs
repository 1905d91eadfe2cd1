//! Finding and loading the driver's library, once in a process.

use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::{Mutex, OnceLock};
use vmem_core::author::fork;

use super::functions::Functions;
use crate::OpenError;

/// What programs call the driver's library.
#[cfg(not(windows))]
const NAME: &str = "libcuda.so.1";
#[cfg(windows)]
const NAME: &str = "nvcuda.dll";

/// The driver's library that this process uses. It is never unloaded.
static LOADED: OnceLock<Library> = OnceLock::new();

/// A driver's library with every required function.
#[derive(Debug)]
pub(crate) struct Library {
    functions: Functions,
    library: libloading::Library,
    /// The file it was loaded from, if the loader says.
    pub(crate) path: Option<PathBuf>,
}

/// The functions of the loaded driver, if one is loaded.
pub(super) fn functions() -> Option<&'static Functions> {
    LOADED.get().map(|library| &library.functions)
}

/// The driver's library: the one that this process has loaded, by us or by others, else the one that
/// the loader finds.
///
/// # Errors
/// If there is none, or it lacks a function. A later call tries again.
pub(crate) fn load() -> Result<&'static Library, OpenError> {
    // SAFETY: no file is named; what the loader finds under the driver's name is a driver.
    unsafe { load_once(None) }
}

/// The same, but a file instead of what the loader finds.
///
/// # Errors
/// Those of [`load`], and if the process has loaded another file, which is then the driver.
///
/// # Safety
/// If there is such a file, it is the library of a driver.
pub(crate) unsafe fn load_from(file: &Path) -> Result<&'static Library, OpenError> {
    // A name without a folder would be searched for, rather than taken from this one.
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    // SAFETY: the caller's promise.
    let library = unsafe { load_once(Some(&file)) }?;
    library.refuse_other(file)?;
    Ok(library)
}

/// # Safety
/// A file that is named, or else what the loader finds, is the library of a driver.
unsafe fn load_once(file: Option<&Path>) -> Result<&'static Library, OpenError> {
    static LOADING: Mutex<()> = Mutex::new(());
    if let Some(library) = LOADED.get() {
        return Ok(library);
    }
    fork::refuse("cuInit")?;
    let _loading = fork::locked(|| LOADING.lock());
    if let Some(library) = LOADED.get() {
        return Ok(library);
    }
    let (library, path) = match platform::already_loaded(NAME) {
        Some(library) => (library, None),
        // SAFETY: the caller's promise; a driver's initialisers ask nothing of who loads it.
        None => (unsafe { open(file.unwrap_or(Path::new(NAME))) }?, file),
    };
    // SAFETY: the caller's promise; what is loaded under the driver's name is a driver too.
    let library = unsafe { Library::of(library, path) }?;
    Ok(LOADED.get_or_init(|| library))
}

/// # Safety
/// The library's initialisers may be run here.
unsafe fn open(file: &Path) -> Result<libloading::Library, OpenError> {
    // SAFETY: the caller's promise.
    unsafe { libloading::Library::new(file) }
        .map_err(|error| OpenError::NoDriver { library: file.to_owned(), why: error.to_string() })
}

impl Library {
    /// A loaded library, if it has every required function.
    ///
    /// # Safety
    /// It is a driver's.
    unsafe fn of(library: libloading::Library, file: Option<&Path>) -> Result<Self, OpenError> {
        let path = symbol(&library, "cuInit").and_then(platform::file_of);
        let path = path.or_else(|| file.map(Path::to_owned));
        // SAFETY: these are a driver's symbols, and the library lives as long as the functions do.
        let found = unsafe { Functions::find(|name| symbol(&library, name)) };
        match found {
            Ok(functions) => Ok(Self { functions, library, path }),
            Err(symbols) => {
                let library = path.unwrap_or_else(|| PathBuf::from(NAME));
                Err(OpenError::MissingSymbols { library, symbols })
            }
        }
    }

    /// Refuses a file that is not this library's.
    fn refuse_other(&self, named: PathBuf) -> Result<(), OpenError> {
        if self.path.as_ref().is_some_and(|path| platform::is_same_file(path, &named)) {
            return Ok(());
        }
        let loaded = self.path.clone().unwrap_or_else(|| PathBuf::from(NAME));
        Err(OpenError::OtherDriver { named, loaded })
    }

    /// The address of one of its symbols.
    pub(crate) fn symbol(&self, name: &str) -> Option<NonNull<c_void>> {
        symbol(&self.library, name)
    }
}

fn symbol(library: &libloading::Library, name: &str) -> Option<NonNull<c_void>> {
    // SAFETY: a symbol's address is an address, and neither read nor called here.
    let symbol = unsafe { library.get::<*mut c_void>(name.as_bytes()) };
    NonNull::new(*symbol.ok()?)
}

#[cfg(unix)]
mod platform {
    //! What the dynamic loader knows.

    use std::ffi::{CStr, OsStr, c_void};
    use std::fs;
    use std::mem::MaybeUninit;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::MetadataExt;
    use std::path::{Path, PathBuf};
    use std::ptr::NonNull;

    use libloading::os::unix::{Library, RTLD_LAZY};

    /// The library of this name, if the process has loaded it.
    pub(super) fn already_loaded(name: &str) -> Option<libloading::Library> {
        // SAFETY: the library has been initialised by whoever loaded it; nothing is loaded here.
        let library = unsafe { Library::open(Some(name), RTLD_LAZY | libc::RTLD_NOLOAD) };
        library.ok().map(Into::into)
    }

    /// The file that a function is in.
    pub(super) fn file_of(function: NonNull<c_void>) -> Option<PathBuf> {
        let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
        // SAFETY: the loader compares the address and writes to a local.
        if unsafe { libc::dladdr(function.as_ptr(), info.as_mut_ptr()) } == 0 {
            return None;
        }
        // SAFETY: written by the successful call, and valid before it: zeros are null pointers.
        let name = unsafe { info.assume_init() }.dli_fname;
        if name.is_null() {
            return None;
        }
        // SAFETY: a C string that lives as long as the library, which the caller holds.
        let name = unsafe { CStr::from_ptr(name) };
        let path = PathBuf::from(OsStr::from_bytes(name.to_bytes()));
        // Libraries are found through links that say little.
        Some(path.canonicalize().unwrap_or(path))
    }

    /// Whether two paths lead to one file, which the loader loads once.
    pub(super) fn is_same_file(a: &Path, b: &Path) -> bool {
        let file = |path| fs::metadata(path).map(|data| (data.dev(), data.ino()));
        a == b || matches!((file(a), file(b)), (Ok(a), Ok(b)) if a == b)
    }
}

#[cfg(windows)]
mod platform {
    //! What the dynamic loader knows; which file a library came from is not asked.

    use std::ffi::c_void;
    use std::path::{Path, PathBuf};
    use std::ptr::NonNull;

    use libloading::os::windows::Library;

    /// The library of this name, if the process has loaded it.
    pub(super) fn already_loaded(name: &str) -> Option<libloading::Library> {
        Library::open_already_loaded(name).ok().map(Into::into)
    }

    pub(super) const fn file_of(_: NonNull<c_void>) -> Option<PathBuf> {
        None
    }

    pub(super) fn is_same_file(a: &Path, b: &Path) -> bool {
        a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::REQUIRED_SYMBOLS;

    #[test]
    fn a_call_while_no_driver_is_loaded_is_answered_not_initialised() {
        let refused = crate::result::device::init().unwrap_err();
        assert_eq!(refused.code(), vmem_core::DriverCode::NOT_INITIALIZED);
        assert_eq!(crate::error_text(refused.code()), None);
    }

    #[test]
    fn every_symbol_that_a_library_lacks_is_named() {
        let lacking = |absent: &'static [&'static str]| {
            let find = |name| (!absent.contains(&name)).then_some(NonNull::dangling());
            // SAFETY: none of the addresses is called, as the functions are dropped.
            unsafe { Functions::find(find) }.map(drop)
        };
        assert_eq!(lacking(&[]), Ok(()));
        let pools = &["cuMemPoolCreate", "cuMemPoolTrimTo"];
        assert_eq!(lacking(pools), Err(pools.to_vec()));
        assert_eq!(lacking(REQUIRED_SYMBOLS), Err(REQUIRED_SYMBOLS.to_vec()));
    }
}
