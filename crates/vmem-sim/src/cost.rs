//! What calls and bytes cost in virtual time.

/// The cost model: one table, in nanoseconds and bytes per microsecond.
///
/// **The values are estimates**, in the order of magnitude that public measurements of PCIe-attached
/// data-centre GPUs report; they are there to compare designs with one another, and whatever is
/// computed from them must be labelled simulated. What the model says:
///
/// * Every call advances the device's host clock by its own cost. All threads share that clock, so
///   calls that serialise inside a driver (map, set access, unmap) serialise here.
/// * Queued work advances its stream's timeline: it starts when it was queued, what it waits for
///   has ended, and the work before it on the stream has ended.
/// * A host wait moves the host clock to the end of what it waited for, and so does a query that
///   finds work complete. When queries find that is up to the schedule.
/// * Freeing plain memory waits for the whole device, as `cuMemFree` does in practice. That is a
///   cost only: it orders nothing.
/// * Managed pages pay for faults and for their transfer. The model moves them when the work is
///   queued, in program order, so that virtual time does not depend on the seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct CostTable {
    /// Asking for the free memory.
    pub memory_info_ns: u64,
    /// Allocating plain memory.
    pub allocate_ns: u64,
    /// Freeing plain or managed memory, besides the wait for the device.
    pub free_ns: u64,
    /// Creating a stream.
    pub create_stream_ns: u64,
    /// Destroying a stream.
    pub destroy_stream_ns: u64,
    /// A query: of a stream, an event, a capture or an attribute.
    pub query_ns: u64,
    /// A host wait, besides the time waited.
    pub synchronize_ns: u64,
    /// Creating an event.
    pub create_event_ns: u64,
    /// Destroying an event.
    pub destroy_event_ns: u64,
    /// Recording an event.
    pub record_event_ns: u64,
    /// Queuing a wait for an event.
    pub wait_event_ns: u64,
    /// Queuing a copy, fill, prefetch, kernel or graph.
    pub launch_ns: u64,
    /// Reserving an address range.
    pub reserve_ns: u64,
    /// Freeing an address range.
    pub free_range_ns: u64,
    /// Creating physical memory.
    pub create_ns: u64,
    /// Creating physical memory, per granule besides (it is cleared).
    pub create_granule_ns: u64,
    /// Releasing physical memory.
    pub release_ns: u64,
    /// Mapping a handle.
    pub map_ns: u64,
    /// Setting access.
    pub set_access_ns: u64,
    /// Setting access, per handle in the range besides.
    pub set_access_handle_ns: u64,
    /// Unmapping.
    pub unmap_ns: u64,
    /// Unmapping, per handle in the range besides.
    pub unmap_handle_ns: u64,
    /// Allocating managed memory.
    pub managed_allocate_ns: u64,
    /// Advising on managed memory.
    pub advise_ns: u64,
    /// Allocating pinned memory.
    pub pinned_allocate_ns: u64,
    /// Allocating pinned memory, per MiB besides (it is page-locked).
    pub pinned_mebibyte_ns: u64,
    /// Freeing pinned memory.
    pub pinned_free_ns: u64,
    /// Queuing an allocation of the stream-ordered pool that it has at hand.
    pub async_allocate_ns: u64,
    /// The stream-ordered pool growing, besides.
    pub async_growth_ns: u64,
    /// Queuing a free of the stream-ordered pool.
    pub async_free_ns: u64,
    /// Trimming the stream-ordered pool.
    pub async_trim_ns: u64,
    /// Work on the device starting, once for each piece of queued work.
    pub work_ns: u64,
    /// Bytes per microsecond between host and device.
    pub link_bytes_per_us: u64,
    /// Bytes per microsecond within the device's memory.
    pub memory_bytes_per_us: u64,
    /// A fault of the device on managed memory, for each page group that it moves.
    pub device_fault_ns: u64,
    /// A fault of the host on managed memory, for each page group that it moves.
    pub host_fault_ns: u64,
}

impl Default for CostTable {
    fn default() -> Self {
        Self {
            memory_info_ns: 1_000,
            allocate_ns: 100_000,
            free_ns: 50_000,
            create_stream_ns: 10_000,
            destroy_stream_ns: 5_000,
            query_ns: 500,
            synchronize_ns: 3_000,
            create_event_ns: 500,
            destroy_event_ns: 300,
            record_event_ns: 1_000,
            wait_event_ns: 1_000,
            launch_ns: 4_000,
            reserve_ns: 3_000,
            free_range_ns: 3_000,
            create_ns: 20_000,
            create_granule_ns: 10_000,
            release_ns: 15_000,
            map_ns: 2_000,
            set_access_ns: 20_000,
            set_access_handle_ns: 3_000,
            unmap_ns: 20_000,
            unmap_handle_ns: 2_000,
            managed_allocate_ns: 30_000,
            advise_ns: 5_000,
            pinned_allocate_ns: 50_000,
            pinned_mebibyte_ns: 250_000,
            pinned_free_ns: 50_000,
            async_allocate_ns: 1_500,
            async_growth_ns: 100_000,
            async_free_ns: 1_000,
            async_trim_ns: 20_000,
            work_ns: 2_000,
            link_bytes_per_us: 25_000,
            memory_bytes_per_us: 1_500_000,
            device_fault_ns: 20_000,
            host_fault_ns: 10_000,
        }
    }
}

impl CostTable {
    /// How long `bytes` bytes take between host and device.
    pub(crate) fn link_ns(&self, bytes: u64) -> u64 {
        rate(bytes, self.link_bytes_per_us)
    }

    /// How long `bytes` bytes take within the device.
    pub(crate) fn memory_ns(&self, bytes: u64) -> u64 {
        rate(bytes, self.memory_bytes_per_us)
    }
}

/// Nanoseconds for `bytes` bytes at a rate; a rate of zero costs nothing.
fn rate(bytes: u64, bytes_per_us: u64) -> u64 {
    if bytes_per_us == 0 {
        return 0;
    }
    let nanos = u128::from(bytes) * 1000 / u128::from(bytes_per_us);
    u64::try_from(nanos).unwrap_or(u64::MAX)
}
