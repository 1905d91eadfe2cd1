//! Baselines: what vmem's resources are compared with, each as a stack on a device.
//!
//! A baseline is the real thing or a model of it that says so; one that shows a peer worse than the
//! peer is has no use here. [`ALL`] lists them under the names by which tables know them. A model
//! follows the rules of the peer's own source, which its documentation names, and its tests hold it
//! to what the peer itself came to on the same traces.

mod baselines;
mod device;
mod driver;
mod meter;
mod program;

pub use baselines::{
    ALL, Baseline, Build, RmmSize, Segments, cupy_pool, offset_allocator, rmm_pool,
    torch_caching_allocator,
};
pub use device::device;
pub use driver::driver_calls;
pub use meter::{SimStack, replay_stack};
pub use program::Program;
