//! A small caching resource with one planted bug.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use vmem_core::author::{BlockTable, StreamExt, WeakStream};
use vmem_core::{
    AccessClass, AllocError, AllocErrorKind, Block, BlockLayout, Capabilities, Device,
    DeviceMemory, Event, Features, FreeError, FreeErrorKind, Label, MemoryResource, RawBlock,
    Request, Stream, StreamId,
};
use vmem_sim::SimDevice;
use vmem_testkit::Probe;

/// What is wrong with a [`Broken`] resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// Nothing: the control.
    None,
    /// Every block starts at the same address.
    Overlaps,
    /// Blocks start 128 bytes late.
    Misaligns,
    /// It changes its mind about its capabilities at every call.
    ChangesCapabilities,
    /// It names a device that its blocks are not on.
    NamesAnotherDevice,
    /// It names a device that its blocks are not on once it has been asked.
    ChangesItsDevice,
    /// It prints as nothing.
    PrintsNothing,
    /// Blocks have no label.
    DropsLabels,
    /// Requests with an access class are refused.
    RefusesHints,
    /// Requests under 64 bytes are refused.
    RefusesTiny,
    /// Any block of any resource is taken.
    AcceptsForeign,
    /// Any block with its own name on it is taken.
    AcceptsStale,
    /// A freed block whose slot is in use again is taken for the new one.
    LosesGenerations,
    /// Streams of other devices are taken.
    AcceptsAnyStream,
    /// Sizes above a tebibyte overflow something.
    PanicsOnHuge,
    /// Sizes are cut to 24 bits.
    Truncates,
    /// Refused bytes stay counted.
    KeepsRefusals,
    /// Bytes that the driver failed to provide stay counted.
    KeepsFailures,
    /// Freed memory is handed to any stream at once.
    ReusesWithoutWaiting,
    /// Freed memory is handed at once to the stream it was allocated on, whoever freed it.
    ForgetsWhoFreed,
    /// Once the freeing stream has ended, its memory is handed to any stream at once.
    ForgetsEndedStreams,
    /// Retired streams cannot free.
    RefusesRetired,
    /// Only the first thread that comes is served.
    ServesOneThread,
    /// Only its own thread can free on a per-thread default stream.
    RefusesOthersDefaults,
    /// Every 100th block that could be reused is forgotten instead.
    LosesMemory,
    /// Dropping it frees what is live.
    FreesLive,
}

/// Caches freed blocks by layout and reuses them after a wait for the freeing stream. Live bytes
/// are limited to [`Broken::CEILING`].
#[derive(Debug)]
pub(crate) struct Broken {
    bug: Bug,
    upstream: DeviceMemory,
    table: BlockTable<Mutex<Option<Piece>>>,
    state: Mutex<State>,
    flips: AtomicBool,
    other: Arc<dyn Device>,
    reuses: AtomicU64,
}

#[derive(Debug)]
struct Piece {
    block: Block,
    home: StreamId,
}

#[derive(Debug)]
struct Cached {
    piece: Piece,
    freed_on: WeakStream,
    /// `None` once known to be complete.
    done: Option<Event>,
}

#[derive(Debug, Default)]
struct State {
    used: u64,
    cached: Vec<Cached>,
    live: Vec<RawBlock>,
    thread: Option<ThreadId>,
}

impl Broken {
    pub(crate) const CEILING: u64 = 24 << 20;

    pub(crate) fn new(device: Arc<dyn Device>, bug: Bug) -> Self {
        Self {
            bug,
            upstream: DeviceMemory::new(device),
            table: BlockTable::new(),
            state: Mutex::default(),
            flips: AtomicBool::new(false),
            other: SimDevice::new(1 << 30),
            reuses: AtomicU64::new(0),
        }
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == bug
    }

    fn check_request(&self, request: &Request<'_>) -> Result<(), AllocErrorKind> {
        let size = request.layout.size();
        if self.has(Bug::PanicsOnHuge) {
            assert!(size < 1 << 40, "the size does not fit");
        }
        if self.has(Bug::RefusesTiny) && size < 64 {
            return Err(AllocErrorKind::InvalidLayout);
        }
        if self.has(Bug::RefusesHints) && request.access != AccessClass::Unknown {
            return Err(AllocErrorKind::InvalidLayout);
        }
        let mine = request.stream.device_id() == self.upstream.device().id();
        if !mine && !self.has(Bug::AcceptsAnyStream) {
            return Err(AllocErrorKind::InvalidStream);
        }
        self.check_thread();
        Ok(())
    }

    fn check_thread(&self) {
        if self.has(Bug::ServesOneThread) {
            let me = thread::current().id();
            let first = *self.state.lock().unwrap().thread.get_or_insert(me);
            assert_eq!(me, first, "another thread");
        }
    }

