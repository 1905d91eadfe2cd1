//! The device that is measured: simulated, without bytes and without the checker.

use std::sync::Arc;
use std::time::Duration;

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
pub(crate) struct SimMeter(pub(crate) Arc<SimDevice>);

#[deny(clippy::missing_trait_methods)]
impl Meter for SimMeter {
    fn reserved(&self) -> u64 {
        self.0.used()
    }

    fn peak_reserved(&self) -> u64 {
        self.0.peak_used()
    }

    fn driver_calls(&self) -> Option<u64> {
        Some(self.0.calls().total())
    }

    fn virtual_time(&self) -> Option<Duration> {
        Some(self.0.virtual_time())
    }

    fn retries(&self) -> Option<u64> {
        None
    }

    fn migrated_bytes(&self) -> Option<u64> {
        None
    }
}
