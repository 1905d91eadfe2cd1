//! A configuration in bytes, once the device is known.

use std::fmt;

use super::environment::Setting;
use super::size::percent_of;
use super::{ConfigError, ConfigErrorKind, PoolLimit, RuntimeConfig, Size, host};

/// Pools' limits are multiples of this, in bytes.
const UNIT: u64 = 256;
/// The smallest default reserve of a device that is twice as large, in bytes.
const LEAST_RESERVE: u64 = 1 << 30;

/// The sizes of a [`RuntimeConfig`] on one device, in bytes; of a [`Stack`](crate::Stack), what it
/// comes to there. Sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Limits {
    /// The device's memory.
    pub total: u64,
    /// The memory left to others, unless the pool's limit is set.
    pub reserve: u64,
    /// The most that the pool may hold, a multiple of 256, or of a granule of virtual memory; `None`
    /// for no limit.
    pub ceiling: Option<u64>,
    /// The pool's initial size, a multiple of 256.
    pub initial: u64,
    /// The sum of tier C's blocks at which admission refuses more.
    pub managed_budget: u64,
    /// The most of the host's memory that spilled buffers may rest in; 0 for none.
    pub spill: u64,
    /// The host's memory that the pool keeps ready.
    pub host_reserve: u64,
    /// The most that the pool has of the host's memory; `None` for no limit.
    pub host_limit: Option<u64>,
}

impl RuntimeConfig {
    /// The sizes of the configuration on a device of `total` bytes.
    ///
    /// # Errors
    /// A limit under 256 bytes, a reserve that leaves less than that of the device while the limit
    /// is what it leaves, an initial size above the limit, what may spill or a reserve above the limit of
    /// the host's memory, a percentage above 100, or one of the host's memory where that is not known
    /// (elsewhere than on Linux).
    pub fn limits(&self, total: u64) -> Result<Limits, ConfigError> {
        self.check()?;
        let reserve = match self.memory_reserve {
            Some(reserve) => reserve.of(total),
            None => default_reserve(total),
        };
        let reserve = reserve.min(total);
        let ceiling = match self.pool_limit {
            PoolLimit::Unlimited => None,
            PoolLimit::AtMost(size) => Some(self.whole_units(size, total)?),
            PoolLimit::TotalLessReserve => match total - reserve {
                left if left < UNIT => {
                    let kind = ConfigErrorKind::NothingLeft;
                    let error = self.error(kind, Setting::MemoryReserve, format!("{reserve} B"));
                    let most = total.saturating_sub(UNIT);
                    return Err(ConfigError { accepted: format!("at most {most} B"), ..error });
                }
                left => Some(round_down(left)),
            },
        };
        let initial = round_down(self.initial_pool_size.of(total));
        self.initial_fits(initial, ceiling)?;
        let managed_budget = percent_of(total, self.managed_percent);
        let spill = self.of_host(Setting::Spill, self.spill)?;
        let host_reserve = self.of_host(Setting::HostReserve, self.host_reserve)?;
        let set = self.host_limit.map(|limit| self.of_host(Setting::HostLimit, limit));
        let host_limit = set.transpose()?.or_else(|| self.spills().then_some(spill));
        self.fits_on_host(spill, host_reserve, host_limit)?;
        Ok(Limits {
            total,
            reserve,
            ceiling,
            initial,
            managed_budget,
            spill,
            host_reserve,
            host_limit,
        })
    }

