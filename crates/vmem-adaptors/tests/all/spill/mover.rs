//! A device's memory of so many bytes, whose blocks can rest on the host.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use vmem_core::{
    AllocError, AllocErrorKind, Block, Capabilities, Contents, Device, DeviceMemory, DevicePtr,
    FreeError, MemoryResource, Moved, RawBlock, Request, Residence, Residency, ResidencyError,
    ResidencyErrorKind, Stream,
};
use vmem_sim::{Kernel, SimDevice};

/// Each move touches all of the block on a stream of its own, which nothing orders after other work but
/// the host's having seen that complete: the device's checker finds every move that comes too early, and
/// all work that comes while something moves.
#[derive(Debug)]
pub(crate) struct Mover {
    pub(crate) device: Arc<SimDevice>,
    memory: DeviceMemory,
    stream: Stream,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// By address: where each block is.
    blocks: BTreeMap<u64, (RawBlock, Residence)>,
    capacity: u64,
    host: u64,
    /// What the next moves fail with.
    failures: Vec<ResidencyErrorKind>,
    /// The addresses of what was moved, in turn, and where to.
    moves: Vec<(u64, &'static str)>,
}

impl State {
    fn used(&self) -> u64 {
        self.blocks.values().map(|(_, place)| place.device).sum()
    }

    fn on_host(&self) -> u64 {
        self.blocks.values().map(|(_, place)| place.host).sum()
    }
}

impl Mover {
    pub(crate) fn new(device: Arc<SimDevice>, capacity: u64, host: u64) -> Arc<Self> {
        let memory = DeviceMemory::new(device.clone());
        let stream = Stream::new(device.clone()).unwrap();
        let (blocks, failures, moves) = (BTreeMap::new(), Vec::new(), Vec::new());
        let state = Mutex::new(State { blocks, capacity, host, failures, moves });
        Arc::new(Self { device, memory, stream, state })
    }

    /// Has the next moves fail so, one after the other.
    pub(crate) fn fail(&self, kinds: &[ResidencyErrorKind]) {
        self.state.lock().unwrap().failures = kinds.iter().rev().copied().collect();
    }

    /// The device's bytes in use.
    pub(crate) fn used(&self) -> u64 {
        self.state.lock().unwrap().used()
    }

    /// Waits for the device on behalf of what is set aside.
    pub(crate) fn synchronize(&self) {
        self.memory.handle().synchronize().unwrap();
    }

    /// The addresses of what was moved since this was asked last.
    pub(crate) fn moves(&self) -> Vec<(u64, &'static str)> {
        std::mem::take(&mut self.state.lock().unwrap().moves)
    }

    fn go(&self, blocks: &[RawBlock], out: bool) -> Result<Moved, ResidencyError> {
        let mut state = self.state.lock().unwrap();
        let refuse = |kind| Err(ResidencyError::new(kind));
        let size = |block: &RawBlock| block.layout().size();
        let live = |block: &&RawBlock| {
            let known = state.blocks.get(&block.ptr().get());
            known.is_some_and(|(known, _)| known == *block)
        };
        if !blocks.iter().all(|block| live(&block)) {
            return refuse(ResidencyErrorKind::NotLive);
        }
        let bytes: u64 = blocks.iter().map(size).sum();
        if out && state.on_host() + bytes > state.host {
            return refuse(ResidencyErrorKind::HostFull);
        }
        if !out && state.used() + bytes > state.capacity {
            let missing = state.used() + bytes - state.capacity;
            return Err(ResidencyError::new(ResidencyErrorKind::DeviceFull).with_missing(missing));
        }
        let failure = state.failures.pop();
        if let Some(kind) = failure.filter(|kind| *kind != ResidencyErrorKind::Split) {
            return refuse(kind);
        }
        for block in blocks {
            let kernel = Kernel::new("move").writes(block.ptr(), size(block));
            // SAFETY: contract, devices/ranges: the block is live.
            unsafe { self.device.launch(&self.stream, kernel) }.unwrap();
            self.stream.synchronize().unwrap();
            let mut place = Residence::default();
            match (failure, out) {
                (Some(_), _) => place.displaced = size(block),
                (None, true) => place.host = size(block),
                (None, false) => place.device = size(block),
            }
            state.moves.push((block.ptr().get(), if out { "out" } else { "in" }));
            state.blocks.insert(block.ptr().get(), (*block, place));
        }
        match failure {
            Some(kind) => refuse(kind),
            None => {
                let mut moved = Moved::default();
                (moved.device, moved.copied) = (bytes, bytes);
                Ok(moved)
            }
        }
    }
}

impl Residency for Mover {
    unsafe fn demote(&self, blocks: &[RawBlock], _: Contents) -> Result<Moved, ResidencyError> {
        self.go(blocks, true)
    }

    unsafe fn promote(&self, blocks: &[RawBlock]) -> Result<Moved, ResidencyError> {
        self.go(blocks, false)
    }

    fn residence(&self, block: &RawBlock) -> Option<Residence> {
        let state = self.state.lock().unwrap();
        let (known, place) = state.blocks.get(&block.ptr().get())?;
        (known == block).then_some(*place)
    }

    fn block_at(&self, ptr: DevicePtr) -> Option<RawBlock> {
        self.state.lock().unwrap().blocks.get(&ptr.get()).map(|(block, _)| *block)
    }

    fn host_room(&self) -> u64 {
        let state = self.state.lock().unwrap();
        state.host - state.on_host()
    }
}

/// The memory as a resource.
#[derive(Debug, Clone)]
pub(crate) struct Memory(pub(crate) Arc<Mover>);

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory")
    }
}

// SAFETY: contract, implementing: blocks pass unchanged between the caller and one upstream that keeps it.
unsafe impl MemoryResource for Memory {
    fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        let size = request.layout.size();
        let state = self.0.state.lock().unwrap();
        if state.used() + size > state.capacity {
            return Err(AllocError::new(AllocErrorKind::OutOfMemory, request.layout, "Memory"));
        }
        drop(state);
        let block = self.0.memory.allocate(request)?;
        let mut place = Residence::default();
        place.device = size;
        let entry = (block.raw(), place);
        self.0.state.lock().unwrap().blocks.insert(block.ptr().get(), entry);
        Ok(block)
    }

    unsafe fn deallocate(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
        self.0.state.lock().unwrap().blocks.remove(&block.ptr().get());
        // SAFETY: the caller keeps the freeing clauses, which are the same there.
        unsafe { self.0.memory.deallocate(block, stream) }
    }

    fn device(&self) -> &Arc<dyn Device> {
        self.0.memory.device()
    }

    fn capabilities(&self) -> Capabilities {
        self.0.memory.capabilities()
    }
}
