//! Memory set aside early, so that later requests are not refused.

mod free_ranges;
mod hold;
mod order;
mod resource;

use std::fmt;
use std::sync::{Arc, Weak};

use vmem_core::author::{Handle, Handled, fork};
use vmem_core::{
    AllocError, AllocErrorKind, BlockLayout, DevicePtr, HandleError, Label, MemoryResource,
    Quarantined, ReservationId, Stream,
};

use free_ranges::UNIT;
use hold::{Hold, Keeper, Shared};

const NAME: &str = "Reservations";

/// Serves requests that name a [`Reservation`] from memory held for it, and passes all others on.
///
/// # What is promised
/// Reserving allocates one block from the upstream, with all that the stack below does to find
/// room: it is refused then or never. Afterwards a request that names the reservation
/// ([`Request::with_reservation`](vmem_core::Request::with_reservation)) is carved from that block
/// if the block has a free range of its size, rounded up to 256 bytes, at its alignment. So requests
/// at the default alignment that together, so rounded, do not exceed the reservation are never
/// refused; once some of them have been freed again, a request fits if a single free range holds it
/// ([`Reservation::largest`]). A request that does not fit, or that names a reservation that has
/// been dropped, is an ordinary request.
///
/// Within one stream, the reservation's, carving makes no driver call. A request or a free on
/// another stream is ordered by a wait on the device, a few driver calls, or where that is not possible
/// by a wait on the host. A free on a stream that captures, or that the thread [cannot
/// name](vmem_core::author::StreamExt::is_callable_here), sets the range aside until the stream can
/// be followed: it is taken back when a request does not fit otherwise and the requesting thread can
/// follow the stream, or at once by [`ReservationsHandle::synchronize`]. A request cannot draw from a
/// reservation whose stream captures or cannot be named by the requesting thread: it is an ordinary
/// request.
///
/// Dropping a reservation gives its memory back, at once if nothing drawn from it is live, else
/// with the last free. What the upstream fails to take back then is offered to it again before a
/// request is refused, and at the end. A block that was drawn belongs to this adaptor; all others
/// pass unchanged and cost one comparison.
///
/// ```
/// use vmem_core::{BlockLayout, DeviceMemory, MemoryResource, Request, Stream};
/// use vmem_runtime::Reservations;
/// use vmem_sim::SimDevice;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = SimDevice::new(1 << 30);
/// let stream = Stream::new(device.clone())?;
/// let memory = Reservations::new(DeviceMemory::new(device.clone()));
/// let reservation = memory.handle().reserve(1 << 20, &stream)?;
///
/// let calls = device.calls();
/// let request = Request::new(BlockLayout::new(4096)?, &stream);
/// let block = memory.allocate(&request.with_reservation(reservation.id()))?;
/// assert_eq!((device.calls() - calls).total(), 0);
/// assert_eq!(reservation.left(), (1 << 20) - 4096);
/// // SAFETY: no work was ever queued on the block.
/// unsafe { memory.deallocate(block, &stream) }?;
/// drop(reservation);
/// assert_eq!(device.used(), 0);
/// # Ok(())
/// # }
/// ```
pub struct Reservations<U: MemoryResource> {
    shared: Handled<Shared<U>>,
}

impl<U: MemoryResource> Reservations<U> {
    /// Holds memory of `upstream`.
    pub fn new(upstream: U) -> Self {
        Self { shared: Handled::new(Shared::new(upstream)) }
    }

    /// The wrapped resource.
    pub fn upstream(&self) -> &U {
        &self.shared.upstream
    }
}

impl<U: MemoryResource + 'static> Reservations<U> {
    /// A handle that reserves memory.
    pub fn handle(&self) -> ReservationsHandle {
        ReservationsHandle {
            keeper: self.shared.handle().erased(|shared| shared as Weak<dyn Keeper>),
        }
    }
}

impl<U: MemoryResource> fmt::Debug for Reservations<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { upstream, drawn, .. } = &*self.shared;
        let mut out = f.debug_struct("Reservations");
        if !fork::is_child() {
            out.field("open", &self.shared.open_count()).field("drawn", &drawn.len());
        }
        out.field("upstream", upstream).finish()
    }
}

impl<U: MemoryResource> fmt::Display for Reservations<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reservations<{}>", self.shared.upstream)
    }
}

