//! What is known of an address, a device, a tag.

use std::ffi::{c_char, c_int, c_void};
use std::io::{self, BufWriter, Write};

use serde::Serialize;
use vmem_adaptors::{LabelUsage, Tally, Usage};
use vmem_core::DeviceFacts;
use vmem_managed::ManagedHandle;
use vmem_pool::PoolHandle;
use vmem_runtime::{RuntimeCapacity, RuntimeStats};

use crate::abi::{self, Prefixed, place, pointer};
use crate::boundary::guard;
use crate::instance::instance;
use crate::recording;
use crate::status::{Failure, vmem_status};
use crate::table::{self, not_a_block};

/// What stands for a figure that is not known, or for no limit.
pub const VMEM_UNKNOWN: u64 = u64::MAX;

/// A block.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[allow(non_camel_case_types, reason = "a name of the C header")]
pub struct vmem_block {
    /// `sizeof(vmem_block)`.
    pub struct_size: usize,
    /// Where it starts.
    pub base: *mut c_void,
    /// The size asked for, in bytes.
    pub size: u64,
    /// The alignment asked for, in bytes.
    pub alignment: u64,
    /// Its device's number.
    pub device: i32,
    /// No meaning.
    pub reserved: i32,
    /// The stream it was allocated on, as it was named then. It may not exist any more.
    pub stream: *mut c_void,
}

/// Use of memory.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[allow(non_camel_case_types, reason = "a name of the C header")]
pub struct vmem_usage {
    /// `sizeof(vmem_usage)`.
    pub struct_size: usize,
    /// Bytes in use, as asked for.
    pub bytes: u64,
    /// The most bytes that were in use at once.
    pub peak_bytes: u64,
    /// Bytes allocated so far.
    pub total_bytes: u64,
    /// Blocks in use.
    pub blocks: u64,
    /// The most blocks that were in use at once.
    pub peak_blocks: u64,
    /// Blocks allocated so far.
    pub total_blocks: u64,
}

/// What a device's memory is used for. Sizes in bytes; what is not known is `VMEM_UNKNOWN`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[allow(non_camel_case_types, reason = "a name of the C header")]
pub struct vmem_stats {
    /// `sizeof(vmem_stats)`.
    pub struct_size: usize,
    /// Bytes in use, as asked for.
    pub bytes: u64,
    /// The most bytes that were in use at once since the peaks were reset.
    pub peak_bytes: u64,
    /// Bytes allocated so far.
    pub total_bytes: u64,
    /// Blocks in use.
    pub blocks: u64,
    /// The most blocks that were in use at once since the peaks were reset.
    pub peak_blocks: u64,
    /// Blocks allocated so far.
    pub total_blocks: u64,
    /// Requests that were refused.
    pub failures: u64,
    /// Held from the device.
    pub reserved: u64,
    /// The most that was held.
    pub peak_reserved: u64,
    /// Returned to the device so far.
    pub trimmed: u64,
    /// Free, but of use to nobody before `vmem_synchronize`.
    pub quarantined: u64,
    /// The most that may be held; `VMEM_UNKNOWN` for no limit.
    pub limit: u64,
    /// The tier that was built: `'A'`, `'B'`, `'C'`, or `'F'` for the fallback.
    pub tier: i32,
    /// No meaning.
    pub reserved_field: i32,
}

// SAFETY: integers and pointers, the first of them the size.
unsafe impl Prefixed for vmem_block {
    const ZERO: Self = Self {
        struct_size: 0,
        base: std::ptr::null_mut(),
        size: 0,
        alignment: 0,
        device: 0,
        reserved: 0,
        stream: std::ptr::null_mut(),
    };
    const LEAST: usize = 48;
}

// SAFETY: integers, the first of them the size.
unsafe impl Prefixed for vmem_usage {
    const ZERO: Self = Self {
        struct_size: 0,
        bytes: 0,
        peak_bytes: 0,
        total_bytes: 0,
        blocks: 0,
        peak_blocks: 0,
        total_blocks: 0,
    };
    const LEAST: usize = 56;
}

// SAFETY: integers, the first of them the size.
unsafe impl Prefixed for vmem_stats {
    const ZERO: Self = Self {
        struct_size: 0,
        bytes: 0,
        peak_bytes: 0,
        total_bytes: 0,
        blocks: 0,
        peak_blocks: 0,
        total_blocks: 0,
        failures: 0,
        reserved: 0,
        peak_reserved: 0,
        trimmed: 0,
        quarantined: 0,
        limit: 0,
        tier: 0,
        reserved_field: 0,
    };
    const LEAST: usize = 112;
}

