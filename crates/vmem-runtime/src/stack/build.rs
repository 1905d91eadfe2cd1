//! Putting stacks together.

use std::sync::Arc;

use vmem_adaptors::{AdaptorExt, RecoveryHandle, Spill};
use vmem_core::{
    BoxedError, Device, DeviceMemory, DriverError, MemoryResource, Residency, ResourceExt, chain,
};
use vmem_managed::{ManagedHandle, ManagedMemory};
use vmem_pool::{BinningPool, BuildError, Chunks, Pool, PoolConfig, PoolHandle, VirtualArena};

use super::{Recovery, Stack};
use crate::tier::suits_arena;
use crate::{DeviceTraits, Limits, Reservations, RuntimeConfig, Tier};

pub(super) fn build(
    tier: Tier,
    device: Arc<dyn Device>,
    config: &RuntimeConfig,
    limits: Limits,
    recovery: &Recovery,
) -> Result<Stack, BoxedError> {
    let recovers = match tier {
        Tier::B => true,
        Tier::A | Tier::C => false,
        Tier::Fallback => config.recovers(),
    };
    let recovery = recovers.then_some(recovery);
    let plan = Plan { tier, device, config, limits, recovery };
    match tier {
        Tier::A | Tier::B => plan.pool(),
        Tier::C => plan.managed(),
        Tier::Fallback => plan.bins(),
    }
}

/// A stack to be built.
struct Plan<'a> {
    tier: Tier,
    device: Arc<dyn Device>,
    config: &'a RuntimeConfig,
    limits: Limits,
    recovery: Option<&'a Recovery>,
}

/// Handles of the parts that only some tiers have.
#[derive(Default)]
struct Parts {
    pool: Option<PoolHandle>,
    recovery: Option<RecoveryHandle>,
    managed: Option<ManagedHandle>,
    spill: Option<Spill>,
}

impl Plan<'_> {
    fn pool(mut self) -> Result<Stack, BoxedError> {
        match self.arena()? {
            Some(arena) => {
                let granule = self.device.virtual_memory().map_or(1, |vm| vm.granularity());
                self.limits = self.limits.in_granules(granule);
                let pool = Pool::new(arena, self.pool_config())?;
                let handle = pool.handle();
                Ok(self.pooled(pool, handle))
            }
            None => {
                let device = self.device.clone();
                let chunks = Chunks::new(DeviceMemory::new(device.clone()));
                let pool = Pool::new(chunks, self.pool_config())?;
                let handle = pool.handle();
                Ok(self.pooled(pool, handle))
            }
        }
    }

    /// An arena if one suits. A host may have too few addresses to give; chunks need none.
    fn arena(&self) -> Result<Option<VirtualArena>, BuildError> {
        if !suits_arena(self.limits.ceiling, DeviceTraits::of(&*self.device)) {
            return Ok(None);
        }
        match VirtualArena::new(self.device.clone()) {
            Ok(arena) => Ok(Some(arena)),
            Err(error) if is_out_of_memory(&error) => {
                tracing::debug!(%error, "no range of addresses; the pool uses chunks");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Nothing is taken from the start: what could not be built may have failed over exactly that.
    fn bins(mut self) -> Result<Stack, BoxedError> {
        self.limits.initial = 0;
        let (device, config) = (self.device.clone(), self.pool_config());
        let pool = BinningPool::new(DeviceMemory::new(device.clone()), config)?;
        let handle = pool.handle();
        Ok(self.pooled(pool, handle))
    }

    fn managed(self) -> Result<Stack, BoxedError> {
        if self.config.spills() {
            tracing::warn!("nothing can spill: on tier C the driver moves pages as they are used");
        }
        if self.limits.host_reserve > 0 {
            tracing::warn!("no reserve of the host's memory is kept: tier C has no use for it");
        }
        let memory = ManagedMemory::new(self.device.clone())?;
        let parts = Parts { managed: Some(memory.handle()), ..Parts::default() };
        Ok(self.finish(memory, parts))
    }

    fn pool_config(&self) -> PoolConfig {
        let Limits { ceiling, initial, .. } = self.limits;
        PoolConfig::default()
            .with_ceiling(ceiling)
            .with_host_ceiling(self.limits.host_limit)
            .with_initial(initial)
            .with_footprint(self.config.pool_footprint)
            .with_auto_trim(self.config.pool_auto_trim)
    }

    fn pooled(self, pool: impl MemoryResource + 'static, handle: PoolHandle) -> Stack {
        self.fill_host_reserve(&handle);
        let parts = Parts { pool: Some(handle.clone()), ..Parts::default() };
        match self.recovery {
            None => self.finish(pool, parts),
            Some(recovery) => {
                let most = self.limits.ceiling.unwrap_or(self.limits.total);
                let spill = self.config.spills().then(|| self.spill(&handle));
                let pool = pool.on_failure(recovery.hook(handle, most, spill.clone()));
                let pool = pool.with_policy(recovery.policy());
                let pool = pool.with_clock(recovery.clock().clone());
                let parts = Parts { recovery: Some(pool.handle()), spill, ..parts };
                self.finish(pool, parts)
            }
        }
    }

    /// A stack without it works, and is slower at its first sleep.
    fn fill_host_reserve(&self, pool: &PoolHandle) {
        let bytes = self.limits.host_reserve;
        if bytes > 0
            && let Err(error) = pool.fill_host_reserve(bytes)
        {
            tracing::warn!(error = %chain(&error), bytes, "the host's reserve could not be filled");
        }
    }

    fn spill(&self, pool: &PoolHandle) -> Spill {
        if pool.host_room() == 0 {
            tracing::warn!("nothing can spill: the pool's memory cannot rest on the host");
        }
        Spill::new(Arc::new(pool.clone())).with_host_limit(self.limits.spill)
    }

    fn finish(self, upstream: impl MemoryResource + 'static, parts: Parts) -> Stack {
        let reserving = Reservations::new(upstream);
        let reservations = reserving.handle();
        let stack = reserving.with_statistics();
        Stack {
            stats: stack.handle(),
            pool: parts.pool,
            recovery: parts.recovery,
            managed: parts.managed,
            spill: parts.spill,
            reservations,
            tier: self.tier,
            limits: self.limits,
            device: self.device,
            description: stack.to_string(),
            resource: stack.into_dyn(),
        }
    }
}

fn is_out_of_memory(error: &BuildError) -> bool {
    let source = std::error::Error::source(error);
    source
        .and_then(|source| source.downcast_ref::<DriverError>())
        .is_some_and(|driver| driver.is_out_of_memory())
}
