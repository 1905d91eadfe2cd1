//! Reservations as a resource.

use std::sync::Arc;

use vmem_core::author::{StreamExt, fork};
use vmem_core::{
    AllocError, Block, Capabilities, Device, DevicePtr, FreeError, FreeErrorKind, MemoryResource,
    Request, ReservationId, Stream,
};

use super::free_ranges::UNIT;
use super::hold::{Draw, Hold, Shared};
use super::order::{is_out_of_reach, order_after};
use super::{NAME, Reservations};

// SAFETY: contract, implementing/disjoint: a range is out of the free ranges while it is drawn, and its
// hold's block is live at the upstream meanwhile; implementing/as-asked and implementing/stable:
// the range is cut so from a block that stays; implementing/owned: the table compares owner, slot,
// generation and address, and all else goes to the upstream; implementing/leaking-not-dangling: a
// drawn block keeps its hold; implementing/unwinding: a failed draw gives its range back.
#[deny(clippy::missing_trait_methods)]
unsafe impl<U: MemoryResource> MemoryResource for Reservations<U> {
    fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        match request.reservation {
            None => self.shared.allocate_upstream(request),
            Some(id) => self.shared.allocate_from(id, request),
        }
    }

    unsafe fn deallocate(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
        if block.owner() != self.shared.drawn.owner() {
            // SAFETY: the caller keeps the freeing clauses, which are the same there.
            return unsafe { self.shared.upstream.deallocate(block, stream) };
        }
        self.shared.free_drawn(block, stream)
    }

    fn device(&self) -> &Arc<dyn Device> {
        self.shared.upstream.device()
    }

    fn capabilities(&self) -> Capabilities {
        self.shared.upstream.capabilities()
    }
}

impl<U: MemoryResource> Shared<U> {
    // Apart, as is `free_drawn`, so that what draws nothing saves no registers for it.
    #[inline(never)]
    fn allocate_from(&self, id: ReservationId, request: &Request<'_>) -> Result<Block, AllocError> {
        fork::refuse(NAME).map_err(|error| AllocError::from_driver(error, request.layout, NAME))?;
        if let Some(hold) = self.find(id)
            && let Some(block) = self.draw(hold, request)?
        {
            return Ok(block);
        }
        self.allocate_upstream(request)
    }

    #[inline(never)]
    fn free_drawn(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
        if let Err(error) = fork::refuse(NAME) {
            return Err(FreeError::from_driver(error, block, NAME));
        }
        if stream.device_id() != self.upstream.device().id() {
            return Err(FreeError::new(FreeErrorKind::InvalidStream, block, NAME));
        }
        let follow = |draw: &Draw| self.take_back(draw.clone(), stream).map_err(|(_, e)| e);
        self.drawn.take_back(block, NAME, follow).map(drop)
    }

    /// Serves a request from a reservation, if it fits there.
    fn draw(&self, hold: Arc<Hold>, request: &Request<'_>) -> Result<Option<Block>, AllocError> {
        let (layout, stream) = (request.layout, request.stream);
        if stream.device_id() != self.upstream.device().id() || stream.is_retired() {
            return Ok(None);
        }
        let fault = |error| AllocError::from_driver(error, layout, NAME);
        let crosses = *stream != hold.stream;
        if crosses && stream.is_callable_here() && stream.is_capturing().map_err(fault)? {
            // The wait for the reservation's stream would become part of the graph.
            return Ok(None);
        }
        let size = layout.rounded_to(UNIT);
        let take = || hold.take(size, layout.alignment());
        let again = || if self.take_back_aside() { take() } else { None };
        let Some(start) = take().or_else(again) else {
            return Ok(None);
        };
        // What was freed on this stream while it captured, or by another thread, may have left waits
        // that the program, which queues its work itself, would pass by.
        let ready = order_after(stream, &hold.stream).and_then(|()| stream.queue_pending_waits());
        if let Err(error) = ready {
            hold.give_back(start, size);
            self.settle(&hold);
            return if is_out_of_reach(&error) { Ok(None) } else { Err(fault(error)) };
        }
        let ptr = DevicePtr::new(start).expect("a block does not start at zero");
        Ok(Some(self.drawn.issue(ptr, layout, request.label, Draw { hold, start, size })))
    }
}
