//! The seam between a stack and a driver.

mod base;
mod host_access;
mod parts;
mod raw;

pub use base::{DeviceBase, DropFailure, DropFailures};
pub use host_access::{HostAccess, host_view};
pub use parts::{Advice, AsyncPool, Location, Managed, Pinned, VirtualMemory};
pub use raw::{Completion, PhysicalHandle, RawEvent, RawStream};

use std::fmt::Debug;

use crate::{DeviceId, DevicePtr, DriverError};

/// Properties of a device that never change.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct DeviceFacts {
    /// The device's name.
    pub name: String,
    /// The device's number in the driver.
    pub ordinal: u32,
    /// Its memory, in bytes.
    pub total_memory: u64,
    /// True for a device without hardware.
    pub simulated: bool,
    /// Which driver was loaded, and its version; empty if that is not known.
    pub driver: String,
}

impl DeviceFacts {
    /// The facts of a device with hardware behind it, of which the driver says these.
    pub fn new(name: impl Into<String>, ordinal: u32, total_memory: u64) -> Self {
        let (name, driver) = (name.into(), String::new());
        Self { name, ordinal, total_memory, simulated: false, driver }
    }
}

/// A device's memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct MemoryInfo {
    /// Free now.
    pub free: u64,
    /// In all.
    pub total: u64,
}

impl MemoryInfo {
    /// `free` bytes of `total`.
    pub const fn new(free: u64, total: u64) -> Self {
        Self { free, total }
    }
}

/// One GPU as a driver presents it: plain memory, streams, events, copies, and the parts it may
/// have besides.
///
/// Calls map one to one to driver calls. Each may be made from any thread; a backend does whatever
/// its driver needs for that (current contexts, say) inside. Programs use [`Stream`](crate::Stream)
/// and [`Event`](crate::Event) rather than the raw handles here.
///
/// Devices of other crates are welcome. The trait grows with what drivers offer: a new method comes
/// in a minor version and has a default, by which a device does not have what is new. A device that
/// forwards to another denies `clippy::missing_trait_methods`, to learn of them.
///
/// # Safety
/// Implementors keep what [`contract`](crate::contract#devices) promises for a device.
pub unsafe trait Device: Debug + Send + Sync {
    /// The state that vmem keeps for every device.
    fn base(&self) -> &DeviceBase;

    /// What is known from the start.
    fn facts(&self) -> &DeviceFacts;

    /// The device's identity.
    fn id(&self) -> DeviceId {
        self.base().id()
    }

    /// Asks how much memory is free.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call.
    fn memory_info(&self) -> Result<MemoryInfo, DriverError>;

    /// Allocates `bytes` bytes of plain device memory, aligned to at least 256.
    ///
    /// # Errors
    /// Out of memory, or another code of the driver.
    fn allocate(&self, bytes: u64) -> Result<DevicePtr, DriverError>;

    /// Frees plain memory. Whether that waits for pending work is not defined.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call; the memory is then still allocated.
    ///
    /// # Safety
    /// `ptr` came from [`allocate`](Self::allocate) and no
    /// [work is pending](crate::contract#devices) on it.
    unsafe fn free(&self, ptr: DevicePtr) -> Result<(), DriverError>;

    /// Creates a stream that does not synchronise with the legacy default stream.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call.
    fn create_stream(&self) -> Result<RawStream, DriverError>;

    /// Destroys a stream. Work still queued on it completes.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call.
    ///
    /// # Safety
    /// The stream is [valid](crate::contract#devices) and is not used again.
    unsafe fn destroy_stream(&self, stream: RawStream) -> Result<(), DriverError>;

    /// Whether a stream belongs to this device's context.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call.
    ///
    /// # Safety
    /// The stream is a [valid](crate::contract#devices) one of this process, on any device.
    unsafe fn owns_stream(&self, stream: RawStream) -> Result<bool, DriverError>;

    /// Whether all work queued on a stream has completed.
    ///
    /// # Errors
    /// Any code but success and not ready.
    ///
    /// # Safety
    /// The stream is [valid](crate::contract#devices) and callable from this thread.
    unsafe fn query_stream(&self, stream: RawStream) -> Result<Completion, DriverError>;

    /// Waits on the host until all work queued on a stream has completed.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call.
    ///
    /// # Safety
    /// The stream is [valid](crate::contract#devices) and callable from this thread.
    unsafe fn synchronize_stream(&self, stream: RawStream) -> Result<(), DriverError>;

    /// Whether a stream is capturing a graph.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call.
    ///
    /// # Safety
    /// The stream is [valid](crate::contract#devices) and callable from this thread.
    unsafe fn is_capturing(&self, stream: RawStream) -> Result<bool, DriverError>;

    /// Waits on the host until all work on the device has completed.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call; among them that a stream is capturing.
    fn synchronize(&self) -> Result<(), DriverError>;

    /// Creates an event without timing.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call.
    fn create_event(&self) -> Result<RawEvent, DriverError>;

    /// Creates an event that keeps when it was reached.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call.
    fn create_timed_event(&self) -> Result<RawEvent, DriverError>;

