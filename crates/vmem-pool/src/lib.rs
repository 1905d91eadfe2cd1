//! Coalescing, stream-ordered memory pools.
//!
//! A [`Pool`] takes memory from a [`Backing`] on demand, hands it out best fit, and coalesces what
//! comes back. It starts with nothing, grows by what is needed, can shrink, and can be held under
//! an exact ceiling. Two backings:
//!
//! * [`VirtualArena`] maps physical memory into one range of addresses, so that all of it joins;
//! * [`Chunks`] of any other resource, for devices without virtual memory and for other kinds of
//!   memory.
//!
//! Memory freed on one stream is reused on another only behind a wait for the work that used it. A
//! pool that one stream uses makes no driver call on a hit; with several, a stream whose memory
//! others want marks its frees in batches.
//!
//! [`BinningPool`] is the simple fallback: powers of two that never join. [`BySize`] keeps small blocks
//! apart from large ones.
//!
//! ```
//! use vmem_core::{BlockLayout, MemoryResource, ResourceExt, Stream};
//! use vmem_pool::{Pool, PoolConfig, VirtualArena};
//! use vmem_sim::SimDevice;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let device = SimDevice::new(1 << 30);
//! let stream = Stream::new(device.clone())?;
//! let pool = Pool::new(VirtualArena::new(device)?, PoolConfig::default())?;
//! let handle = pool.handle();
//!
//! let block = pool.allocate_on(BlockLayout::new(3_000_000)?, &stream)?;
//! assert_eq!(handle.counters().map(|c| (c.live, c.reserved)), Some((3_000_000, 4 << 20)));
//! // SAFETY: no work was ever queued on the block.
//! unsafe { pool.deallocate(block, &stream) }?;
//! assert_eq!(handle.trim_to(0)?, 4 << 20);
//! # Ok(())
//! # }
//! ```
//!
//! The crate needs `std`. Its one feature, `serde`, serialises figures and configuration values.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod alloc;
mod binning;
mod by_size;
mod config;
mod figures;
mod handle;
mod pool;
mod space;
mod streams;
mod supply;
mod sync;

pub use binning::BinningPool;
pub use by_size::BySize;
pub use config::{
    AutoTrim, Batch, BuildError, BuildErrorKind, Footprint, Growth, Placement, PoolConfig,
};
pub use figures::{Capacity, Counters, RangeInfo, RangeState, Segment, Snapshot, WindowInfo};
pub use handle::{Pending, PoolHandle};

pub use pool::Pool;
pub use supply::{Backing, Chunks, VirtualArena};

/// The program of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
