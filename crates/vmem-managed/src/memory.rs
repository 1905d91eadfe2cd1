//! The leaf.

use std::fmt;
use std::sync::Arc;

use vmem_core::author::{Handled, HostAccess, Leaf, StreamExt, host_view};
use vmem_core::{
    Advice, AllocError, Block, Capabilities, Device, DriverCode, DriverError, Features, FreeError,
    HandleError, Location, Managed, MemoryResource, QuarantineHandle, Quarantined, Request, Stream,
};

use crate::hint::{self, HintCounters};
use crate::{Hint, HintCounts, HintHandle, Unsupported};

const NAME: &str = "ManagedMemory";

/// Managed memory: one driver allocation per block (`cuMemAllocManaged`), whose pages the driver
/// moves between host and device as they are touched.
///
/// More can be allocated than the device has. A request's [access class](vmem_core::AccessClass) becomes
/// advice on its block, one driver call; what the advice means is CUDA's (Driver API, `cuMemAdvise`).
///
/// | class | advice | because |
/// |---|---|---|
/// | `Unknown` | none | pages go to who touches them |
/// | `Streaming` | accessed by the device | pages that are touched once are read where they are: they are mapped, and neither fault nor push others out |
/// | `RandomReuse` | prefers the device | a page that was fetched stays there until the room is needed: each access from afar would cost a transfer |
/// | `WriteOnce` | mostly read | host and device each keep a copy, until somebody writes |
///
/// The advice ends with the block, as the driver's memory does. Refused advice fails nothing and is
/// counted. A [`Pool`](https://docs.rs/vmem-pool) over managed memory gives none, since its blocks share
/// pages.
///
/// Freeing waits on the host for the stream's tail first, and for prefetches on other streams. Where
/// that would disturb a capture, the block is set aside, as [`Leaf`] describes.
///
/// ```
/// use vmem_core::{AccessClass, BlockLayout, MemoryResource, Request, Stream};
/// use vmem_managed::ManagedMemory;
/// use vmem_sim::SimDevice;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = SimDevice::new(1 << 30);
/// let stream = Stream::new(device.clone())?;
/// let memory = ManagedMemory::new(device)?;
///
/// let request = Request::new(BlockLayout::new(4096)?, &stream);
/// let mut block = memory.allocate(&request.with_access(AccessClass::RandomReuse))?;
/// // SAFETY: no work was queued on the block, and this is its only view.
/// let bytes = unsafe { memory.host_view_mut(&mut block, &stream) }?;
/// bytes.fill(7);
/// // SAFETY: no work was ever queued on the block.
/// unsafe { memory.deallocate(block, &stream) }?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ManagedMemory {
    leaf: Leaf,
    hints: Handled<HintCounters>,
}

impl ManagedMemory {
    /// The managed memory of `device`.
    ///
    /// # Errors
    /// If the device has none, or none that host and device may access at the same time.
    pub fn new(device: Arc<dyn Device>) -> Result<Self, Unsupported> {
        let managed = device.managed().ok_or(Unsupported::NoManagedMemory)?;
        if !managed.concurrent_access() {
            return Err(Unsupported::NoConcurrentAccess);
        }
        // SAFETY: contract, devices/handles and devices/pending-work: the leaf's promise.
        let free = |device: &Arc<dyn Device>, base| unsafe { part(&**device)?.free(base) };
        Ok(Self {
            leaf: Leaf::new(NAME, device, free),
            hints: Handled::new(HintCounters::default()),
        })
    }

    /// The handle that reads the counts of hints, and counts and frees memory in quarantine.
    pub fn handle(&self) -> ManagedHandle {
        ManagedHandle { hints: HintHandle::of(&self.hints), quarantine: self.leaf.handle() }
    }

    /// Advises the driver on a block.
    ///
    /// # Errors
    /// [`INVALID_VALUE`](DriverCode::INVALID_VALUE) for another resource's block; the
    /// [`DriverError`] of the driver call.
    pub fn advise(&self, block: &Block, advice: Advice) -> Result<(), DriverError> {
        let managed = self.managed_of(block, "ManagedMemory::advise")?;
        // SAFETY: contract, devices/ranges: the range is that of a live managed block.
        unsafe { managed.advise(block.ptr(), block.size(), advice) }
    }

