//! The memory behind reservations.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use vmem_core::author::{BlockTable, StreamExt, fork};
use vmem_core::{
    AllocError, Block, BlockLayout, DriverError, Label, MemoryResource, Request, ReservationId,
    Stream,
};

use super::NAME;
use super::free_ranges::FreeRanges;
use super::order::{is_out_of_reach, order_after};

/// What an adaptor shares with its reservations.
#[derive(Debug)]
pub(super) struct Shared<U: MemoryResource> {
    pub(super) upstream: U,
    /// The blocks drawn from reservations.
    pub(super) drawn: BlockTable<Draw>,
    /// The reservations that can be named.
    open: Mutex<HashMap<ReservationId, Arc<Hold>>>,
    /// Blocks of ended reservations that the upstream did not take back, with their streams.
    kept: Mutex<Vec<(Block, Stream)>>,
    /// Drawn blocks that were freed on a stream that could not be followed then.
    aside: Mutex<Vec<(Draw, Stream)>>,
    /// How many there are; set under the lock.
    aside_len: AtomicUsize,
}

/// One block drawn from a reservation.
#[derive(Debug, Clone)]
pub(super) struct Draw {
    pub(super) hold: Arc<Hold>,
    pub(super) start: u64,
    pub(super) size: u64,
}

/// One reservation's memory. Whatever is free of it was last used before its stream's tail.
#[derive(Debug)]
pub(super) struct Hold {
    pub(super) id: ReservationId,
    pub(super) stream: Stream,
    /// Where the upstream's block starts.
    pub(super) start: u64,
    pub(super) size: u64,
    state: Mutex<HoldState>,
}

#[derive(Debug)]
pub(super) struct HoldState {
    pub(super) free: FreeRanges,
    /// The upstream's block, until it is given back.
    block: Option<Block>,
    is_open: bool,
}

impl Hold {
    pub(super) fn lock(&self) -> MutexGuard<'_, HoldState> {
        fork::locked(|| self.state.lock())
    }

    /// Takes a range, unless the reservation has ended.
    pub(super) fn take(&self, size: u64, alignment: u64) -> Option<u64> {
        let mut state = self.lock();
        if state.is_open { state.free.take(size, alignment) } else { None }
    }

    /// Gives a drawn range back.
    pub(super) fn give_back(&self, start: u64, size: u64) {
        self.lock().free.give_back(start, size);
    }

    /// The upstream's block, once nothing is drawn and nothing can be any more.
    fn take_spent(&self) -> Option<Block> {
        let mut state = self.lock();
        let is_spent = !state.is_open && state.free.is_whole();
        if is_spent { state.block.take() } else { None }
    }
}

/// What a reservation asks of the adaptor, whose type it does not know.
pub(super) trait Keeper: Debug + Send + Sync {
    /// Takes memory for a reservation.
    fn hold(
        &self,
        layout: BlockLayout,
        stream: &Stream,
        label: Label,
    ) -> Result<Arc<Hold>, AllocError>;

    /// Ends a reservation.
    fn close(&self, hold: &Hold);

    /// Waits for the whole device and takes back what was set aside by then.
    fn synchronize(&self) -> Result<(), DriverError>;

    /// Takes back what can be by now.
    fn take_back(&self);

    /// The reservations of which ranges are set aside, and their sizes in bytes.
    fn with_ranges_aside(&self) -> Vec<(ReservationId, u64)>;
}

impl<U: MemoryResource> Shared<U> {
    pub(super) fn new(upstream: U) -> Self {
        Self {
            upstream,
            drawn: BlockTable::new(),
            open: Mutex::default(),
            kept: Mutex::default(),
            aside: Mutex::default(),
            aside_len: AtomicUsize::new(0),
        }
    }

    pub(super) fn find(&self, id: ReservationId) -> Option<Arc<Hold>> {
        self.open().get(&id).cloned()
    }

    /// How many reservations can be named.
    pub(super) fn open_count(&self) -> usize {
        self.open().len()
    }

