//! What a device may have besides plain memory.

use std::fmt::Debug;

use super::{PhysicalHandle, RawStream};
use crate::{DevicePtr, DriverCode, DriverError};

/// Address ranges and physical memory handled apart (CUDA's virtual memory management).
///
/// # Safety
/// Implementors keep what [`contract`](crate::contract#devices) promises for a device.
pub unsafe trait VirtualMemory: Debug + Send + Sync {
    /// The unit, in bytes, of which all sizes and addresses here are multiples; a power of two,
    /// usually 2 MiB.
    fn granularity(&self) -> u64;

    /// Reserves `bytes` bytes of address space, aligned to at least the granularity.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call; large ranges can be refused.
    fn reserve(&self, bytes: u64) -> Result<DevicePtr, DriverError>;

    /// Gives back a reserved range.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call.
    ///
    /// # Safety
    /// `base` and `bytes` are those of one [`reserve`](Self::reserve); nothing is mapped in it.
    unsafe fn free_range(&self, base: DevicePtr, bytes: u64) -> Result<(), DriverError>;

    /// Takes `bytes` bytes of physical memory.
    ///
    /// # Errors
    /// Out of memory, or another code of the driver.
    fn create(&self, bytes: u64) -> Result<PhysicalHandle, DriverError>;

    /// Whether handles of memory on the host can be had: memory that is mapped like the device's own,
    /// for work of the device, and that it reaches over its link. A device finds out by making one, on
    /// the first call, which then takes driver calls. Not by default.
    fn has_host_memory(&self) -> bool {
        false
    }

    /// Takes `bytes` bytes of the host's memory, as a handle like any other: it is mapped, made
    /// accessible, unmapped and released in the same way. It takes many times as long as
    /// copying as much.
    ///
    /// # Errors
    /// Out of memory, or another code of the driver;
    /// [`NOT_SUPPORTED`](DriverCode::NOT_SUPPORTED), as by default, where there is none.
    fn create_on_host(&self, bytes: u64) -> Result<PhysicalHandle, DriverError> {
        let error = DriverError::new("cuMemCreate", DriverCode::NOT_SUPPORTED);
        Err(error.with_detail(format!("{bytes} B of the host's memory cannot be had as a handle")))
    }

    /// Gives up a handle; its memory returns to where it came from once it is mapped nowhere.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call.
    ///
    /// # Safety
    /// The handle is [valid](crate::contract#devices) and is not used again.
    unsafe fn release(&self, handle: PhysicalHandle) -> Result<(), DriverError>;

    /// Maps a whole handle of `bytes` bytes at `at`. It cannot be accessed until
    /// [`set_access`](Self::set_access).
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call; nothing is mapped then.
    ///
    /// # Safety
    /// The range lies in a reserved one, nothing is mapped there, and the handle is
    /// [valid](crate::contract#devices) and of that size.
    unsafe fn map(
        &self,
        at: DevicePtr,
        bytes: u64,
        handle: PhysicalHandle,
    ) -> Result<(), DriverError>;

    /// Lets the device read and write a mapped range. It may wait for pending work and grows with
    /// the number of handles.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call.
    ///
    /// # Safety
    /// The range consists of whole mappings that no work uses.
    unsafe fn set_access(&self, at: DevicePtr, bytes: u64) -> Result<(), DriverError>;

    /// Unmaps a range, at once.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call; the mappings then still stand.
    ///
    /// # Safety
    /// The range consists of whole mappings, and no [work is pending](crate::contract#devices)
    /// through them.
    unsafe fn unmap(&self, at: DevicePtr, bytes: u64) -> Result<(), DriverError>;
}

/// A place where managed pages can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum Location {
    /// In the device's memory.
    Device,
    /// In the host's memory.
    Host,
}

/// Advice on how a managed range will be used (CUDA's `cuMemAdvise`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum Advice {
    /// Mostly read: pages may be duplicated.
    ReadMostly,
    /// No longer mostly read.
    UnsetReadMostly,
    /// Pages should stay there.
    PreferredLocation(Location),
    /// Pages have no preferred location any more.
    UnsetPreferredLocation,
    /// The range will be accessed from there: keep it mapped.
    AccessedBy(Location),
    /// The range need not be kept mapped there any more.
    UnsetAccessedBy(Location),
}

