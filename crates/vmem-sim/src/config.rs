//! What kind of device to simulate.

use std::fmt;

use bitflags::bitflags;

use crate::{CostTable, Strictness};

/// The choice whether memory has contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Bytes {
    /// Bytes are kept, sparsely: pages exist once written.
    #[default]
    Stored,
    /// Nothing is kept: copies and fills move nothing, not even host memory, and host views are
    /// refused. For replays larger than the machine.
    None,
}

/// The choice whether the happens-before checker runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Checker {
    /// Conflicting accesses that nothing orders are reported; freeing and unmapping need completion
    /// that the host has observed.
    #[default]
    On,
    /// Accesses are not followed; freeing and unmapping need work to have run.
    Off,
}

/// The time at which queued work runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Schedule {
    /// As late, and across streams in as odd an order, as the rules allow, chosen by the seed.
    #[default]
    Late,
    /// At once.
    Eager,
}

/// In which mode calls meet captures in progress (`cuThreadExchangeStreamCaptureMode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Callers {
    /// As vmem's CUDA device makes them: all but those that conflict with a capture by their nature
    /// in the relaxed mode. What [`Strictness::ALLOCATION_IN_CAPTURE`] names is judged by the
    /// calling thread's mode all the same.
    #[default]
    Relaxed,
    /// Each in the [calling thread's mode](crate::SimDevice::exchange_capture_mode), as a driver
    /// does: a thread in the global mode must not even query an event while another thread captures.
    TheirOwn,
}

bitflags! {
    /// Which parts a device has besides plain memory.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
    pub struct Parts: u32 {
        /// Virtual memory management.
        const VIRTUAL_MEMORY = 1 << 0;
        /// Managed memory.
        const MANAGED = 1 << 1;
        /// Host and device may use managed memory at the same time; needs `MANAGED`.
        const CONCURRENT_MANAGED = 1 << 2;
        /// Pinned host memory.
        const PINNED = 1 << 3;
        /// The stream-ordered pool.
        const ASYNC_POOL = 1 << 4;
        /// Handles of memory on the host; needs `VIRTUAL_MEMORY`.
        const HOST_HANDLES = 1 << 5;
    }
}

/// A simulated device's configuration.
///
/// ```
/// use vmem_sim::{Bytes, Checker, SimConfig, SimDevice};
///
/// let device = SimDevice::with_config(SimConfig {
///     capacity: 24 << 30,
///     bytes: Bytes::None,
///     checker: Checker::Off,
///     ..SimConfig::default()
/// })?;
/// # Ok::<(), vmem_sim::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct SimConfig {
    /// The device's memory, in bytes.
    pub capacity: u64,
    /// The host's memory, in bytes, as far as handles can be had of it. Pinned and managed memory does
    /// not count.
    pub host_capacity: u64,
    /// The unit of virtual memory management, in bytes; a power of two, at least 4 KiB.
    pub granularity: u64,
    /// Chooses among the schedules that the rules allow.
    pub seed: u64,
    /// The choice whether memory has contents.
    pub bytes: Bytes,
    /// The choice whether accesses are checked.
    pub checker: Checker,
    /// The time at which queued work runs.
    pub schedule: Schedule,
    /// Which parts the device has.
    pub parts: Parts,
    /// The largest address range it reserves, in bytes; none for no bound but the address space.
    pub max_reservation: Option<u64>,
    /// The calls that it refuses although a driver does not.
    pub strictness: Strictness,
    /// In which mode calls meet captures in progress.
    pub callers: Callers,
    /// The costs of calls and of work in virtual time.
    pub costs: CostTable,
}

impl Default for SimConfig {
    /// A device of 1 GiB, on a host of 64 GiB, with every part, bytes, checker, late schedule and every strictness (see
    /// [`Strictness::default`]).
    fn default() -> Self {
        Self {
            capacity: 1 << 30,
            host_capacity: 64 << 30,
            granularity: 2 << 20,
            seed: 0,
            bytes: Bytes::default(),
            checker: Checker::default(),
            schedule: Schedule::default(),
            parts: Parts::all(),
            max_reservation: None,
            strictness: Strictness::default(),
            callers: Callers::default(),
            costs: CostTable::default(),
        }
    }
}

impl SimConfig {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if self.capacity == 0 || self.capacity > MAX_CAPACITY {
            return Err(ConfigError::Capacity(self.capacity));
        }
        if !self.granularity.is_power_of_two()
            || !(MIN_GRANULARITY..=MAX_GRANULARITY).contains(&self.granularity)
        {
            return Err(ConfigError::Granularity(self.granularity));
        }
        if self.parts.contains(Parts::CONCURRENT_MANAGED) && !self.parts.contains(Parts::MANAGED) {
            return Err(ConfigError::ConcurrentWithoutManaged);
        }
        Ok(())
    }
}

const MAX_CAPACITY: u64 = 1 << 44;
const MIN_GRANULARITY: u64 = 4 << 10;
const MAX_GRANULARITY: u64 = 1 << 30;

/// A configuration that no device can have.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The capacity is zero or above 16 TiB.
    Capacity(u64),
    /// The granularity is not a power of two from 4 KiB to 1 GiB.
    Granularity(u64),
    /// Concurrent managed access without managed memory.
    ConcurrentWithoutManaged,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capacity(bytes) => {
                write!(f, "a capacity of {bytes} B; accepted: 1 B to 16 TiB")
            }
            Self::Granularity(bytes) => {
                write!(f, "a granularity of {bytes} B; accepted: powers of two from 4 KiB to 1 GiB")
            }
            Self::ConcurrentWithoutManaged => f.write_str(
                "CONCURRENT_MANAGED without MANAGED; concurrent access needs managed memory",
            ),
        }
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_devices_are_refused_with_what_is_accepted() {
        let refused = |config: SimConfig| config.check().unwrap_err().to_string();
        let capacity = |capacity| SimConfig { capacity, ..SimConfig::default() };
        assert!(refused(capacity(0)).contains("accepted: 1 B to 16 TiB"));
        assert!(refused(capacity(u64::MAX)).contains("16 TiB"));
        for granularity in [0, 3 << 20, 2048, 2 << 30] {
            let config = SimConfig { granularity, ..SimConfig::default() };
            assert!(refused(config).contains("powers of two"));
        }
        let parts = Parts::CONCURRENT_MANAGED;
        let config = SimConfig { parts, ..SimConfig::default() };
        assert!(refused(config).contains("without MANAGED"));
    }
}
