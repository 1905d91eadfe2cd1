//! Settings as variables of the environment.

use std::borrow::Cow;

use super::{ConfigError, ConfigErrorKind, PoolLimit, RuntimeConfig, Size, size};

/// What can be set by a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setting {
    OomSafety,
    ManagedMemory,
    PoolLimit,
    InitialPoolSize,
    MemoryReserve,
    Spill,
    HostReserve,
    HostLimit,
}

/// What the names of the software driver's variables begin with, after the prefix.
const SIM_DRIVER: &str = "SIM_DRIVER_";

const SWITCHES: &str = "1, true, yes, on; 0, false, no, off";

impl Setting {
    const ALL: [Self; 8] = [
        Self::OomSafety,
        Self::ManagedMemory,
        Self::PoolLimit,
        Self::InitialPoolSize,
        Self::MemoryReserve,
        Self::Spill,
        Self::HostReserve,
        Self::HostLimit,
    ];

    /// Its variable's name after the prefix.
    const fn suffix(self) -> &'static str {
        match self {
            Self::OomSafety => "OOM_SAFETY",
            Self::ManagedMemory => "MANAGED_MEMORY",
            Self::PoolLimit => "POOL_LIMIT",
            Self::InitialPoolSize => "INITIAL_POOL_SIZE",
            Self::MemoryReserve => "MEMORY_RESERVE_BYTES",
            Self::Spill => "SPILL",
            Self::HostReserve => "HOST_RESERVE",
            Self::HostLimit => "HOST_LIMIT",
        }
    }

    /// Its variable's name.
    pub(super) fn variable(self, prefix: &str) -> String {
        format!("{prefix}_{}", self.suffix())
    }

    /// The setting that a name that is no setting's was most likely meant to be.
    fn nearly(name: &str) -> Option<Self> {
        if name.starts_with(SIM_DRIVER) {
            return None;
        }
        let letters = |name: &str| name.replace(['_', '-', ' '], "").to_ascii_uppercase();
        let name = letters(name);
        let distance = |known: Self| {
            let known = letters(known.suffix());
            let distance = strsim::osa_distance(&name, &known);
            let is_part = known.contains(&name) && 2 * name.len() >= known.len();
            (distance <= known.len() / 3 || is_part || name.contains(&known)).then_some(distance)
        };
        let near = Self::ALL.into_iter().filter_map(|known| Some((distance(known)?, known)));
        near.min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
    }

    fn accepted(self) -> String {
        match self {
            Self::OomSafety | Self::ManagedMemory => SWITCHES.into(),
            Self::PoolLimit => format!("0 for no limit; at least 256 B: {}", size::ACCEPTED),
            Self::InitialPoolSize | Self::MemoryReserve => size::ACCEPTED.into(),
            Self::Spill | Self::HostReserve => {
                format!("0 for nothing; {}", size::ACCEPTED.replace("device", "host"))
            }
            Self::HostLimit => {
                format!("0 for the default; {}", size::ACCEPTED.replace("device", "host"))
            }
        }
    }
}