    fn count(&self, size: u64) -> Result<(), AllocErrorKind> {
        let mut state = self.state.lock().unwrap();
        let used = state.used.saturating_add(size);
        if used > Self::CEILING {
            if self.has(Bug::KeepsRefusals) {
                state.used = used;
            }
            return Err(AllocErrorKind::Limit);
        }
        state.used = used;
        Ok(())
    }

    fn piece(&self, layout: BlockLayout, stream: &Stream) -> Result<Piece, AllocError> {
        if let Some(cached) = self.cached(layout) {
            if !self.skips_wait(&cached, stream)
                && let Some(done) = &cached.done
                && let Err(error) = stream.wait(done)
            {
                self.state.lock().unwrap().cached.push(cached);
                return Err(AllocError::from_driver(error, layout, "Broken"));
            }
            return Ok(cached.piece);
        }
        let strange;
        let mut request = Request::new(layout, stream);
        if stream.device_id() != self.upstream.device().id() {
            strange = Stream::legacy_default(self.upstream.device().clone());
            request = Request::new(layout, &strange);
        }
        let block = self.upstream.allocate(&request)?;
        let home = stream.id();
        Ok(Piece { block, home })
    }

    fn cached(&self, layout: BlockLayout) -> Option<Cached> {
        let mut state = self.state.lock().unwrap();
        let fits = |c: &Cached| c.piece.block.layout() == layout;
        let at = state.cached.iter().rposition(fits)?;
        let found = state.cached.remove(at);
        let nth = self.reuses.fetch_add(1, Ordering::Relaxed) + 1;
        let is_lost = self.has(Bug::LosesMemory) && nth.is_multiple_of(100);
        (!is_lost).then_some(found)
    }

    fn skips_wait(&self, cached: &Cached, stream: &Stream) -> bool {
        match self.bug {
            Bug::ReusesWithoutWaiting => true,
            Bug::ForgetsWhoFreed => cached.piece.home == stream.id(),
            Bug::ForgetsEndedStreams => {
                let freed_on = cached.freed_on.upgrade();
                freed_on.is_none_or(|s| s.is_retired() || s.is_orphaned())
            }
            _ => false,
        }
    }

    fn issue(&self, piece: Piece, layout: BlockLayout, label: Label) -> Block {
        let mut ptr = piece.block.ptr();
        if self.has(Bug::Misaligns) {
            ptr = ptr.checked_add(128).unwrap();
        }
        let label = if self.has(Bug::DropsLabels) { Label::NONE } else { label };
        let mut state = self.state.lock().unwrap();
        if self.has(Bug::Overlaps) {
            ptr = state.live.first().map_or(ptr, |first| first.ptr());
        }
        let block = self.table.issue(ptr, layout, label, Mutex::new(Some(piece)));
        state.live.push(block.raw());
        block
    }

    /// What the bugs make of a block that the table would refuse.
    fn misjudge(&self, block: Block) -> Option<Block> {
        let raw = block.raw();
        let mine = raw.owner() == self.table.owner();
        let state = self.state.lock().unwrap();
        let real = state.live.iter().find(|live| live.slot() == raw.slot());
        match self.bug {
            Bug::AcceptsForeign if !mine => None,
            Bug::AcceptsStale if mine && real != Some(&raw) => None,
            Bug::LosesGenerations if mine => {
                // SAFETY: broken on purpose; only this resource's table sees the block.
                Some(unsafe { Block::from_raw(*real.unwrap_or(&raw)) })
            }
            _ => Some(block),
        }
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.has(Bug::PrintsNothing) {
            return Ok(());
        }
        write!(f, "Broken<{}>", self.upstream)
    }
}

