//! Leaves: resources that ask the driver for every block.

mod async_memory;
mod plain;
mod quarantine;

pub use async_memory::AsyncMemory;
pub use plain::{DeviceMemory, PinnedMemory};
pub use quarantine::{QuarantineHandle, Quarantined};

use std::fmt;
use std::sync::Arc;

use quarantine::{Quarantine, Wait};

use crate::author::{BlockTable, Handled, StreamExt, fork};
use crate::sync::Mutex;
use crate::uses::{Marked, Uses, queue_marked};
use crate::{
    AllocError, AllocErrorKind, Block, BlockLayout, Device, DevicePtr, DriverCode, DriverError,
    Event, FreeError, FreeErrorKind, RawStream, Request, ResourceId, Stream,
};

/// The function by which a leaf returns memory to the driver. It gets the device, and the address
/// that the driver gave. No work is pending on the memory, and it is not used again.
pub type LeafFree = unsafe fn(&Arc<dyn Device>, DevicePtr) -> Result<(), DriverError>;

/// The work that all leaves share: ask for enough to align the block, remember the base that it
/// must free, and free it when its work is over. For crates that add a leaf.
///
/// What cannot be freed at the time is set aside: freed on a stream that captures, or on one that
/// this thread [cannot name](StreamExt::is_callable_here), whose work it can neither mark nor wait for
/// without waiting for the whole device, which would break every capture on it. It is freed by a
/// later call once its stream's work can be marked and has completed, and before a request is refused
/// for want of memory; [`handle`](Self::handle) counts it and can free it at once.
pub struct Leaf {
    name: &'static str,
    device: Arc<dyn Device>,
    free: LeafFree,
    blocks: BlockTable<Issued>,
    quarantine: Handled<Quarantine>,
}

/// What a leaf remembers of a block.
struct Issued {
    /// The driver's address.
    base: DevicePtr,
    /// Work that the leaf queued itself. Has a lock of its own, so that no driver call is made under the
    /// table's.
    uses: Arc<Mutex<Uses>>,
}

impl Leaf {
    /// A leaf of `device`, whose errors carry `name`.
    pub fn new(name: &'static str, device: Arc<dyn Device>, free: LeafFree) -> Self {
        let quarantine = Handled::from(Quarantine::new(device.clone(), free));
        Self { name, device, free, blocks: BlockTable::new(), quarantine }
    }

    /// The device.
    pub fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    /// The identity under which its blocks are issued.
    pub fn owner(&self) -> ResourceId {
        self.blocks.owner()
    }

    /// A handle that counts and frees what was set aside.
    pub fn handle(&self) -> QuarantineHandle {
        QuarantineHandle::new(self.quarantine.handle())
    }

    /// Issues a block from what `driver` allocates, which is given the size to ask for.
    ///
    /// # Errors
    /// [`InvalidStream`](AllocErrorKind::InvalidStream) for a stream of another device; `driver`'s.
    pub fn allocate(
        &self,
        request: &Request<'_>,
        driver: impl Fn(u64) -> Result<DevicePtr, DriverError>,
    ) -> Result<Block, AllocError> {
        let layout = request.layout;
        fork::refuse(self.name)
            .map_err(|error| AllocError::from_driver(error, layout, self.name))?;
        self.check_stream(request)?;
        // Drivers align to 256 or better, so this slack is enough to align further.
        let slack = layout.alignment().saturating_sub(BlockLayout::DEFAULT_ALIGNMENT);
        let bytes = layout.size() + slack;
        self.quarantine.retry(Wait::No);
        let base = driver(bytes).or_else(|error| {
            let retry = error.is_out_of_memory() && self.quarantine.retry(Wait::OnHost) > 0;
            if retry { driver(bytes) } else { Err(error) }
        });
        let base = base.map_err(|error| AllocError::from_driver(error, layout, self.name))?;
        let ptr = base.align_up(layout.alignment()).expect("the driver's range ends below 2^64");
        let issued = Issued { base, uses: Arc::default() };
        Ok(self.blocks.issue(ptr, layout, request.label, issued))
    }

