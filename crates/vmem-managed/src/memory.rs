//! The leaf.

use std::fmt;
use std::sync::Arc;

use vmem_core::{
    Advice, AllocError, AllocErrorKind, Block, BlockLayout, BlockTable, Capabilities, Device,
    DevicePtr, DriverCode, DriverError, Features, FreeError, FreeErrorKind, HostAccess, Location,
    Managed, MemoryResource, Request, Stream,
};

use crate::hint::{self, HintCounters};
use crate::{Hint, HintHandle, Unsupported};

const NAME: &str = "ManagedMemory";

/// Managed memory: one driver allocation per block (`cuMemAllocManaged`), whose pages the driver
/// moves between host and device as they are touched.
///
/// More can be allocated than the device has. A request's access class becomes advice on its block:
/// streaming memory is kept mapped for the device, randomly reused memory is kept on the device,
/// memory written once may be duplicated for readers.
///
/// Freeing waits on the host for the stream's tail first.
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
    device: Arc<dyn Device>,
    /// The driver's address of each block.
    blocks: BlockTable<DevicePtr>,
    hints: Arc<HintCounters>,
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
        Ok(Self { device, blocks: BlockTable::new(), hints: Arc::default() })
    }

    /// The device.
    pub fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    /// Reads how many hints were given: advice by access class, and prefetches.
    pub fn hints(&self) -> HintHandle {
        self.hints.handle()
    }

    /// Advises the driver on a block.
    ///
    /// # Errors
    /// [`INVALID_VALUE`](DriverCode::INVALID_VALUE) for another resource's block; the driver's.
    pub fn advise(&self, block: &Block, advice: Advice) -> Result<(), DriverError> {
        let managed = self.managed_of(block, "ManagedMemory::advise")?;
        // SAFETY: contract, devices 2: the range is that of a live managed block.
        unsafe { managed.advise(block.ptr(), block.size(), advice) }
    }

    /// Queues moving a block's pages on `stream`. A hint: everything works without it, so that a
    /// refusal is counted and returned, but is no error.
    ///
    /// It is an access like any other work on `stream`: order it before the free.
    pub fn prefetch(&self, block: &Block, to: Location, stream: &Stream) -> Hint {
        const CALL: &str = "ManagedMemory::prefetch";
        let queue = || {
            let managed = self.managed_of(block, CALL)?;
            self.check_stream(stream, CALL)?;
            stream.with_raw(CALL, |_, raw| {
                // SAFETY: contract, devices 2: the range is that of a live managed block; 1 and 5:
                // `with_raw` hands out a valid, callable stream.
                unsafe { managed.prefetch(block.ptr(), block.size(), to, raw) }
            })
        };
        self.hints.count(queue())
    }

    /// Where a block was last prefetched to, if all of it was prefetched to one place.
    ///
    /// # Errors
    /// [`INVALID_VALUE`](DriverCode::INVALID_VALUE) for another resource's block; the driver's.
    pub fn last_prefetch(&self, block: &Block) -> Result<Option<Location>, DriverError> {
        let managed = self.managed_of(block, "ManagedMemory::last_prefetch")?;
        // SAFETY: contract, devices 2: the range is that of a live managed block.
        unsafe { managed.last_prefetch(block.ptr(), block.size()) }
    }

    /// The bytes of a block, for the host to read, after waiting for `stream`'s tail.
    ///
    /// # Errors
    /// [`INVALID_VALUE`](DriverCode::INVALID_VALUE) for another resource's block; the driver's,
    /// among them those of the wait.
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
        // SAFETY: the device returned the block's host address, and the caller promises that nobody
        // writes it for the lifetime of the slice.
        Ok(unsafe { std::slice::from_raw_parts(bytes, len) })
    }

    /// The bytes of a block, for the host to read and write, after waiting for `stream`'s tail.
    ///
    /// # Errors
    /// [`INVALID_VALUE`](DriverCode::INVALID_VALUE) for another resource's block; the driver's,
    /// among them those of the wait.
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
        // SAFETY: the device returned the block's host address, and the caller promises exclusive
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
        let managed = self.managed_of(block, CALL)?;
        self.check_stream(stream, CALL)?;
        stream.synchronize()?;
        // SAFETY: contract, devices 2: the range is that of a live managed block, and the views'
        // callers promise not to queue work on it while they use the pointer.
        let bytes = unsafe { managed.host_view(block.ptr(), block.size(), access) }?;
        let len = usize::try_from(block.size()).expect("a mapped range fits the address space");
        Ok((bytes, len))
    }

    /// The device's managed part, for a block of this resource.
    fn managed_of(&self, block: &Block, call: &'static str) -> Result<&dyn Managed, DriverError> {
        if block.owner() != self.blocks.owner() {
            let error = DriverError::new(call, DriverCode::INVALID_VALUE);
            return Err(error.with_detail("the block belongs to another resource"));
        }
        self.managed()
    }

    fn managed(&self) -> Result<&dyn Managed, DriverError> {
        let absent = || DriverError::new(NAME, DriverCode::NOT_SUPPORTED);
        self.device.managed().ok_or_else(absent)
    }

    fn check_stream(&self, stream: &Stream, call: &'static str) -> Result<(), DriverError> {
        if stream.device_id() == self.device.id() {
            return Ok(());
        }
        let error = DriverError::new(call, DriverCode::INVALID_CONTEXT);
        Err(error.with_detail("the stream belongs to another device"))
    }
}

impl fmt::Display for ManagedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)
    }
}

// SAFETY: contract, implementing: 1-3 are the driver's, 4 and 6 the block table's, 5 the drop's.
#[deny(clippy::missing_trait_methods)]
unsafe impl MemoryResource for ManagedMemory {
    fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        let layout = request.layout;
        if request.stream.device_id() != self.device.id() {
            let kind = AllocErrorKind::InvalidStream;
            return Err(AllocError::new(kind, layout, NAME));
        }
        // Drivers align to 256 or better, so this slack is enough to align further.
        let slack = layout.alignment().saturating_sub(BlockLayout::DEFAULT_ALIGNMENT);
        let base = self
            .managed()
            .and_then(|managed| managed.allocate(layout.size() + slack))
            .map_err(|error| AllocError::from_driver(error, layout, NAME))?;
        let ptr = base.align_up(layout.alignment()).expect("the driver's range ends below 2^64");
        let block = self.blocks.issue(ptr, layout, request.label, base);
        if let Some(advice) = hint::advice(request.access) {
            self.hints.count(self.advise(&block, advice));
        }
        Ok(block)
    }

    unsafe fn deallocate(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
        if stream.device_id() != self.device.id() {
            return Err(FreeError::new(FreeErrorKind::InvalidStream, block, NAME));
        }
        self.blocks.take_back(block, NAME, |&base| {
            stream.synchronize()?;
            // SAFETY: `base` came from `allocate`, and the stream's tail, before which every access
            // is ordered (contract, freeing 1), has completed.
            unsafe { self.managed()?.free(base) }
        })?;
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(Features::HOST_ACCESSIBLE | Features::MIGRATABLE)
    }
}

impl Drop for ManagedMemory {
    fn drop(&mut self) {
        let live = self.blocks.len();
        if live != 0 {
            let failures = self.device.base().drop_failures();
            failures.record(NAME, &format_args!("{live} live blocks leak"));
        }
    }
}
