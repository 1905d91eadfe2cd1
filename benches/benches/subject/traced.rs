//! A trace, carried out an allocation at a time.

use vmem_core::Label;
use vmem_trace::{Event, Trace};

use super::{Held, Memory};

/// A trace that begins again at its end.
pub(crate) struct Traced<'a> {
    events: std::iter::Cycle<std::slice::Iter<'a, Event>>,
    live: Vec<Option<Held>>,
    labels: Labels,
}

/// What becomes of a trace's labels.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Labels {
    Dropped,
    Kept,
}

impl<'a> Traced<'a> {
    /// The trace, which must free all that it allocates.
    pub(crate) fn new(trace: &'a Trace, labels: Labels) -> Self {
        let live = (0..trace.slots()).map(|_| None).collect();
        Self { events: trace.events().iter().cycle(), live, labels }
    }

    /// Does what the trace does up to its next allocation. In the long run that is one pair.
    pub(crate) fn step(&mut self, memory: &mut Memory) {
        for event in &mut self.events {
            match *event {
                Event::Allocate { slot, size, origin, label } => {
                    let label = match self.labels {
                        Labels::Dropped => Label::NONE,
                        Labels::Kept => label,
                    };
                    let held = memory.allocate_labelled(size, origin.stream as usize, label);
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
