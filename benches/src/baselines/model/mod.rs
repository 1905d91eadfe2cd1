//! What every model of a pool has in common, so that each is only its rules.

mod segment;
mod slots;

use std::fmt::Debug;
use std::mem::ManuallyDrop;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(super) use segment::Segment;
use slots::Slots;
use vmem_core::author::StreamExt;
use vmem_core::{
    AllocError, AllocErrorKind, Block, BlockLayout, Capabilities, Device, DevicePtr, DriverError,
    Features, FreeError, FreeErrorKind, MemoryResource, RawBlock, Request, ResourceId, Stream,
};

/// The rules by which a pool places blocks.
///
/// A place that has been handed out and not taken back overlaps no other, stays allocated, and has
/// what was queued on the stream it was taken back on before its reuse, on any stream.
pub(super) trait Rules: Debug + Send {
    /// What is remembered of a block.
    type Held: Debug + Send;

    /// Finds a place of `bytes` bytes, aligned to 256, for use on `stream`.
    fn allocate(
        &mut self,
        bytes: u64,
        stream: &Stream,
    ) -> Result<(DevicePtr, Self::Held), DriverError>;

    /// Takes a place back, for reuse after what is queued on `stream` now. After an error it is
    /// still handed out.
    fn free(&mut self, held: &Self::Held, stream: &Stream) -> Result<(), DriverError>;
}

/// Puts what is queued on `later` from now on after what was queued on `earlier` so far.
pub(super) fn put_after(later: &Stream, earlier: &Stream) -> Result<(), DriverError> {
    if earlier.is_callable_here() || earlier.is_retired() {
        later.wait(&earlier.marker()?)
    } else {
        // Another thread's default stream, on which this one cannot record.
        earlier.synchronize()
    }
}

/// A resource that follows `R`, behind one lock.
#[derive(Debug)]
pub(super) struct Model<R: Rules> {
    name: &'static str,
    owner: ResourceId,
    device: Arc<dyn Device>,
    state: Mutex<State<R>>,
}

#[derive(Debug)]
struct State<R: Rules> {
    rules: ManuallyDrop<R>,
    live: Slots<(DevicePtr, R::Held)>,
}

impl<R: Rules> Model<R> {
    pub(super) fn new(name: &'static str, device: Arc<dyn Device>, rules: R) -> Self {
        let state = State { rules: ManuallyDrop::new(rules), live: Slots::default() };
        Self { name, owner: ResourceId::new(), device, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: Rules> std::fmt::Display for Model<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

// SAFETY: contract, implementing/disjoint, implementing/as-asked and implementing/stable are the
// rules', implementing/owned and implementing/unwinding the slots',
// implementing/leaking-not-dangling is in `drop`.
#[deny(clippy::missing_trait_methods)]
unsafe impl<R: Rules> MemoryResource for Model<R> {
    fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        let Request { layout, stream, label, .. } = *request;
        if stream.device_id() != self.device.id() {
            return Err(AllocError::new(AllocErrorKind::InvalidStream, layout, self.name));
        }
        if stream.has_pending_waits() && stream.is_callable_here() {
            stream
                .queue_pending_waits()
                .map_err(|error| AllocError::from_driver(error, layout, self.name))?;
        }
        // Places are aligned to 256, so this slack is enough to align further.
        let slack = layout.alignment().saturating_sub(BlockLayout::DEFAULT_ALIGNMENT);
        let mut state = self.lock();
        let (base, held) = state
            .rules
            .allocate(layout.size() + slack, stream)
            .map_err(|error| AllocError::from_driver(error, layout, self.name))?;
        let ptr = base.align_up(layout.alignment()).expect("the place ends below 2^64");
        let (slot, generation) = state.live.issue((ptr, held));
        let raw = RawBlock::new(ptr, layout, self.owner, slot, generation, label);
        // SAFETY: contract, implementing/disjoint: the slot was vacant, so these parts are new and
        // no other block has them.
        Ok(unsafe { Block::from_raw(raw) })
    }

    unsafe fn deallocate(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
        let raw = block.raw();
        if raw.owner() != self.owner {
            return Err(FreeError::new(FreeErrorKind::Foreign, block, self.name));
        }
        if stream.device_id() != self.device.id() {
            return Err(FreeError::new(FreeErrorKind::InvalidStream, block, self.name));
        }
        let State { rules, live } = &mut *self.lock();
        match live.get(raw.slot(), raw.generation()) {
            Some((ptr, held)) if *ptr == raw.ptr() => {
                if let Err(error) = rules.free(held, stream) {
                    return Err(FreeError::from_driver(error, block, self.name));
                }
            }
            _ => return Err(FreeError::new(FreeErrorKind::Stale, block, self.name)),
        }
        live.vacate(raw.slot());
        Ok(())
    }

    fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(Features::STREAM_ORDERED)
    }
}

impl<R: Rules> Drop for Model<R> {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        match state.live.len() {
            0 => {
                // SAFETY: the rules are dropped here and nowhere else, and not used again.
                unsafe { ManuallyDrop::drop(&mut state.rules) }
            }
            live => {
                let failures = self.device.base().drop_failures();
                failures.record(self.name, &format_args!("{live} live blocks leak"));
            }
        }
    }
}
