//! What a program did, put together from a log that may begin late and miss some of it.

use std::collections::HashMap;
use std::mem;

use vmem_core::{BlockLayout, Label};

use super::Irregularity;
use super::numbers::{Names, Numbers};
use crate::{Event, Mark, Origin, Trace, TraceBuilder, TraceError};

/// Which stream and thread did something, as the log names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Who {
    pub(super) stream: u64,
    pub(super) thread: u64,
}

/// A trace that grows with the log.
///
/// Blocks are known by their addresses. What does not fit is told as a [`Trouble`], and made up for
/// at the same time: the trace is a possible one whatever the log says. All O(1).
#[derive(Default)]
pub(super) struct History {
    builder: TraceBuilder,
    streams: Numbers<u64>,
    threads: Numbers<u64>,
    /// The block at each address; `None` where there was one.
    blocks: HashMap<u64, Option<Live>>,
    /// How many blocks of a size at an address were gone, because it was handed out again, before
    /// the thread that freed them had noted it.
    late: HashMap<(u64, u64), u32>,
    /// Whether the log has everything in the order in which it happened, so that no free is late.
    in_order: bool,
    /// Blocks that the log does not see allocated, in the order in which they go.
    early: Vec<Early>,
    /// Where the latest of several logs begins, as an index of events.
    begins: usize,
    /// The events that have a label, and its number in the log.
    labels: Vec<(usize, u32)>,
}

/// A live block, in few bytes: there can be as many as a file has entries.
struct Live {
    slot: u32,
    origin: Origin,
    /// Where in the log it was allocated; what is further than 4 GiB counts as that far.
    place: u32,
}

/// A block that was live before a log.
struct Early {
    born: usize,
    /// The index of the event before which it is freed; none if it never is.
    dies: Option<usize>,
    size: u64,
    who: Who,
    /// The number of its label; 0 for none.
    label: u32,
}

/// Something in a log that cannot have been, or not as it is there.
#[derive(Debug)]
pub(super) enum Trouble {
    /// A block is allocated where one is live that was allocated at `place`.
    StillLive { address: u64, place: u32 },
    /// A block is freed that the log does not see allocated.
    Earlier { address: u64 },
    /// Nothing is live there any more.
    NotLive { address: u64 },
    /// A block is freed that was allocated at `place` with another size.
    WrongSize { address: u64, freed: u64, allocated: u64, place: u32 },
    /// It cannot be part of a trace.
    Refused(TraceError),
}

impl History {
    /// The history in a log that has everything in the order in which it happened.
    pub(super) fn in_order() -> Self {
        Self { in_order: true, ..Self::default() }
    }

    /// What comes next happened at that time, in nanoseconds from any moment.
    pub(super) fn at(&mut self, time: u64) {
        self.builder.at(time);
    }

    /// A place is marked.
    pub(super) fn mark(&mut self, mark: Mark) -> Result<(), Trouble> {
        Ok(self.builder.mark(mark)?)
    }

    /// A block is allocated, at `place` in the log, under the label of that number; 0 for none.
    pub(super) fn allocate(
        &mut self,
        (address, size): (u64, u64),
        who: Who,
        place: usize,
        label: u32,
    ) -> Result<(), Trouble> {
        BlockLayout::new(size).map_err(TraceError::Size)?;
        let mut trouble = Ok(());
        if let Some(gone) = self.blocks.get_mut(&address).and_then(Option::take) {
            trouble = Err(Trouble::StillLive { address, place: gone.place });
            let size = self.builder.free(gone.slot, gone.origin)?;
            if !self.in_order {
                *self.late.entry((address, size)).or_default() += 1;
            }
        }
        self.check_room(size)?;
        let at = self.builder.len();
        let origin = self.origin(who);
        let slot = self.builder.allocate(size, origin, Label::NONE)?;
        if label != 0 {
            self.labels.push((at, label));
        }
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        self.blocks.insert(address, Some(Live { slot, origin, place }));
        trouble
    }

