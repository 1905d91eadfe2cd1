//! What a runtime is to be.

mod environment;
mod error;
mod host;
mod limits;
mod size;

use std::borrow::Cow;
use std::fmt;

pub use error::{ConfigError, ConfigErrorKind};
pub use limits::Limits;
pub use size::{Size, SizeError};

use environment::Setting;
use vmem_pool::{AutoTrim, Footprint};

/// Configuration of a [`Runtime`](crate::Runtime), from code or from the
/// [environment](Self::from_vars). It prints as the variables that would give it.
///
/// ```
/// use vmem_runtime::{PoolLimit, RuntimeConfig, Size};
///
/// let config = RuntimeConfig::default()
///     .with_oom_safety(true)
///     .with_pool_limit(PoolLimit::AtMost(Size::Percent(80)));
/// assert!(config.to_string().contains("VMEM_POOL_LIMIT=80%"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct RuntimeConfig {
    /// The prefix of the variables. Errors name settings by it.
    pub prefix: Cow<'static, str>,
    /// Recover from exhaustion: reclaim and retry ([tier B](crate::Tier::B)).
    pub oom_safety: bool,
    /// Allow more than the device has ([tier C](crate::Tier::C)). Wins over `oom_safety`.
    pub managed_memory: bool,
    /// The most that the pool may hold.
    pub pool_limit: PoolLimit,
    /// The pool's initial size, rounded down to 256 bytes; at most its limit.
    pub initial_pool_size: Size,
    /// The memory that [`PoolLimit::TotalLessReserve`] leaves to others, at most the whole device;
    /// `None` for the larger of 1 GiB and a tenth of the device, but at most half of it.
    pub memory_reserve: Option<Size>,
    /// The most of the host's memory that [`Spill`](vmem_adaptors::Spill)ed buffers may rest in: bytes, or
    /// hundredths of what the host has; 0, as by default, for none of it. More asks for
    /// [tier B](crate::Tier::B), of whose recovery it is a step, and is the [limit](Self::host_limit) of the
    /// host's memory unless that is set.
    pub spill: Size,
    /// The memory of the host that the pool keeps ready for what spills and sleeps, from when the stack is
    /// built ([`fill_host_reserve`](vmem_pool::PoolHandle::fill_host_reserve)): bytes, or hundredths of
    /// what the host has; 0, as by default, for none. Making it takes the host 0.2 to 0.33 seconds a GiB.
    pub host_reserve: Size,
    /// The most that the pool has of the host's memory, for what spills, for [what
    /// sleeps](crate::Runtime::sleep) and for the [reserve](Self::host_reserve) together
    /// ([`with_host_ceiling`](vmem_pool::PoolConfig::with_host_ceiling)); `None` for what may
    /// [spill](Self::spill), and for no limit if nothing may.
    pub host_limit: Option<Size>,
    /// The choice whether the pool moves memory before it takes more, or after. Not in the environment;
    /// provisional, as [`Footprint`] is.
    pub pool_footprint: Footprint,
    /// The memory that the pool returns by itself, and when; `None` for only when asked. Not in the
    /// environment.
    pub pool_auto_trim: Option<AutoTrim>,
    /// The measure to take if the chosen stack cannot be built. Not in the environment.
    pub on_failed_setup: FailurePolicy,
    /// Tier C's budget in hundredths of the device's memory: what
    /// [admission](crate::Runtime::admit) measures new work against. Not in the environment.
    pub managed_percent: u32,
}

/// The most that a pool may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum PoolLimit {
    /// The device's memory less the reserve.
    #[default]
    TotalLessReserve,
    /// This much, rounded down to 256 bytes; at least that.
    AtMost(Size),
    /// Whatever the device gives.
    Unlimited,
}

/// The measures that a runtime can take if the chosen stack cannot be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum FailurePolicy {
    /// Builds the [fallback](crate::Tier::Fallback) instead, and warns once.
    #[default]
    FallBack,
    /// Returns the error. The next use tries again from the start.
    Closed,
}

impl RuntimeConfig {
    /// The prefix unless another is given.
    pub const DEFAULT_PREFIX: &'static str = "VMEM";

    /// Returns it with variables of another [`prefix`](Self::prefix).
    #[must_use]
    pub fn with_prefix(self, prefix: impl Into<Cow<'static, str>>) -> Self {
        Self { prefix: prefix.into(), ..self }
    }

    /// Returns it with [recovery](Self::oom_safety) from exhaustion, or without.
    #[must_use]
    pub fn with_oom_safety(self, oom_safety: bool) -> Self {
        Self { oom_safety, ..self }
    }

    /// Returns it with [managed memory](Self::managed_memory) or without.
    #[must_use]
    pub fn with_managed_memory(self, managed_memory: bool) -> Self {
        Self { managed_memory, ..self }
    }

    /// Returns it with another [limit](Self::pool_limit) of the pool.
    #[must_use]
    pub fn with_pool_limit(self, pool_limit: PoolLimit) -> Self {
        Self { pool_limit, ..self }
    }

