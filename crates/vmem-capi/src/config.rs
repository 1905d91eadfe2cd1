//! Opening by variables, or by a text that says the same.

use std::ffi::c_char;

use vmem_pool::Footprint;
use vmem_runtime::{FailurePolicy, RuntimeConfig};

use crate::abi::{self, Prefixed};
use crate::boundary::guard;
use crate::instance;
use crate::status::{Failure, vmem_status};

/// How a device is opened. All zeros but the size is what a null pointer means.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[allow(non_camel_case_types, reason = "a name of the C header")]
pub struct vmem_options {
    /// `sizeof(vmem_options)`.
    pub struct_size: usize,
    /// What the names of the variables begin with; null for `VMEM`.
    pub prefix: *const c_char,
    /// Settings as `NAME=VALUE`, separated by white space, in place of the environment's variables:
    /// `"VMEM_OOM_SAFETY=1 VMEM_POOL_LIMIT=80%"`. Null for the environment.
    pub config: *const c_char,
    /// What to do where the configured stack cannot be built: 0 builds the fallback, 1 fails.
    pub on_failed_setup: u32,
    /// 0 and 2: move what is there before taking memory, for the least memory held; 1: move only where no more
    /// is to be had.
    pub footprint: u32,
}

// SAFETY: integers and pointers, the first of them the size.
unsafe impl Prefixed for vmem_options {
    const ZERO: Self = Self {
        struct_size: 0,
        prefix: std::ptr::null(),
        config: std::ptr::null(),
        on_failed_setup: 0,
        footprint: 0,
    };
    const LEAST: usize = 24;
}

/// Opens a device, by its number as the driver counts, with the stack of resources that the configuration
/// asks for. The variables and their values are those of the page on tiers in vmem's documentation.
///
/// `options` may be null. Opening takes up to some hundreds of milliseconds. A field that the library does not
/// know, as the program is newer, is VMEM_ERROR_INVALID_ARGUMENT unless it is zero.
///
/// # Safety
/// `options` is null or points to a struct of the size that it begins with, whose texts end with a zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmem_open(device: i32, options: *const vmem_options) -> vmem_status {
    guard("vmem_open", || {
        // SAFETY: the caller's promise.
        let options = unsafe { abi::read(options, "options") }?;
        // SAFETY: the caller's promise.
        let prefix = unsafe { abi::text(options.prefix, "prefix") }?;
        // SAFETY: the caller's promise.
        let text = unsafe { abi::text(options.config, "config") }?;
        instance::open(device, config(prefix, text, &options)?)
    })
}

/// Closes a device: it gives no more memory. Waits for the whole device, as `vmem_synchronize` does, to
/// give back what was freed. Blocks that are still live stay valid and can be freed, those asleep too, which
/// nothing can wake any more. With the last of them the rest goes back, if all their streams can be named or
/// were forgotten and no work is pending on it; otherwise with `vmem_forget_stream`, `vmem_synchronize`, or
/// when the device is opened or closed again. Streams that were held stay held until they are forgotten, but
/// only for the blocks of before: when the device is opened again they must be held again.
///
/// VMEM_ERROR_CAPTURING if the driver refused the wait for a capture: the device is still open then. After
/// any other failure it is closed.
#[unsafe(no_mangle)]
pub extern "C" fn vmem_close(device: i32) -> vmem_status {
    guard("vmem_close", || instance::close(device))
}

fn config(
    prefix: Option<&str>,
    text: Option<&str>,
    options: &vmem_options,
) -> Result<RuntimeConfig, Failure> {
    let prefix = prefix.unwrap_or(RuntimeConfig::DEFAULT_PREFIX).to_owned();
    let config = match text {
        None => RuntimeConfig::from_env(prefix)?,
        Some(text) => from_text(prefix, text)?,
    };
    let on_failed_setup = match options.on_failed_setup {
        0 => FailurePolicy::FallBack,
        1 => FailurePolicy::Closed,
        other => return Err(refused("on_failed_setup", other, "0 and 1")),
    };
    let pool_footprint = match options.footprint {
        0 | 2 => Footprint::Tight,
        1 => Footprint::Lazy,
        other => return Err(refused("footprint", other, "0, 1 and 2")),
    };
    Ok(config.with_on_failed_setup(on_failed_setup).with_pool_footprint(pool_footprint))
}

fn refused(field: &str, value: u32, accepted: &str) -> Failure {
    Failure::argument(format!("{field} is {value}; accepted: {accepted}"))
}

/// Settings as assignments, all under the prefix.
fn from_text(prefix: String, text: &str) -> Result<RuntimeConfig, Failure> {
    let mistake = |text: String| Failure::new(vmem_status::VMEM_ERROR_CONFIGURATION, text);
    let assignments = text.split_whitespace().map(|word| {
        let parts = word.split_once('=');
        let (name, value) = parts.ok_or_else(|| mistake(format!("`{word}` is not NAME=VALUE")))?;
        if name.strip_prefix(&*prefix).is_some_and(|rest| rest.starts_with('_')) {
            Ok((name, value))
        } else {
            Err(mistake(format!("`{name}` does not begin with {prefix}_")))
        }
    });
    let assignments: Vec<_> = assignments.collect::<Result<_, _>>()?;
    Ok(RuntimeConfig::from_vars(prefix, assignments)?)
}
