//! Clearing memory between owners.

mod keep;

use std::fmt;
use std::sync::{Arc, Weak};

use vmem_core::author::{Handle, Handled, fork};
use vmem_core::{
    AllocError, Block, Capabilities, Device, DriverError, FreeError, HandleError, MemoryResource,
    Quarantined, Request, Stream,
};

use keep::{Keep, Keeper};

const NAME: &str = "Scrub";

/// Clears every block when it is freed, so that its next owner finds nothing of what the last one
/// wrote.
///
/// The block, as many bytes as were asked for, is filled with zeros on the freeing stream, after all
/// use of it; then the upstream gets it back on that stream. So whoever is handed the memory, on
/// whatever stream and under whatever label, finds zeros where the last owner's bytes were. Outermost
/// it clears what programs had; below a pool, only what the pool returns. What is never freed is
/// never cleared. A free costs the fill and two driver calls that ask whether the stream captures.
///
/// # When the stream cannot be used
/// A fill on a stream that captures would become part of the graph and clear the memory of a later
/// owner at every launch, and another thread's default stream cannot be named. A block freed on such
/// a stream is set aside, uncleared and not handed out, and cleared and given back by a later call
/// that finds the stream usable: after the capture, or on the stream's own thread. What was freed on
/// the default stream of a thread that has ended waits for [`ScrubHandle::synchronize`]. On a retired
/// stream, a stream of the adaptor's own does the work.
///
/// If another thread begins to capture the stream during the free, the graph may have taken the fill.
/// The block is then set aside for good: it counts as quarantined, and leaks, reported, when the adaptor
/// is dropped. A capture that begins and ends between two driver calls of one free is not noticed: a
/// program frees on no stream of which another thread makes such a capture.
///
/// # Who frees
/// A block that was not allocated through it passes uncleared: it cannot know whether that is live.
/// A free that the upstream refuses may have cleared the block, in the order of the stream that it names: whatever
/// uses the block next comes after that.
///
/// ```
/// use vmem_adaptors::Scrub;
/// use vmem_core::{DeviceMemory, ResourceExt, Stream};
/// use vmem_pool::{Pool, PoolConfig, VirtualArena};
/// use vmem_sim::SimDevice;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = SimDevice::new(1 << 30);
/// let stream = Stream::new(device.clone())?;
/// let pool = Pool::new(VirtualArena::new(device.clone())?, PoolConfig::default())?;
/// let memory = Scrub::new(pool)?;
///
/// let mut secret = memory.buffer(4096, &stream)?;
/// secret.fill(0..4096, 0x5e)?;
/// let place = secret.ptr();
/// drop(secret);
///
/// let next = memory.buffer(4096, &stream)?;
/// assert_eq!(next.ptr(), place);
/// assert_eq!(next.to_vec()?, [0; 4096]);
/// # Ok(())
/// # }
/// ```
pub struct Scrub<U: MemoryResource> {
    keep: Handled<Keep<U>>,
}

impl<U: MemoryResource> Scrub<U> {
    /// Clears the blocks of `upstream`.
    ///
    /// # Errors
    /// The [`DriverError`](vmem_core::DriverError) of the driver call, in making a stream.
    pub fn new(upstream: U) -> Result<Self, DriverError> {
        let stream = Stream::new(upstream.device().clone())?;
        Ok(Self { keep: Handled::new(Keep::new(upstream, stream)) })
    }

    /// The wrapped resource.
    pub fn upstream(&self) -> &U {
        &self.keep.upstream
    }
}

impl<U: MemoryResource + 'static> Scrub<U> {
    /// A handle that counts and clears what is set aside.
    pub fn handle(&self) -> ScrubHandle {
        ScrubHandle { keeper: self.keep.handle().erased(|keep| keep as Weak<dyn Keeper>) }
    }
}

impl<U: MemoryResource> fmt::Debug for Scrub<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Scrub");
        if !fork::is_child() {
            out.field("quarantined", &self.keep.quarantined());
        }
        out.field("upstream", &self.keep.upstream).finish()
    }
}

impl<U: MemoryResource> fmt::Display for Scrub<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scrub<{}>", self.keep.upstream)
    }
}

// SAFETY: contract, implementing: blocks pass unchanged between the caller and one upstream that
// keeps it; implementing/owned: what was taken back and is set aside is refused as stale;
// implementing/leaking-not-dangling: what is still set aside at the end leaks;
// implementing/unwinding: a block whose clearing failed is as live as it was.
#[deny(clippy::missing_trait_methods)]
unsafe impl<U: MemoryResource> MemoryResource for Scrub<U> {
    fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        let refused = |error| AllocError::from_driver(error, request.layout, NAME);
        fork::refuse(NAME).map_err(refused)?;
        self.keep.settle();
        let block = self.keep.upstream.allocate(request)?;
        self.keep.enter(&block.raw());
        Ok(block)
    }

    unsafe fn deallocate(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
        if let Err(error) = fork::refuse(NAME) {
            return Err(FreeError::from_driver(error, block, NAME));
        }
        self.keep.settle();
        // SAFETY: the caller keeps the freeing clauses, which are the same there.
        unsafe { self.keep.free(block, stream) }
    }

    fn device(&self) -> &Arc<dyn Device> {
        self.keep.upstream.device()
    }

    fn capabilities(&self) -> Capabilities {
        self.keep.upstream.capabilities()
    }
}

/// Counts and clears what a [`Scrub`] adaptor has set aside. Does not keep the stack alive.
#[derive(Clone)]
pub struct ScrubHandle {
    keeper: Handle<dyn Keeper>,
}

impl ScrubHandle {
    /// The freed blocks that wait to be cleared or may be cleared by a graph; `None` once the stack is gone.
    pub fn quarantined(&self) -> Option<Quarantined> {
        self.keeper.get().map(|keeper| keeper.quarantined())
    }

    /// Waits for the whole device, then clears and gives back what is set aside. For what was freed
    /// on the default stream of a thread that has ended; call it while nothing captures.
    ///
    /// # Errors
    /// [`HandleError::Gone`] once the stack is; [`HandleError::Failed`] if the driver fails: what was
    /// not cleared is set aside still.
    pub fn synchronize(&self) -> Result<(), HandleError> {
        Ok(self.keeper.require("ScrubHandle::synchronize")?.synchronize()?)
    }
}

impl fmt::Debug for ScrubHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScrubHandle").field("quarantined", &self.quarantined()).finish()
    }
}
