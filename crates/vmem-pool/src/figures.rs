//! What a pool says of itself in numbers.

use std::fmt;

use vmem_core::{BlockLayout, DevicePtr, Label};

/// A pool's counters since it was built. Sizes are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Counters {
    /// Blocks handed out.
    pub allocations: u64,
    /// Requested sizes of all blocks handed out, together.
    pub bytes_allocated: u64,
    /// Blocks taken back.
    pub frees: u64,
    /// Requests refused.
    pub failures: u64,
    /// Requests satisfied from another stream's memory known to be complete.
    pub completed: u64,
    /// Requests satisfied from another stream's memory after a device-side wait.
    pub waits: u64,
    /// Requests satisfied by joining neighbours of several streams.
    pub merges: u64,
    /// Times memory was taken from the backing.
    pub growths: u64,
    /// Bytes taken from the backing.
    pub bytes_grown: u64,
    /// Bytes returned to the backing.
    pub bytes_trimmed: u64,
    /// Requests satisfied by moving memory.
    pub moves: u64,
    /// Bytes of memory moved.
    pub bytes_moved: u64,
    /// Requests satisfied by going back to addresses that memory had been moved away from.
    pub returns: u64,
    /// Markers recorded.
    pub markers: u64,
    /// Requested sizes of live blocks.
    pub live: u64,
    /// The most `live` has been.
    pub peak_live: u64,
    /// Bytes held from the backing.
    pub reserved: u64,
    /// The most `reserved` has been.
    pub peak_reserved: u64,
    /// Bytes of live blocks, as requested, that take no room on the device: they rest on the host, or
    /// their contents were discarded.
    pub away: u64,
    /// Bytes of the host's memory in use, in whole handles: with what live blocks rest in, free memory that
    /// moved along, and what freed blocks rested in, until the next trim or move.
    pub on_host: u64,
    /// Bytes of the host's memory that are kept ready.
    pub host_reserve: u64,
    /// Bytes of the device's memory that live blocks gave up.
    pub bytes_demoted: u64,
    /// Bytes of the device's memory that live blocks took again.
    pub bytes_promoted: u64,
    /// Bytes of addresses mapped to memory that is in use at other addresses.
    pub aliased: u64,
    /// Free bytes in quarantine: work may still touch them, and no event tells when it is done. Mostly
    /// memory freed on the default stream of a thread that has ended since. Nobody gets them before
    /// [`PoolHandle::synchronize`](crate::PoolHandle::synchronize).
    pub quarantined: u64,
}

impl Counters {
    /// A block of so many bytes was freed.
    #[inline]
    pub(crate) const fn count_free(&mut self, bytes: u64) {
        self.frees += 1;
        self.live -= bytes;
    }

    /// So many bytes are held from the backing now.
    pub(crate) fn set_reserved(&mut self, bytes: u64) {
        if bytes > self.reserved {
            self.growths += 1;
            self.bytes_grown += bytes - self.reserved;
        }
        self.bytes_trimmed += self.reserved.saturating_sub(bytes);
        self.reserved = bytes;
        self.peak_reserved = self.peak_reserved.max(bytes);
    }
}

/// The memory that a pool can still give. Sizes are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Capacity {
    /// Requested sizes of live blocks.
    pub live: u64,
    /// Bytes held from the backing.
    pub reserved: u64,
    /// Free bytes in quarantine, which [`PoolHandle::synchronize`](crate::PoolHandle::synchronize)
    /// frees.
    pub quarantined: u64,
    /// The most the pool may hold, as it effectively is; `None` for no limit.
    pub ceiling: Option<u64>,
    /// Ceiling less reserved; `None` for no limit. The device may have less.
    pub growth_left: Option<u64>,
    /// The largest request that can be satisfied where no more memory is to be had, once pending work is
    /// complete: an arena gathers whole free handles for it, and an end of two more. Where there is more
    /// the pool may rather grow. What is in quarantine does not count.
    pub largest_now: u64,
    /// The largest request that can be satisfied after returning everything unused; `None` for no
    /// limit. The device may have less.
    pub largest_after_trim: Option<u64>,
}

/// A pool's memory at one moment. `{:?}` prints how much there is, not all of it.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// The pool's counters.
    pub counters: Counters,
    /// Its segments, by address.
    pub segments: Vec<Segment>,
    /// The windows, where memory is mapped a second time, by address.
    pub windows: Vec<WindowInfo>,
}

/// Addresses at which memory from several places is mapped side by side.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct WindowInfo {
    /// Its address.
    pub start: DevicePtr,
    /// Its length, in bytes.
    pub size: u64,
    /// The other places where its memory is mapped, in the window's order, as start and size.
    pub homes: Vec<(DevicePtr, u64)>,
}

/// A contiguous stretch of address space.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Segment {
    /// Its address.
    pub start: DevicePtr,
    /// Its length, in bytes.
    pub size: u64,
    /// The ranges in it, by address, without gaps.
    pub ranges: Vec<RangeInfo>,
}

/// One range of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RangeInfo {
    /// Its address.
    pub start: DevicePtr,
    /// Its length in bytes, rounding included.
    pub size: u64,
    /// Its state.
    pub state: RangeState,
}

/// The states of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum RangeState {
    /// A live block.
    Live {
        /// The size and alignment asked for.
        layout: BlockLayout,
        /// What it is for.
        label: Label,
    },
    /// Free, and no work touches it.
    Free,
    /// Free, but work that was queued before it was freed may still touch it.
    Pending,
    /// Free, but work may still touch it, and no event tells when it is done:
    /// [`PoolHandle::synchronize`](crate::PoolHandle::synchronize) waits for it.
    Quarantined,
    /// Address space without memory.
    Unmapped,
    /// Mapped to memory that is in use at another address; or in no block, and beside one whose memory
    /// rests on the host.
    Dormant,
    /// Being worked on at this moment.
    Busy,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranges: usize = self.segments.iter().map(|segment| segment.ranges.len()).sum();
        f.debug_struct("Snapshot")
            .field("counters", &self.counters)
            .field("segments", &self.segments.len())
            .field("ranges", &ranges)
            .field("windows", &self.windows.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for WindowInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WindowInfo")
            .field("start", &self.start)
            .field("size", &self.size)
            .field("homes", &self.homes.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment")
            .field("start", &self.start)
            .field("size", &self.size)
            .field("ranges", &self.ranges.len())
            .finish_non_exhaustive()
    }
}
