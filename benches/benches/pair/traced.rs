//! A trace, carried out an allocation at a time.

use vmem_trace::{Event, Trace};

use crate::memory::{Held, Memory};

/// A trace that begins again at its end.
pub(crate) struct Traced<'a> {
    events: std::iter::Cycle<std::slice::Iter<'a, Event>>,
    live: Vec<Option<Held>>,
}

impl<'a> Traced<'a> {
    /// The trace, which must free all that it allocates.
    pub(crate) fn new(trace: &'a Trace) -> Self {
        let live = (0..trace.slots()).map(|_| None).collect();
        Self { events: trace.events().iter().cycle(), live }
    }

    /// Does what the trace does up to its next allocation. In the long run that is one pair.
    pub(crate) fn step(&mut self, memory: &mut Memory) {
        for event in &mut self.events {
            match *event {
                Event::Allocate { slot, size, origin, .. } => {
                    let held = memory.allocate(size, origin.stream as usize);
                    self.live[slot as usize] = Some(held);
                    return;
                }
                Event::Free { slot, origin } => {
                    let held = self.live[slot as usize].take();
                    memory.free(held.expect("it is live"), origin.stream as usize);
                }
                _ => {}
            }
        }
    }

    /// Frees what is live.
    pub(crate) fn end(self, memory: &mut Memory) {
        for held in self.live.into_iter().flatten() {
            let stream = match held {
                Held::Block(_, stream) => stream,
                Held::Offset(_) => 0,
            };
            memory.free(held, stream);
        }
    }
}
