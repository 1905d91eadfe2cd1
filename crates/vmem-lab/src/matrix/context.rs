//! What a check has to work with.

use vmem_adaptors::Budget;
use vmem_cli::parts::{Bounds, BuiltStack, DeviceRequest, Opened, Purpose, Target, Tier};
use vmem_core::BoxedError;
use vmem_pool::PoolHandle;
use vmem_testkit::Probe;

/// The memory of a simulated device, in bytes.
const DEVICE: u64 = 2 << 30;

/// A device, and the stack to be built on it.
#[derive(Debug, Clone)]
pub(super) struct CheckContext {
    /// Which device that is.
    pub(super) target: Target,
    pub(super) opened: Opened,
    pub(super) tier: Tier,
    pub(super) seed: u64,
}

/// The most managed memory that blocks may ask for, in bytes. Drivers round up, to 64 KiB and more;
/// what they take stays below 256 MiB.
const MANAGED: u64 = 128 << 20;

/// The most that a stack may hold, in bytes.
pub(super) const ROOM: u64 = 512 << 20;

impl CheckContext {
    /// A device on which wrong bytes and unordered accesses show.
    pub(super) fn device(seed: u64) -> DeviceRequest {
        let bounds = Bounds { device: Some(ROOM), managed: Some(MANAGED) };
        DeviceRequest { capacity: Some(DEVICE), bounds, seed, purpose: Purpose::Verify }
    }

    /// The stack, allowed to hold at most `most` bytes.
    ///
    /// # Errors
    /// What building it came to.
    pub(super) fn build(&self, most: u64) -> Result<BuiltStack, BoxedError> {
        let least = |bound: Option<u64>| Some(bound.map_or(most, |bound| bound.min(most)));
        let Bounds { device, managed } = self.opened.bounds;
        let bounds = Bounds { device: least(device), managed: least(managed) };
        self.tier.build_over(&Opened { bounds, ..self.opened.clone() })
    }
}

/// A look inside a stack, as far as its handles allow.
#[derive(Debug)]
pub(super) struct StackProbe<'a>(pub(super) &'a BuiltStack);

impl Probe for StackProbe<'_> {
    fn check_invariants(&self) {
        if let Some(pool) = &self.0.pool {
            pool.check_invariants();
        }
    }

    fn live_bytes(&self) -> Option<u64> {
        let pool =
            self.0.pool.as_ref().and_then(PoolHandle::counters).map(|counters| counters.live);
        pool.or_else(|| self.0.budget.as_ref().map(Budget::used))
    }

    fn reserved_bytes(&self) -> Option<u64> {
        Some(self.0.pool.as_ref()?.counters()?.reserved)
    }

    fn ceiling(&self) -> Option<u64> {
        let pool = self.0.pool.as_ref().and_then(PoolHandle::capacity);
        pool.map_or_else(|| self.0.budget.as_ref().map(Budget::limit), |capacity| capacity.ceiling)
    }

    fn trim(&self) {
        if let Some(pool) = &self.0.pool {
            // A hint: what it could not return shows elsewhere.
            let _ = pool.try_trim(0);
        }
    }

    fn synchronize(&self) {
        if let Some(pool) = &self.0.pool {
            // As above.
            let _ = pool.synchronize();
        }
    }
}
