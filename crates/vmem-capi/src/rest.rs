//! Memory that rests on the host, and comes back.

use std::ffi::{c_char, c_void};

use vmem_core::{
    Contents, DriverError, Label, Moved, Residence, ResidencyError, ResidencyErrorKind, chain,
};
use vmem_pool::Pending;

use crate::abi::{self, Prefixed, place};
use crate::boundary::guard;
use crate::instance::instance;
use crate::status::{Failure, vmem_status};
use crate::table::{self, not_a_block};

/// For `vmem_sleep`: contents are given up, and nothing is behind the addresses until `vmem_wake`.
pub const VMEM_REST_DISCARD: u32 = 1;

/// For `vmem_sleep` and `vmem_wake`: work that is pending is not waited for; the call is refused.
pub const VMEM_REST_NO_WAIT: u32 = 2;

/// What a call moved, in bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[allow(non_camel_case_types, reason = "a name of the C header")]
pub struct vmem_moved {
    /// `sizeof(vmem_moved)`.
    pub struct_size: usize,
    /// Of the device's memory, given up or taken.
    pub device: u64,
    /// Copied between device and host.
    pub copied: u64,
    /// Of the blocks, stayed on the device, because others share physical memory with them.
    pub stayed: u64,
}

/// Where the memory of a block is, in bytes of the block, rounding included.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[allow(non_camel_case_types, reason = "a name of the C header")]
pub struct vmem_residence {
    /// `sizeof(vmem_residence)`.
    pub struct_size: usize,
    /// In the device's memory.
    pub device: u64,
    /// In the host's memory, at the block's address.
    pub host: u64,
    /// Nowhere: contents were discarded.
    pub discarded: u64,
    /// Held, but not behind the block's address, because the driver failed twice. `vmem_wake` mends it.
    pub displaced: u64,
    /// Of those on the device, bytes that would stay if only this block were to go.
    pub shared: u64,
}

// SAFETY: integers, and the size first.
unsafe impl Prefixed for vmem_moved {
    const ZERO: Self = Self { struct_size: 0, device: 0, copied: 0, stayed: 0 };
    const LEAST: usize = size_of::<Self>();
}

// SAFETY: integers, and the size first.
unsafe impl Prefixed for vmem_residence {
    const ZERO: Self =
        Self { struct_size: 0, device: 0, host: 0, discarded: 0, displaced: 0, shared: 0 };
    const LEAST: usize = size_of::<Self>();
}

/// Moves the memory of live blocks to the host, at their addresses, so that the device has it for others: of
/// the blocks allocated under `tag`, or of all for null. Waits for the whole device first, which breaks every
/// capture in progress, unless `flags` has `VMEM_REST_NO_WAIT`. With `VMEM_REST_DISCARD` contents are given
/// up. All of it is moved that can be, or nothing, unless the driver fails again while a failure is undone.
/// The blocks can be freed while they rest. `moved` may be null.
///
/// Where blocks rest with their contents, work that touches them is right, and slow.
///
/// VMEM_ERROR_BUSY if work is or may be pending that was not to be waited for, VMEM_ERROR_CAPTURING if a
/// stream captures, VMEM_ERROR_OUT_OF_MEMORY if the host has too little memory, VMEM_ERROR_UNSUPPORTED where
/// memory cannot rest. With these, and if `moved` has too small a size, nothing has moved.
///
/// VMEM_ERROR_DRIVER if the driver fails. All blocks are as they were, unless it failed again when that was
/// to be undone: then blocks have what they held, unless it was discarded, and some may be on the other side
/// or displaced. `vmem_get_residence` says which; `vmem_sleep` or `vmem_wake` puts them right.
///
/// # Safety
/// No work is queued on the blocks during the call; none, if contents are discarded, until `vmem_wake`. What
/// was queued before is waited for, or on streams that the library knows. `tag` is null or ends with a zero;
/// `moved` is null or begins with its size.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmem_sleep(
    device: i32,
    tag: *const c_char,
    flags: u32,
    moved: *mut vmem_moved,
) -> vmem_status {
    guard("vmem_sleep", || {
        // SAFETY: the caller's promise.
        let label = unsafe { label(tag) }?;
        let pending = pending(flags, VMEM_REST_DISCARD | VMEM_REST_NO_WAIT)?;
        let contents = match flags & VMEM_REST_DISCARD {
            0 => Contents::Kept,
            _ => Contents::Discarded,
        };
        // SAFETY: the caller's promise.
        unsafe { abi::check_optional(moved, "moved") }?;
        let instance = instance(device)?;
        // SAFETY: the caller's promise.
        let done = unsafe { instance.runtime.sleep(label, contents, pending) };
        // SAFETY: the caller's promise.
        unsafe { say(moved, done.map_err(failure)?) }
    })
}

