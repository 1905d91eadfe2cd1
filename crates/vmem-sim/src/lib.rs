//! A simulated GPU for vmem.
//!
//! [`SimDevice`] is a [`Device`](vmem_core::Device) with every part, without hardware. It is the
//! embedded default: examples, tests and benchmarks run on it. What it models:
#![doc = include_str!("model.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod calls;
mod capture;
mod checker;
mod config;
mod cost;
mod device;
mod handles;
mod kernel;
mod leaks;
mod memory;
mod pool;
mod rng;
mod script;
mod state;
mod stream;
mod strictness;
mod sync;
mod violation;

pub use calls::{CallCounts, CallKind};
pub use capture::{CaptureMode, CaptureStatus, Graph};
pub use config::{Bytes, Callers, Checker, ConfigError, Parts, Schedule, SimConfig};
pub use cost::{CostTable, MeasuredCosts};
pub use device::SimDevice;
pub use kernel::{Kernel, KernelMemory, Pattern};
pub use leaks::{Leaks, Outstanding};
pub use strictness::{Strictness, UnknownStrictness};
pub use violation::{Violation, ViolationKind};

/// The program of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