    /// Returns it with another [initial size](Self::initial_pool_size) of the pool.
    #[must_use]
    pub fn with_initial_pool_size(self, initial_pool_size: Size) -> Self {
        Self { initial_pool_size, ..self }
    }

    /// Returns it with another [reserve](Self::memory_reserve); `None` for the default.
    #[must_use]
    pub fn with_memory_reserve(self, memory_reserve: impl Into<Option<Size>>) -> Self {
        Self { memory_reserve: memory_reserve.into(), ..self }
    }

    /// Returns it with so much of the host's memory to [spill](Self::spill) to.
    #[must_use]
    pub fn with_spill(self, spill: Size) -> Self {
        Self { spill, ..self }
    }

    /// Returns it with so much of the host's memory [kept ready](Self::host_reserve).
    #[must_use]
    pub fn with_host_reserve(self, host_reserve: Size) -> Self {
        Self { host_reserve, ..self }
    }

    /// Returns it with another [limit](Self::host_limit) of the host's memory; `None` for the default.
    #[must_use]
    pub fn with_host_limit(self, host_limit: impl Into<Option<Size>>) -> Self {
        Self { host_limit: host_limit.into(), ..self }
    }

    /// Whether tier B is asked for.
    pub(crate) fn recovers(&self) -> bool {
        self.oom_safety || self.spills()
    }

    pub(crate) fn spills(&self) -> bool {
        !self.spill.is_zero()
    }

    /// Returns it with another [footprint](Self::pool_footprint) of the pool.
    #[must_use]
    pub fn with_pool_footprint(self, pool_footprint: Footprint) -> Self {
        Self { pool_footprint, ..self }
    }

    /// Returns it with a pool that [trims itself](Self::pool_auto_trim); `None` for only when asked.
    #[must_use]
    pub fn with_pool_auto_trim(self, pool_auto_trim: impl Into<Option<AutoTrim>>) -> Self {
        Self { pool_auto_trim: pool_auto_trim.into(), ..self }
    }

    /// Returns it with another [policy for failed set-ups](Self::on_failed_setup).
    #[must_use]
    pub fn with_on_failed_setup(self, on_failed_setup: FailurePolicy) -> Self {
        Self { on_failed_setup, ..self }
    }

    /// Returns it with another [budget of tier C](Self::managed_percent), in hundredths of the device.
    #[must_use]
    pub fn with_managed_percent(self, managed_percent: u32) -> Self {
        Self { managed_percent, ..self }
    }
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            prefix: Cow::Borrowed(Self::DEFAULT_PREFIX),
            oom_safety: false,
            managed_memory: false,
            pool_limit: PoolLimit::default(),
            initial_pool_size: Size::Bytes(0),
            memory_reserve: None,
            spill: Size::Bytes(0),
            host_reserve: Size::Bytes(0),
            host_limit: None,
            pool_footprint: Footprint::default(),
            pool_auto_trim: None,
            on_failed_setup: FailurePolicy::default(),
            managed_percent: 200,
        }
    }
}

impl fmt::Display for RuntimeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |setting: Setting| setting.variable(&self.prefix);
        let switch = |on| if on { "on" } else { "off" };
        write!(f, "{}={}", name(Setting::OomSafety), switch(self.oom_safety))?;
        write!(f, " {}={}", name(Setting::ManagedMemory), switch(self.managed_memory))?;
        match self.pool_limit.value() {
            Some(limit) => write!(f, " {}={limit}", name(Setting::PoolLimit))?,
            None => write!(f, " ({} unset)", name(Setting::PoolLimit))?,
        }
        write!(f, " {}={}", name(Setting::InitialPoolSize), self.initial_pool_size)?;
        match self.memory_reserve {
            Some(reserve) => write!(f, " {}={reserve}", name(Setting::MemoryReserve))?,
            None => write!(f, " ({} unset)", name(Setting::MemoryReserve))?,
        }
        write!(f, " {}={}", name(Setting::Spill), self.spill)?;
        write!(f, " {}={}", name(Setting::HostReserve), self.host_reserve)?;
        match self.host_limit {
            Some(limit) => write!(f, " {}={limit}", name(Setting::HostLimit))?,
            None => write!(f, " ({} unset)", name(Setting::HostLimit))?,
        }
        let policy = match self.on_failed_setup {
            FailurePolicy::FallBack => "falls back",
            FailurePolicy::Closed => "is an error",
        };
        write!(f, " (failed set-up {policy}; managed budget {}%", self.managed_percent)?;
        write!(f, "; {} footprint", self.pool_footprint)?;
        if let Some(AutoTrim { threshold, age, .. }) = self.pool_auto_trim {
            write!(f, "; keeps {threshold} B, and what was needed within {age:?}")?;
        }
        f.write_str(")")
    }
}

impl PoolLimit {
    /// The variable's value that sets it; `None` for what an unset variable gives.
    fn value(self) -> Option<Size> {
        match self {
            Self::TotalLessReserve => None,
            Self::AtMost(size) => Some(size),
            Self::Unlimited => Some(Size::Bytes(0)),
        }
    }
}
