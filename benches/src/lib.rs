//! Baselines: what vmem's resources are compared with, each as a stack on a simulated device.
//!
//! A baseline is the real thing or a model of it that says so; one that shows a peer worse than the
//! peer is has no use here. So far there is one, [`driver_calls`], which needs no model: a program
//! without a memory manager.

#![forbid(unsafe_code)]

mod device;
mod driver;

pub use device::device;
pub use driver::driver_calls;
