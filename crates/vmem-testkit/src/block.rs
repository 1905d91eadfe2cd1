//! A block that obeys the contract by itself.

use std::error::Error;
use std::fmt;

use vmem_core::author::StreamExt;
use vmem_core::{
    AllocError, Block, BlockLayout, DevicePtr, DriverError, FreeError, FreeErrorKind, Label,
    MemoryResource, Request, Stream, chain,
};

use crate::Finding;
use crate::history::{Access, History};
use crate::pattern::Pattern;

/// A block that knows its pending uses, so that whatever a test does with it obeys the contract.
///
/// Work is queued and left pending; before each use, and before the free, the stream waits on the
/// device for those earlier uses, by any stream, that it must follow. Nothing waits on the host
/// except [`verify`](Self::verify), so a resource that forgets to order a reuse meets work that is
/// still pending.
///
/// ```
/// use vmem_core::{BlockLayout, DeviceMemory, Request, Stream};
/// use vmem_sim::SimDevice;
/// use vmem_testkit::TrackedBlock;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = SimDevice::new(1 << 20);
/// let memory = DeviceMemory::new(device.clone());
/// let (a, b) = (Stream::new(device.clone())?, Stream::new(device)?);
///
/// let request = Request::new(BlockLayout::new(1000)?, &a);
/// let mut block = TrackedBlock::allocate(&memory, &request)?;
/// block.write(&a)?;
/// block.verify(&b)?; // `b` waits for `a` first
/// block.free(&memory, &b)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping a block leaks its memory; free it"]
pub struct TrackedBlock {
    block: Block,
    history: History,
}

impl TrackedBlock {
    /// Asks `resource` for a block. Other streams will wait for the request's stream as it is now.
    ///
    /// # Errors
    /// The resource's; a driver's error in recording an event is reported likewise, and the block
    /// given back.
    pub fn allocate(
        resource: &dyn MemoryResource,
        request: &Request<'_>,
    ) -> Result<Self, AllocError> {
        let block = resource.allocate(request)?;
        Self::adopt(block, resource, request.stream)
    }

    /// Takes up a block that `resource` has just handed out on `stream` and that was not used.
    pub(crate) fn adopt(
        block: Block,
        resource: &dyn MemoryResource,
        stream: &Stream,
    ) -> Result<Self, AllocError> {
        match stream.marker() {
            Ok(ready) => Ok(Self { block, history: History::new(stream, ready) }),
            Err(error) => {
                let error = AllocError::from_driver(error, block.layout(), "TrackedBlock");
                let free = |block| {
                    // SAFETY: contract, freeing: the block was never used, and the stream is the
                    // one that the resource has just accepted.
                    unsafe { resource.deallocate(block, stream) }
                };
                // What failed once may be told to fail once more.
                let again = |refusal: FreeError| free(refusal.into_block());
                match free(block).or_else(again).or_else(again) {
                    Ok(()) => Err(error),
                    Err(refusal) => Err(error.with_source(refusal)),
                }
            }
        }
    }

    /// The block.
    pub fn block(&self) -> &Block {
        &self.block
    }

    /// The block's address.
    pub fn ptr(&self) -> DevicePtr {
        self.block.ptr()
    }

    /// The size asked for, in bytes.
    pub fn size(&self) -> u64 {
        self.block.size()
    }

    /// The size and alignment asked for.
    pub fn layout(&self) -> BlockLayout {
        self.block.layout()
    }

    /// The label of the request.
    pub fn label(&self) -> Label {
        self.block.label()
    }

    /// Takes it that the block, which its holder has not written yet, holds cleared memory.
    pub(crate) fn assume_cleared(&mut self, unwritten: u8) {
        self.history.contents = Some(Pattern::cleared(unwritten));
    }

    /// Takes it that nothing is known of what the block holds.
    pub(crate) fn forget_contents(&mut self) {
        self.history.contents = None;
    }

    /// Queues filling the whole block with a pattern not used before.
    ///
    /// # Errors
    /// The [`DriverError`] of the copy or of a wait; the contents are then undefined.
    pub fn write(&mut self, stream: &Stream) -> Result<(), DriverError> {
        self.write_by(stream, |write| write())
    }

    /// The same, where `queue` calls what queues the writes, or has it captured and launches that.
    pub(crate) fn write_by(
        &mut self,
        stream: &Stream,
        queue: impl FnOnce(&mut dyn FnMut() -> Result<(), DriverError>) -> Result<(), DriverError>,
    ) -> Result<(), DriverError> {
        let pattern = Pattern::unique();
        self.history.contents = None;
        let (ptr, size) = (self.ptr(), self.size());
        let mut write = || {
            stream.with_raw("TrackedBlock::write", |device, raw| {
                pattern.parts(size).try_for_each(|(part, byte)| {
                    let to = ptr.checked_add(part.start).expect("a part lies inside the block");
                    // SAFETY: contract, devices/handles, devices/ranges and devices/threads: a part
                    // of a live block, a valid stream.
                    unsafe { device.fill(to, byte, part.end - part.start, raw) }
                })
            })
        };
        self.history.queue(stream, Access::Write, || queue(&mut write))?;
        self.history.contents = Some(pattern);
        Ok(())
    }