    fn check_stream(&self, request: &Request<'_>) -> Result<(), AllocError> {
        if request.stream.device_id() == self.device.id() {
            return Ok(());
        }
        Err(AllocError::new(AllocErrorKind::InvalidStream, request.layout, self.name))
    }

    /// Queues work of the leaf's own on a block, so that the block is not freed before that work has
    /// completed, whatever stream it is then freed on.
    ///
    /// # Errors
    /// [`INVALID_VALUE`](crate::DriverCode::INVALID_VALUE) for another resource's block; those of
    /// [`StreamExt::with_raw_outside_capture`]; `queue`'s.
    pub fn queue_use(
        &self,
        block: &Block,
        stream: &Stream,
        call: &'static str,
        queue: impl FnOnce(&dyn Device, RawStream) -> Result<(), DriverError>,
    ) -> Result<(), DriverError> {
        fork::refuse(call)?;
        let foreign = || {
            let error = DriverError::new(call, DriverCode::INVALID_VALUE);
            error.with_detail("the block belongs to another resource")
        };
        let uses = self.blocks.update(block, |issued| issued.uses.clone()).ok_or_else(foreign)?;
        // Held over the marker: see `Uses::note`.
        let mut uses = fork::locked(|| uses.lock());
        match queue_marked(stream, call, queue)? {
            Marked::At(marker) => {
                uses.note(stream.id(), marker);
                uses.limit(Event::synchronize);
            }
            Marked::Complete => {}
            Marked::Lost(_) => uses.lose(stream),
        }
        Ok(())
    }

    /// Takes a block back and frees its memory, after a wait on the host for the stream's tail. Sets it
    /// aside if that wait is not possible now.
    ///
    /// # Errors
    /// With the block: [`InvalidStream`](FreeErrorKind::InvalidStream) for a stream of another device;
    /// as [`BlockTable::take_back`].
    ///
    /// # Safety
    /// The contract's [freeing](crate::contract#freeing) clauses hold.
    pub unsafe fn deallocate(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
        self.take_back(block, stream, |base| {
            stream.synchronize_alone()?;
            // SAFETY: `base` came from the driver and is not freed yet, and the stream's tail, before
            // which every access is ordered (contract, freeing/completion-order), has completed.
            unsafe { (self.free)(&self.device, base) }
        })
    }

    /// The same, where `free` frees behind the stream's tail, or answers that the stream captures. The
    /// stream can be named by this thread, or has been retired.
    fn take_back(
        &self,
        block: Block,
        stream: &Stream,
        free: impl FnOnce(DevicePtr) -> Result<(), DriverError>,
    ) -> Result<(), FreeError> {
        if let Err(error) = fork::refuse(self.name) {
            return Err(FreeError::from_driver(error, block, self.name));
        }
        if stream.device_id() != self.device.id() {
            return Err(FreeError::new(FreeErrorKind::InvalidStream, block, self.name));
        }
        self.quarantine.retry(Wait::No);
        let bytes = block.size();
        self.blocks.take_back(block, self.name, |Issued { base, uses }| {
            let uses = fork::locked(|| uses.lock());
            let is_known = stream.is_callable_here() || stream.is_retired();
            if is_known && !uses.has_lost() {
                match uses.observe().and_then(|()| free(*base)) {
                    Err(error) if error.is_capture() => {}
                    result => return result,
                }
            }
            self.quarantine.set_aside(*base, bytes, &uses, stream);
            Ok(())
        })?;
        Ok(())
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Leaf");
        out.field("device", &self.device.id());
        if fork::is_child() {
            return out.finish_non_exhaustive();
        }
        out.field("blocks", &self.blocks);
        out.field("quarantine", &self.quarantine.quarantined()).finish()
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        if fork::is_child() {
            return;
        }
        self.quarantine.retry(Wait::OnHost);
        let failures = self.device.base().drop_failures();
        let live = self.blocks.len();
        if live != 0 {
            failures.record(self.name, &format_args!("{live} live blocks leak"));
        }
        let held = self.quarantine.quarantined().blocks;
        if held != 0 {
            let why = format_args!("{held} freed blocks that could not be waited for leak");
            failures.record(self.name, &why);
        }
    }
}
