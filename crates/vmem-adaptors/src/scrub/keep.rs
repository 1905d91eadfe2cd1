//! What a scrubbing adaptor knows of its blocks, and the clearing itself.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use vmem_core::author::{StreamExt, fork};
use vmem_core::{
    Block, DriverCode, DriverError, FreeError, FreeErrorKind, MemoryResource, Quarantined,
    RawBlock, Stream, StreamKind,
};

use super::NAME;
use crate::blocks::BlockMap;

pub(super) struct Keep<U: MemoryResource> {
    pub(super) upstream: U,
    /// For blocks whose own stream has been retired or cannot be named.
    own: Stream,
    blocks: BlockMap<State>,
    aside: Mutex<Vec<Aside>>,
    /// Blocks that a graph may clear: nobody's for good.
    lost: Mutex<Vec<RawBlock>>,
    /// The length of `aside`, so that whoever finds nothing there takes no lock.
    waiting: AtomicUsize,
}

/// Where a block is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// With the program.
    Live,
    /// Freed, and set aside.
    Aside,
}

/// What the host knows of the work on the device that was queued before a block was set aside.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Device {
    /// Some of it may be pending.
    Busy,
    /// All of it has completed.
    Idle,
}

/// A block that was freed on a stream on which it could not be cleared.
struct Aside {
    block: Block,
    stream: Stream,
}

/// What a handle asks of the adaptor, whose type it does not know.
pub(super) trait Keeper: Send + Sync {
    fn quarantined(&self) -> Quarantined;

    fn synchronize(&self) -> Result<(), DriverError>;
}

impl<U: MemoryResource> Keep<U> {
    pub(super) fn new(upstream: U, own: Stream) -> Self {
        let (blocks, waiting) = (BlockMap::new(), AtomicUsize::new(0));
        Self { upstream, own, blocks, aside: Mutex::default(), lost: Mutex::default(), waiting }
    }

    pub(super) fn enter(&self, block: &RawBlock) {
        self.note(block, State::Live);
    }

    fn note(&self, block: &RawBlock, state: State) {
        self.blocks.enter(block, state, |old, new| *old = new);
    }

    /// Clears a block and gives it back, or sets it aside.
    ///
    /// # Safety
    /// The contract's [freeing](vmem_core::contract#freeing) clauses hold.
    pub(super) unsafe fn free(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
        let raw = block.raw();
        let is_ours = stream.device_id() == self.own.device_id();
        match if is_ours { self.blocks.take(&raw) } else { None } {
            Some(State::Live) => {}
            Some(State::Aside) => {
                self.note(&raw, State::Aside);
                return Err(FreeError::new(FreeErrorKind::Stale, block, NAME));
            }
            None => {
                // SAFETY: the caller's promise; the upstream decides whether the block is its own.
                return unsafe { self.upstream.deallocate(block, stream) };
            }
        }
        let put_back = |error: FreeError| {
            if error.kind() != FreeErrorKind::Stale {
                self.note(&raw, State::Live);
            }
            error
        };
        let left = match self.usable(stream, Device::Busy) {
            // SAFETY: the caller's promise: all use of the block is ordered before the tail of
            // `stream`, which `on` follows.
            Ok(Some(on)) => unsafe { self.clear_and_free(block, on) }.map_err(put_back)?,
            Ok(None) => Some(block),
            Err(error) => return Err(put_back(FreeError::from_driver(error, block, NAME))),
        };
        if let Some(block) = left {
            self.note(&raw, State::Aside);
            self.push(vec![Aside { block, stream: stream.clone() }]);
        }
        Ok(())
    }