    /// The block at an address is freed; its size, if the log tells it.
    pub(super) fn free(
        &mut self,
        address: u64,
        size: Option<u64>,
        who: Who,
    ) -> Result<(), Trouble> {
        if size.is_some_and(|size| self.was_late(address, size, who.thread)) {
            return Ok(());
        }
        match self.blocks.get_mut(&address) {
            Some(block) => {
                let Some(live) = block.take() else { return Err(Trouble::NotLive { address }) };
                let origin = self.origin(who);
                let allocated = self.builder.free(live.slot, origin)?;
                match size {
                    Some(freed) if freed != allocated => {
                        let place = live.place;
                        Err(Trouble::WrongSize { address, freed, allocated, place })
                    }
                    _ => Ok(()),
                }
            }
            None => {
                let Some(size) = size else { return Err(Trouble::NotLive { address }) };
                BlockLayout::new(size).map_err(TraceError::Size)?;
                let (born, dies) = (self.begins, Some(self.builder.len()));
                self.early.push(Early { born, dies, size, who, label: 0 });
                self.blocks.insert(address, None);
                Err(Trouble::Earlier { address })
            }
        }
    }

    /// Something that is live at the end of the log; told whether the log does not see it allocated.
    pub(super) fn live_at_the_end(
        &mut self,
        (address, size): (u64, u64),
        who: Who,
        label: u32,
    ) -> bool {
        if self.blocks.contains_key(&address) || BlockLayout::new(size).is_err() {
            return false;
        }
        self.early.push(Early { born: self.begins, dies: None, size, who, label });
        self.blocks.insert(address, None);
        true
    }

    /// A request failed.
    pub(super) fn failure(&mut self, size: u64, who: Who) -> Result<(), Trouble> {
        if self.builder.len() >= TraceBuilder::MAX_EVENTS {
            return Err(TraceError::TooManyEvents.into());
        }
        let origin = self.origin(who);
        Ok(self.builder.failure(size, origin)?)
    }

    /// Another log begins: of another process, so that nothing is live any more.
    pub(super) fn begin_anew(&mut self) -> Result<(), Trouble> {
        let mut left: Vec<_> = mem::take(&mut self.blocks).into_values().flatten().collect();
        left.sort_unstable_by_key(|live| live.slot);
        for live in left {
            self.builder.free(live.slot, live.origin)?;
        }
        self.late.clear();
        self.begins = self.builder.len();
        Ok(())
    }

    /// Whether a block is at that address.
    pub(super) fn is_live(&self, address: u64) -> bool {
        matches!(self.blocks.get(&address), Some(Some(_)))
    }

    /// Whether a block is or was at that address.
    pub(super) fn is_known(&self, address: u64) -> bool {
        self.blocks.contains_key(&address)
    }

    /// How many events there are so far.
    pub(super) fn len(&self) -> usize {
        self.builder.len() + self.early.len()
    }

    /// The trace; `names` are the labels' by their numbers, from 1. Only those of the trace are
    /// interned. O(events).
    ///
    /// # Errors
    /// If what was live before the log makes the trace an impossible one.
    pub(super) fn finish(mut self, name: &str, names: &Names) -> Result<Trace, TraceError> {
        let (labels, early) = (mem::take(&mut self.labels), mem::take(&mut self.early));
        let (streams, threads) = (self.streams.things(), self.threads.things());
        let mut trace = mem::take(&mut self.builder).finish(name);
        drop(self);
        for (at, number) in labels {
            if let Event::Allocate { label, .. } = &mut trace.events[at] {
                *label = Label::intern(names.get(number).unwrap_or_default());
            }
        }
        if early.is_empty() {
            return Ok(trace);
        }
        with_early(&trace, &early, names, (&streams, &threads))
    }

    fn origin(&mut self, who: Who) -> Origin {
        Origin {
            stream: self.streams.number(&who.stream),
            thread: self.threads.number(&who.thread),
        }
    }

    /// Makes sure that nothing is numbered for an event that is then refused.
    fn check_room(&self, size: u64) -> Result<(), Trouble> {
        if self.builder.len() >= TraceBuilder::MAX_EVENTS {
            return Err(TraceError::TooManyEvents.into());
        }
        match self.builder.live().checked_add(size) {
            Some(_) => Ok(()),
            None => Err(TraceError::LiveOverflow.into()),
        }
    }

