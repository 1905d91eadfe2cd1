//! Adaptors for vmem's memory resources: each wraps one upstream and adds one behaviour.
//!
//! | Adaptor | Adds | Handle |
//! |---|---|---|
//! | [`OnFailure`] | calls a hook when memory is exhausted, and tries again | [`RecoveryHandle`] |
//! | [`Statistics`] | counts memory in use, at most and in all; per size, label and scope | [`StatsHandle`] |
//! | [`Limit`] | refuses what exceeds a [`Budget`] that several may share | [`Budget`] |
//! | [`Track`] | lists the blocks that are out | [`TrackHandle`] |
//! | [`Scrub`] | clears every block when it is freed | [`ScrubHandle`] |
//! | [`MayRest`] | asks for memory that may rest on the host | |
//!
//! [`Spill`] is no adaptor: it holds buffers whose memory rests on the host while nobody uses them.
//!
//! An adaptor passes blocks unchanged and has its upstream's capabilities. Compose them from the
//! leaf outwards, by constructor or with [`AdaptorExt`]; take handles, then erase the type once,
//! outermost:
//!
//! ```
//! use vmem_adaptors::{AdaptorExt, Reclaimers};
//! use vmem_core::{DeviceMemory, ResourceExt, Stream};
//! use vmem_sim::SimDevice;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let device = SimDevice::new(1 << 30);
//! let stream = Stream::new(device.clone())?;
//!
//! let reclaimers = Reclaimers::new();
//! let stack = DeviceMemory::new(device).on_failure(reclaimers.hook()).with_statistics();
//! let stats = stack.handle();
//! let memory = stack.into_dyn();
//!
//! let buffer = memory.buffer(1 << 20, &stream)?;
//! assert_eq!(stats.stats().map(|figures| figures.bytes.current), Some(1 << 20));
//! # Ok(())
//! # }
//! ```
//!
//! Free a block through the resource it was allocated from, or one that wraps it: an adaptor does
//! not see what passes it by. A free past every [`Limit`] stays charged, and one past a [`Track`]
//! listed, until another block lies in its place; a free past [`Statistics`] stays counted, and a
//! block that was only freed through them counts below zero; a free past a [`Scrub`] is not cleared.
//!
//! The one feature, `serde`, serialises the figures and reports.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod account;
mod blocks;
mod budget;
mod charges;
mod ext;
mod limit;
mod on_failure;
mod resting;
mod scrub;
mod spill;
mod statistics;
mod sync;
mod track;
mod words;

pub use account::Account;
pub use budget::{Budget, Charge};
pub use ext::AdaptorExt;
pub use limit::Limit;
pub use on_failure::{
    Answer, Failure, OnFailure, Reclaimers, RecoveryCounts, RecoveryHandle, Registration,
    RetryPolicy,
};
pub use resting::MayRest;
pub use scrub::{Scrub, ScrubHandle};
pub use spill::{GraphHold, Lease, Spill, SpillCounts, SpillMemory, Spillable};
pub use statistics::{
    LabelUsage, SizeHistogram, Statistics, Stats, StatsHandle, StatsScope, Tally, Usage,
};
pub use track::{Backtraces, LeakReport, OutstandingBlock, Track, TrackHandle};

/// The example in the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use vmem_core::{DeviceBuffer, DeviceMemory};

    fn shared<T: Send + Sync>() {}

    #[test]
    fn every_public_handle_is_send_and_sync() {
        shared::<Budget>();
        shared::<Charge<'_>>();
        shared::<Limit<DeviceMemory>>();
        shared::<GraphHold>();
        shared::<Lease<DeviceBuffer>>();
        shared::<OnFailure<DeviceMemory>>();
        shared::<Reclaimers>();
        shared::<RecoveryHandle>();
        shared::<Registration>();
        shared::<Scrub<DeviceMemory>>();
        shared::<ScrubHandle>();
        shared::<Account>();
        shared::<Spill>();
        shared::<Spillable<DeviceBuffer>>();
        shared::<Statistics<DeviceMemory>>();
        shared::<StatsHandle>();
        shared::<Track<DeviceMemory>>();
        shared::<TrackHandle>();
    }
}
