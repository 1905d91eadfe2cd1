//! An upstream that does what a test says.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use vmem_core::author::BlockTable;
use vmem_core::{
    AllocError, AllocErrorKind, Block, BlockLayout, Capabilities, Device, DevicePtr, DriverCode,
    DriverError, Features, FreeError, MemoryResource, Request, Stream,
};
use vmem_sim::SimDevice;

/// Hands out addresses with nothing behind them, and fails when told to.
#[derive(Debug)]
pub(crate) struct Fake {
    device: Arc<dyn Device>,
    blocks: BlockTable<()>,
    next: AtomicU64,
    failures: Mutex<VecDeque<AllocErrorKind>>,
    always: Mutex<Option<AllocErrorKind>>,
    refuse_frees: AtomicBool,
    /// How often a block was asked for.
    pub(crate) asked: AtomicU64,
    pub(crate) capabilities: Capabilities,
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self {
            device: SimDevice::new(1 << 20),
            blocks: BlockTable::new(),
            next: AtomicU64::new(1 << 30),
            failures: Mutex::default(),
            always: Mutex::default(),
            refuse_frees: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            capabilities: Capabilities::new(Features::STREAM_ORDERED | Features::TRIMS),
        }
    }

    /// Fails the next requests with these kinds.
    pub(crate) fn fail_next(&self, kinds: impl IntoIterator<Item = AllocErrorKind>) {
        self.failures.lock().unwrap().extend(kinds);
    }

    /// Fails every request until told otherwise.
    pub(crate) fn fail_always(&self, kind: Option<AllocErrorKind>) {
        *self.always.lock().unwrap() = kind;
    }

    pub(crate) fn refuse_frees(&self, refuse: bool) {
        self.refuse_frees.store(refuse, Ordering::Relaxed);
    }

    pub(crate) fn live(&self) -> usize {
        self.blocks.len()
    }

    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

impl std::fmt::Display for Fake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fake")
    }
}

// SAFETY: contract, implementing: addresses only grow; implementing/owned and
// implementing/unwinding are the block table's. Nothing is behind the addresses, and no test
// touches them.
unsafe impl MemoryResource for Fake {
    fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let scripted = self.failures.lock().unwrap().pop_front();
        if let Some(kind) = scripted.or(*self.always.lock().unwrap()) {
            return Err(AllocError::new(kind, request.layout, "Fake"));
        }
        let (size, alignment) = (request.layout.size(), request.layout.alignment());
        let base = self.next.fetch_add(size + alignment, Ordering::Relaxed);
        let ptr = DevicePtr::new(base).unwrap().align_up(alignment).unwrap();
        Ok(self.blocks.issue(ptr, request.layout, request.label, ()))
    }

    unsafe fn deallocate(&self, block: Block, _: &Stream) -> Result<(), FreeError> {
        self.blocks.take_back(block, "Fake", |()| {
            if self.refuse_frees.load(Ordering::Relaxed) {
                return Err(DriverError::new("free", DriverCode::UNKNOWN));
            }
            Ok(())
        })
    }

    fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }
}

pub(crate) fn stream() -> Stream {
    Stream::new(SimDevice::new(1 << 20)).unwrap()
}

pub(crate) fn layout(size: u64) -> BlockLayout {
    BlockLayout::new(size).unwrap()
}

/// Frees a block that nothing was queued on.
pub(crate) fn free(
    memory: &dyn MemoryResource,
    block: Block,
    stream: &Stream,
) -> Result<(), FreeError> {
    // SAFETY: contract, freeing: no work was ever queued on the block.
    unsafe { memory.deallocate(block, stream) }
}