/// Managed memory: one address for host and device, pages that the driver moves.
///
/// # Safety
/// Implementors keep what [`contract`](crate::contract#devices) promises for a device.
pub unsafe trait Managed: Debug + Send + Sync {
    /// Whether host and device may access managed memory at the same time. Without it there is no
    /// oversubscription and no prefetch, and the host touches none of it while the device works.
    fn concurrent_access(&self) -> bool;

    /// Allocates `bytes` bytes of managed memory, aligned to at least 256. The host finds it at the
    /// same address.
    ///
    /// # Errors
    /// Out of memory, or another code of the driver.
    fn allocate(&self, bytes: u64) -> Result<DevicePtr, DriverError>;

    /// Frees managed memory.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call.
    ///
    /// # Safety
    /// `ptr` came from [`allocate`](Self::allocate) and no
    /// [work is pending](crate::contract#devices) on it.
    unsafe fn free(&self, ptr: DevicePtr) -> Result<(), DriverError>;

    /// Advises the driver on a range.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call.
    ///
    /// # Safety
    /// The range is a [valid](crate::contract#devices) managed one.
    unsafe fn advise(&self, ptr: DevicePtr, bytes: u64, advice: Advice) -> Result<(), DriverError>;

    /// Queues moving a range's pages.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call.
    ///
    /// # Safety
    /// The range is a [valid](crate::contract#devices) managed one, the stream is callable from
    /// this thread.
    unsafe fn prefetch(
        &self,
        ptr: DevicePtr,
        bytes: u64,
        to: Location,
        stream: RawStream,
    ) -> Result<(), DriverError>;

    /// Where a range was last prefetched to, if all of it was prefetched to one place.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call.
    ///
    /// # Safety
    /// The range is a [valid](crate::contract#devices) managed one.
    unsafe fn last_prefetch(
        &self,
        ptr: DevicePtr,
        bytes: u64,
    ) -> Result<Option<Location>, DriverError>;
}

/// Page-locked host memory that the device can access.
///
/// # Safety
/// Implementors keep what [`contract`](crate::contract#devices) promises for a device.
pub unsafe trait Pinned: Debug + Send + Sync {
    /// Allocates `bytes` bytes of pinned memory, aligned to at least 256. The host finds it at the
    /// same address.
    ///
    /// # Errors
    /// Out of memory, or another code of the driver.
    fn allocate(&self, bytes: u64) -> Result<DevicePtr, DriverError>;

    /// Frees pinned memory.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call.
    ///
    /// # Safety
    /// `ptr` came from [`allocate`](Self::allocate) and no
    /// [work is pending](crate::contract#devices) on it.
    unsafe fn free(&self, ptr: DevicePtr) -> Result<(), DriverError>;
}

/// The driver's own stream-ordered allocator (`cuMemAllocAsync`), in a pool of vmem's own.
///
/// # Safety
/// Implementors keep what [`contract`](crate::contract#devices) promises for a device.
pub unsafe trait AsyncPool: Debug + Send + Sync {
    /// Queues an allocation; the memory is usable by work queued on `stream` afterwards.
    ///
    /// # Errors
    /// Out of memory, or another code of the driver.
    ///
    /// # Safety
    /// The stream is [valid](crate::contract#devices) and callable from this thread.
    unsafe fn allocate(&self, bytes: u64, stream: RawStream) -> Result<DevicePtr, DriverError>;

    /// Queues a free.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call.
    ///
    /// # Safety
    /// `ptr` came from [`allocate`](Self::allocate), every access is ordered before the stream's
    /// tail, and the stream is callable from this thread.
    unsafe fn free(&self, ptr: DevicePtr, stream: RawStream) -> Result<(), DriverError>;

    /// Returns memory to the device until at most `keep` bytes are held unused.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call.
    fn trim_to(&self, keep: u64) -> Result<(), DriverError>;

    /// Sets how many unused bytes the pool keeps over a synchronisation.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call.
    fn set_release_threshold(&self, bytes: u64) -> Result<(), DriverError>;

    /// How many unused bytes the pool keeps over a synchronisation.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call.
    fn release_threshold(&self) -> Result<u64, DriverError>;

    /// Bytes the pool holds from the device.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call.
    fn reserved(&self) -> Result<u64, DriverError>;
}
