//! Figures of one shape, whatever the tier.

use vmem_adaptors::{RecoveryCounts, RecoveryHandle, Spill, SpillCounts, Tally};
use vmem_core::HandleError;
use vmem_managed::{HintCounts, ManagedHandle};
use vmem_pool::PoolHandle;

use crate::{Stack, Tier};

/// The use of a runtime's memory. Sizes are in bytes; what a tier cannot know is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RuntimeStats {
    /// Which tier was built; `None` before any was.
    pub tier: Option<Tier>,
    /// Bytes in use, as asked for.
    pub bytes: Tally,
    /// Blocks in use.
    pub blocks: Tally,
    /// Requests that were refused.
    pub failures: u64,
    /// Bytes held from the device. Unknown of managed memory, whose pages move.
    pub reserved: Option<u64>,
    /// The most that `reserved` has been since the stack was built.
    pub peak_reserved: Option<u64>,
    /// Bytes of the host's memory in use, as [`Counters::on_host`](vmem_pool::Counters::on_host).
    pub on_host: Option<u64>,
    /// Bytes returned to the device so far.
    pub trimmed: Option<u64>,
    /// Counts of recovery, on the tiers that have it.
    pub recovery: Option<RecoveryCounts>,
    /// Buffers that may spill, where they may.
    pub spill: Option<SpillCounts>,
    /// Advice to the driver by access class, on tier C.
    pub hints: Option<HintCounts>,
}

impl RuntimeStats {
    pub(super) fn of(stack: &Stack) -> Self {
        let stats = stack.stats.stats().unwrap_or_default();
        let pool = stack.pool.as_ref().and_then(PoolHandle::counters);
        Self {
            tier: Some(stack.tier),
            bytes: stats.bytes,
            blocks: stats.blocks,
            failures: stats.failures,
            reserved: pool.map(|pool| pool.reserved),
            peak_reserved: pool.map(|pool| pool.peak_reserved),
            on_host: pool.map(|pool| pool.on_host),
            trimmed: pool.map(|pool| pool.bytes_trimmed),
            recovery: stack.recovery.as_ref().and_then(RecoveryHandle::counts),
            spill: stack.spill.as_ref().map(Spill::counts),
            hints: stack.managed.as_ref().and_then(ManagedHandle::hints),
        }
    }
}

/// The memory that a runtime can still give. Sizes are in bytes; what a tier cannot know is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RuntimeCapacity {
    /// Requested sizes of live blocks, reservations included.
    pub live: Option<u64>,
    /// Bytes held from the device.
    pub reserved: Option<u64>,
    /// The most that may be held, as it effectively is; `None` also where there is no limit.
    pub ceiling: Option<u64>,
    /// As [`Runtime::growth_left`](crate::Runtime::growth_left).
    pub growth_left: Option<u64>,
    /// The largest request that can be satisfied without growing, once pending work is complete.
    pub largest_now: Option<u64>,
    /// The largest request that can be satisfied after returning everything unused, if the device
    /// has as much; `None` also where there is no limit.
    pub largest_after_trim: Option<u64>,
}

impl RuntimeCapacity {
    pub(super) fn of(stack: &Stack) -> Self {
        let growth_left = growth_left(stack);
        match stack.pool.as_ref().and_then(PoolHandle::capacity) {
            Some(pool) => Self {
                live: Some(pool.live),
                reserved: Some(pool.reserved),
                ceiling: pool.ceiling,
                growth_left,
                largest_now: Some(pool.largest_now),
                largest_after_trim: pool.largest_after_trim,
            },
            None => Self { live: Some(live(stack)), growth_left, ..Self::default() },
        }
    }
}

pub(super) fn growth_left(stack: &Stack) -> Option<u64> {
    let pool = stack.pool.as_ref().and_then(PoolHandle::counters);
    match (pool, stack.limits.ceiling) {
        (Some(pool), Some(ceiling)) => Some(ceiling.saturating_sub(pool.reserved)),
        _ => driver_free(stack),
    }
}

pub(super) fn budget_left(stack: &Stack) -> u64 {
    let Some(pool) = stack.pool.as_ref().and_then(PoolHandle::counters) else {
        return stack.limits.managed_budget.saturating_sub(live(stack));
    };
    // If the driver fails, no memory counts as free.
    let obtainable = pool.reserved.saturating_add(driver_free(stack).unwrap_or(0));
    let most = stack.limits.ceiling.map_or(obtainable, |ceiling| ceiling.min(obtainable));
    // What is away takes no room on the device, and what is cold can go to the host.
    let cold = stack.spill.as_ref().map_or(0, Spill::room);
    most.saturating_sub(pool.live.saturating_sub(pool.away.saturating_add(cold)))
}

/// What `trim` returned, also if it failed half way.
pub(super) fn returned(
    stack: &Stack,
    trim: impl FnOnce(&PoolHandle) -> Result<u64, HandleError>,
) -> u64 {
    let Some(pool) = &stack.pool else { return 0 };
    let trimmed = || pool.counters().map_or(0, |counters| counters.bytes_trimmed);
    let before = trimmed();
    trim(pool).unwrap_or_else(|error| {
        tracing::debug!(%error, "not everything was returned");
        trimmed().saturating_sub(before)
    })
}

/// What programs hold, as asked for.
fn live(stack: &Stack) -> u64 {
    let stats = stack.stats.stats().unwrap_or_default();
    u64::try_from(stats.bytes.current).unwrap_or(0)
}

fn driver_free(stack: &Stack) -> Option<u64> {
    stack.device.memory_info().ok().map(|info| info.free)
}
