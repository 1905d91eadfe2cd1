//! Allocation traces: what a program allocated and freed, as plain data.
//!
//! * [`Trace`] is the model: validated [`Event`]s over numbers, made by a [`TraceBuilder`];
//! * [`read_path`] reads RMM logs, lifetimes, PyTorch snapshots and recordings ([`Format`]), as they
//!   are: cut, damaged, begun late; what it got over is in the [notes](Reading::notes).
//!   [`write_rmm_log`], [`write_lifetimes`] and [`write_chrome_trace`] write traces for other tools,
//!   [`write_recording`] for ours;
//! * [`Record`] records what passes through a stack, with a [`Recorder`];
//! * [`Workload`] generates the allocations of a geospatial engine's operations at any [`Scale`];
//! * [`Log`] has what real programs asked for;
//! * [`replay()`] carries a trace out on a stack of memory resources and reports what it cost,
//!   [`min_device`] finds the smallest device it runs on.
//!
//! ```
//! use std::sync::Arc;
//!
//! use vmem_core::{BoxedError, DeviceMemory, MemoryResource};
//! use vmem_sim::SimDevice;
//! use vmem_trace::{ReplayOptions, ReplayStack, Workload, WorkloadOptions, replay};
//!
//! #[derive(Debug)]
//! struct Plain {
//!     sim: Arc<SimDevice>,
//!     memory: Arc<dyn MemoryResource>,
//! }
//!
//! impl ReplayStack for Plain {
//!     fn resource(&self) -> &Arc<dyn MemoryResource> {
//!         &self.memory
//!     }
//!     fn description(&self) -> String {
//!         "DeviceMemory".to_owned()
//!     }
//!     fn reserved(&self) -> u64 {
//!         self.sim.used()
//!     }
//!     fn peak_reserved(&self) -> u64 {
//!         self.sim.peak_used()
//!     }
//! }
//!
//! # fn main() -> Result<(), BoxedError> {
//! let options = WorkloadOptions {
//!     scale: "1k".parse()?,
//!     ..Workload::OverlayCore.defaults()
//! };
//! let trace = Workload::OverlayCore.generate(&options)?;
//! let sim = SimDevice::new(1 << 30);
//! let memory = Arc::new(DeviceMemory::new(sim.clone()));
//! let stack = Plain { sim, memory };
//! let report = replay(&trace, &stack, &ReplayOptions::default())?;
//! assert!(report.passed());
//! assert_eq!(report.peak_live, trace.peak_live());
//! # Ok(())
//! # }
//! ```
//!
//! The crate needs `std`. Its one feature, `serde`, serialises events and reports.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod builder;
mod log;
mod read;
mod record;
mod replay;
mod trace;
mod workload;
mod write;

pub use builder::{TraceBuilder, TraceError};
pub use log::Log;
pub use read::{
    Format, Frames, Irregularity, Note, Packing, ReadError, ReadOptions, Reading, Sites,
    Strictness, read, read_path,
};
pub use record::{Record, Recorder, write_recording};
pub use replay::{
    AskedAgain, Failure, LoggedFailures, Moment, ReplayError, ReplayOptions, ReplayReport,
    ReplayStack, Watch, min_device, replay, replay_watched,
};
pub use trace::{Event, Mark, Origin, Trace};
pub use workload::{
    GenerateError, Operands, ParseError, RandomConfig, Scale, Workload, WorkloadOptions, random,
};
pub use write::{write_chrome_trace, write_lifetimes, write_rmm_log};

/// The examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared<T: Send + Sync>() {}

    #[test]
    fn every_public_handle_is_send_and_sync() {
        shared::<Trace>();
        shared::<TraceBuilder>();
        shared::<Recorder>();
        shared::<Record<vmem_core::DeviceMemory>>();
        shared::<ReplayReport>();
        shared::<ReadError>();
        shared::<ReplayError>();
        shared::<GenerateError>();
    }
}
