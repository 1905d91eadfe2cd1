//! What calls and bytes cost in virtual time.

use std::fmt;

use crate::kernel::Pattern;

macro_rules! costs {
    ($($(#[$doc:meta])* $field:ident = $h100:literal;)*) => {
        /// The cost model: one table, in nanoseconds and bytes per microsecond.
        ///
        /// The default values, [`CostTable::H100`], were measured on one GPU. They are there to compare
        /// designs with one another, and whatever is computed from them must be labelled simulated. What
        /// the model says:
        ///
        /// * Every call advances the device's host clock by its own cost. All threads share that
        ///   clock, so calls that serialise inside a driver (map, set access, unmap) serialise here.
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
            $($(#[$doc])* pub $field: u64,)*
        }

        impl Default for CostTable {
            /// [`CostTable::H100`].
            fn default() -> Self {
                Self::H100
            }
        }

        impl CostTable {
            /// Everything costs nothing, so that the virtual clock stands still.
            pub const FREE: Self = Self { $($field: 0,)* };

            /// The costs measured on an NVIDIA H100 80GB HBM3 on 2026-11-23, driver 580.159.04 (CUDA
            /// 13.0); [`MeasuredCosts::h100`] is the same with its origin.
            ///
            /// Every value comes from medians of `vmem-lab micro`. Those that a call cost at a time
            /// are as measured; what a call costs for each handle, granule, MiB or page group
            /// besides, `work_ns` and the two rates are computed from two measurements, and where
            /// that leaves nothing for the call itself, as with setting access, unmapping and
            /// pinning, its cost is 0. What concerns handles of the host's memory, and random access,
            /// was measured by hand on the same kind of device on 2026-11-28.
            pub const H100: Self = Self { $($field: $h100,)* };

            /// Every value with the name of its field, which ends with its unit.
            pub fn entries(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($field), self.$field),)*].into_iter()
            }
        }
    };
}

// What was measured on an H100.
costs! {
    /// Asking for the free memory.
    memory_info_ns = 7_423;
    /// Allocating plain memory.
    allocate_ns = 49_297;
    /// Freeing plain or managed memory, besides the wait for the device.
    free_ns = 40_263;
    /// Creating a stream.
    create_stream_ns = 2_804;
    /// Destroying a stream.
    destroy_stream_ns = 2_875;
    /// A query: of a stream, an event, a capture or an attribute.
    query_ns = 975;
    /// A host wait, besides the time waited.
    synchronize_ns = 1_074;
    /// Creating an event.
    create_event_ns = 765;
    /// Destroying an event.
    destroy_event_ns = 702;
    /// Recording an event.
    record_event_ns = 776;
    /// Queuing a wait for an event.
    wait_event_ns = 758;
    /// Queuing a copy, fill, prefetch, kernel or graph.
    launch_ns = 1_915;
    /// Reserving an address range.
    reserve_ns = 1_022;
    /// Freeing an address range.
    free_range_ns = 1_057;
    /// Creating physical memory.
    create_ns = 12_555;
    /// Creating physical memory, per granule besides (it is cleared).
    create_granule_ns = 45;
    /// Releasing physical memory.
    release_ns = 12_847;
    /// Mapping a handle.
    map_ns = 1_297;
    /// Setting access.
    set_access_ns = 0;
    /// Setting access, per handle in the range besides.
    set_access_handle_ns = 32_347;
    /// Unmapping.
    unmap_ns = 0;
    /// Unmapping, per handle in the range besides.
    unmap_handle_ns = 21_765;
    /// Creating physical memory on the host.
    host_create_ns = 0;
    /// Creating physical memory on the host, per MiB besides.
    host_create_mebibyte_ns = 213_000;
    /// Mapping a handle of the host's memory, besides.
    host_map_ns = 14_000;
    /// Setting access, per handle of the host's memory in the range besides.
    host_set_access_handle_ns = 90_000;
    /// Setting access, per MiB of the host's memory in the range besides.
    host_set_access_mebibyte_ns = 10_000;
    /// Unmapping, per handle of the host's memory in the range besides.
    host_unmap_handle_ns = 56_000;
    /// Unmapping, per MiB of the host's memory in the range besides.
    host_unmap_mebibyte_ns = 2_140;
    /// Releasing physical memory on the host, per MiB besides.
    host_release_mebibyte_ns = 27_300;
    /// Bytes per microsecond that a kernel reaches of memory on the host, in order.
    host_bytes_per_us = 50_000;
    /// Bytes per microsecond that a kernel reaches of the device's memory at random.
    random_bytes_per_us = 114_800;
    /// Bytes per microsecond that a kernel reaches of memory on the host at random.
    host_random_bytes_per_us = 2_400;
    /// Allocating managed memory.
    managed_allocate_ns = 12_146;
    /// Advising on managed memory.
    advise_ns = 1_940;
    /// Allocating pinned memory.
    pinned_allocate_ns = 0;
    /// Allocating pinned memory, per MiB besides (it is page-locked).
    pinned_mebibyte_ns = 503_270;
    /// Freeing pinned memory.
    pinned_free_ns = 377_753;
    /// Queuing an allocation of the stream-ordered pool that it has at hand.
    async_allocate_ns = 964;
    /// The stream-ordered pool growing, besides.
    async_growth_ns = 52_533;
    /// Queuing a free of the stream-ordered pool.
    async_free_ns = 1_091;
    /// Trimming the stream-ordered pool.
    async_trim_ns = 63_560;
    /// Work on the device starting, once for each piece of queued work.
    work_ns = 1_373;
    /// Bytes per microsecond between host and device.
    link_bytes_per_us = 55_676;
    /// Bytes per microsecond within the device's memory.
    memory_bytes_per_us = 2_613_612;
    /// A fault of the device on managed memory, for each page group that it moves.
    device_fault_ns = 247_352;
    /// A fault of the host on managed memory, for each page group that it moves.
    host_fault_ns = 367_883;
}