impl RuntimeConfig {
    /// The configuration that the process's environment gives under `prefix`.
    ///
    /// # Errors
    /// Those of [`from_vars`](Self::from_vars).
    pub fn from_env(prefix: impl Into<Cow<'static, str>>) -> Result<Self, ConfigError> {
        let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let vars = std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value)));
        Self::from_vars(prefix, vars)
    }

    /// The configuration that variables give under `prefix`; what is not set has its default.
    ///
    /// Other variables are ignored, under the prefix too: they are somebody else's, as the software
    /// driver's `VMEM_SIM_DRIVER_CAPACITY` is; but a name that is nearly one of these is refused,
    /// with the one that was meant: a few letters differ, case or separators do, or something stands
    /// before or after it or is missing there.
    ///
    /// | Variable | Values |
    /// |---|---|
    /// | `<PREFIX>_OOM_SAFETY`, `<PREFIX>_MANAGED_MEMORY` | 1, true, yes, on; 0, false, no, off |
    /// | `<PREFIX>_POOL_LIMIT` | a [`Size`] of at least 256 bytes; 0 for no limit |
    /// | `<PREFIX>_INITIAL_POOL_SIZE` | a [`Size`] |
    /// | `<PREFIX>_MEMORY_RESERVE_BYTES` | a [`Size`] |
    /// | `<PREFIX>_SPILL`, `<PREFIX>_HOST_RESERVE` | a [`Size`], of the host; 0 for nothing |
    /// | `<PREFIX>_HOST_LIMIT` | a [`Size`], of the host; 0 for the default |
    ///
    /// ```
    /// use vmem_runtime::RuntimeConfig;
    ///
    /// let vars = [("VIBESPATIAL_GPU_OOM_SAFETY", "yes"), ("HOME", "/")];
    /// assert!(RuntimeConfig::from_vars("VIBESPATIAL_GPU", vars)?.oom_safety);
    ///
    /// let error = RuntimeConfig::from_vars("VMEM", [("VMEM_POOL_LIMIT", "-1")]).unwrap_err();
    /// assert_eq!(error.variable(), "VMEM_POOL_LIMIT");
    /// # Ok::<(), vmem_runtime::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// A variable under the prefix that is nearly one of these, a value that is none of its values,
    /// an initial size above the limit, and what may spill or a reserve on the host above the limit
    /// there, where both are known.
    pub fn from_vars<N, V>(
        prefix: impl Into<Cow<'static, str>>,
        vars: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, ConfigError>
    where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        let mut config = Self { prefix: prefix.into(), ..Self::default() };
        for (name, value) in vars {
            let rest = name.as_ref().strip_prefix(&*config.prefix);
            if let Some(suffix) = rest.and_then(|rest| rest.strip_prefix('_')) {
                config.set(suffix, value.as_ref())?;
            }
        }
        config.check()?;
        Ok(config)
    }

    fn set(&mut self, suffix: &str, value: &str) -> Result<(), ConfigError> {
        let Some(setting) = Setting::ALL.into_iter().find(|s| s.suffix() == suffix) else {
            return match Setting::nearly(suffix) {
                Some(meant) => Err(self.misspelt(suffix, value, meant)),
                None => Ok(()),
            };
        };
        let refuse = || self.error(ConfigErrorKind::InvalidValue, setting, value.into());
        let size = || value.parse::<Size>().map_err(|_| refuse());
        match setting {
            Setting::OomSafety => self.oom_safety = switch(value).ok_or_else(refuse)?,
            Setting::ManagedMemory => self.managed_memory = switch(value).ok_or_else(refuse)?,
            Setting::PoolLimit => {
                self.pool_limit = match size()? {
                    Size::Bytes(0) => PoolLimit::Unlimited,
                    size => PoolLimit::AtMost(size),
                }
            }
            Setting::InitialPoolSize => self.initial_pool_size = size()?,
            Setting::MemoryReserve => self.memory_reserve = Some(size()?),
            Setting::Spill => self.spill = size()?,
            Setting::HostReserve => self.host_reserve = size()?,
            Setting::HostLimit => {
                let limit = size()?;
                self.host_limit = (!limit.is_zero()).then_some(limit);
            }
        }
        Ok(())
    }

    fn misspelt(&self, suffix: &str, value: &str, meant: Setting) -> ConfigError {
        let names = Setting::ALL.map(|setting| setting.variable(&self.prefix));
        ConfigError {
            kind: ConfigErrorKind::UnknownVariable,
            variable: format!("{}_{suffix}", self.prefix),
            value: value.into(),
            accepted: format!(
                "{} (did you mean {}?)",
                names.join(", "),
                meant.variable(&self.prefix)
            ),
        }
    }

    /// A mistake in a setting.
    pub(super) fn error(
        &self,
        kind: ConfigErrorKind,
        setting: Setting,
        value: String,
    ) -> ConfigError {
        let variable = setting.variable(&self.prefix);
        ConfigError { kind, variable, value, accepted: setting.accepted() }
    }
}

fn switch(value: &str) -> Option<bool> {
    let value = value.trim();
    let is_one_of = |words: [&str; 4]| words.iter().any(|word| value.eq_ignore_ascii_case(word));
    if is_one_of(["1", "true", "yes", "on"]) {
        Some(true)
    } else {
        is_one_of(["0", "false", "no", "off"]).then_some(false)
    }
}
