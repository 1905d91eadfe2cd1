//! The loop that carries a trace out.

use std::time::{Duration, Instant};

use vmem_core::{AllocError, Block, BlockLayout, Label, MemoryResource, RawBlock, Request, Stream};

use super::{Failure, ReplayError, ReplayStack};
use crate::trace::index;
use crate::{Event, Mark, Trace};

/// Told of what happens during a replay.
pub(super) trait Observer {
    /// A block of `size` bytes was allocated.
    fn allocated(&mut self, size: u64);
    /// A block of `size` bytes was freed.
    fn freed(&mut self, size: u64);
    /// The trace has a request at this event, of this size, that failed where it was taken; `ask` asks for
    /// it and frees it at once.
    fn failed_then(
        &mut self,
        at: (usize, u64),
        ask: impl FnOnce() -> Result<Option<Failure>, ReplayError>,
    ) -> Result<(), ReplayError>;
    /// The trace is at a mark, with that many driver calls made for the stack so far.
    fn marked(&mut self, mark: Mark, driver_calls: impl FnOnce() -> Option<u64>);
    /// The event at `index` has been carried out, on this block; with that many driver calls so far.
    fn after(
        &mut self,
        _index: usize,
        _event: &Event,
        _block: Option<RawBlock>,
        _driver_calls: impl FnOnce() -> Option<u64>,
    ) {
    }
    /// The request at `index` was refused. What was live still is.
    fn refused(&mut self, _index: usize, _error: &AllocError) {}
}

/// Takes no notice, and costs nothing.
pub(super) struct Unobserved;

impl Observer for Unobserved {
    fn allocated(&mut self, _: u64) {}
    fn freed(&mut self, _: u64) {}
    fn failed_then(
        &mut self,
        _: (usize, u64),
        _: impl FnOnce() -> Result<Option<Failure>, ReplayError>,
    ) -> Result<(), ReplayError> {
        Ok(())
    }
    fn marked(&mut self, _: Mark, _: impl FnOnce() -> Option<u64>) {}
}

/// A trace and a stack, ready to be replayed any number of times.
pub(super) struct Run<'a> {
    trace: &'a Trace,
    stack: &'a dyn ReplayStack,
    resource: &'a dyn MemoryResource,
    streams: Vec<Stream>,
    /// The block in each slot, and the stream it was allocated on.
    table: Vec<Option<(Block, u32)>>,
    /// The last two streams of which the second was made to wait for the first, if nothing has
    /// been allocated since.
    ordered: Option<(u32, u32)>,
    own_costs: Costs,
}

/// What the replay itself, in the role of the program, has cost.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Costs {
    pub(super) driver_calls: u64,
    pub(super) virtual_time: Duration,
    pub(super) time: Duration,
}

impl Costs {
    /// Runs `work` and adds what it cost.
    fn add<T>(&mut self, stack: &dyn ReplayStack, work: impl FnOnce() -> T) -> T {
        let read = || {
            let calls = stack.driver_calls().unwrap_or(0);
            (calls, stack.virtual_time().unwrap_or_default())
        };
        let start = Instant::now();
        let (calls, time) = read();
        let result = work();
        let (calls_after, time_after) = read();
        self.driver_calls += calls_after.saturating_sub(calls);
        self.virtual_time += time_after.saturating_sub(time);
        self.time += start.elapsed();
        result
    }
}

impl<'a> Run<'a> {
    pub(super) fn new(trace: &'a Trace, stack: &'a dyn ReplayStack) -> Result<Self, ReplayError> {
        let mut own_costs = Costs::default();
        let streams = own_costs.add(stack, || {
            (0..trace.streams())
                .map(|_| Stream::new(stack.resource().device().clone()))
                .collect::<Result<Vec<_>, _>>()
        });
        Ok(Self {
            trace,
            stack,
            resource: &**stack.resource(),
            streams: streams.map_err(|error| ReplayError::new("creating the streams", error))?,
            table: (0..trace.slots()).map(|_| None).collect(),
            ordered: None,
            own_costs,
        })
    }