    /// Queues moving a block's pages on `stream`. A hint: everything works without it, so that a
    /// refusal is counted and returned, but is no error. Refused while `stream` captures, when the graph
    /// would take it.
    ///
    /// The block is not freed before the pages have moved, on whatever stream it is freed.
    pub fn prefetch(&self, block: &Block, to: Location, stream: &Stream) -> Hint {
        const CALL: &str = "ManagedMemory::prefetch";
        let queue = || {
            self.check_stream(stream, CALL)?;
            self.leaf.queue_use(block, stream, CALL, |device, raw| {
                // SAFETY: contract, devices/ranges: the range is that of a live managed block;
                // devices/handles and devices/threads: a valid, callable stream.
                unsafe { part(device)?.prefetch(block.ptr(), block.size(), to, raw) }
            })
        };
        self.hints.count(queue())
    }

    /// The last place that a block was prefetched to, if all of it was prefetched to one place.
    ///
    /// # Errors
    /// [`INVALID_VALUE`](DriverCode::INVALID_VALUE) for another resource's block; the
    /// [`DriverError`] of the driver call.
    pub fn last_prefetch(&self, block: &Block) -> Result<Option<Location>, DriverError> {
        let managed = self.managed_of(block, "ManagedMemory::last_prefetch")?;
        // SAFETY: contract, devices/ranges: the range is that of a live managed block.
        unsafe { managed.last_prefetch(block.ptr(), block.size()) }
    }

    /// The bytes of a block, for the host to read, after waiting for `stream`'s tail.
    ///
    /// # Errors
    /// [`INVALID_VALUE`](DriverCode::INVALID_VALUE) for another resource's block;
    /// [`NOT_PERMITTED`](DriverCode::NOT_PERMITTED) if this thread [cannot
    /// name](vmem_core::author::StreamExt::is_callable_here) `stream`, and
    /// [`STREAM_CAPTURE_UNSUPPORTED`](DriverCode::STREAM_CAPTURE_UNSUPPORTED) if it captures: neither
    /// can be waited for alone; the driver's, among them those of the wait.
    ///
    /// # Safety
    /// All work that writes the block is ordered before the stream's tail at this call (the
    /// contract's [host order](vmem_core::contract#allocating)), none is queued while the slice
    /// lives, and no mutable slice of the block exists.
    pub unsafe fn host_view<'a>(
        &self,
        block: &'a Block,
        stream: &Stream,
    ) -> Result<&'a [u8], DriverError> {
        let (bytes, len) = self.view(block, stream, HostAccess::Read)?;
        // SAFETY: the host finds a managed block at its address, and the caller promises that
        // nobody writes it for the lifetime of the slice.
        Ok(unsafe { std::slice::from_raw_parts(bytes, len) })
    }

    /// The bytes of a block, for the host to read and write, after waiting for `stream`'s tail.
    ///
    /// # Errors
    /// [`INVALID_VALUE`](DriverCode::INVALID_VALUE) for another resource's block;
    /// [`NOT_PERMITTED`](DriverCode::NOT_PERMITTED) if this thread [cannot
    /// name](vmem_core::author::StreamExt::is_callable_here) `stream`, and
    /// [`STREAM_CAPTURE_UNSUPPORTED`](DriverCode::STREAM_CAPTURE_UNSUPPORTED) if it captures: neither
    /// can be waited for alone; the driver's, among them those of the wait.
    ///
    /// # Safety
    /// All work on the block is ordered before the stream's tail at this call (the contract's
    /// [host order](vmem_core::contract#allocating)), none is queued while the slice lives, and no
    /// other slice of the block exists.
    pub unsafe fn host_view_mut<'a>(
        &self,
        block: &'a mut Block,
        stream: &Stream,
    ) -> Result<&'a mut [u8], DriverError> {
        let (bytes, len) = self.view(block, stream, HostAccess::Write)?;
        // SAFETY: the host finds a managed block at its address, and the caller promises exclusive
        // access for the lifetime of the slice.
        Ok(unsafe { std::slice::from_raw_parts_mut(bytes, len) })
    }

    fn view(
        &self,
        block: &Block,
        stream: &Stream,
        access: HostAccess,
    ) -> Result<(*mut u8, usize), DriverError> {
        const CALL: &str = "ManagedMemory::host_view";
        self.check_owner(block, CALL)?;
        self.check_stream(stream, CALL)?;
        // A stream that this thread cannot name is refused: to wait for the device instead would break
        // captures.
        stream.synchronize_alone()?;
        let bytes = host_view(&**self.leaf.device(), block.ptr(), block.size(), access)?;
        let len = usize::try_from(block.size()).expect("a mapped range fits the address space");
        Ok((bytes, len))
    }

    /// The device's managed part, for a block of this resource.
    fn managed_of(&self, block: &Block, call: &'static str) -> Result<&dyn Managed, DriverError> {
        self.check_owner(block, call)?;
        part(&**self.leaf.device())
    }

    fn check_owner(&self, block: &Block, call: &'static str) -> Result<(), DriverError> {
        if block.owner() == self.leaf.owner() {
            return Ok(());
        }
        let error = DriverError::new(call, DriverCode::INVALID_VALUE);
        Err(error.with_detail("the block belongs to another resource"))
    }

    fn check_stream(&self, stream: &Stream, call: &'static str) -> Result<(), DriverError> {
        if stream.device_id() == self.leaf.device().id() {
            return Ok(());
        }
        let error = DriverError::new(call, DriverCode::INVALID_CONTEXT);
        Err(error.with_detail("the stream belongs to another device"))
    }
}