/// Gives blocks that rest device memory again, at their addresses, with their contents unless those were
/// discarded: those allocated under `tag` and those that share physical memory with them, or all for null. All
/// of them wake or none, unless the driver fails again while a failure is undone. `flags` may have
/// `VMEM_REST_NO_WAIT`. `moved` may be null.
///
/// VMEM_ERROR_OUT_OF_MEMORY, with all blocks as they were, if the device or the pool's limit has too little
/// room; the others of `vmem_sleep`.
///
/// # Safety
/// No work is queued on the blocks during the call. `tag` is null or ends with a zero; `moved` is null or
/// begins with its size.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmem_wake(
    device: i32,
    tag: *const c_char,
    flags: u32,
    moved: *mut vmem_moved,
) -> vmem_status {
    guard("vmem_wake", || {
        // SAFETY: the caller's promise.
        let label = unsafe { label(tag) }?;
        let pending = pending(flags, VMEM_REST_NO_WAIT)?;
        // SAFETY: the caller's promise.
        unsafe { abi::check_optional(moved, "moved") }?;
        let instance = instance(device)?;
        // SAFETY: the caller's promise.
        let done = unsafe { instance.runtime.wake(label, pending) };
        // SAFETY: the caller's promise.
        unsafe { say(moved, done.map_err(failure)?) }
    })
}

/// Keeps `bytes` bytes of the host's memory ready for blocks that go to sleep, from now on; 0, as from the
/// start, keeps none. To make some takes long: see docs/residency.md.
///
/// VMEM_ERROR_OUT_OF_MEMORY if the host has too little, VMEM_ERROR_UNSUPPORTED where memory cannot rest.
#[unsafe(no_mangle)]
pub extern "C" fn vmem_fill_host_reserve(device: i32, bytes: u64) -> vmem_status {
    guard("vmem_fill_host_reserve", || {
        instance(device)?.runtime.fill_host_reserve(bytes).map_err(failure)
    })
}

/// Says where the memory of the live block that begins at `block` is.
///
/// VMEM_ERROR_NOT_A_BLOCK if none does, VMEM_ERROR_UNSUPPORTED where memory cannot rest.
///
/// # Safety
/// `residence` begins with its size.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmem_get_residence(
    block: *const c_void,
    residence: *mut vmem_residence,
) -> vmem_status {
    guard("vmem_get_residence", || {
        place(residence, "residence")?;
        let at = block.addr() as u64;
        let found = table::with(at, |live| (live.raw, live.instance.clone()));
        let (raw, instance) = found.ok_or_else(|| not_a_block(at))?;
        let known = instance.runtime.residency().and_then(|pool| pool.residence(&raw));
        let known = known.ok_or_else(|| {
            let text = "the block's memory cannot rest";
            Failure::new(vmem_status::VMEM_ERROR_UNSUPPORTED, text)
        })?;
        let Residence { device, host, discarded, displaced, shared, .. } = known;
        let said = vmem_residence { struct_size: 0, device, host, discarded, displaced, shared };
        // SAFETY: the caller's promise.
        unsafe { abi::write(residence, &said, "residence") }
    })
}

/// # Safety
/// `tag` is null or ends with a zero.
unsafe fn label(tag: *const c_char) -> Result<Option<Label>, Failure> {
    // SAFETY: the caller's promise.
    Ok(unsafe { abi::text(tag, "tag") }?.map(Label::intern))
}

fn pending(flags: u32, known: u32) -> Result<Pending, Failure> {
    if flags & !known != 0 {
        return Err(Failure::argument(format!("flags are {flags:#x}; known here: {known:#x}")));
    }
    Ok(if flags & VMEM_REST_NO_WAIT == 0 { Pending::Wait } else { Pending::Refuse })
}

/// # Safety
/// `to` is null or begins with its size.
unsafe fn say(to: *mut vmem_moved, done: Moved) -> Result<(), Failure> {
    if to.is_null() {
        return Ok(());
    }
    let Moved { device, copied, stayed, .. } = done;
    let said = vmem_moved { struct_size: 0, device, copied, stayed };
    // SAFETY: the caller's promise.
    unsafe { abi::write(to, &said, "moved") }
}

/// What an error comes to.
fn failure(error: ResidencyError) -> Failure {
    let captures = error.driver().is_some_and(DriverError::concerns_capture);
    let status = match error.kind() {
        ResidencyErrorKind::Unsupported => vmem_status::VMEM_ERROR_UNSUPPORTED,
        ResidencyErrorKind::Busy if captures => vmem_status::VMEM_ERROR_CAPTURING,
        ResidencyErrorKind::Busy => vmem_status::VMEM_ERROR_BUSY,
        ResidencyErrorKind::HostFull | ResidencyErrorKind::DeviceFull => {
            vmem_status::VMEM_ERROR_OUT_OF_MEMORY
        }
        ResidencyErrorKind::NotLive => vmem_status::VMEM_ERROR_NOT_A_BLOCK,
        _ => vmem_status::VMEM_ERROR_DRIVER,
    };
    Failure::new(status, chain(&error).to_string())
}
