//! Recording: a program's allocations as a trace.

pub(crate) mod format;
mod recorder;
mod write;

use std::fmt;
use std::sync::Arc;

pub use recorder::Recorder;
use vmem_core::{
    AllocError, Block, Capabilities, Device, FreeError, MemoryEvent, MemoryEventKind,
    MemoryObserver, MemoryResource, Request, ResourceId, Stream,
};
pub use write::write_recording;

/// Tells an observer of every allocation, free and failure that passes through, in terms of what
/// was asked for. Blocks pass unchanged.
///
/// With a [`Recorder`] as the observer the program's allocations can be [read](crate::read_path)
/// back as a trace and replayed through another stack.
///
/// ```
/// use std::sync::Arc;
/// use vmem_core::{DeviceMemory, ResourceExt, Stream, label};
/// use vmem_sim::SimDevice;
/// use vmem_trace::{Record, Recorder};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let path = std::env::temp_dir().join(format!("vmem-record-{}.trace", std::process::id()));
/// let device = SimDevice::new(1 << 30);
/// let stream = Stream::new(device.clone())?;
/// let recorder = Arc::new(Recorder::create(&path)?);
/// let memory = Record::new(DeviceMemory::new(device), recorder.clone());
/// {
///     let _label = label("overlay/input");
///     drop(memory.buffer(1000, &stream)?);
/// }
/// recorder.flush()?;
///
/// let trace = vmem_trace::read_path(&path)?.trace;
/// assert_eq!((trace.allocations(), trace.peak_live()), (1, 1000));
/// # std::fs::remove_file(path)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Record<U> {
    upstream: U,
    observer: Arc<dyn MemoryObserver>,
    id: ResourceId,
}

impl<U> Record<U> {
    /// Tells `observer` of what passes through to `upstream`.
    pub fn new(upstream: U, observer: Arc<dyn MemoryObserver>) -> Self {
        Self { upstream, observer, id: ResourceId::new() }
    }

    /// The resource behind it.
    pub fn upstream(&self) -> &U {
        &self.upstream
    }

    /// Gives up recording; blocks allocated through it are the upstream's.
    pub fn into_inner(self) -> U {
        self.upstream
    }
}

impl<U: fmt::Display> fmt::Display for Record<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record<{}>", self.upstream)
    }
}

// SAFETY: contract, implementing: blocks pass unchanged to and from a resource that keeps it.
#[deny(clippy::missing_trait_methods)]
unsafe impl<U: MemoryResource> MemoryResource for Record<U> {
    fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        let result = self.upstream.allocate(request);
        let layout = request.layout;
        let kind = match &result {
            Ok(block) => MemoryEventKind::Allocate { ptr: block.ptr(), layout },
            Err(_) => MemoryEventKind::Failure { layout },
        };
        let event = MemoryEvent::new(kind, self.id)
            .with_stream(request.stream.id())
            .with_label(request.label);
        self.observer.event(&event);
        result
    }

    unsafe fn deallocate(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
        let (ptr, layout, label) = (block.ptr(), block.layout(), block.label());
        // SAFETY: the caller keeps the freeing clauses, which are the same there.
        unsafe { self.upstream.deallocate(block, stream) }?;
        let event = MemoryEvent::new(MemoryEventKind::Free { ptr, layout }, self.id)
            .with_stream(stream.id())
            .with_label(label);
        self.observer.event(&event);
        Ok(())
    }

    fn device(&self) -> &Arc<dyn Device> {
        self.upstream.device()
    }

    fn capabilities(&self) -> Capabilities {
        self.upstream.capabilities()
    }
}