    /// Queues copying the contents to `to`, a block of the same size.
    ///
    /// # Errors
    /// The [`DriverError`] of the copy or of a wait; the contents of `to` are then undefined.
    ///
    /// # Panics
    /// If the sizes differ.
    pub fn copy_to(&mut self, to: &mut Self, stream: &Stream) -> Result<(), DriverError> {
        assert_eq!(self.size(), to.size(), "a copy is between equal sizes");
        let (source, target, size) = (self.ptr(), to.ptr(), self.size());
        to.history.contents = None;
        self.history.queue(stream, Access::Read, || {
            to.history.queue(stream, Access::Write, || {
                stream.with_raw("TrackedBlock::copy_to", |device, raw| {
                    // SAFETY: contract, devices/handles, devices/ranges and devices/threads: two
                    // live blocks and a valid stream.
                    unsafe { device.copy_within(target, source, size, raw) }
                })
            })
        })?;
        to.history.contents = self.history.contents;
        Ok(())
    }

    /// Returns true if the contents are known, so that [`verify`](Self::verify) compares something.
    pub fn is_written(&self) -> bool {
        self.history.contents.is_some()
    }

    /// Copies the block to the host, waits for that on the host, and compares every byte with what
    /// was written last. Does nothing if nothing was.
    ///
    /// # Errors
    /// The first wrong byte; the driver's.
    pub fn verify(&mut self, stream: &Stream) -> Result<(), Finding> {
        let Some(pattern) = self.history.contents else {
            return Ok(());
        };
        let (ptr, size) = (self.ptr(), self.size());
        let len = usize::try_from(size).map_err(|_| Finding::new("too large for the host"))?;
        let mut bytes = vec![0; len];
        self.history
            .queue(stream, Access::Read, || {
                stream.with_raw("TrackedBlock::verify", |device, raw| {
                    // SAFETY: contract, devices/handles, devices/ranges and devices/threads: a live
                    // block and a valid stream; devices/host-memory: the copy is waited for below,
                    // before `bytes` is touched or ends.
                    unsafe { device.copy_to_host(bytes.as_mut_ptr(), ptr, size, raw) }
                })
            })
            .and_then(|()| stream.synchronize())
            .inspect_err(|_| {
                // The copy may still be pending: keep its target.
                std::mem::forget(std::mem::take(&mut bytes));
            })?;
        pattern
            .compare(&bytes)
            .map_err(|wrong| Finding::new(format!("{:?} on {stream:?}: {wrong}", self.block.raw())))
    }

    /// Gives the block back on `stream`, which first waits, on the device, for all uses by others.
    ///
    /// # Errors
    /// The resource's refusal, or the driver's in queuing a wait; with the block.
    pub fn free(self, resource: &dyn MemoryResource, stream: &Stream) -> Result<(), FailedFree> {
        let Self { block, mut history } = self;
        if let Err(error) = history.settle(stream) {
            let error = FreeError::from_driver(error, block, "TrackedBlock");
            return Err(FailedFree::new(error, history));
        }
        // SAFETY: contract, freeing/completion-order: `settle` made the stream wait for every use;
        // freeing/no-later-use: a tracked block has no other user; freeing/valid-stream: the handle keeps
        // the stream valid.
        let freed = unsafe { resource.deallocate(block, stream) };
        if freed.is_err() && stream.device_id() == history.device_id() {
            // An adaptor may have queued work on the block before it failed, as one that clears does. If that
            // cannot be noted, the next use waits for the device.
            let _ = history.note_use(stream, Access::Write);
        }
        freed.map_err(|error| FailedFree::new(error, history))
    }
}

/// A free that failed, with the block as it was.
#[derive(Debug)]
pub struct FailedFree(Box<Failed>);

#[derive(Debug)]
struct Failed {
    kind: FreeErrorKind,
    text: String,
    block: TrackedBlock,
}

impl FailedFree {
    fn new(error: FreeError, history: History) -> Self {
        let text = chain(&error).to_string();
        Self(Box::new(Failed {
            kind: error.kind(),
            text,
            block: TrackedBlock { block: error.into_block(), history },
        }))
    }

    /// The kind of refusal.
    pub fn kind(&self) -> FreeErrorKind {
        self.0.kind
    }

    /// The block, to be used further or freed again.
    pub fn into_block(self) -> TrackedBlock {
        self.0.block
    }
}

impl fmt::Display for FailedFree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl Error for FailedFree {}