/// Finds the live block that an address lies in, be it where it starts or inside. Inside, it takes time in
/// the number of live blocks.
///
/// # Safety
/// `block` points to a struct of the size that it begins with.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmem_find_block(
    address: *const c_void,
    block: *mut vmem_block,
) -> vmem_status {
    guard("vmem_find_block", || {
        let at = address.addr() as u64;
        let found = table::holding(at).ok_or_else(|| not_a_block(at))?;
        let found = vmem_block {
            base: pointer(found.raw.ptr().get()),
            size: found.raw.layout().size(),
            alignment: found.raw.layout().alignment(),
            device: i32::try_from(found.ordinal).unwrap_or(-1),
            stream: pointer(found.handle.0),
            ..vmem_block::ZERO
        };
        // SAFETY: the caller's promise.
        unsafe { abi::write(block, &found, "block") }
    })
}

/// How many bytes of a block may be used: as many as were asked for. 0 for a null pointer.
///
/// # Safety
/// `size` may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmem_usable_size(ptr: *const c_void, size: *mut u64) -> vmem_status {
    guard("vmem_usable_size", || {
        let size = place(size, "size")?;
        let usable = match table::address(ptr) {
            Some(address) => table::with(address.get(), |live| live.raw.layout().size())
                .ok_or_else(|| not_a_block(address.get()))?,
            None => 0,
        };
        // SAFETY: the caller's promise.
        unsafe { size.put(usable) };
        Ok(())
    })
}

/// What a device's memory is used for.
///
/// # Safety
/// `stats` points to a struct of the size that it begins with.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmem_get_stats(device: i32, stats: *mut vmem_stats) -> vmem_status {
    guard("vmem_get_stats", || {
        let instance = instance(device)?;
        let figures = instance.runtime.stats();
        let stack = instance.stack()?;
        let pool = stack.pool.as_ref().and_then(PoolHandle::counters);
        let aside = stack.managed.as_ref().and_then(ManagedHandle::quarantined);
        let quarantined = pool.map(|pool| pool.quarantined).or(aside.map(|held| held.bytes));
        let used = in_c(figures.bytes, figures.blocks);
        let letter = figures.tier.map_or_else(String::new, |tier| tier.to_string());
        let known = vmem_stats {
            bytes: used.bytes,
            peak_bytes: used.peak_bytes,
            total_bytes: used.total_bytes,
            blocks: used.blocks,
            peak_blocks: used.peak_blocks,
            total_blocks: used.total_blocks,
            failures: figures.failures,
            reserved: figures.reserved.unwrap_or(VMEM_UNKNOWN),
            peak_reserved: figures.peak_reserved.unwrap_or(VMEM_UNKNOWN),
            trimmed: figures.trimmed.unwrap_or(VMEM_UNKNOWN),
            quarantined: quarantined.unwrap_or(VMEM_UNKNOWN),
            limit: stack.limits.ceiling.unwrap_or(VMEM_UNKNOWN),
            tier: letter.to_ascii_uppercase().bytes().next().map_or(0, i32::from),
            ..vmem_stats::ZERO
        };
        // SAFETY: the caller's promise.
        unsafe { abi::write(stats, &known, "stats") }
    })
}

/// What is in use under a tag; all zeros for one that was never used.
///
/// # Safety
/// `tag` ends with a zero; `usage` points to a struct of the size that it begins with.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmem_get_tag_usage(
    device: i32,
    tag: *const c_char,
    usage: *mut vmem_usage,
) -> vmem_status {
    guard("vmem_get_tag_usage", || {
        // SAFETY: the caller's promise.
        let tag = unsafe { abi::text(tag, "tag") }?.filter(|tag| !tag.is_empty());
        let tag = tag.ok_or_else(|| Failure::argument("tag is null or empty"))?;
        let instance = instance(device)?;
        // A tag is not interned by asking for it.
        let all = instance.stack()?.stats.labels().unwrap_or_default();
        let found = all.into_iter().find(|one| one.label.as_str() == tag).map(|one| one.usage);
        let Usage { bytes, blocks, .. } = found.unwrap_or_default();
        // SAFETY: the caller's promise.
        unsafe { abi::write(usage, &in_c(bytes, blocks), "usage") }
    })
}

