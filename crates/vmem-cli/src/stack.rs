//! A stack with the handles of its parts.

use std::sync::Arc;
use std::time::Duration;

use vmem_adaptors::{AdaptorExt, Budget, RecoveryHandle};
use vmem_core::{BoxedError, MemoryResource};
use vmem_pool::PoolHandle;
use vmem_report::Observed;
use vmem_runtime::{PoolLimit, Recovery, RuntimeConfig, Size, Stack, Tier};
use vmem_trace::ReplayStack;

use crate::gauge::Gauge;
use crate::target::Opened;

/// A stack on its device, with what can be known of it.
#[derive(Debug)]
pub struct BuiltStack {
    /// The device.
    pub opened: Opened,
    /// The outermost resource.
    pub resource: Arc<dyn MemoryResource>,
    /// The stack in words.
    pub description: String,
    /// The pool, on stacks that have one. Hardware does not say who holds what; the pool does.
    pub pool: Option<PoolHandle>,
    /// What bounds it, on stacks that no pool bounds and that are bounded.
    pub budget: Option<Budget>,
    /// Where caches register that can be dropped when memory is short.
    pub(crate) recovery: Recovery,
    /// What recovery did, on stacks that have it.
    pub(crate) recovered: Option<RecoveryHandle>,
    /// Whether the memory migrates.
    pub(crate) migrates: bool,
}

impl BuiltStack {
    /// A stack of which nothing more is known.
    pub(crate) fn new(
        opened: &Opened,
        resource: Arc<dyn MemoryResource>,
        description: String,
    ) -> Self {
        Self {
            opened: opened.clone(),
            resource,
            description,
            pool: None,
            budget: None,
            recovery: Recovery::default(),
            recovered: None,
            migrates: false,
        }
    }

    /// A runtime's stack of that tier, without a reserve: the device is the workload's alone.
    ///
    /// # Errors
    /// Why it could not be built.
    pub(crate) fn of_tier(tier: Tier, opened: &Opened) -> Result<Self, BoxedError> {
        let recovery = Recovery::default();
        let stack = Stack::build(tier, opened.device.clone(), &config(opened), &recovery)?;
        let migrates = tier == Tier::C;
        let built = Self {
            pool: stack.pool.clone(),
            recovery,
            recovered: stack.recovery.clone(),
            migrates,
            ..Self::new(opened, stack.resource.clone(), stack.description.clone())
        };
        Ok(if migrates { built.bounded(opened.bounds.managed) } else { built })
    }

    /// The same, refusing what exceeds `most` bytes: for stacks that no pool bounds.
    pub(crate) fn bounded(self, most: Option<u64>) -> Self {
        let Some(most) = most else {
            return self;
        };
        let budget = Budget::new(most);
        Self {
            description: format!("Limit<{}, {most} B>", self.description),
            resource: Arc::new(self.resource.limited(budget.clone())),
            budget: Some(budget),
            ..self
        }
    }
}

/// What a runtime on this device is configured to be, but for the choice of its tier.
pub fn config(opened: &Opened) -> RuntimeConfig {
    let pool_limit = match opened.bounds.device {
        Some(most) => PoolLimit::AtMost(Size::Bytes(most)),
        None => PoolLimit::TotalLessReserve,
    };
    RuntimeConfig::default().with_pool_limit(pool_limit).with_memory_reserve(Size::Bytes(0))
}

#[deny(clippy::missing_trait_methods)]
impl ReplayStack for BuiltStack {
    fn resource(&self) -> &Arc<dyn MemoryResource> {
        &self.resource
    }

    fn description(&self) -> String {
        self.description.clone()
    }

    fn reserved(&self) -> u64 {
        match (&self.opened.gauge, self.pool.as_ref().and_then(PoolHandle::counters)) {
            (Gauge::Hardware(_), Some(counters)) => counters.reserved,
            (gauge, _) => gauge.used(),
        }
    }

    fn peak_reserved(&self) -> u64 {
        match (&self.opened.gauge, self.pool.as_ref().and_then(PoolHandle::counters)) {
            (Gauge::Simulated(device), _) => device.peak_used(),
            (Gauge::Hardware(_), Some(counters)) => counters.peak_reserved,
            // Only what the replay samples is known.
            (gauge @ Gauge::Hardware(_), None) => gauge.used(),
        }
    }

    fn driver_calls(&self) -> Option<u64> {
        self.opened.gauge.driver_calls()
    }

    fn virtual_time(&self) -> Option<Duration> {
        self.opened.gauge.virtual_time()
    }

    fn retries(&self) -> Option<u64> {
        let counts = self.recovered.as_ref()?.counts()?;
        Some(counts.hook_calls - counts.gave_up)
    }

    fn migrated_bytes(&self) -> Option<u64> {
        match &self.opened.gauge {
            Gauge::Simulated(device) if self.migrates => Some(device.migrated_bytes()),
            _ => None,
        }
    }
}

impl Observed for BuiltStack {
    fn pool(&self) -> Option<&PoolHandle> {
        self.pool.as_ref()
    }

    fn most(&self) -> Option<u64> {
        Some(self.opened.capacity())
    }

    fn knows_reserved(&self) -> bool {
        !self.migrates
    }

    fn backed(&self) -> Vec<(u64, u64)> {
        match &self.opened.gauge {
            Gauge::Simulated(device) => {
                device.backed_addresses().into_iter().map(|(at, size)| (at.get(), size)).collect()
            }
            Gauge::Hardware(_) => Vec::new(),
        }
    }
}