    /// What the replay itself has cost so far.
    pub(super) fn own_costs(&self) -> Costs {
        self.own_costs
    }

    /// Driver calls made so far for the stack.
    pub(super) fn driver_calls(&self) -> Option<u64> {
        let calls = self.stack.driver_calls()?;
        Some(calls.saturating_sub(self.own_costs.driver_calls))
    }

    /// Replays the trace until its end, the first request that fails or an error, and frees what
    /// is live then.
    pub(super) fn once(
        &mut self,
        observer: &mut impl Observer,
    ) -> Result<Option<Failure>, ReplayError> {
        let mut result = self.events(observer);
        for slot in 0..self.table.len() {
            if let Some((block, stream)) = self.table[slot].take() {
                match self.free(block, stream) {
                    Ok(size) => observer.freed(size),
                    Err(error) => result = result.and(Err(error)),
                }
            }
        }
        result
    }

    fn events(&mut self, observer: &mut impl Observer) -> Result<Option<Failure>, ReplayError> {
        for (at, event) in self.trace.events().iter().enumerate() {
            let mut touched = None;
            match *event {
                Event::Allocate { slot, size, origin, label } => {
                    match self.allocate(size, origin.stream, label) {
                        Ok(block) => {
                            touched = Some(block.raw());
                            self.table[index(slot)] = Some((block, origin.stream));
                            self.ordered = None;
                            observer.allocated(size);
                        }
                        Err(error) => {
                            observer.refused(at, &error);
                            return Ok(Some(Failure::new(at, size, self.live(), &error)));
                        }
                    }
                }
                Event::Free { slot, origin } => {
                    if let Some((_, allocated_on)) = self.table[index(slot)]
                        && allocated_on != origin.stream
                    {
                        self.order(allocated_on, origin.stream)?;
                    }
                    let held = self.table[index(slot)].take();
                    let (block, _) = held.expect("a trace frees only what is live");
                    touched = Some(block.raw());
                    observer.freed(self.free(block, origin.stream)?);
                }
                Event::Failure { size, origin } => {
                    let ask = || match self.allocate(size, origin.stream, Label::NONE) {
                        Ok(block) => self.free(block, origin.stream).map(|_| None),
                        Err(error) => Ok(Some(Failure::new(at, size, self.live(), &error))),
                    };
                    observer.failed_then((at, size), ask)?;
                }
                Event::Mark(mark) => observer.marked(mark, || self.driver_calls()),
            }
            observer.after(at, event, touched, || self.driver_calls());
        }
        Ok(None)
    }

    fn allocate(&self, size: u64, stream: u32, label: Label) -> Result<Block, AllocError> {
        let layout = BlockLayout::new(size)?;
        let mut request = Request::new(layout, &self.streams[index(stream)]);
        request.label = label;
        self.resource.allocate(&request)
    }

    fn free(&self, block: Block, stream: u32) -> Result<u64, ReplayError> {
        let size = block.size();
        // SAFETY: contract, freeing: no work touches the blocks of a replay, and streams other
        // than the allocating one were ordered behind it.
        unsafe { self.resource.deallocate(block, &self.streams[index(stream)]) }
            .map_err(|error| ReplayError::new("freeing a block", error))?;
        Ok(size)
    }

    /// Makes stream `to` wait for everything queued on `from`.
    fn order(&mut self, from: u32, to: u32) -> Result<(), ReplayError> {
        if self.ordered == Some((from, to)) {
            return Ok(());
        }
        let (first, second) = (&self.streams[index(from)], &self.streams[index(to)]);
        self.own_costs
            .add(self.stack, || second.wait(&first.marker()?))
            .map_err(|error| ReplayError::new("ordering two streams", error))?;
        self.ordered = Some((from, to));
        Ok(())
    }

    fn live(&self) -> u64 {
        let live = self.table.iter().flatten();
        live.map(|(block, _)| block.size()).sum()
    }
}
