//! What a stack costs the device that is measured on.

use std::sync::Arc;
use std::time::Duration;

use vmem_core::{Device, MemoryResource};
use vmem_sim::SimDevice;
use vmem_trace::ReplayStack;

/// A resource on its device, to replay over, under a name. The device says what it costs.
///
/// ```
/// use std::sync::Arc;
///
/// use vmem_benches::{device, driver_calls, replay_stack};
/// use vmem_trace::{ReplayOptions, Workload, replay};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = device(64 << 30);
/// let memory = Arc::new(driver_calls(device.clone()));
/// let trace = Workload::OverlayCore.generate(&Workload::OverlayCore.defaults())?;
/// let stack = replay_stack("driver", device, memory);
/// let report = replay(&trace, &stack, &ReplayOptions::default())?;
/// assert_eq!(report.driver_calls, Some(4 * trace.allocations()));
/// # Ok(())
/// # }
/// ```
///
/// # Panics
/// If the resource is on another device.
pub fn replay_stack(
    name: &str,
    sim: Arc<SimDevice>,
    resource: Arc<dyn MemoryResource>,
) -> SimStack {
    assert_eq!(resource.device().id(), sim.id(), "the device is not the resource's");
    SimStack { name: name.to_owned(), sim, resource }
}

/// What [`replay_stack`] makes.
#[derive(Debug)]
pub struct SimStack {
    name: String,
    sim: Arc<SimDevice>,
    resource: Arc<dyn MemoryResource>,
}

impl ReplayStack for SimStack {
    fn resource(&self) -> &Arc<dyn MemoryResource> {
        &self.resource
    }

    fn description(&self) -> String {
        self.name.clone()
    }

    fn reserved(&self) -> u64 {
        self.sim.used()
    }

    fn peak_reserved(&self) -> u64 {
        self.sim.peak_used()
    }

    fn driver_calls(&self) -> Option<u64> {
        Some(self.sim.calls().total())
    }

    fn virtual_time(&self) -> Option<Duration> {
        Some(self.sim.virtual_time())
    }
}