    /// What can be said without a device.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let limit = match self.pool_limit {
            PoolLimit::AtMost(size) => Some(size),
            PoolLimit::TotalLessReserve | PoolLimit::Unlimited => None,
        };
        let sizes = [
            (Setting::PoolLimit, limit),
            (Setting::InitialPoolSize, Some(self.initial_pool_size)),
            (Setting::MemoryReserve, self.memory_reserve),
            (Setting::Spill, Some(self.spill)),
            (Setting::HostReserve, Some(self.host_reserve)),
            (Setting::HostLimit, self.host_limit),
        ];
        for (setting, size) in sizes {
            if let Some(Size::Percent(percent @ 101..)) = size {
                let kind = ConfigErrorKind::InvalidValue;
                return Err(self.error(kind, setting, format!("{percent}%")));
            }
        }
        if let Some(limit @ Size::Bytes(_)) = limit {
            let limit = self.whole_units(limit, 0)?;
            if let Size::Bytes(initial) = self.initial_pool_size {
                self.initial_fits(round_down(initial), Some(limit))?;
            }
        }
        let bytes = |size| if let Size::Bytes(bytes) = size { Some(bytes) } else { None };
        let spill = self.spills().then_some(self.spill);
        let host_limit = self.host_limit.or(spill).and_then(bytes);
        let known = |size| bytes(size).unwrap_or(0);
        self.fits_on_host(known(self.spill), known(self.host_reserve), host_limit)
    }

    /// Refuses what is above the limit of the host's memory, all in bytes.
    fn fits_on_host(
        &self,
        spill: u64,
        reserve: u64,
        limit: Option<u64>,
    ) -> Result<(), ConfigError> {
        let sizes = [
            (Setting::Spill, self.spill, spill),
            (Setting::HostReserve, self.host_reserve, reserve),
        ];
        for (setting, given, bytes) in sizes {
            if let Some(limit) = limit.filter(|&limit| bytes > limit) {
                let kind = ConfigErrorKind::AboveHostLimit;
                let error = self.error(kind, setting, given.to_string());
                return Err(ConfigError { accepted: format!("at most {limit} B"), ..error });
            }
        }
        Ok(())
    }

    /// A size of the host's memory in bytes. Asks how much that is if it is a part of it.
    fn of_host(&self, setting: Setting, size: Size) -> Result<u64, ConfigError> {
        match size {
            Size::Bytes(_) | Size::Percent(0) => Ok(size.of(0)),
            Size::Percent(_) => host::memory().map(|total| size.of(total)).ok_or_else(|| {
                let kind = ConfigErrorKind::InvalidValue;
                let error = self.error(kind, setting, size.to_string());
                let accepted = "a number of bytes, since this host's memory is not known";
                ConfigError { accepted: accepted.into(), ..error }
            }),
        }
    }

    /// A limit in bytes, on a device of `total`.
    fn whole_units(&self, limit: Size, total: u64) -> Result<u64, ConfigError> {
        let bytes = limit.of(total);
        if bytes < UNIT {
            let kind = ConfigErrorKind::InvalidValue;
            return Err(self.error(kind, Setting::PoolLimit, limit.to_string()));
        }
        Ok(round_down(bytes))
    }

    fn initial_fits(&self, initial: u64, ceiling: Option<u64>) -> Result<(), ConfigError> {
        let Some(ceiling) = ceiling.filter(|ceiling| initial > *ceiling) else { return Ok(()) };
        let kind = ConfigErrorKind::InitialAboveLimit;
        let value = self.initial_pool_size.to_string();
        let error = self.error(kind, Setting::InitialPoolSize, value);
        Err(ConfigError { accepted: format!("at most {ceiling} B"), ..error })
    }
}

impl Limits {
    /// The same for a pool that takes memory in multiples of `granule` bytes: it can hold whole
    /// ones only.
    pub(crate) fn in_granules(self, granule: u64) -> Self {
        let ceiling = self.ceiling.map(|ceiling| ceiling - ceiling % granule);
        Self { ceiling, initial: self.initial.min(ceiling.unwrap_or(u64::MAX)), ..self }
    }
}

/// The larger of 1 GiB and a tenth, but never more than half, so that something is left of any
/// device.
fn default_reserve(total: u64) -> u64 {
    LEAST_RESERVE.max(total / 10).min(total / 2).min(total.saturating_sub(UNIT))
}

fn round_down(bytes: u64) -> u64 {
    bytes - bytes % UNIT
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { total, reserve, ceiling, initial, managed_budget, spill, .. } = self;
        write!(f, "device {total} B, reserve {reserve} B, ")?;
        match ceiling {
            Some(ceiling) => write!(f, "ceiling {ceiling} B, ")?,
            None => write!(f, "no ceiling, ")?,
        }
        write!(f, "initial {initial} B, managed budget {managed_budget} B, spill {spill} B, ")?;
        write!(f, "host reserve {} B, ", self.host_reserve)?;
        match self.host_limit {
            Some(limit) => write!(f, "host limit {limit} B"),
            None => write!(f, "no host limit"),
        }
    }
}
