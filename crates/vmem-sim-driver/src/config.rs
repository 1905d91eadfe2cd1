//! What the driver and its devices are to be, from texts.

use std::ffi::c_int;

use vmem_core::parse_bytes;
use vmem_sim::{Callers, Checker, CostTable, Parts, SimConfig, Strictness};

use crate::script::Rule;

/// What the names of all environment variables begin with.
pub(crate) const PREFIX: &str = "VMEM_SIM_DRIVER_";

/// The names of the driver's own strictness.
const CONTEXTS: &str = "CONTEXTS";
const DEAD_STREAMS: &str = "DEAD_STREAMS";
const PAGEABLE_COPIES: &str = "PAGEABLE_COPIES";

/// The most devices.
const MOST_DEVICES: usize = 16;

/// How a driver is made.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) devices: usize,
    pub(crate) device: SimConfig,
    /// As `cuDriverGetVersion` counts: 1000 × major + 10 × minor.
    pub(crate) version: c_int,
    /// Whether what is named must be of the device whose context is current.
    pub(crate) strict_contexts: bool,
    /// Whether a call that names a destroyed stream ends the process.
    pub(crate) trap_dead_streams: bool,
    /// Whether a copy touches pageable memory when it runs, and not during its call.
    pub(crate) late_pageable_copies: bool,
    /// A failure from the start.
    pub(crate) fail: Option<Rule>,
    /// Whether `CONCURRENT_MANAGED` was said; without, it follows `MANAGED`.
    concurrent: Option<bool>,
}

impl Default for Config {
    /// One device of 1 GiB with every part, under a driver of version 12.6.
    fn default() -> Self {
        let (strictness, callers) = (Strictness::all(), Callers::TheirOwn);
        let device = SimConfig { strictness, callers, ..SimConfig::default() };
        Self {
            devices: 1,
            device,
            version: 12_060,
            strict_contexts: true,
            trap_dead_streams: true,
            late_pageable_copies: true,
            fail: None,
            concurrent: None,
        }
    }
}

impl Config {
    /// What the environment says, and what `overrides` say instead of it.
    ///
    /// # Errors
    /// The variable that is not understood, and what is accepted.
    pub(crate) fn load(overrides: &[(String, String)]) -> Result<Self, String> {
        let mut config = Self::default();
        for (name, value) in std::env::vars_os() {
            let Some(key) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else {
                continue;
            };
            if overrides.iter().any(|(other, _)| other == key) {
                continue;
            }
            let value = value.to_str().ok_or_else(|| format!("{PREFIX}{key} is not UTF-8"))?;
            config.set(key, value)?;
        }
        for (key, value) in overrides {
            config.set(key, value)?;
        }
        config.finish()
    }

    /// Takes one setting; `key` is the variable's name without the prefix.
    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let refuse = |accepted: &str| format!("{PREFIX}{key}={value}; accepted: {accepted}");
        let number = || value.parse::<u64>().map_err(|_| refuse("a whole number"));
        let switch = || match value {
            "on" | "1" => Ok(true),
            "off" | "0" => Ok(false),
            _ => Err(refuse("on, off, 1, 0")),
        };
        let parts = &mut self.device.parts;
        match key {
            "DEVICES" => {
                self.devices = value
                    .parse()
                    .ok()
                    .filter(|&count| count <= MOST_DEVICES)
                    .ok_or_else(|| refuse("a whole number up to 16"))?;
            }
            "CAPACITY" => {
                let accepted = "bytes, with K, M, G, T, KiB, MiB, GiB or TiB in powers of 1024";
                self.device.capacity = parse_bytes(value).ok_or_else(|| refuse(accepted))?;
            }
            "VIRTUAL_MEMORY" => parts.set(Parts::VIRTUAL_MEMORY, switch()?),
            "MANAGED" => parts.set(Parts::MANAGED, switch()?),
            "CONCURRENT_MANAGED" => self.concurrent = Some(switch()?),
            "ASYNC_POOL" => parts.set(Parts::ASYNC_POOL, switch()?),
            "HOST_HANDLES" => parts.set(Parts::HOST_HANDLES, switch()?),
            "VERSION" => {
                self.version = version(value)
                    .ok_or_else(|| refuse("MAJOR.MINOR from 11.0 to 99.9, as in 12.4"))?;
            }
            "COSTS" => {
                self.device.costs = if switch()? { CostTable::default() } else { CostTable::FREE };
            }
            "CHECKER" => {
                self.device.checker = if switch()? { Checker::On } else { Checker::Off };
            }
            "SEED" => self.device.seed = number()?,
            "STRICTNESS" => self.set_strictness(value).map_err(|why| refuse(&why))?,
            "FAIL" => self.fail = Some(Rule::parse(value).map_err(|why| refuse(&why))?),
            _ => {
                return Err(format!(
                    "{PREFIX}{key} is no variable of this driver; there are DEVICES, CAPACITY, \
                     VIRTUAL_MEMORY, MANAGED, CONCURRENT_MANAGED, ASYNC_POOL, HOST_HANDLES, VERSION, \
                     COSTS, CHECKER, SEED, STRICTNESS, FAIL"
                ));
            }
        }
        Ok(())
    }

    /// Takes `all`, `none`, or what is left out of all, each name after a `-`.
    fn set_strictness(&mut self, value: &str) -> Result<(), String> {
        let accepted = || {
            format!(
                "all, none, -{CONTEXTS}, -{DEAD_STREAMS}, -{PAGEABLE_COPIES} and further names, each \
                 after a -"
            )
        };
        let is_strict = |own: &str| match value {
            "all" => Ok(true),
            "none" => Ok(false),
            less if less.starts_with('-') => Ok(!less[1..].split('-').any(|name| name == own)),
            _ => Err(accepted()),
        };
        self.strict_contexts = is_strict(CONTEXTS)?;
        self.trap_dead_streams = is_strict(DEAD_STREAMS)?;
        self.late_pageable_copies = is_strict(PAGEABLE_COPIES)?;
        let own = [CONTEXTS, DEAD_STREAMS, PAGEABLE_COPIES].map(|own| format!("-{own}"));
        let of_devices = own.iter().fold(value.to_owned(), |rest, own| rest.replace(own, ""));
        let of_devices = if of_devices.is_empty() { "all" } else { &of_devices };
        self.device.strictness =
            of_devices.parse().map_err(|error| format!("{}; {error}", accepted()))?;
        Ok(())
    }

    fn finish(mut self) -> Result<Self, String> {
        let parts = &mut self.device.parts;
        let concurrent = self.concurrent.unwrap_or(parts.contains(Parts::MANAGED));
        parts.set(Parts::CONCURRENT_MANAGED, concurrent);
        // Making one says what no device can be.
        vmem_sim::SimDevice::with_config(self.device.clone())
            .map_err(|error| format!("{PREFIX}*: {error}"))?;
        Ok(self)
    }
}