    /// Whether this is the late note of a free that has taken effect. It is none if it is that of the
    /// block now there: what a thread does, it notes in order, so that the note which is missing was
    /// lost.
    fn was_late(&mut self, address: u64, size: u64, thread: u64) -> bool {
        if let Some(Some(live)) = self.blocks.get(&address)
            && self.builder.size_of(live.slot) == Some(size)
            && live.origin.thread == self.threads.number_to_be(&thread)
        {
            return false;
        }
        match self.late.get_mut(&(address, size)) {
            Some(count @ 1..) => {
                *count -= 1;
                true
            }
            _ => false,
        }
    }
}

/// The trace with blocks that are live before it, or before a part of it. Streams and threads are
/// numbered anew, from the things they stand for.
fn with_early(
    trace: &Trace,
    early: &[Early],
    names: &Names,
    (streams, threads): (&[u64], &[u64]),
) -> Result<Trace, TraceError> {
    let mut again = History::default();
    let thing = |of: &[u64], number| of.get(crate::trace::index(number)).copied();
    let who = |origin: Origin| Who {
        stream: thing(streams, origin.stream).unwrap_or_default(),
        thread: thing(threads, origin.thread).unwrap_or_default(),
    };
    let mut slots = vec![0; crate::trace::index(trace.slots())];
    let mut early_slots = vec![0; early.len()];
    let (mut born, mut dead) = (0, 0);
    let mortal: Vec<usize> = (0..early.len()).filter(|&i| early[i].dies.is_some()).collect();
    for at in 0..=trace.events().len() {
        if let Some(&time) = trace.times.get(at) {
            again.builder.at(time);
        }
        while let Some(block) = early.get(born).filter(|block| block.born == at) {
            let origin = again.origin(block.who);
            let label = Label::intern(names.get(block.label).unwrap_or_default());
            early_slots[born] = again.builder.allocate(block.size, origin, label)?;
            born += 1;
        }
        while let Some(&index) = mortal.get(dead).filter(|&&index| early[index].dies == Some(at)) {
            let origin = again.origin(early[index].who);
            again.builder.free(early_slots[index], origin)?;
            dead += 1;
        }
        match trace.events().get(at) {
            Some(&Event::Allocate { slot, size, origin, label }) => {
                let origin = again.origin(who(origin));
                slots[crate::trace::index(slot)] = again.builder.allocate(size, origin, label)?;
            }
            Some(&Event::Free { slot, origin }) => {
                let origin = again.origin(who(origin));
                again.builder.free(slots[crate::trace::index(slot)], origin)?;
            }
            Some(&Event::Failure { size, origin }) => {
                let origin = again.origin(who(origin));
                again.builder.failure(size, origin)?;
            }
            Some(&Event::Mark(mark)) => again.builder.mark(mark)?,
            None => {}
        }
    }
    Ok(again.builder.finish(trace.name()))
}

impl From<TraceError> for Trouble {
    fn from(error: TraceError) -> Self {
        Self::Refused(error)
    }
}

impl Trouble {
    /// What it counts as; `None` if nothing can be read after it.
    pub(super) fn what(&self) -> Option<Irregularity> {
        Some(match self {
            Self::StillLive { .. } => Irregularity::StillLive,
            Self::Earlier { .. } => Irregularity::EarlierBlock,
            Self::NotLive { .. } => Irregularity::NotLive,
            Self::WrongSize { .. } => Irregularity::WrongSize,
            Self::Refused(TraceError::TooManyEvents) => return None,
            Self::Refused(_) => Irregularity::BadField,
        })
    }

    /// In words, with places in the log as `at` calls them: `in line`, for example.
    pub(super) fn words(&self, at: &str) -> String {
        match self {
            Self::StillLive { address, place } => {
                format!("the block at {address:#x} is still live: it was allocated {at} {place}")
            }
            Self::Earlier { address } => format!(
                "no live block is at {address:#x} to be freed: it was allocated before the log \
                 begins"
            ),
            Self::NotLive { address } => {
                format!("no live block is at {address:#x} to be freed")
            }
            Self::WrongSize { address, freed, allocated, place } => format!(
                "frees {freed} bytes of the {allocated} allocated at {address:#x} {at} {place}"
            ),
            Self::Refused(error) => error.to_string(),
        }
    }
}
