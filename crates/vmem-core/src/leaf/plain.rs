//! Leaves whose memory is freed at once, after a wait on the host.

use std::fmt;
use std::sync::Arc;

use super::{Leaf, QuarantineHandle};
use crate::author::{HostAccess, host_view};
use crate::{
    AllocError, Block, Capabilities, Device, DriverCode, DriverError, Features, FreeError,
    MemoryResource, Pinned, Request, Stream,
};

/// Plain device memory: one driver allocation per block (`cuMemAlloc`).
///
/// Freeing waits on the host for the stream's tail first. Where that would disturb a capture, the block
/// is set aside, as [`Leaf`] describes.
///
/// ```
/// use vmem_core::{BlockLayout, DeviceMemory, MemoryResource, ResourceExt, Stream};
/// use vmem_sim::SimDevice;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = SimDevice::new(1 << 30);
/// let stream = Stream::new(device.clone())?;
/// let memory = DeviceMemory::new(device);
/// let block = memory.allocate_on(BlockLayout::new(1 << 20)?, &stream)?;
/// // SAFETY: no work was ever queued on the block.
/// unsafe { memory.deallocate(block, &stream) }?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct DeviceMemory {
    leaf: Leaf,
}

impl DeviceMemory {
    /// The plain memory of `device`.
    pub fn new(device: Arc<dyn Device>) -> Self {
        // SAFETY: contract, devices/handles and devices/pending-work: the leaf's promise.
        let free = |device: &Arc<dyn Device>, base| unsafe { device.free(base) };
        Self { leaf: Leaf::new("DeviceMemory", device, free) }
    }

    /// A handle that counts and frees what was set aside.
    pub fn handle(&self) -> QuarantineHandle {
        self.leaf.handle()
    }
}

impl fmt::Display for DeviceMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceMemory")
    }
}

// SAFETY: contract, implementing/disjoint, implementing/as-asked and implementing/stable are the
// driver's, implementing/owned and implementing/unwinding the block table's,
// implementing/on-its-device and implementing/leaking-not-dangling the leaf's.
#[deny(clippy::missing_trait_methods)]
unsafe impl MemoryResource for DeviceMemory {
    fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        self.leaf.allocate(request, |bytes| self.leaf.device().allocate(bytes))
    }

    unsafe fn deallocate(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
        // SAFETY: the caller keeps the freeing clauses, which are the same there.
        unsafe { self.leaf.deallocate(block, stream) }
    }

    fn device(&self) -> &Arc<dyn Device> {
        self.leaf.device()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(Features::empty())
    }
}

/// Pinned host memory: page-locked, accessible by host and device at one address.
///
/// Freeing waits on the host for the stream's tail first. Where that would disturb a capture, the block
/// is set aside, as [`Leaf`] describes.
#[derive(Debug)]
pub struct PinnedMemory {
    leaf: Leaf,
}

impl PinnedMemory {
    /// The pinned memory of `device`.
    ///
    /// # Errors
    /// [`NOT_SUPPORTED`](DriverCode::NOT_SUPPORTED) if the device has none.
    pub fn new(device: Arc<dyn Device>) -> Result<Self, DriverError> {
        part(&*device)?;
        // SAFETY: contract, devices/handles and devices/pending-work: the leaf's promise.
        let free = |device: &Arc<dyn Device>, base| unsafe { part(&**device)?.free(base) };
        Ok(Self { leaf: Leaf::new("PinnedMemory", device, free) })
    }

    /// A handle that counts and frees what was set aside.
    pub fn handle(&self) -> QuarantineHandle {
        self.leaf.handle()
    }

    /// The bytes of a block, for the host.
    ///
    /// # Errors
    /// If the block is another resource's, or work on it is known to be pending.
    ///
    /// # Safety
    /// All work on the block has completed and the host sees it (the contract's
    /// [host order](crate::contract#allocating)), no work on it is queued while the slice lives,
    /// and no other slice of it exists.
    pub unsafe fn host_view<'a>(&self, block: &'a mut Block) -> Result<&'a mut [u8], DriverError> {
        if block.owner() != self.leaf.owner() {
            let error = DriverError::new("PinnedMemory::host_view", DriverCode::INVALID_VALUE);
            return Err(error.with_detail("the block belongs to another resource"));
        }
        let size = block.size();
        let bytes = host_view(&**self.leaf.device(), block.ptr(), size, HostAccess::Write)?;
        let size = usize::try_from(size).expect("host memory fits the host's address space");
        // SAFETY: the host finds a pinned block at its address, and the caller promises exclusive
        // access for the lifetime of the slice.
        Ok(unsafe { std::slice::from_raw_parts_mut(bytes, size) })
    }
}

impl fmt::Display for PinnedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PinnedMemory")
    }
}

// SAFETY: contract, implementing/disjoint, implementing/as-asked and implementing/stable are the
// driver's, implementing/owned and implementing/unwinding the block table's,
// implementing/on-its-device and implementing/leaking-not-dangling the leaf's.
#[deny(clippy::missing_trait_methods)]
unsafe impl MemoryResource for PinnedMemory {
    fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        self.leaf.allocate(request, |bytes| part(&**self.leaf.device())?.allocate(bytes))
    }

    unsafe fn deallocate(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
        // SAFETY: the caller keeps the freeing clauses, which are the same there.
        unsafe { self.leaf.deallocate(block, stream) }
    }

    fn device(&self) -> &Arc<dyn Device> {
        self.leaf.device()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(Features::HOST_ACCESSIBLE)
    }
}

fn part(device: &dyn Device) -> Result<&dyn Pinned, DriverError> {
    device.pinned().ok_or_else(|| {
        let error = DriverError::new("PinnedMemory", DriverCode::NOT_SUPPORTED);
        error.with_detail("the device has no pinned memory")
    })
}
