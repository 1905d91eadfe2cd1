//! vmem's runtime: the stack that suits a device, built when it is first used.
//!
//! | Tier | Chosen when | Stack, outermost first |
//! |---|---|---|
//! | [A](Tier::A) | nothing else asked | statistics → pool |
//! | [B](Tier::B) | `VMEM_OOM_SAFETY=1` | statistics → recovery → pool |
//! | [C](Tier::C) | `VMEM_MANAGED_MEMORY=1`, wins over B | statistics → managed memory |
//! | [Fallback](Tier::Fallback) | the chosen stack could not be built | statistics → (recovery, if B was asked) → binning pool → device memory |
//!
//! Below the statistics of every tier, [`Reservations`] let a program set memory aside.
//!
//! * [`RuntimeConfig`] comes from code or from the environment under a prefix; [`choose`] is the
//!   policy, a pure function.
//! * [`Runtime`] builds the stack on first use, all of it or nothing, and answers for it: figures of
//!   one shape, capacity, admission, trimming.
//! * [`Stack::build`] builds one tier's stack for a program that wants no runtime.
//! * [`Registry`] holds the current resource of each device.
//!
//! ```
//! use vmem_core::{ResourceExt, Stream};
//! use vmem_runtime::{Runtime, RuntimeConfig};
//! use vmem_sim::SimDevice;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let vars = [("VMEM_OOM_SAFETY", "1"), ("VMEM_POOL_LIMIT", "80%")];
//! let runtime = Runtime::new(RuntimeConfig::from_vars("VMEM", vars)?, || Ok(SimDevice::new(1 << 30)));
//!
//! let stream = Stream::new(runtime.device()?)?;
//! let memory = runtime.resource()?;
//! let mut buffer = memory.buffer(1 << 20, &stream)?;
//! buffer.copy_from_slice(0, &[7; 4096])?;
//! println!("{runtime}");
//! # Ok(())
//! # }
//! ```
//!
//! The crate needs `std`. Its one feature, `serde`, serialises configuration and figures.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod admission;
mod config;
mod registry;
mod reservation;
mod runtime;
mod stack;
mod tier;

pub use admission::Admission;
pub use config::{
    ConfigError, ConfigErrorKind, FailurePolicy, Limits, PoolLimit, RuntimeConfig, Size, SizeError,
};
pub use registry::Registry;
pub use reservation::{Reservation, Reservations, ReservationsHandle};
pub use runtime::{Runtime, RuntimeCapacity, RuntimeStats, SetupError, SetupErrorKind, Status};
pub use stack::{Recovery, Stack};
pub use tier::{DeviceTraits, Tier, choose};

/// The program of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared<T: Send + Sync>() {}

    #[test]
    fn every_public_handle_is_send_and_sync() {
        shared::<Recovery>();
        shared::<Registry>();
        shared::<Reservation>();
        shared::<ReservationsHandle>();
        shared::<Runtime>();
        shared::<SetupError>();
        shared::<Stack>();
    }
}
