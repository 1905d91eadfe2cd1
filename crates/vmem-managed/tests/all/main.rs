//! Managed memory on the simulated device. `RMM n` names the item of RMM's own tests that a test
//! corresponds to.

#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod hints;
mod memory;
mod prefetch;
mod views;

use std::sync::Arc;

use vmem_core::{Block, BlockLayout, MemoryResource, Stream};
use vmem_managed::ManagedMemory;
use vmem_sim::{Kernel, SimDevice};

const MIB: u64 = 1 << 20;

fn set_up(capacity: u64) -> (Arc<SimDevice>, Stream, ManagedMemory) {
    let device = SimDevice::new(capacity);
    let stream = Stream::new(device.clone()).unwrap();
    let memory = ManagedMemory::new(device.clone()).unwrap();
    (device, stream, memory)
}

fn layout(size: u64) -> BlockLayout {
    BlockLayout::new(size).unwrap()
}

/// Queues a kernel on live blocks that are freed on the stream it is queued on.
fn launch(device: &SimDevice, stream: &Stream, kernel: Kernel) {
    // SAFETY: contract, devices/ranges and devices/pending-work: see above.
    unsafe { device.launch(stream, kernel) }.unwrap();
}

/// Frees a block whose work is on `stream`.
fn free(memory: &dyn MemoryResource, block: Block, stream: &Stream) {
    // SAFETY: contract, freeing: see above; the block is given up here.
    unsafe { memory.deallocate(block, stream) }.unwrap();
}
