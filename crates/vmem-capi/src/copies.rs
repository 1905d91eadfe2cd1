//! One copy of this library for a device: two would each take the memory that the other has left.
//!
//! Copies of a library in one process know nothing of each other: each has its own statics. What they share
//! is the loader's list. Every copy exports a function that says where its register is, which has an entry
//! for each device. A copy that opens a device looks for the registers of all copies, in the order in which
//! they were loaded, and enters itself in each: whoever comes second finds the first one's path in the first
//! register, whichever copy that is of. The entries are compared and set at once, so that two threads cannot
//! both come first.
//!
//! A copy that is linked into a program is found if the program exports the function
//! (`-Wl,--export-dynamic-symbol=vmem_register_of_copy`). If it does not, it still finds the others that were
//! loaded before it opens a device.

use std::ffi::{CStr, CString, c_char};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, OnceLock};

use vmem_core::author::fork;

use crate::instance::DEVICES;
use crate::status::{Failure, vmem_status};

/// Who has which device open, as one copy has it. Its layout stays as it is for good.
#[repr(C)]
#[derive(Debug)]
pub struct Register {
    magic: u64,
    /// The path of the copy that has the device, or null.
    owners: [AtomicPtr<c_char>; DEVICES],
}

const MAGIC: u64 = u64::from_le_bytes(*b"vmemcopy");

static REGISTER: Register =
    Register { magic: MAGIC, owners: [const { AtomicPtr::new(null_mut()) }; DEVICES] };

/// Where this copy's register is. For other copies of this library.
#[unsafe(no_mangle)]
pub extern "C" fn vmem_register_of_copy() -> *const Register {
    &raw const REGISTER
}

/// How many claims this copy has on each device: one that was closed is kept until its last block is freed,
/// and may be opened again before.
static CLAIMS: Mutex<[u32; DEVICES]> = Mutex::new([0; DEVICES]);

/// A device that this copy has, until it is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    ordinal: u32,
    registers: Vec<&'static Register>,
}

impl Claim {
    /// Claims a device in all registers.
    pub(crate) fn take(ordinal: u32) -> Result<Self, Failure> {
        let mut claims = fork::locked(|| CLAIMS.lock());
        let path = own_path();
        let ours = path.as_ptr().cast_mut();
        let registers = registers();
        let other = registers.iter().find_map(|register| {
            let owner = &register.owners[ordinal as usize];
            let order = (Ordering::AcqRel, Ordering::Acquire);
            let taken = owner.compare_exchange(null_mut(), ours, order.0, order.1);
            taken.err().filter(|other| *other != ours)
        });
        match other {
            None => {
                claims[ordinal as usize] += 1;
                Ok(Self { ordinal, registers })
            }
            Some(other) => {
                if claims[ordinal as usize] == 0 {
                    give_up(ordinal, &registers);
                }
                Err(refusal(ordinal, other, path))
            }
        }
    }
}

/// Takes this copy's entries back.
fn give_up(ordinal: u32, registers: &[&Register]) {
    let ours = own_path().as_ptr().cast_mut();
    for register in registers {
        let owner = &register.owners[ordinal as usize];
        let _ = owner.compare_exchange(ours, null_mut(), Ordering::AcqRel, Ordering::Relaxed);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if fork::is_child() {
            return;
        }
        let mut claims = fork::locked(|| CLAIMS.lock());
        claims[self.ordinal as usize] -= 1;
        if claims[self.ordinal as usize] == 0 {
            give_up(self.ordinal, &self.registers);
        }
    }
}

fn refusal(ordinal: u32, other: *const c_char, path: &CStr) -> Failure {
    // SAFETY: whoever enters a path keeps it for as long as the process lives.
    let other = unsafe { CStr::from_ptr(other) }.to_string_lossy();
    let path = path.to_string_lossy();
    let text = format!(
        "device {ordinal} is open in another copy of this library in the process: `{other}` has it, \
         `{path}` asks for it; let both use one file"
    );
    let failure = Failure::new(vmem_status::VMEM_ERROR_OTHER_COPY, text);
    failure.with("owner", serde_json::json!(other)).with("path", serde_json::json!(path))
}

/// The file that this copy is in.
fn own_path() -> &'static CStr {
    static PATH: OnceLock<CString> = OnceLock::new();
    PATH.get_or_init(|| {
        loader::file_of(&raw const REGISTER).unwrap_or_else(|| c"(unknown)".to_owned())
    })
}

