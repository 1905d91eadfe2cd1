//! Managed memory as a vmem resource: one address for host and device, pages that the driver moves,
//! more memory than the device has.
//!
//! * [`ManagedMemory`] is the leaf. It needs a device on which host and device may access managed
//!   memory at the same time, and says in [`Unsupported`] what is missing otherwise.
//! * A request's [access class](vmem_core::AccessClass) becomes advice on the new block.
//! * [`ManagedMemory::advise`] and [`ManagedMemory::prefetch`] advise on single blocks;
//!   [`Prefetch`] moves every new block of a stack to the device.
//! * [`ManagedMemory::host_view`] shows a block to the host.
//!
//! Hints may be refused without harm; how many were is counted ([`HintCounts`]).
//!
//! ```
//! use std::sync::Arc;
//! use vmem_core::{Device, ResourceExt, Stream};
//! use vmem_managed::{ManagedMemory, Prefetch};
//! use vmem_sim::SimDevice;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let device: Arc<dyn Device> = SimDevice::new(64 << 20);
//! let stream = Stream::new(device.clone())?;
//! let memory = Prefetch::new(ManagedMemory::new(device)?);
//!
//! // Half as much again as the device has.
//! let mut buffers = Vec::new();
//! for _ in 0..3 {
//!     buffers.push(memory.buffer(32 << 20, &stream)?);
//! }
//! buffers[0].copy_from_slice(0, &[7; 4096])?;
//! # Ok(())
//! # }
//! ```
//!
//! The one feature, `serde`, serialises the counts.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod hint;
mod memory;
mod prefetch;
mod unsupported;

pub use hint::{Hint, HintCounts, HintHandle};
pub use memory::{ManagedHandle, ManagedMemory};
pub use prefetch::Prefetch;
pub use unsupported::Unsupported;

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
        shared::<HintHandle>();
        shared::<ManagedHandle>();
        shared::<ManagedMemory>();
        shared::<Prefetch<ManagedMemory>>();
    }
}
