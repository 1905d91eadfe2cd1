//! What a stack costs the device that is measured on.

use std::sync::Arc;
use std::time::Duration;

use vmem_core::{Device, MemoryResource};
use vmem_sim::SimDevice;
use vmem_trace::{Meter, ReplayStack};

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
    device: Arc<SimDevice>,
    resource: Arc<dyn MemoryResource>,
) -> ReplayStack {
    assert_eq!(resource.device().id(), device.id(), "the device is not the resource's");
    ReplayStack { resource, description: name.to_owned(), meter: Box::new(SimMeter(device)) }
}

#[derive(Debug)]
struct SimMeter(Arc<SimDevice>);

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