impl CostTable {
    /// How long `bytes` bytes take between host and device.
    pub(crate) fn link_ns(&self, bytes: u64) -> u64 {
        rate(bytes, self.link_bytes_per_us)
    }

    /// How long a kernel takes for `bytes` bytes, on the host or on the device.
    pub(crate) fn touch_ns(&self, bytes: u64, on_host: bool, pattern: Pattern) -> u64 {
        let bytes_per_us = match (on_host, pattern) {
            (false, Pattern::Sequential) => self.memory_bytes_per_us,
            (false, Pattern::Random) => self.random_bytes_per_us,
            (true, Pattern::Sequential) => self.host_bytes_per_us,
            (true, Pattern::Random) => self.host_random_bytes_per_us,
        };
        rate(bytes, bytes_per_us)
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

impl fmt::Display for CostTable {
    /// A line for each value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entries().try_for_each(|(name, value)| writeln!(f, "{name:<24} {value:>12}"))
    }
}

/// A cost table measured on a device, with where and when.
///
/// With the feature `serde` it is read from what `vmem-lab micro` writes. A cost that such a file leaves
/// out keeps its default.
///
/// ```
/// use vmem_sim::{CostTable, MeasuredCosts, SimConfig, SimDevice};
///
/// let measured = MeasuredCosts {
///     name: "example".to_owned(),
///     date: "2025-01-31".to_owned(),
///     device: "a device".to_owned(),
///     driver: "its driver".to_owned(),
///     estimated: vec!["work_ns".to_owned()],
///     costs: CostTable { allocate_ns: 80_000, ..CostTable::default() },
/// };
/// let device =
///     SimDevice::with_config(SimConfig { costs: measured.costs, ..SimConfig::default() })?;
/// assert_eq!(measured.to_string(), "example, a device, 2025-01-31");
/// # Ok::<(), vmem_sim::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct MeasuredCosts {
    /// The table's name.
    pub name: String,
    /// The day it was measured, as in `2025-01-31`.
    pub date: String,
    /// The device it was measured on.
    pub device: String,
    /// The driver that was loaded.
    pub driver: String,
    /// The fields of `costs` that could not be measured there and keep their defaults.
    pub estimated: Vec<String>,
    /// The costs.
    pub costs: CostTable,
}

impl MeasuredCosts {
    /// [`CostTable::H100`], with where and when it was measured.
    ///
    /// ```
    /// use vmem_sim::MeasuredCosts;
    ///
    /// let h100 = MeasuredCosts::h100();
    /// assert_eq!(h100.to_string(), "h100, NVIDIA H100 80GB HBM3, 2026-11-23");
    /// assert_eq!(h100.costs.map_ns, 1_297);
    /// ```
    pub fn h100() -> Self {
        Self {
            name: "h100".to_owned(),
            date: "2026-11-23".to_owned(),
            device: "NVIDIA H100 80GB HBM3".to_owned(),
            driver: "CUDA driver, CUDA 13.0, libcuda.so.580.159.04".to_owned(),
            estimated: Vec::new(),
            costs: CostTable::H100,
        }
    }
}

impl fmt::Display for MeasuredCosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}, {}", self.name, self.device, self.date)
    }
}

#[cfg(all(test, feature = "serde"))]
mod tests {
    use super::*;

    #[test]
    fn a_measured_table_is_read_and_what_it_leaves_out_keeps_its_default() {
        let text = r#"{
            "name": "n", "date": "2025-01-31", "device": "d", "driver": "v",
            "estimated": ["work_ns"], "costs": { "allocate_ns": 7 }
        }"#;
        let measured: MeasuredCosts = serde_json::from_str(text).unwrap();
        assert_eq!(measured.costs, CostTable { allocate_ns: 7, ..CostTable::default() });
    }

    #[test]
    fn an_unknown_cost_is_refused_by_name() {
        let error = serde_json::from_str::<CostTable>(r#"{ "alocate_ns": 7 }"#).unwrap_err();
        assert!(error.to_string().contains("alocate_ns"));
    }
}