    /// The stream on which a block freed on `stream` can be cleared, unless it captures: it is or
    /// follows that one.
    fn usable<'a>(
        &'a self,
        stream: &'a Stream,
        device: Device,
    ) -> Result<Option<&'a Stream>, DriverError> {
        if let Some(last) = stream.final_marker() {
            self.own.wait(&last)?;
            return Ok(Some(&self.own));
        }
        if !stream.is_callable_here() {
            return Ok((device == Device::Idle).then_some(&self.own));
        }
        Ok(Some(stream))
    }

    /// Clears a block and gives it back. The block again if the stream captures: nothing was queued.
    ///
    /// # Safety
    /// The block is live and all use of it is ordered before the tail of `stream`.
    unsafe fn clear_and_free(
        &self,
        block: Block,
        stream: &Stream,
    ) -> Result<Option<Block>, FreeError> {
        let cleared = stream.with_raw_outside_capture(NAME, |device, raw| {
            // SAFETY: contract, devices/handles and devices/threads: a valid, callable stream;
            // devices/ranges: a live block, which is freed in the stream's order.
            unsafe { device.fill(block.ptr(), 0, block.size(), raw) }?;
            // Another thread may have begun to capture the stream since it was asked. The legacy
            // default stream cannot be captured: its fill was queued.
            // SAFETY: contract, devices/handles and devices/threads: as above.
            let may_be_in_graph = stream.kind() != StreamKind::LegacyDefault
                && !matches!(unsafe { device.is_capturing(raw) }, Ok(false));
            Ok(may_be_in_graph)
        });
        match cleared {
            Ok(false) => {}
            Ok(true) => {
                self.lose(block);
                return Ok(None);
            }
            Err(error) if error.is_capture() => return Ok(Some(block)),
            Err(error) => return Err(FreeError::from_driver(error, block, NAME)),
        }
        // SAFETY: contract, freeing/completion-order and freeing/no-later-use: the fill is the last
        // use, and on this stream; freeing/valid-stream: the stream was just used.
        unsafe { self.upstream.deallocate(block, stream) }.map(|()| None)
    }

    /// Keeps a block from everybody: a graph that has its clearing would clear a later owner's memory at
    /// every launch.
    #[cold]
    fn lose(&self, block: Block) {
        let raw = block.into_raw();
        self.note(&raw, State::Aside);
        fork::locked(|| self.lost.lock()).push(raw);
        tracing::warn!(ptr = %raw.ptr(), "a graph may clear a block, which is not used again");
    }

    /// Clears what was set aside and can be cleared now.
    #[inline]
    pub(super) fn settle(&self) {
        if self.waiting.load(Ordering::Relaxed) != 0
            && let Err(error) = self.settle_all(self.take_aside(), Device::Busy)
        {
            tracing::debug!(%error, "blocks that were set aside are not cleared yet");
        }
    }

    /// Takes out what was set aside, so that no lock is held over the calls for it.
    fn take_aside(&self) -> Vec<Aside> {
        let mut aside = self.lock();
        self.waiting.store(0, Ordering::Relaxed);
        std::mem::take(&mut *aside)
    }

    /// Clears what can be cleared of this, and sets the rest aside again.
    #[cold]
    fn settle_all(&self, aside: Vec<Aside>, device: Device) -> Result<(), DriverError> {
        let (mut left, mut result) = (Vec::new(), Ok(()));
        for Aside { block, stream } in aside {
            let block = match self.usable(&stream, device) {
                Ok(Some(on)) => {
                    let raw = block.raw();
                    self.blocks.take(&raw);
                    // SAFETY: contract, freeing: promised when it was freed on `stream`, which `on`
                    // is or follows; nobody has used the block since.
                    match unsafe { self.clear_and_free(block, on) } {
                        Ok(None) => continue,
                        Ok(Some(block)) => {
                            self.note(&raw, State::Aside);
                            block
                        }
                        Err(error) => {
                            self.note(&raw, State::Aside);
                            result = Err(driver_error(&error));
                            error.into_block()
                        }
                    }
                }
                Ok(None) => block,
                Err(error) => {
                    result = Err(error);
                    block
                }
            };
            left.push(Aside { block, stream });
        }
        self.push(left);
        result
    }

    fn push(&self, more: Vec<Aside>) {
        let mut aside = self.lock();
        aside.extend(more);
        self.waiting.store(aside.len(), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Aside>> {
        fork::locked(|| self.aside.lock())
    }
}

impl<U: MemoryResource> Keeper for Keep<U> {
    fn quarantined(&self) -> Quarantined {
        let (mut blocks, mut bytes) = (0, 0);
        let mut count = |size| (blocks, bytes) = (blocks + 1, bytes + size);
        self.lock().iter().for_each(|aside| count(aside.block.size()));
        fork::locked(|| self.lost.lock()).iter().for_each(|lost| count(lost.layout().size()));
        Quarantined::new(blocks, bytes)
    }

    fn synchronize(&self) -> Result<(), DriverError> {
        // What is set aside from here on may be in use when the wait is over.
        let aside = self.take_aside();
        if let Err(error) = self.own.device().synchronize() {
            self.push(aside);
            return Err(error);
        }
        self.settle_all(aside, Device::Idle)
    }
}

impl<U: MemoryResource> Drop for Keep<U> {
    fn drop(&mut self) {
        if fork::is_child() {
            return;
        }
        self.settle();
        let left = self.quarantined().blocks;
        if left != 0 {
            let reason = format_args!("{left} blocks could not be cleared and leak").to_string();
            self.own.device().base().drop_failures().record(NAME, &reason);
        }
    }
}

/// Why a block of ours was not taken back.
fn driver_error(error: &FreeError) -> DriverError {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref());
    let refused = || DriverError::new(NAME, DriverCode::UNKNOWN).with_detail(error.to_string());
    source.cloned().unwrap_or_else(refused)
}
