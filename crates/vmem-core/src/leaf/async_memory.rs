//! The driver's stream-ordered allocator as a resource.

use std::fmt;
use std::sync::Arc;

use super::{Leaf, QuarantineHandle};
use crate::author::StreamExt;
use crate::{
    AllocError, AllocErrorKind, AsyncPool, Block, Capabilities, Device, DevicePtr, DriverCode,
    DriverError, Event, Features, FreeError, MemoryResource, Request, Stream,
};

/// A leaf over the driver's own pool (`cuMemAllocAsync`), which allocates and frees in stream order.
///
/// A capturing stream is refused: the driver would make the allocation a part of the graph, which
/// would own the memory. What is freed while its stream captures, or on a stream that the thread
/// [cannot name](StreamExt::is_callable_here), is set aside, as [`Leaf`] describes.
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
        // SAFETY: the leaf promises that every access has completed.
        let free = |device: &Arc<dyn Device>, base| unsafe { free_behind(device, base, None) };
        Ok(Self { leaf: Leaf::new("AsyncMemory", device, free) })
    }

    /// A handle that counts and frees what was set aside.
    pub fn handle(&self) -> QuarantineHandle {
        self.leaf.handle()
    }

    /// Returns memory to the device until at most `keep` bytes are held unused.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call.
    pub fn trim_to(&self, keep: u64) -> Result<(), DriverError> {
        part(&**self.leaf.device())?.trim_to(keep)
    }
}

impl fmt::Display for AsyncMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AsyncMemory")
    }
}

// SAFETY: contract, implementing/disjoint, implementing/as-asked and implementing/stable are the
// driver's, implementing/owned and implementing/unwinding the block table's,
// implementing/on-its-device and implementing/leaking-not-dangling the leaf's.
#[deny(clippy::missing_trait_methods)]
unsafe impl MemoryResource for AsyncMemory {
    fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        self.leaf.check_stream(request)?;
        let fail = |kind| AllocError::new(kind, request.layout, self.leaf.name);
        match request.stream.is_capturing() {
            Ok(false) => {}
            Ok(true) => return Err(fail(AllocErrorKind::Capturing)),
            // Whatever the code, it says nothing about memory.
            Err(error) => return Err(fail(AllocErrorKind::DeviceFault).with_source(error)),
        }
        self.leaf.allocate(request, |bytes| {
            request.stream.with_raw("AsyncMemory::allocate", |device, raw| {
                // SAFETY: contract, devices/handles and devices/threads: `with_raw` hands out a
                // valid, callable stream.
                unsafe { part(device)?.allocate(bytes, raw) }
            })
        })
    }

    unsafe fn deallocate(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
        self.leaf.take_back(block, stream, |base| {
            if let Some(marker) = stream.final_marker() {
                // SAFETY: `base` came from `allocate` and is not freed yet; by
                // freeing/completion-order every access is ordered before the stream's tail, which
                // the marker covers.
                return unsafe { free_behind(self.leaf.device(), base, Some(&marker)) };
            }
            stream.with_raw_outside_capture("AsyncMemory::deallocate", |device, raw| {
                // SAFETY: contract, devices/handles and devices/threads; by
                // freeing/completion-order every access is ordered before the stream's tail.
                unsafe { part(device)?.free(base, raw) }
            })
        })
    }

    fn device(&self) -> &Arc<dyn Device> {
        self.leaf.device()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(Features::STREAM_ORDERED | Features::TRIMS)
    }
}

/// Frees behind `after`, on a stream of its own.
///
/// # Safety
/// `base` came from the device's stream-ordered pool and is not freed yet; every access has
/// completed, or is ordered before `after`.
unsafe fn free_behind(
    device: &Arc<dyn Device>,
    base: DevicePtr,
    after: Option<&Event>,
) -> Result<(), DriverError> {
    let stream = Stream::new(device.clone())?;
    stream.wait_all(after)?;
    stream.with_raw("AsyncMemory::deallocate", |device, raw| {
        // SAFETY: contract, devices/handles and devices/threads: a valid stream; every access is
        // ordered before its tail.
        unsafe { part(device)?.free(base, raw) }
    })
}

fn part(device: &dyn Device) -> Result<&dyn AsyncPool, DriverError> {
    device.async_pool().ok_or_else(|| {
        let error = DriverError::new("AsyncMemory", DriverCode::NOT_SUPPORTED);
        error.with_detail("the device has no stream-ordered allocator")
    })
}