/// The registers of all copies, in the order in which they were loaded.
fn registers() -> Vec<&'static Register> {
    let mut found = loader::others();
    let own: *const Register = &raw const REGISTER;
    if !found.contains(&own) {
        // Not exported, and so in the program itself, which was loaded first.
        found.insert(0, own);
    }
    let registers = found.into_iter().filter_map(|register| {
        // SAFETY: a copy's function said where it is; the layout of a register never changes, and copies
        // that have been asked stay loaded.
        unsafe { register.as_ref() }
    });
    registers.filter(|register| register.magic == MAGIC).collect()
}

#[cfg(target_os = "linux")]
mod loader {
    use std::ffi::{CStr, CString, c_int, c_void};
    use std::ptr::{NonNull, null};

    use super::Register;

    const FUNCTION: &CStr = c"vmem_register_of_copy";

    /// The file that an address was loaded from.
    pub(super) fn file_of<T>(address: *const T) -> Option<CString> {
        let info = info(address.cast())?;
        // SAFETY: the loader's string lives as long as the object is loaded.
        let name = NonNull::new(info.dli_fname.cast_mut())
            .map(|name| unsafe { CStr::from_ptr(name.as_ptr()) }.to_owned())?;
        let resolved = std::fs::canonicalize(name.to_string_lossy().as_ref()).ok();
        let resolved =
            resolved.and_then(|path| CString::new(path.into_os_string().into_encoded_bytes()).ok());
        Some(resolved.unwrap_or(name))
    }

    fn info(address: *const c_void) -> Option<libc::Dl_info> {
        let mut info = libc::Dl_info {
            dli_fname: null(),
            dli_fbase: std::ptr::null_mut(),
            dli_sname: null(),
            dli_saddr: std::ptr::null_mut(),
        };
        // SAFETY: the loader looks the address up, and writes to a local.
        let found = unsafe { libc::dladdr(address, &raw mut info) };
        (found != 0).then_some(info)
    }

    /// The registers of the copies that the loader finds, in its order, each once. The files that they are in
    /// stay loaded from now on.
    pub(super) fn others() -> Vec<*const Register> {
        let mut found = Vec::new();
        for name in objects() {
            let name = if name.is_empty() { null() } else { name.as_ptr() };
            let flags = libc::RTLD_LAZY | libc::RTLD_NOLOAD;
            // SAFETY: a name of the loader's own, which is loaded already: nothing is run.
            let object = unsafe { libc::dlopen(name, flags) };
            if object.is_null() {
                continue;
            }
            // SAFETY: an object that was just found, and a C string.
            let function = unsafe { libc::dlsym(object, FUNCTION.as_ptr()) };
            if !function.is_null() {
                // SAFETY: the function of this name has this prototype in every copy.
                let function = unsafe {
                    std::mem::transmute::<*mut c_void, extern "C" fn() -> *const Register>(function)
                };
                let register = function();
                if !found.contains(&register) {
                    found.push(register);
                    stay(register);
                }
            }
            // SAFETY: opened above.
            unsafe { libc::dlclose(object) };
        }
        found
    }

    /// Keeps the file that a register is in loaded: others may ask for it.
    fn stay(register: *const Register) {
        if let Some(info) = info(register.cast()) {
            let flags = libc::RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE;
            // SAFETY: the loader's own name of an object that is loaded. The main program's is no file
            // that it knows, and stays anyway.
            unsafe { libc::dlopen(info.dli_fname, flags) };
        }
    }

    /// The names of all that is loaded, the program first.
    fn objects() -> Vec<CString> {
        unsafe extern "C" fn note(
            info: *mut libc::dl_phdr_info,
            _size: usize,
            names: *mut c_void,
        ) -> c_int {
            // SAFETY: the list that is given below.
            let names = unsafe { &mut *names.cast::<Vec<CString>>() };
            // SAFETY: the loader passes a valid struct.
            let name = unsafe { (*info).dlpi_name };
            // SAFETY: the loader's string, valid during this call.
            let name = NonNull::new(name.cast_mut())
                .map(|name| unsafe { CStr::from_ptr(name.as_ptr()) }.to_owned());
            names.push(name.unwrap_or_default());
            0
        }
        let mut names: Vec<CString> = Vec::new();
        // SAFETY: the callback takes what it is given: the list. It does not unwind, but for want of memory,
        // which aborts.
        unsafe { libc::dl_iterate_phdr(Some(note), (&raw mut names).cast()) };
        names
    }
}

#[cfg(not(target_os = "linux"))]
mod loader {
    use std::ffi::CString;

    use super::Register;

    pub(super) fn file_of<T>(_: *const T) -> Option<CString> {
        None
    }

    /// The loader is asked on Linux only.
    pub(super) fn others() -> Vec<*const Register> {
        Vec::new()
    }
}
