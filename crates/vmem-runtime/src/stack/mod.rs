//! Stacks, one for each tier.

mod build;
mod recovery;

use std::fmt;
use std::sync::Arc;

use vmem_adaptors::{RecoveryHandle, Spill, StatsHandle};
use vmem_core::{AllocError, BoxedError, Device, HandleError, MemoryResource, Stream};
use vmem_managed::ManagedHandle;
use vmem_pool::PoolHandle;

pub use recovery::Recovery;

use crate::{Limits, Reservation, ReservationsHandle, RuntimeConfig, Tier};

/// A tier's stack, its type erased, with the handles that were taken before.
#[derive(Clone)]
#[non_exhaustive]
pub struct Stack {
    /// The outermost resource.
    pub resource: Arc<dyn MemoryResource>,
    /// The handle of the statistics.
    pub stats: StatsHandle,
    /// The pool, on tiers that have one.
    pub pool: Option<PoolHandle>,
    /// The handle of recovery, on tiers that have it.
    pub recovery: Option<RecoveryHandle>,
    /// The handle of managed memory, on tier C.
    pub managed: Option<ManagedHandle>,
    /// The buffers that may spill, where the configuration says that they may, on tiers with recovery.
    pub spill: Option<Spill>,
    /// The handle of the reservations.
    pub reservations: ReservationsHandle,
    /// Which tier it is.
    pub tier: Tier,
    /// The sizes of the configuration on the device.
    pub limits: Limits,
    /// The device.
    pub device: Arc<dyn Device>,
    /// The stack in words, outermost first.
    pub description: String,
}

impl Stack {
    /// The stack of `tier` on `device`. No other is built in its place if that fails.
    ///
    /// The configuration's choice of a tier is not looked at, but for [`Tier::Fallback`], which
    /// recovers if tier B was asked for. Recovery uses `recovery`'s caches and hook.
    ///
    /// ```
    /// use vmem_core::{ResourceExt, Stream};
    /// use vmem_runtime::{Recovery, RuntimeConfig, Size, Stack, Tier};
    /// use vmem_sim::SimDevice;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// let device = SimDevice::new(1 << 30);
    /// let stream = Stream::new(device.clone())?;
    /// let config =
    ///     RuntimeConfig::default().with_memory_reserve(Size::Percent(10));
    /// let stack = Stack::build(Tier::B, device, &config, &Recovery::default())?;
    /// let buffer = stack.resource.buffer(1 << 20, &stream)?;
    /// assert_eq!(stack.stats.stats().map(|figures| figures.bytes.current), Some(1 << 20));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A configuration that the device cannot satisfy
    /// ([`ConfigError`](crate::ConfigError)); what building a part came to.
    pub fn build(
        tier: Tier,
        device: Arc<dyn Device>,
        config: &RuntimeConfig,
        recovery: &Recovery,
    ) -> Result<Self, BoxedError> {
        let limits = config.limits(device.facts().total_memory)?;
        build::build(tier, device, config, limits, recovery)
    }

    /// Sets `bytes` bytes aside for later requests in `stream`'s order.
    ///
    /// # Errors
    /// Those of an allocation of that size.
    pub fn reserve(&self, bytes: u64, stream: &Stream) -> Result<Reservation, AllocError> {
        self.reservations.reserve(bytes, stream)
    }

    /// Waits for the whole device where something was freed that nothing else makes usable again,
    /// such as on the default stream of a thread that has ended. The stack never does so by itself,
    /// because it breaks every capture in progress on the device.
    ///
    /// # Errors
    /// [`HandleError::Failed`] if the driver fails, or refuses because a stream captures; what was not
    /// freed stays counted.
    pub fn synchronize(&self) -> Result<(), HandleError> {
        self.reservations.synchronize()?;
        if let Some(pool) = &self.pool {
            pool.synchronize()?;
        }
        if let Some(managed) = &self.managed {
            managed.synchronize()?;
        }
        Ok(())
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack")
            .field("tier", &self.tier)
            .field("limits", &self.limits)
            .field("description", &self.description)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tier {}: {} ({})", self.tier, self.description, self.limits)
    }
}
