//! Reading what a stack costs its device.

use std::sync::Arc;
use std::time::Duration;

use vmem_adaptors::RecoveryHandle;
use vmem_pool::PoolHandle;
use vmem_sim::SimDevice;
use vmem_testkit::Countdown;
use vmem_trace::Meter;

/// What can be asked of a device beside a run.
#[derive(Debug, Clone)]
pub(crate) enum Gauge {
    Simulated(Arc<SimDevice>),
    Hardware {
        /// Counts the calls; never armed but by checks.
        counted: Arc<Countdown>,
        /// What was free when the device was opened, in bytes.
        free: u64,
    },
}

impl Gauge {
    /// Bytes of the device's memory in use; on hardware, by whomever, since it was opened.
    pub(crate) fn used(&self) -> u64 {
        match self {
            Self::Simulated(device) => device.used(),
            Self::Hardware { counted, free } => {
                // A device that does not answer fails the run elsewhere.
                let now = counted.inner().memory_info().map_or(*free, |info| info.free);
                free.saturating_sub(now)
            }
        }
    }

    /// Driver calls so far.
    pub(crate) fn driver_calls(&self) -> u64 {
        match self {
            Self::Simulated(device) => device.calls().total(),
            Self::Hardware { counted, .. } => counted.calls(),
        }
    }

    /// The simulated device's clock.
    pub(crate) fn virtual_time(&self) -> Option<Duration> {
        match self {
            Self::Simulated(device) => Some(device.virtual_time()),
            Self::Hardware { .. } => None,
        }
    }
}

/// Reads what a stack costs its device, for a replay.
#[derive(Debug)]
pub(crate) struct StackMeter {
    pub(crate) gauge: Gauge,
    /// The pool, on stacks that have one. Hardware does not say who holds what; the pool does.
    pub(crate) pool: Option<PoolHandle>,
    /// What recovery did, on stacks that have it.
    pub(crate) recovered: Option<RecoveryHandle>,
    /// Whether the memory migrates.
    pub(crate) migrates: bool,
}

#[deny(clippy::missing_trait_methods)]
impl Meter for StackMeter {
    fn reserved(&self) -> u64 {
        match (&self.gauge, self.pool.as_ref().and_then(PoolHandle::counters)) {
            (Gauge::Hardware { .. }, Some(counters)) => counters.reserved,
            _ => self.gauge.used(),
        }
    }

    fn peak_reserved(&self) -> u64 {
        match (&self.gauge, self.pool.as_ref().and_then(PoolHandle::counters)) {
            (Gauge::Simulated(device), _) => device.peak_used(),
            (Gauge::Hardware { .. }, Some(counters)) => counters.peak_reserved,
            // Only what the replay samples is known.
            (Gauge::Hardware { .. }, None) => self.gauge.used(),
        }
    }

    fn driver_calls(&self) -> Option<u64> {
        Some(self.gauge.driver_calls())
    }

    fn virtual_time(&self) -> Option<Duration> {
        self.gauge.virtual_time()
    }

    fn retries(&self) -> Option<u64> {
        let counts = self.recovered.as_ref()?.counts()?;
        Some(counts.hook_calls - counts.gave_up)
    }

    fn migrated_bytes(&self) -> Option<u64> {
        match &self.gauge {
            Gauge::Simulated(device) if self.migrates => Some(device.migrated_bytes()),
            _ => None,
        }
    }
}