    fn open(&self) -> MutexGuard<'_, HashMap<ReservationId, Arc<Hold>>> {
        fork::locked(|| self.open.lock())
    }

    fn kept(&self) -> MutexGuard<'_, Vec<(Block, Stream)>> {
        fork::locked(|| self.kept.lock())
    }

    /// Calls `change` with the list of what is set aside, under its lock.
    fn aside<O>(&self, change: impl FnOnce(&mut Vec<(Draw, Stream)>) -> O) -> O {
        let mut aside = fork::locked(|| self.aside.lock());
        let out = change(&mut aside);
        self.aside_len.store(aside.len(), Ordering::Release);
        out
    }

    /// Takes a drawn range back that was last used on `stream`, or sets it aside while that stream
    /// captures or this thread [cannot name](vmem_core::author::StreamExt::is_callable_here) it.
    ///
    /// # Errors
    /// The [`DriverError`](vmem_core::DriverError) of the driver call, with the draw.
    pub(super) fn take_back(&self, draw: Draw, stream: &Stream) -> Result<(), (Draw, DriverError)> {
        match order_after(&draw.hold.stream, stream) {
            Ok(()) => {
                self.return_to_hold(&draw);
                Ok(())
            }
            Err(error) if is_out_of_reach(&error) => {
                self.aside(|aside| aside.push((draw, stream.clone())));
                Ok(())
            }
            Err(error) => Err((draw, error)),
        }
    }

    /// Takes back what was set aside and can be by now: on streams that this thread may name and that do
    /// not capture, and on retired ones. No driver call for any other thread's. Returns whether it took
    /// anything back.
    pub(super) fn take_back_aside(&self) -> bool {
        if self.aside_len.load(Ordering::Acquire) == 0 {
            return false;
        }
        let within_reach = |stream: &Stream| stream.is_callable_here() || stream.is_retired();
        let aside: Vec<_> =
            self.aside(|aside| aside.extract_if(.., |(_, stream)| within_reach(stream)).collect());
        let mut any = false;
        for (draw, stream) in aside {
            if order_after(&draw.hold.stream, &stream).is_ok() {
                self.return_to_hold(&draw);
                any = true;
            } else {
                self.aside(|aside| aside.push((draw, stream)));
            }
        }
        any
    }

    /// Gives a range back that its stream comes after, and the reservation's memory if it is spent.
    fn return_to_hold(&self, draw: &Draw) {
        draw.hold.give_back(draw.start, draw.size);
        self.settle(&draw.hold);
    }

    /// Gives a reservation's memory back if it is spent.
    pub(super) fn settle(&self, hold: &Hold) {
        if let Some(block) = hold.take_spent() {
            self.give_back(block, &hold.stream);
        }
    }

    /// Gives a spent block back, or keeps it if the upstream fails, to be asked again.
    fn give_back(&self, block: Block, stream: &Stream) {
        // SAFETY: contract, freeing: all that was drawn was freed, each time ordered before the
        // stream's tail; nothing more is drawn from a reservation that has ended; the hold
        // kept the stream.
        let freed = unsafe { self.upstream.deallocate(block, stream) };
        if let Err(error) = freed {
            tracing::warn!(%error, "a reservation's memory was not taken back; it is offered again");
            self.kept().push((error.into_block(), stream.clone()));
        }
    }

    /// Takes back what was set aside, and offers what the upstream would not take back to it again.
    /// False if there was nothing.
    fn offer_again(&self) -> bool {
        let mut any = self.take_back_aside();
        let kept = std::mem::take(&mut *self.kept());
        any |= !kept.is_empty();
        kept.into_iter().for_each(|(block, stream)| self.give_back(block, &stream));
        any
    }

    /// Asks the upstream, and once more if it is exhausted while there is something to offer it.
    #[inline]
    pub(super) fn allocate_upstream(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        match self.upstream.allocate(request) {
            Ok(block) => Ok(block),
            Err(error) => self.allocate_again(request, error),
        }
    }

    #[cold]
    #[inline(never)]
    fn allocate_again(
        &self,
        request: &Request<'_>,
        error: AllocError,
    ) -> Result<Block, AllocError> {
        if error.kind().is_exhaustion() && self.offer_again() {
            self.upstream.allocate(request)
        } else {
            Err(error)
        }
    }
}

impl<U: MemoryResource> Drop for Shared<U> {
    fn drop(&mut self) {
        if fork::is_child() {
            return;
        }
        self.offer_again();
        let left = self.kept().len();
        if left > 0 {
            let failures = self.upstream.device().base().drop_failures();
            failures.record(NAME, &format_args!("the memory of {left} reservations leaks"));
        }
        let left = self.aside(|aside| aside.len());
        if left > 0 {
            let failures = self.upstream.device().base().drop_failures();
            let why = "blocks freed on streams that could not be waited for leak";
            failures.record(NAME, &format_args!("{left} {why}, with their reservations"));
        }
    }
}

impl<U: MemoryResource> Keeper for Shared<U> {
    fn hold(
        &self,
        layout: BlockLayout,
        stream: &Stream,
        label: Label,
    ) -> Result<Arc<Hold>, AllocError> {
        let request = Request::new(layout, stream).with_label(label);
        let block = self.allocate_upstream(&request)?;
        let (start, size) = (block.ptr().get(), layout.size());
        let state =
            HoldState { free: FreeRanges::new(start, size), block: Some(block), is_open: true };
        let hold = Arc::new(Hold {
            id: ReservationId::new(),
            stream: stream.clone(),
            start,
            size,
            state: Mutex::new(state),
        });
        self.open().insert(hold.id, hold.clone());
        Ok(hold)
    }

    fn close(&self, hold: &Hold) {
        self.open().remove(&hold.id);
        hold.lock().is_open = false;
        self.take_back_aside();
        self.settle(hold);
    }

    fn take_back(&self) {
        self.offer_again();
    }

    fn with_ranges_aside(&self) -> Vec<(ReservationId, u64)> {
        let of = |(draw, _): &(Draw, Stream)| (draw.hold.id, draw.hold.size);
        let mut holds: Vec<_> = self.aside(|list| list.iter().map(of).collect());
        holds.sort_unstable();
        holds.dedup();
        holds
    }

    fn synchronize(&self) -> Result<(), DriverError> {
        let aside = self.aside(std::mem::take);
        if aside.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.upstream.device().synchronize() {
            self.aside(|list| list.extend(aside));
            return Err(error);
        }
        aside.iter().for_each(|(draw, _)| self.return_to_hold(draw));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmem_core::DeviceMemory;
    use vmem_sim::SimDevice;

    #[test]
    fn nothing_is_drawn_from_a_reservation_that_ended_after_it_was_found() {
        let device = SimDevice::new(1 << 20);
        let stream = Stream::new(device.clone()).unwrap();
        let shared = Shared::new(DeviceMemory::new(device.clone()));
        let hold = shared.hold(BlockLayout::new(4096).unwrap(), &stream, Label::NONE).unwrap();
        let found = shared.find(hold.id).unwrap();
        shared.close(&hold);
        assert_eq!(found.take(256, 256), None);
        assert_eq!(device.used(), 0);
    }
}