fn version(text: &str) -> Option<c_int> {
    let (major, minor) = text.split_once('.')?;
    let (major, minor) = (major.parse::<c_int>().ok()?, minor.parse::<c_int>().ok()?);
    ((11..100).contains(&major) && (0..10).contains(&minor)).then_some(major * 1000 + minor * 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(pairs: &[(&str, &str)]) -> Result<Config, String> {
        let owned: Vec<_> =
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Config::load(&owned)
    }

    #[test]
    fn every_setting_is_taken() {
        let config = load(&[
            ("DEVICES", "3"),
            ("CAPACITY", "64MiB"),
            ("VIRTUAL_MEMORY", "off"),
            ("MANAGED", "off"),
            ("ASYNC_POOL", "0"),
            ("HOST_HANDLES", "off"),
            ("VERSION", "11.4"),
            ("COSTS", "off"),
            ("CHECKER", "off"),
            ("SEED", "7"),
            ("STRICTNESS", "-PENDING_FREE-CONTEXTS"),
            ("FAIL", "1 9999 cuInit"),
        ])
        .unwrap();
        assert_eq!((config.devices, config.version, config.device.seed), (3, 11_040, 7));
        assert_eq!(config.device.capacity, 64 << 20);
        assert_eq!(config.device.parts, Parts::PINNED);
        assert_eq!(config.device.costs, CostTable::FREE);
        assert_eq!(config.device.checker, Checker::Off);
        assert_eq!(config.device.strictness, Strictness::all() - Strictness::PENDING_FREE);
        assert!(!config.strict_contexts);
        let strictness = |value| {
            let config = load(&[("STRICTNESS", value)]).unwrap();
            (config.device.strictness, config.strict_contexts)
        };
        assert_eq!(strictness("all"), (Strictness::all(), true));
        assert_eq!(strictness("none"), (Strictness::empty(), false));
        assert_eq!(strictness("-CONTEXTS"), (Strictness::all(), false));
        assert_eq!(config.fail.unwrap().function, Some("cuInit"));
    }

    #[test]
    fn concurrent_access_follows_managed_memory_unless_it_is_said() {
        let parts = |pairs: &[_]| load(pairs).unwrap().device.parts;
        assert_eq!(parts(&[]), Parts::all());
        assert!(!parts(&[("CONCURRENT_MANAGED", "off")]).contains(Parts::CONCURRENT_MANAGED));
        assert!(!parts(&[("MANAGED", "off")]).contains(Parts::CONCURRENT_MANAGED));
        let both = [("MANAGED", "off"), ("CONCURRENT_MANAGED", "on")];
        assert!(load(&both).unwrap_err().contains("without MANAGED"));
    }

    #[test]
    fn what_is_not_understood_is_named_with_what_is_accepted() {
        let refused = |key, value| load(&[(key, value)]).unwrap_err();
        assert!(refused("DEVICE", "1").starts_with("VMEM_SIM_DRIVER_DEVICE is no variable"));
        assert!(refused("DEVICES", "17").contains("up to 16"));
        assert!(refused("CAPACITY", "1GB").contains("powers of 1024"));
        assert!(refused("CAPACITY", "0").contains("accepted: 1 B to 16 TiB"));
        assert!(refused("MANAGED", "maybe").contains("on, off"));
        assert!(refused("VERSION", "12").contains("as in 12.4"));
        assert!(refused("SEED", "-1").contains("a whole number"));
        assert!(refused("STRICTNESS", "some").contains("all, none, -CONTEXTS"));
        assert!(refused("STRICTNESS", "-NONE").contains("PENDING_FREE"));
        assert!(refused("FAIL", "1").contains("NTH CODE"));
    }
}
