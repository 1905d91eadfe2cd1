//! What a trace is replayed over.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use vmem_core::{BoxedError, Device, MemoryResource};

/// Builds stacks to replay over, each on a device of its own.
///
/// Closures from a capacity to a stack are factories.
pub trait StackFactory {
    /// A fresh stack on a fresh device with `capacity` bytes of memory.
    ///
    /// # Errors
    /// The error of building the stack.
    fn build(&self, capacity: u64) -> Result<ReplayStack, BoxedError>;
}

impl<F: Fn(u64) -> Result<ReplayStack, BoxedError>> StackFactory for F {
    fn build(&self, capacity: u64) -> Result<ReplayStack, BoxedError> {
        self(capacity)
    }
}

/// A stack to replay over, and how to read what it costs.
pub struct ReplayStack {
    /// The device, on which the trace's streams are made.
    pub device: Arc<dyn Device>,
    /// The outermost resource.
    pub resource: Arc<dyn MemoryResource>,
    /// The stack in words.
    pub description: String,
    /// Reads what the stack costs its device.
    pub meter: Box<dyn Meter>,
}

impl Debug for ReplayStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayStack")
            .field("description", &self.description)
            .field("resource", &self.resource)
            .finish_non_exhaustive()
    }
}

/// Reads what a stack costs. `None` where that cannot be known.
pub trait Meter: Debug + Send + Sync {
    /// Bytes held from the device now. Read after every allocation, so it should be cheap.
    fn reserved(&self) -> u64;

    /// The most bytes ever held from the device.
    fn peak_reserved(&self) -> u64;

    /// Driver calls so far, of any kind.
    fn driver_calls(&self) -> Option<u64>;

    /// The device's clock, where it is simulated.
    fn virtual_time(&self) -> Option<Duration>;

    /// How often a failed request was tried again.
    fn retries(&self) -> Option<u64>;

    /// Bytes that moved between host and device because memory was short.
    fn migrated_bytes(&self) -> Option<u64>;
}
