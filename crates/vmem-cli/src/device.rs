//! The device that is measured: simulated, without bytes and without the checker.

use std::sync::Arc;
use std::time::Duration;

use vmem_adaptors::RecoveryHandle;
use vmem_sim::{Bytes, Checker, ConfigError, SimConfig, SimDevice};
use vmem_trace::Meter;

/// A fresh device with `capacity` bytes of memory.
///
/// # Errors
/// A capacity that no device can have.
pub(crate) fn open(capacity: u64, seed: u64) -> Result<Arc<SimDevice>, ConfigError> {
    SimDevice::with_config(SimConfig {
        capacity,
        seed,
        bytes: Bytes::None,
        checker: Checker::Off,
        ..SimConfig::default()
    })
}

/// Reads what a stack costs a simulated device.
#[derive(Debug)]
pub(crate) struct SimMeter {
    pub(crate) device: Arc<SimDevice>,
    /// What recovery did, on stacks that have it.
    pub(crate) recovered: Option<RecoveryHandle>,
    /// Whether the memory migrates.
    pub(crate) migrates: bool,
}

#[deny(clippy::missing_trait_methods)]
impl Meter for SimMeter {
    fn reserved(&self) -> u64 {
        self.device.used()
    }

    fn peak_reserved(&self) -> u64 {
        self.device.peak_used()
    }

    fn driver_calls(&self) -> Option<u64> {
        Some(self.device.calls().total())
    }

    fn virtual_time(&self) -> Option<Duration> {
        Some(self.device.virtual_time())
    }

    fn retries(&self) -> Option<u64> {
        self.recovered.as_ref().map(|recovered| {
            let counts = recovered.counts();
            counts.hook_calls - counts.gave_up
        })
    }

    fn migrated_bytes(&self) -> Option<u64> {
        self.migrates.then(|| self.device.migrated_bytes())
    }
}