/// Makes what is in use on a device now the peaks of its statistics.
#[unsafe(no_mangle)]
pub extern "C" fn vmem_reset_peaks(device: i32) -> vmem_status {
    guard("vmem_reset_peaks", || {
        instance(device)?.runtime.reset_peaks();
        Ok(())
    })
}

/// Takes `len` bytes of a text. Returns 0, or anything else to have no more.
#[allow(non_camel_case_types, reason = "a name of the C header")]
pub type vmem_write_fn =
    Option<unsafe extern "C" fn(arg: *mut c_void, bytes: *const c_char, len: usize) -> c_int>;

/// Writes all that is known of a device as JSON, piece by piece: what it was configured to be and is,
/// statistics by tag, and the pool with every range. Takes time in the number of blocks.
///
/// VMEM_ERROR_IO if `write` wanted no more.
///
/// # Safety
/// `write` can be called with `arg`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmem_snapshot(
    device: i32,
    write: vmem_write_fn,
    arg: *mut c_void,
) -> vmem_status {
    guard("vmem_snapshot", || {
        let call = write.ok_or_else(|| Failure::argument("write is null"))?;
        let instance = instance(device)?;
        let stack = instance.stack()?;
        let (blocks, bytes) = table::live_of(&instance);
        let known = Snapshot {
            device,
            facts: stack.device.facts(),
            configuration: instance.runtime.config().to_string(),
            status: instance.runtime.status().to_string(),
            live: Out { blocks, bytes },
            stats: instance.runtime.stats(),
            capacity: instance.runtime.capacity(),
            tags: stack.stats.labels().unwrap_or_default(),
            pool: stack.pool.as_ref().and_then(PoolHandle::snapshot),
        };
        let mut out = BufWriter::with_capacity(1 << 16, Writer { call, arg });
        serde_json::to_writer(&mut out, &known)
            .map_err(io::Error::from)
            .and_then(|()| out.flush())
            .map_err(|error| recording::io("write", &error))
    })
}

/// What a snapshot says.
#[derive(Serialize)]
struct Snapshot<'a> {
    device: i32,
    facts: &'a DeviceFacts,
    configuration: String,
    status: String,
    live: Out,
    stats: RuntimeStats,
    capacity: RuntimeCapacity,
    tags: Vec<LabelUsage>,
    pool: Option<vmem_pool::Snapshot>,
}

/// What callers have, blocks of before the device was last opened aside.
#[derive(Serialize)]
struct Out {
    blocks: u64,
    bytes: u64,
}

/// A program's function as a writer.
struct Writer {
    call: unsafe extern "C" fn(arg: *mut c_void, bytes: *const c_char, len: usize) -> c_int,
    arg: *mut c_void,
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // SAFETY: the caller of `vmem_snapshot` promised that it may be called so.
        match unsafe { (self.call)(self.arg, bytes.as_ptr().cast(), bytes.len()) } {
            0 => Ok(bytes.len()),
            answer => Err(io::Error::other(format!("the program answered {answer}"))),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn in_c(bytes: Tally, blocks: Tally) -> vmem_usage {
    // A figure below zero is one thread's count before another's.
    let current = |tally: Tally| u64::try_from(tally.current).unwrap_or(0);
    vmem_usage {
        bytes: current(bytes),
        peak_bytes: bytes.peak,
        total_bytes: bytes.total,
        blocks: current(blocks),
        peak_blocks: blocks.peak,
        total_blocks: blocks.total,
        ..vmem_usage::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::vmem_options;

    /// What programs were compiled with. Fields are added behind these, and the least size stays.
    #[test]
    fn structs_keep_what_the_first_version_had_of_them() {
        assert_eq!(<vmem_options as Prefixed>::LEAST, 24);
        assert_eq!(std::mem::offset_of!(vmem_options, config), 16);
        assert_eq!(std::mem::offset_of!(vmem_options, footprint), 28);
        assert_eq!(<vmem_block as Prefixed>::LEAST, 48);
        assert_eq!(std::mem::offset_of!(vmem_block, stream), 40);
        assert_eq!(<vmem_usage as Prefixed>::LEAST, 56);
        assert_eq!(std::mem::offset_of!(vmem_usage, total_blocks), 48);
        assert_eq!(<vmem_stats as Prefixed>::LEAST, 112);
        assert_eq!(std::mem::offset_of!(vmem_stats, reserved_field), 108);
    }
}