// SAFETY: contract, implementing: kept without a bug; with one it is broken on purpose, for checks
// that expect it, on a device that tolerates it.
#[deny(clippy::missing_trait_methods)]
unsafe impl MemoryResource for Broken {
    fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        let layout = request.layout;
        let refuse = |kind| AllocError::new(kind, layout, "Broken");
        self.check_request(request).map_err(refuse)?;
        let mut served = layout;
        if self.has(Bug::Truncates) {
            let size = (layout.size() & 0xff_ffff).max(1);
            served = BlockLayout::with_alignment(size, layout.alignment())?;
        }
        self.count(served.size()).map_err(refuse)?;
        // Enough for a late start.
        let padded = BlockLayout::with_alignment(served.size() + 128, layout.alignment())?;
        let piece = self.piece(padded, request.stream).inspect_err(|_| {
            if !self.has(Bug::KeepsFailures) {
                self.state.lock().unwrap().used -= served.size();
            }
        })?;
        Ok(self.issue(piece, layout, request.label))
    }

    unsafe fn deallocate(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
        let refuse = |kind, block| Err(FreeError::new(kind, block, "Broken"));
        let mine = stream.device_id() == self.upstream.device().id();
        if !mine && !self.has(Bug::AcceptsAnyStream) {
            return refuse(FreeErrorKind::InvalidStream, block);
        }
        if self.has(Bug::RefusesRetired) && stream.is_retired()
            || self.has(Bug::RefusesOthersDefaults) && !stream.is_callable_here()
        {
            return refuse(FreeErrorKind::InvalidStream, block);
        }
        self.check_thread();
        let Some(block) = self.misjudge(block) else {
            return Ok(());
        };
        let raw = block.raw();
        let (mut done, mut captured) = (None, false);
        let piece = self.table.take_back(block, "Broken", |_| {
            if stream.is_callable_here() {
                match stream.marker() {
                    Ok(marker) => done = Some(marker),
                    Err(error) if error.is_capture() => captured = true,
                    Err(error) => return Err(error),
                }
            } else {
                stream.synchronize()?;
            }
            Ok(())
        })?;
        let piece = piece.into_inner().unwrap().unwrap();
        let mut state = self.state.lock().unwrap();
        state.used -= raw.layout().size().min(state.used);
        state.live.retain(|live| live.slot() != raw.slot());
        if captured {
            // What no event can tell is for the upstream to set aside.
            drop(state);
            let mut block = piece.block;
            // A call that is made to fail fails once or twice.
            for _ in 0..4 {
                // SAFETY: contract, freeing: what this free was promised is promised to the upstream.
                match unsafe { self.upstream.deallocate(block, stream) } {
                    Ok(()) => return Ok(()),
                    Err(error) => block = error.into_block(),
                }
            }
            return Ok(());
        }
        state.cached.push(Cached { piece, freed_on: stream.downgrade(), done });
        Ok(())
    }

    fn device(&self) -> &Arc<dyn Device> {
        let asked = self.has(Bug::ChangesItsDevice) && self.flips.swap(true, Ordering::Relaxed);
        if asked || self.has(Bug::NamesAnotherDevice) {
            return &self.other;
        }
        self.upstream.device()
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.upstream.capabilities();
        if self.has(Bug::ChangesCapabilities) && self.flips.fetch_xor(true, Ordering::Relaxed) {
            capabilities = capabilities.with(Features::TRIMS);
        }
        capabilities
    }
}

impl Probe for Broken {
    fn live_bytes(&self) -> Option<u64> {
        Some(self.state.lock().unwrap().used)
    }

    fn ceiling(&self) -> Option<u64> {
        Some(Self::CEILING)
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        let device = self.upstream.device().clone();
        let stream = Stream::legacy_default(device.clone());
        if device.synchronize().is_err() {
            // It is lost, and all its memory with it.
            return;
        }
        let state = self.state.get_mut().unwrap();
        let mut unused: Vec<Block> =
            state.cached.drain(..).map(|cached| cached.piece.block).collect();
        if self.bug == Bug::FreesLive {
            for raw in state.live.drain(..) {
                // SAFETY: broken on purpose: the block is its holder's.
                let block = unsafe { Block::from_raw(raw) };
                let piece = self.table.take_back(block, "Broken", |_| Ok(())).unwrap();
                unused.push(piece.into_inner().unwrap().unwrap().block);
            }
        }
        for block in unused {
            // SAFETY: contract, freeing: all work on the device has completed.
            unsafe { self.upstream.deallocate(block, &stream) }.expect("the upstream's own block");
        }
    }
}

/// Passes everything on, but for every so many frees of small blocks, which get lost.
#[derive(Debug)]
pub(crate) struct Swallowing<U> {
    pub(crate) upstream: U,
    pub(crate) every: u64,
    pub(crate) frees: AtomicU64,
}

impl<U: MemoryResource> std::fmt::Display for Swallowing<U> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Swallowing<{}>", self.upstream)
    }
}

// SAFETY: contract, implementing: the upstream's; lost blocks stay live there, on purpose.
#[deny(clippy::missing_trait_methods)]
unsafe impl<U: MemoryResource> MemoryResource for Swallowing<U> {
    fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        self.upstream.allocate(request)
    }

    unsafe fn deallocate(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
        if block.size() < 100_000 {
            let nth = self.frees.fetch_add(1, Ordering::Relaxed) + 1;
            if nth.is_multiple_of(self.every) {
                return Ok(());
            }
        }
        // SAFETY: the caller keeps the freeing clauses, which are the same there.
        unsafe { self.upstream.deallocate(block, stream) }
    }

    fn device(&self) -> &Arc<dyn Device> {
        self.upstream.device()
    }

    fn capabilities(&self) -> Capabilities {
        self.upstream.capabilities()
    }
}
