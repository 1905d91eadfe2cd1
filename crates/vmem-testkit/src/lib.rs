//! Holds memory resources to vmem's [contract](vmem_core::contract), clause by clause.
//!
//! Authors of a [`MemoryResource`](vmem_core::MemoryResource) test it with four things:
//!
//! * the [`conformance`] suite, a table of named checks over `&dyn MemoryResource`, for any device;
//! * [`Program`]s, random sequences of operations that shrink, [run](Program::run) beside a
//!   deliberately dumb model that knows what must be where;
//! * a [`Countdown`], a device that answers the n-th driver call with an error, [`sweep`], which
//!   reruns a scenario for every n, and [`Pairs`], which do so for two failing calls; it also lets
//!   things happen just before or after a call, which otherwise took another thread's luck;
//! * a [`Probe`], which both runs call to look inside: invariants, live and reserved bytes; and a
//!   [`DeviceControl`], through which programs capture graphs and lose the device.
//!
//! [`TrackedBlock`] is what all of them use memory through: a block that keeps its own event waits,
//! so that a test obeys the contract however it orders its streams, and a race that a checker or
//! wrong bytes reveal is the resource's.
//!
//! ```
//! use vmem_core::DeviceMemory;
//! use vmem_sim::SimDevice;
//! use vmem_testkit::conformance::{self, Subject};
//!
//! let device = SimDevice::new(1 << 30);
//! let memory = DeviceMemory::new(device.clone());
//! conformance::check(&Subject::new(&memory));
//! device.assert_clean();
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]

mod block;
#[cfg(unix)]
mod child;
pub mod conformance;
mod countdown;
mod device_control;
mod finding;
mod history;
mod pattern;
mod probe;
mod program;
mod rng;

pub use block::{FailedFree, TrackedBlock};
#[cfg(unix)]
pub use child::in_child;
pub use countdown::{Carelessness, Countdown, FAULT_CODES, Fault, Fired, Pairs, sweep};
pub use device_control::DeviceControl;
pub use finding::{Finding, panic_text};
pub use probe::{Ledger, Probe, SetAside};
pub use program::{Caller, Divergence, Op, Program, Shape, Summary};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests {
    use super::*;

    fn shared<T: Send + Sync>() {}

    #[test]
    fn every_public_handle_is_send_and_sync() {
        shared::<Countdown>();
        shared::<TrackedBlock>();
        shared::<FailedFree>();
        shared::<Finding>();
        shared::<Divergence>();
        shared::<Program>();
        shared::<conformance::Subject<'_>>();
        shared::<conformance::Check>();
    }
}
