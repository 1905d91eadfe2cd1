//! Which stack a device gets.

use std::fmt;

use vmem_core::Device;

use crate::RuntimeConfig;

/// Pools with a lower ceiling use chunks: a ceiling on virtual memory is exact only to a granule,
/// usually 2 MiB.
const SMALLEST_ARENA: u64 = 64 << 20;

/// A kind of stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Tier {
    /// Statistics over a pool.
    A,
    /// Statistics over recovery from exhaustion over a pool.
    B,
    /// Statistics over managed memory, without a pool.
    C,
    /// The stack for when the chosen tier cannot be built: statistics over a binning pool over device
    /// memory, with recovery if tier B was asked for.
    Fallback,
}

/// The properties of a device on which the choice of a stack depends.
///
/// The default is a device that has neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DeviceTraits {
    /// The unit of its virtual memory management in bytes, if it has that.
    pub granularity: Option<u64>,
    /// True if host and device may access its managed memory at the same time.
    pub concurrent_managed_access: bool,
}

impl DeviceTraits {
    /// Those of `device`.
    pub fn of(device: &dyn Device) -> Self {
        Self {
            granularity: device.virtual_memory().map(|vm| vm.granularity()),
            concurrent_managed_access: device.managed().is_some_and(|m| m.concurrent_access()),
        }
    }

    /// Returns it with virtual memory in units of `granularity` bytes.
    #[must_use]
    pub fn with_granularity(self, granularity: u64) -> Self {
        Self { granularity: Some(granularity), ..self }
    }

    /// Returns it with managed memory that host and device may access at the same time.
    #[must_use]
    pub fn with_concurrent_managed_access(self) -> Self {
        Self { concurrent_managed_access: true, ..self }
    }
}

/// The tier that a configuration asks for on a device: C over B over A. [`Tier::Fallback`] where
/// it asks for C and the device cannot serve that.
///
/// ```
/// use vmem_runtime::{DeviceTraits, RuntimeConfig, Tier, choose};
///
/// let config = RuntimeConfig::default().with_managed_memory(true);
/// let old = DeviceTraits::default().with_granularity(2 << 20);
/// assert_eq!(choose(&config, old), Tier::Fallback);
/// ```
pub fn choose(config: &RuntimeConfig, device: DeviceTraits) -> Tier {
    match (config.managed_memory, config.recovers()) {
        (true, _) if device.concurrent_managed_access => Tier::C,
        (true, _) => Tier::Fallback,
        (false, true) => Tier::B,
        (false, false) => Tier::A,
    }
}

/// Whether a pool with this ceiling is built on virtual memory rather than on chunks.
pub(crate) fn suits_arena(ceiling: Option<u64>, device: DeviceTraits) -> bool {
    device.granularity.is_some_and(|granularity| {
        ceiling.is_none_or(|ceiling| ceiling >= SMALLEST_ARENA.max(granularity))
    })
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::A => "A",
            Self::B => "B",
            Self::C => "C",
            Self::Fallback => "Fallback",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c_wins_over_b_wins_over_a() {
        let table = [
            // managed, safe, concurrent access, tier
            (false, false, false, Tier::A),
            (false, false, true, Tier::A),
            (false, true, false, Tier::B),
            (false, true, true, Tier::B),
            (true, false, true, Tier::C),
            (true, true, true, Tier::C),
            (true, false, false, Tier::Fallback),
            (true, true, false, Tier::Fallback),
        ];
        for (managed_memory, oom_safety, concurrent_managed_access, tier) in table {
            for granularity in [None, Some(2 << 20)] {
                let config = RuntimeConfig::default()
                    .with_managed_memory(managed_memory)
                    .with_oom_safety(oom_safety);
                let device = DeviceTraits { granularity, concurrent_managed_access };
                assert_eq!(choose(&config, device), tier, "{config}, {device:?}");
            }
        }
    }

    #[test]
    fn low_ceilings_and_devices_without_virtual_memory_get_chunks() {
        let usual = Some(2 << 20);
        let table = [
            (None, usual, true),
            (Some(64 << 20), usual, true),
            (Some((64 << 20) - 256), usual, false),
            (Some(256), usual, false),
            (None, None, false),
            (Some(1 << 30), None, false),
            (Some(256 << 20), Some(512 << 20), false),
        ];
        for (ceiling, granularity, arena) in table {
            let device = DeviceTraits { granularity, concurrent_managed_access: true };
            assert_eq!(suits_arena(ceiling, device), arena, "{ceiling:?}, {device:?}");
        }
    }
}
