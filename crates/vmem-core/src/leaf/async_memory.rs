//! The driver's stream-ordered allocator as a resource.

use std::fmt;
use std::sync::Arc;

use super::Leaf;
use crate::{
    AllocError, AsyncPool, Block, Capabilities, Device, DriverCode, DriverError, Features,
    FreeError, FreeErrorKind, MemoryResource, RawStream, Request, Stream,
};

/// The driver's own pool (`cuMemAllocAsync`): allocates and frees in stream order.
#[derive(Debug)]
pub struct AsyncMemory {
    leaf: Leaf,
}

impl AsyncMemory {
    /// The stream-ordered memory of `device`.
    ///
    /// # Errors
    /// [`NOT_SUPPORTED`](DriverCode::NOT_SUPPORTED) if the device has none.
    pub fn new(device: Arc<dyn Device>) -> Result<Self, DriverError> {
        part(&*device)?;
        Ok(Self { leaf: Leaf::new("AsyncMemory", device) })
    }

    /// Returns memory to the device until at most `keep` bytes are held unused.
    ///
    /// # Errors
    /// The driver's.
    pub fn trim_to(&self, keep: u64) -> Result<(), DriverError> {
        part(&*self.leaf.device)?.trim_to(keep)
    }
}

impl fmt::Display for AsyncMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AsyncMemory")
    }
}

// SAFETY: contract, implementing: 1-3 are the driver's, 4 and 6 the block table's, 5 the leaf's.
#[deny(clippy::missing_trait_methods)]
unsafe impl MemoryResource for AsyncMemory {
    fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        self.leaf.allocate(request, |bytes| {
            request.stream.with_raw("AsyncMemory::allocate", |device, raw| {
                // SAFETY: contract, devices 1 and 5: `with_raw` hands out a valid stream.
                unsafe { part(device)?.allocate(bytes, raw) }
            })
        })
    }

    unsafe fn deallocate(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
        if stream.device_id() != self.leaf.device.id() {
            return Err(FreeError::new(FreeErrorKind::InvalidStream, block, self.leaf.name));
        }
        self.leaf.blocks.take_back(block, self.leaf.name, |&base| {
            if stream.is_retired() || !stream.is_callable_here() {
                // This thread cannot queue on that stream: wait for its work instead, after which
                // any stream will do.
                stream.synchronize()?;
                // SAFETY: contract, devices 1 and freeing 1: every access has completed.
                return unsafe { part(&*self.leaf.device)?.free(base, RawStream::LEGACY) };
            }
            stream.with_raw("AsyncMemory::deallocate", |device, raw| {
                // SAFETY: contract, devices 1 and 5; by freeing 1 every access is ordered before
                // the stream's tail.
                unsafe { part(device)?.free(base, raw) }
            })
        })?;
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(Features::STREAM_ORDERED | Features::TRIMS | Features::PEER_ACCESS)
    }
}

fn part(device: &dyn Device) -> Result<&dyn AsyncPool, DriverError> {
    device.async_pool().ok_or_else(|| {
        let error = DriverError::new("AsyncMemory", DriverCode::NOT_SUPPORTED);
        error.with_detail("the device has no stream-ordered allocator")
    })
}
