//! Which driver calls were made, counted by kind.

use std::fmt;
use std::ops::Sub;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal, $cost:ident;)*) => {
        /// A kind of driver call, by what it does in [`Device`](vmem_core::Device) or a part of it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[non_exhaustive]
        pub enum CallKind {
            $($(#[$doc])* $kind,)*
        }

        impl CallKind {
            /// Every kind, in order.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// CUDA's name of the call.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }

            /// What the call itself costs the host, in nanoseconds.
            pub(crate) const fn host_cost(self, costs: &crate::CostTable) -> u64 {
                match self {
                    $(Self::$kind => costs.$cost,)*
                }
            }
        }
    };
}

kinds! {
    /// `Device::memory_info`.
    MemoryInfo = "cuMemGetInfo", memory_info_ns;
    /// `Device::allocate`.
    Allocate = "cuMemAlloc", allocate_ns;
    /// `Device::free`.
    Free = "cuMemFree", free_ns;
    /// `Device::create_stream`.
    CreateStream = "cuStreamCreate", create_stream_ns;
    /// `Device::destroy_stream`.
    DestroyStream = "cuStreamDestroy", destroy_stream_ns;
    /// `Device::owns_stream`.
    OwnsStream = "cuStreamGetCtx", query_ns;
    /// `Device::query_stream`.
    QueryStream = "cuStreamQuery", query_ns;
    /// `Device::synchronize_stream`.
    SynchronizeStream = "cuStreamSynchronize", synchronize_ns;
    /// `Device::is_capturing`.
    IsCapturing = "cuStreamIsCapturing", query_ns;
    /// `Device::synchronize`.
    Synchronize = "cuCtxSynchronize", synchronize_ns;
    /// `Device::create_event` and `Device::create_timed_event`.
    CreateEvent = "cuEventCreate", create_event_ns;
    /// `Device::destroy_event`.
    DestroyEvent = "cuEventDestroy", destroy_event_ns;
    /// `Device::record_event`.
    RecordEvent = "cuEventRecord", record_event_ns;
    /// `Device::query_event`.
    QueryEvent = "cuEventQuery", query_ns;
    /// `Device::synchronize_event`.
    SynchronizeEvent = "cuEventSynchronize", synchronize_ns;
    /// `Device::elapsed_ns`.
    ElapsedTime = "cuEventElapsedTime", query_ns;
    /// `Device::wait_event`.
    WaitEvent = "cuStreamWaitEvent", wait_event_ns;
    /// `Device::copy_from_host`.
    CopyFromHost = "cuMemcpyHtoDAsync", launch_ns;
    /// `Device::copy_to_host`.
    CopyToHost = "cuMemcpyDtoHAsync", launch_ns;
    /// `Device::copy_within`.
    CopyWithin = "cuMemcpyDtoDAsync", launch_ns;
    /// `Device::fill`.
    Fill = "cuMemsetD8Async", launch_ns;
    /// `Device::fill_u16`.
    FillU16 = "cuMemsetD16Async", launch_ns;
    /// `Device::fill_u32`.
    FillU32 = "cuMemsetD32Async", launch_ns;
    /// A kernel launch, by [`SimDevice::launch`](crate::SimDevice::launch).
    Launch = "cuLaunchKernel", launch_ns;
    /// Starting a capture, by [`SimDevice::begin_capture`](crate::SimDevice::begin_capture).
    BeginCapture = "cuStreamBeginCapture", query_ns;
    /// Ending a capture, by [`SimDevice::end_capture`](crate::SimDevice::end_capture).
    EndCapture = "cuStreamEndCapture", query_ns;
    /// A graph launch, by [`SimDevice::launch_graph`](crate::SimDevice::launch_graph).
    LaunchGraph = "cuGraphLaunch", launch_ns;
    /// `VirtualMemory::reserve`.
    Reserve = "cuMemAddressReserve", reserve_ns;
    /// `VirtualMemory::free_range`.
    FreeRange = "cuMemAddressFree", free_range_ns;
    /// `VirtualMemory::create`.
    Create = "cuMemCreate", create_ns;
    /// `VirtualMemory::create_on_host`.
    CreateOnHost = "cuMemCreate (host)", host_create_ns;
    /// `VirtualMemory::release`.
    Release = "cuMemRelease", release_ns;
    /// `VirtualMemory::map`.
    Map = "cuMemMap", map_ns;
    /// `VirtualMemory::set_access`.
    SetAccess = "cuMemSetAccess", set_access_ns;
    /// `VirtualMemory::unmap`.
    Unmap = "cuMemUnmap", unmap_ns;
    /// `Managed::allocate`.
    ManagedAllocate = "cuMemAllocManaged", managed_allocate_ns;
    /// `Managed::free`.
    ManagedFree = "cuMemFree (managed)", free_ns;
    /// `Managed::advise`.
    Advise = "cuMemAdvise", advise_ns;
    /// `Managed::prefetch`.
    Prefetch = "cuMemPrefetchAsync", launch_ns;
    /// `Managed::last_prefetch`.
    LastPrefetch = "cuMemRangeGetAttribute", query_ns;
    /// `Pinned::allocate`.
    PinnedAllocate = "cuMemHostAlloc", pinned_allocate_ns;
    /// `Pinned::free`.
    PinnedFree = "cuMemFreeHost", pinned_free_ns;
    /// `AsyncPool::allocate`.
    AsyncAllocate = "cuMemAllocFromPoolAsync", async_allocate_ns;
    /// `AsyncPool::free`.
    AsyncFree = "cuMemFreeAsync", async_free_ns;
    /// `AsyncPool::trim_to`.
    AsyncTrim = "cuMemPoolTrimTo", async_trim_ns;
    /// `AsyncPool::set_release_threshold`.
    AsyncSetThreshold = "cuMemPoolSetAttribute", query_ns;
    /// `AsyncPool::release_threshold` and `AsyncPool::reserved`.
    AsyncAttribute = "cuMemPoolGetAttribute", query_ns;
}

impl fmt::Display for CallKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

const KINDS: usize = CallKind::ALL.len();

/// The number of driver calls of each kind, failed calls included. A difference of two readings says
/// what happened in between.
///
/// ```
/// use vmem_core::Device;
/// use vmem_sim::{CallKind, SimDevice};
///
/// let device = SimDevice::new(1 << 20);
/// let before = device.calls();
/// let _ = device.allocate(2 << 20); // more than there is
/// let made = device.calls() - before;
/// assert_eq!((made.total(), made.of(CallKind::Allocate)), (1, 1));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CallCounts([u64; KINDS]);

impl CallCounts {
    /// Calls of one kind.
    pub const fn of(self, kind: CallKind) -> u64 {
        self.0[kind as usize]
    }

    /// Calls of all kinds.
    pub fn total(self) -> u64 {
        self.0.iter().sum()
    }

    /// The kinds that were called, with how often.
    pub fn iter(self) -> impl Iterator<Item = (CallKind, u64)> {
        CallKind::ALL
            .iter()
            .map(move |&kind| (kind, self.of(kind)))
            .filter(|&(_, count)| count != 0)
    }

    pub(crate) fn add(&mut self, kind: CallKind) {
        self.0[kind as usize] += 1;
    }
}

impl Default for CallCounts {
    fn default() -> Self {
        Self([0; KINDS])
    }
}

impl Sub for CallCounts {
    type Output = Self;

    /// The calls made since `earlier`.
    fn sub(self, earlier: Self) -> Self {
        Self(std::array::from_fn(|kind| self.0[kind].saturating_sub(earlier.0[kind])))
    }
}

impl fmt::Display for CallCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} calls", self.total())?;
        for (index, (kind, count)) in self.iter().enumerate() {
            let separator = if index == 0 { ": " } else { ", " };
            write!(f, "{separator}{kind} {count}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for CallCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for CallCounts {
    /// A map from the kinds that were called to how often.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}
