//! A program that carries out a trace and can be watched at its marks.

use std::sync::Arc;

use vmem_core::{
    AllocError, Block, BlockLayout, Device, FreeError, MemoryResource, Request, Stream,
};
use vmem_trace::{Event, Mark, Trace};

/// Carries out a trace on a resource, event by event, so that somebody can look at the resource at
/// the trace's marks. [`replay`](vmem_trace::replay()) measures; this lets one see.
#[derive(Debug)]
pub struct Program<'a, R: ?Sized> {
    resource: &'a R,
    streams: Vec<Stream>,
    live: Vec<Option<(Block, u32)>>,
}

impl<'a, R: MemoryResource + ?Sized> Program<'a, R> {
    /// A program on `resource` with the streams that `trace` needs.
    ///
    /// # Panics
    /// If the device refuses a stream.
    pub fn new(resource: &'a R, device: &Arc<impl Device + 'static>, trace: &Trace) -> Self {
        let stream = |_| Stream::new(device.clone()).expect("the device makes streams");
        Self {
            resource,
            streams: (0..trace.streams()).map(stream).collect(),
            live: (0..trace.slots()).map(|_| None).collect(),
        }
    }

    /// Its streams, in the trace's order.
    pub fn streams(&self) -> &[Stream] {
        &self.streams
    }

    /// Carries out the trace, calling `at` at each mark until it answers false.
    ///
    /// # Errors
    /// The first refused request's.
    ///
    /// # Panics
    /// If a block is not taken back.
    pub fn run(
        &mut self,
        trace: &Trace,
        mut at: impl FnMut(Mark) -> bool,
    ) -> Result<(), AllocError> {
        for event in trace.events() {
            match *event {
                Event::Allocate { slot, size, origin, label } => {
                    let stream = &self.streams[origin.stream as usize];
                    let mut request = Request::new(BlockLayout::new(size)?, stream);
                    request.label = label;
                    let block = self.resource.allocate(&request)?;
                    self.live[slot as usize] = Some((block, origin.stream));
                }
                Event::Free { slot, origin } => self.free(slot as usize, origin.stream),
                Event::Mark(mark) if !at(mark) => break,
                _ => {}
            }
        }
        Ok(())
    }

    /// Frees what is live, each block on its own stream.
    ///
    /// # Panics
    /// If a block is not taken back.
    pub fn free_all(&mut self) {
        for slot in 0..self.live.len() {
            if let Some(on) = self.live[slot].as_ref().map(|(_, stream)| *stream) {
                self.free(slot, on);
            }
        }
    }

    fn free(&mut self, slot: usize, on: u32) {
        let Some((block, allocated_on)) = self.live[slot].take() else { return };
        let (home, stream) = (&self.streams[allocated_on as usize], &self.streams[on as usize]);
        if home != stream {
            let ordered = home.marker().and_then(|marker| stream.wait(&marker));
            ordered.expect("the device orders streams");
        }
        // SAFETY: contract, freeing: no work touches the block, and the stream is behind its home.
        let freed: Result<(), FreeError> = unsafe { self.resource.deallocate(block, stream) };
        freed.expect("the resource takes its block back");
    }
}