/// Reads what a [`ManagedMemory`] gave as hints, and counts and frees what it has set aside. Does not
/// keep it alive.
#[derive(Debug, Clone)]
pub struct ManagedHandle {
    hints: HintHandle,
    quarantine: QuarantineHandle,
}

impl ManagedHandle {
    /// The number of hints given, advice by access class and prefetches; `None` once the resource is
    /// gone.
    pub fn hints(&self) -> Option<HintCounts> {
        self.hints.counts()
    }

    /// The memory in quarantine now; `None` once the resource is gone.
    pub fn quarantined(&self) -> Option<Quarantined> {
        self.quarantine.quarantined()
    }

    /// Frees what is set aside and over, as [`QuarantineHandle::trim`] does, and returns its bytes.
    pub fn trim(&self) -> u64 {
        self.quarantine.trim()
    }

    /// Frees what is set aside and can be waited for, as [`QuarantineHandle::wait_and_trim`] does, and
    /// returns its bytes.
    pub fn wait_and_trim(&self) -> u64 {
        self.quarantine.wait_and_trim()
    }

    /// Frees what is set aside, as [`QuarantineHandle::synchronize`] does.
    ///
    /// # Errors
    /// Those of [`QuarantineHandle::synchronize`].
    pub fn synchronize(&self) -> Result<(), HandleError> {
        self.quarantine.synchronize()
    }
}

impl fmt::Display for ManagedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)
    }
}

// SAFETY: contract, implementing/disjoint, implementing/as-asked and implementing/stable are the
// driver's, implementing/owned and implementing/unwinding the block table's,
// implementing/on-its-device and implementing/leaking-not-dangling the leaf's.
#[deny(clippy::missing_trait_methods)]
unsafe impl MemoryResource for ManagedMemory {
    fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        let block =
            self.leaf.allocate(request, |bytes| part(&**self.leaf.device())?.allocate(bytes))?;
        if let Some(advice) = hint::advice(request.access) {
            self.hints.count(self.advise(&block, advice));
        }
        Ok(block)
    }

    unsafe fn deallocate(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
        // SAFETY: the caller keeps the freeing clauses, which are the same there.
        unsafe { self.leaf.deallocate(block, stream) }
    }

    fn device(&self) -> &Arc<dyn Device> {
        self.leaf.device()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(Features::HOST_ACCESSIBLE | Features::MIGRATABLE)
    }
}

fn part(device: &dyn Device) -> Result<&dyn Managed, DriverError> {
    device.managed().ok_or_else(|| DriverError::new(NAME, DriverCode::NOT_SUPPORTED))
}