/// Reserves memory of one stack. It does not keep the stack alive, and says that it is gone from when the
/// [`Reservations`] are dropped, though a [`Reservation`] keeps their memory beyond that.
#[derive(Clone)]
pub struct ReservationsHandle {
    keeper: Handle<dyn Keeper>,
}

impl fmt::Debug for ReservationsHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_live = self.keeper.get().is_some();
        f.debug_struct("ReservationsHandle").field("is_live", &is_live).finish()
    }
}

impl ReservationsHandle {
    /// Sets `bytes` bytes aside, rounded up to 256, in `stream`'s order, booked on the thread's
    /// current label.
    ///
    /// # Errors
    /// Those of an allocation of that size; [`Gone`](AllocErrorKind::Gone) once the stack is.
    pub fn reserve(&self, bytes: u64, stream: &Stream) -> Result<Reservation, AllocError> {
        let layout = BlockLayout::new(BlockLayout::new(bytes)?.rounded_to(UNIT))?;
        fork::refuse(NAME).map_err(|error| AllocError::from_driver(error, layout, NAME))?;
        let keeper = self.keeper.get();
        let keeper = keeper.ok_or_else(|| AllocError::new(AllocErrorKind::Gone, layout, NAME))?;
        let hold = keeper.hold(layout, stream, Label::current())?;
        Ok(Reservation { hold, keeper })
    }

    /// The reservations of which something is set aside, as blocks: each is held until that is taken
    /// back, also after it has been dropped. `None` once the stack is gone, and in a
    /// [forked](vmem_core::author::fork) child.
    pub fn quarantined(&self) -> Option<Quarantined> {
        let holds = self.keeper.get()?.with_ranges_aside();
        let bytes = holds.iter().map(|(_, size)| size).sum();
        Some(Quarantined::new(holds.len(), bytes))
    }

    /// Takes back what was freed on streams that could not be followed then and can be by now: those that
    /// have been retired since, and those that this thread may name and that do not capture. Waits on the
    /// host for the work on them where the reservation's own stream cannot. Nothing once the stack is gone,
    /// and in a [forked](vmem_core::author::fork) child.
    pub fn take_back(&self) {
        if let Some(keeper) = self.keeper.get() {
            keeper.take_back();
        }
    }

    /// Takes back what was freed on streams that could not be followed: those that the thread [could
    /// not name](vmem_core::author::StreamExt::is_callable_here), also default streams of threads that
    /// have ended, and capturing ones. If there is anything, it waits on the host for the whole device,
    /// which breaks captures in progress. What another thread is taking back by itself at the time is
    /// not waited for: if that fails, it stays for the next call.
    ///
    /// # Errors
    /// [`HandleError::Gone`] once the stack is; [`HandleError::Failed`] if the driver fails, and in a
    /// [forked](vmem_core::author::fork) child: what was set aside stays so.
    pub fn synchronize(&self) -> Result<(), HandleError> {
        Ok(self.keeper.require("ReservationsHandle::synchronize")?.synchronize()?)
    }
}

/// Memory set aside for requests that name it. It keeps its stack's memory alive; dropping it gives
/// this part back, as [`Reservations`] describes.
#[must_use = "the memory is reserved until the reservation is dropped"]
pub struct Reservation {
    hold: Arc<Hold>,
    keeper: Arc<dyn Keeper>,
}

impl Reservation {
    /// The identity that requests name.
    pub fn id(&self) -> ReservationId {
        self.hold.id
    }

    /// The stream in whose order it was taken.
    pub fn stream(&self) -> &Stream {
        &self.hold.stream
    }

    /// The bytes that were reserved.
    pub fn size(&self) -> u64 {
        self.hold.size
    }

    /// Returns true if an address lies in the reserved memory, as those of the blocks drawn from it do.
    pub fn contains(&self, ptr: DevicePtr) -> bool {
        ptr.get().checked_sub(self.hold.start).is_some_and(|offset| offset < self.hold.size)
    }

    /// The bytes that are not drawn.
    pub fn left(&self) -> u64 {
        self.hold.lock().free.bytes()
    }

    /// The largest request, at the default alignment, that can be drawn now, in bytes.
    pub fn largest(&self) -> u64 {
        self.hold.lock().free.largest()
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Reservation");
        out.field("id", &self.id()).field("size", &self.size());
        if !fork::is_child() {
            out.field("left", &self.left());
        }
        out.finish_non_exhaustive()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if fork::is_child() {
            return;
        }
        self.keeper.close(&self.hold);
    }
}
