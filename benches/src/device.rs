//! The device that is measured on.

use std::sync::Arc;

use vmem_sim::{Bytes, Checker, SimConfig, SimDevice};

/// A simulated device of `capacity` bytes that keeps no bytes and checks no accesses, so that
/// neither is in a measured time.
///
/// # Panics
/// If no device can have that capacity.
pub fn device(capacity: u64) -> Arc<SimDevice> {
    let config =
        SimConfig { capacity, bytes: Bytes::None, checker: Checker::Off, ..SimConfig::default() };
    SimDevice::with_config(config).expect("a device can have the capacity")
}
