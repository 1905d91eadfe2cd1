//! A stack to replay a trace over.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use vmem_core::MemoryResource;

/// A stack to replay over, and what can be read of its costs: `None` where that is not known.
pub trait ReplayStack: Debug {
    /// The outermost resource. The trace's streams are made on its device.
    fn resource(&self) -> &Arc<dyn MemoryResource>;

    /// The stack in words.
    fn description(&self) -> String;

    /// Bytes held from the device now. Read after every allocation, so it should be cheap.
    fn reserved(&self) -> u64;

    /// The most bytes ever held from the device.
    fn peak_reserved(&self) -> u64;

    /// Driver calls so far, of any kind.
    fn driver_calls(&self) -> Option<u64> {
        None
    }

    /// The device's clock, where it is simulated.
    fn virtual_time(&self) -> Option<Duration> {
        None
    }

    /// The number of times that a failed request was tried again.
    fn retries(&self) -> Option<u64> {
        None
    }

    /// Bytes that moved between host and device because memory was short.
    fn migrated_bytes(&self) -> Option<u64> {
        None
    }
}
