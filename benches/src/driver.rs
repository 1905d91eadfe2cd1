//! The program without a memory manager.

use std::sync::Arc;

use vmem_core::{Device, DeviceMemory};

/// One driver call for every block allocated; for every block freed a question whether the stream
/// captures, a wait for it, and the call.
///
/// ```
/// use vmem_benches::{device, driver_calls};
/// use vmem_core::{BlockLayout, MemoryResource, ResourceExt, Stream};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = device(1 << 30);
/// let stream = Stream::new(device.clone())?;
/// let memory = driver_calls(device.clone());
/// let before = device.calls();
/// let block = memory.allocate_on(BlockLayout::new(1 << 20)?, &stream)?;
/// // SAFETY: contract, freeing: no work was queued on the block, the stream is valid.
/// unsafe { memory.deallocate(block, &stream) }?;
/// assert_eq!((device.calls() - before).total(), 4);
/// # Ok(())
/// # }
/// ```
pub fn driver_calls(device: Arc<dyn Device>) -> DeviceMemory {
    DeviceMemory::new(device)
}