    /// How much later `end` was reached than `start`, in nanoseconds as far as the device's clock tells
    /// them apart; negative if it was reached earlier.
    ///
    /// # Errors
    /// [`NOT_READY`](crate::DriverCode::NOT_READY) if one was not reached yet;
    /// [`INVALID_HANDLE`](crate::DriverCode::INVALID_HANDLE) if one keeps no time or was never
    /// recorded; the driver's.
    ///
    /// # Safety
    /// Both events are [valid](crate::contract#devices).
    unsafe fn elapsed_ns(&self, start: RawEvent, end: RawEvent) -> Result<i64, DriverError>;

    /// Destroys an event. Waits already queued on it still hold.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call.
    ///
    /// # Safety
    /// The event is [valid](crate::contract#devices) and is not used again.
    unsafe fn destroy_event(&self, event: RawEvent) -> Result<(), DriverError>;

    /// Records an event at a stream's tail, in place of what it recorded before.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call; the event then stands for what it stood for before.
    ///
    /// # Safety
    /// Both are [valid](crate::contract#devices), the stream is callable from this thread.
    unsafe fn record_event(&self, event: RawEvent, stream: RawStream) -> Result<(), DriverError>;

    /// Whether the work an event recorded has completed; an event never recorded counts as such.
    ///
    /// # Errors
    /// Any code but success and not ready.
    ///
    /// # Safety
    /// The event is [valid](crate::contract#devices).
    unsafe fn query_event(&self, event: RawEvent) -> Result<Completion, DriverError>;

    /// Waits on the host until the work an event recorded has completed.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call.
    ///
    /// # Safety
    /// The event is [valid](crate::contract#devices).
    unsafe fn synchronize_event(&self, event: RawEvent) -> Result<(), DriverError>;

    /// Makes work queued on `stream` from now on wait, on the device, for what `event` recorded.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call.
    ///
    /// # Safety
    /// Both are [valid](crate::contract#devices), the stream is callable from this thread.
    unsafe fn wait_event(&self, stream: RawStream, event: RawEvent) -> Result<(), DriverError>;

    /// Queues a copy of `bytes` bytes from host memory to the device.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call; nothing is queued then.
    ///
    /// # Safety
    /// Handles, ranges and [host memory](crate::contract#devices) are valid, until the copy
    /// completed.
    unsafe fn copy_from_host(
        &self,
        to: DevicePtr,
        from: *const u8,
        bytes: u64,
        stream: RawStream,
    ) -> Result<(), DriverError>;

    /// Queues a copy of `bytes` bytes from the device to host memory.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call; nothing is queued then.
    ///
    /// # Safety
    /// Handles, ranges and [host memory](crate::contract#devices) are valid, until the copy
    /// completed.
    unsafe fn copy_to_host(
        &self,
        to: *mut u8,
        from: DevicePtr,
        bytes: u64,
        stream: RawStream,
    ) -> Result<(), DriverError>;

    /// Queues a copy of `bytes` bytes within the device.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call; nothing is queued then.
    ///
    /// # Safety
    /// Handles and ranges are [valid](crate::contract#devices), until the copy completed; the
    /// ranges do not overlap.
    unsafe fn copy_within(
        &self,
        to: DevicePtr,
        from: DevicePtr,
        bytes: u64,
        stream: RawStream,
    ) -> Result<(), DriverError>;

    /// Queues a fill of `bytes` bytes with `value`.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call; nothing is queued then.
    ///
    /// # Safety
    /// The handle and the range are [valid](crate::contract#devices), until the fill completed.
    unsafe fn fill(
        &self,
        to: DevicePtr,
        value: u8,
        bytes: u64,
        stream: RawStream,
    ) -> Result<(), DriverError>;

    /// Queues a fill of `count` words of 16 bits with `value`.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call; nothing is queued then.
    ///
    /// # Safety
    /// Those of [`fill`](Self::fill); `to` is a multiple of 2 bytes.
    unsafe fn fill_u16(
        &self,
        to: DevicePtr,
        value: u16,
        count: u64,
        stream: RawStream,
    ) -> Result<(), DriverError>;

    /// Queues a fill of `count` words of 32 bits with `value`.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call; nothing is queued then.
    ///
    /// # Safety
    /// Those of [`fill`](Self::fill); `to` is a multiple of 4 bytes.
    unsafe fn fill_u32(
        &self,
        to: DevicePtr,
        value: u32,
        count: u64,
        stream: RawStream,
    ) -> Result<(), DriverError>;

    /// Virtual memory management, if the device has it. None by default.
    fn virtual_memory(&self) -> Option<&dyn VirtualMemory> {
        None
    }

    /// Managed memory, if the device has it. None by default.
    fn managed(&self) -> Option<&dyn Managed> {
        None
    }

    /// Pinned host memory, if the device has it. None by default.
    fn pinned(&self) -> Option<&dyn Pinned> {
        None
    }

    /// The driver's stream-ordered pool, if the device has it. None by default.
    fn async_pool(&self) -> Option<&dyn AsyncPool> {
        None
    }

    /// Told before the host touches `bytes` bytes of pinned or managed memory at `ptr`, by whatever
    /// shows memory to the host. No driver wants to know, and the default accepts: this is for
    /// devices that stand for one in tests, and check that the access is ordered after the work on
    /// the memory.
    ///
    /// # Errors
    /// If the access is not ordered after pending work, or the host does not see the memory.
    fn check_host_access(
        &self,
        ptr: DevicePtr,
        bytes: u64,
        access: HostAccess,
    ) -> Result<(), DriverError> {
        let _ = (ptr, bytes, access);
        Ok(())
    }
}
