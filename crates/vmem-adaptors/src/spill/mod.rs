//! Buffers whose memory rests on the host while nobody uses them.

mod ledger;
mod memory;
mod moves;
mod spillable;
mod uses;

use std::fmt;
use std::sync::Arc;

use vmem_core::Residency;

pub use memory::SpillMemory;
pub use spillable::{GraphHold, Lease, Spillable};

use ledger::Ledger;

/// Buffers that may spill: those whose memory [`Residency`] moves to the host when the device runs short,
/// and back when they are used. Clones are the same.
///
/// A buffer is [adopted](Self::adopt), and from then on its address is to be had through a
/// [`Lease`] only. While nobody leases it, and all that was queued under leases is complete, it is *cold*:
/// [`demote`](Self::demote) then may move its memory to the host, that of the buffer which was leased the
/// longest ago first. The next lease brings it back, unless that would move out something that was leased
/// since the buffer was before: then it stays on the host, where work on it is right and slow. So what is
/// used again and again displaces what is not, and a pass over more than the device holds does not push
/// out all of it in turn.
///
/// It is a measure of `vmem-runtime`'s tier B; elsewhere, register `demote` with
/// [`Reclaimers`](crate::Reclaimers), or call it. Memory that may rest is best asked for as such
/// ([`MayRest`](crate::MayRest)).
///
/// ```
/// use std::sync::Arc;
/// use vmem_adaptors::Spill;
/// use vmem_core::{DeviceBuffer, ResourceExt, Stream};
/// use vmem_pool::{Pool, PoolConfig, VirtualArena};
/// use vmem_sim::SimDevice;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = SimDevice::new(64 << 20);
/// let stream = Stream::new(device.clone())?;
/// let pool = Pool::new(VirtualArena::new(device)?, PoolConfig::default())?;
/// let spill = Spill::new(Arc::new(pool.handle()));
///
/// let buffer = DeviceBuffer::from_slice(pool.into_dyn(), &[1, 2, 3], &stream)?;
/// let mut spillable = spill.adopt(buffer);
/// {
///     let lease = spillable.lease(&stream)?;
///     let _address = lease.ptr(); // for work on `stream`, until the lease is dropped
/// }
/// assert_eq!(spillable.with(|buffer| buffer.to_vec())??, [1, 2, 3]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Spill {
    inner: Arc<Inner>,
    /// The most bytes of the host.
    limit: u64,
}

struct Inner {
    /// `None` where nothing can move.
    residency: Option<Arc<dyn Residency>>,
    ledger: Ledger,
}

/// What a [`Spill`] holds and did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SpillCounts {
    /// The buffers that it has.
    pub buffers: u64,
    /// Those that are leased now, or held for a graph.
    pub leased: u64,
    /// Those that a graph was captured over without a [hold](Lease::retain_for_graph), or whose recorded
    /// uses could not be ordered before what comes, so that they never move again.
    pub captured: u64,
    /// Bytes of the host's memory that they take now.
    pub host_bytes: u64,
    /// Bytes of the device's memory that demotions gave up, in all.
    pub demoted_bytes: u64,
    /// Bytes of the device's memory that promotions took, in all.
    pub promoted_bytes: u64,
    /// Leases of buffers that were left on the host.
    pub left_on_host: u64,
}

impl Spill {
    /// Buffers whose blocks `residency` can move. As much of the host is used as it allows.
    pub fn new(residency: Arc<dyn Residency>) -> Self {
        Self::of(Some(residency))
    }

    /// Buffers of which none ever moves: for programs that lease, on a stack that cannot.
    pub fn none() -> Self {
        Self::of(None)
    }

    fn of(residency: Option<Arc<dyn Residency>>) -> Self {
        Self { inner: Arc::new(Inner { residency, ledger: Ledger::default() }), limit: u64::MAX }
    }

    /// Returns it with a limit of the host's memory, in bytes of buffers, for what is demoted from now on
    /// through this handle and its clones. Memory moves in whole handles, of which a buffer may have parts
    /// only: what the host may have of these is the pool's limit.
    #[must_use]
    pub fn with_host_limit(self, limit: u64) -> Self {
        Self { limit, ..self }
    }

    /// The [limit](Self::with_host_limit) of the host's memory, in bytes; [`u64::MAX`] for none.
    pub fn host_limit(&self) -> u64 {
        self.limit
    }

    /// What it holds, and what it did. No driver call; steps as there are buffers.
    pub fn counts(&self) -> SpillCounts {
        self.look(false);
        self.inner.ledger.counts()
    }
}

impl fmt::Debug for Spill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Spill");
        out.field("limit", &self.limit);
        if !vmem_core::author::fork::is_child() {
            out.field("counts", &self.counts());
        }
        out.finish_non_exhaustive()
    }
}
