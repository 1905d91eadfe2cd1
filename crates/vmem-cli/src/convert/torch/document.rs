//! A snapshot with the fields that PyTorch's tools read.

use std::collections::{BTreeMap, HashMap};

use vmem_core::Label;
use vmem_trace::{Event, Failure, Origin, Trace};

use super::camera::{Change, Picture, Range};
use super::pickle::Pickle;

/// A snapshot of one device.
pub(super) struct Document<'a> {
    /// The addresses that have memory, by address.
    segments: &'a [Range],
    /// What is live at the moment, by address.
    blocks: BTreeMap<u64, Block>,
    /// What a block takes, by its address, where the pool says so.
    taken: &'a HashMap<u64, u64>,
    history: Vec<Entry>,
}

/// A live block.
#[derive(Debug, Clone, Copy)]
struct Block {
    size: u64,
    label: Label,
}

/// Something in the history.
#[derive(Debug, Clone, Copy)]
struct Entry {
    action: &'static str,
    address: u64,
    size: u64,
    stream: u32,
    /// In microseconds.
    time: u64,
    label: Label,
    /// What the device had left, for a request that failed.
    free: Option<u64>,
}

impl<'a> Document<'a> {
    /// What a replay of the first `events` of a trace came to, the last of which may have been refused, on a
    /// device of so many bytes.
    pub(super) fn new(
        trace: &Trace,
        events: usize,
        refused: Option<&Failure>,
        picture: &'a Picture,
        capacity: u64,
    ) -> Self {
        let mut made = Self {
            segments: &picture.mapped,
            blocks: BTreeMap::new(),
            taken: &picture.taken,
            history: Vec::new(),
        };
        let mut addresses = picture.addresses.iter().copied();
        let mut changes = picture.changes.iter().peekable();
        let mut slots = HashMap::new();
        let mut held = 0;
        let mut call = 0;
        made.map(&mut changes, call, 0, &mut held);
        for (at, event) in trace.events()[..events].iter().enumerate() {
            let time = trace.times().map_or(at as u64, |times| times[at] / 1_000);
            let entry = |action, origin: Origin| {
                let (stream, label) = (origin.stream, Label::NONE);
                Entry { action, address: 0, size: 0, stream, time, label, free: None }
            };
            match *event {
                Event::Allocate { slot, size, origin, label } => {
                    call += 1;
                    made.map(&mut changes, call, time, &mut held);
                    if refused.is_some_and(|failure| failure.index == at) {
                        let free = Some(capacity.saturating_sub(held));
                        made.history.push(Entry { size, label, free, ..entry("oom", origin) });
                        break;
                    }
                    let Some(address) = addresses.next() else { break };
                    made.history.push(Entry { address, size, label, ..entry("alloc", origin) });
                    made.blocks.insert(address, Block { size, label });
                    slots.insert(slot, (address, size, label));
                }
                Event::Free { slot, origin } => {
                    call += 1;
                    if let Some((address, size, label)) = slots.remove(&slot) {
                        made.blocks.remove(&address);
                        for action in ["free_requested", "free_completed"] {
                            made.history.push(Entry {
                                address,
                                size,
                                label,
                                ..entry(action, origin)
                            });
                        }
                    }
                    made.map(&mut changes, call, time, &mut held);
                }
                Event::Failure { size, origin } => {
                    let free = Some(capacity.saturating_sub(held));
                    made.history.push(Entry { size, free, ..entry("oom", origin) });
                }
                _ => {}
            }
        }
        made
    }

    /// Notes the changes of what is mapped up to a call, and how much that is then.
    fn map<'c>(
        &mut self,
        changes: &mut std::iter::Peekable<impl Iterator<Item = &'c Change>>,
        call: usize,
        time: u64,
        held: &mut u64,
    ) {
        while let Some(change) = changes.next_if(|change| change.call <= call) {
            let unmapped = change.unmapped.iter().map(|range| ("segment_unmap", range));
            let mapped = change.mapped.iter().map(|range| ("segment_map", range));
            for (action, &(address, end)) in unmapped.chain(mapped) {
                let (size, label) = (end - address, Label::NONE);
                self.history.push(Entry {
                    action,
                    address,
                    size,
                    stream: 0,
                    time,
                    label,
                    free: None,
                });
            }
            let sum = |ranges: &[Range]| ranges.iter().map(|(start, end)| end - start).sum::<u64>();
            *held = (*held + sum(&change.mapped)).saturating_sub(sum(&change.unmapped));
        }
    }

    /// What the segments have together, in bytes.
    pub(super) fn reserved(&self) -> u64 {
        self.segments.iter().map(|(start, end)| end - start).sum()
    }

    /// What is live, in bytes.
    pub(super) fn live(&self) -> u64 {
        self.blocks.values().map(|block| block.size).sum()
    }

    /// What is live outside of the segments, in bytes.
    pub(super) fn outside(&self) -> u64 {
        let within = |&(start, end): &Range| self.blocks.range(start..end);
        let within = self.segments.iter().flat_map(within);
        self.live() - within.map(|(_, block)| block.size).sum::<u64>()
    }

    /// The most that was live, in bytes.
    pub(super) fn peak_live(&self) -> u64 {
        let (mut live, mut most) = (0, 0);
        for entry in &self.history {
            match entry.action {
                "alloc" => live += entry.size,
                "free_completed" => live -= entry.size,
                _ => {}
            }
            most = most.max(live);
        }
        most
    }

    /// Writes it as a pickle.
    pub(super) fn write(&self, to: &mut Vec<u8>) {
        let mut pickle = Pickle::new(to);
        let mut stacks = Stacks::default();
        pickle.dict(|pickle| {
            pickle.text("segments");
            pickle
                .list(self.segments, |pickle, &segment| self.segment(segment, pickle, &mut stacks));
            pickle.text("device_traces");
            pickle.list([&self.history], |pickle, history| {
                pickle.list(history, |pickle, entry| entry.write(pickle, &mut stacks));
            });
        });
        pickle.stop();
    }

    fn segment(&self, (start, end): Range, pickle: &mut Pickle<'_>, stacks: &mut Stacks) {
        let blocks = || self.blocks.range(start..end);
        let requested: u64 = blocks().map(|(_, block)| block.size).sum();
        // Every range of it with its size, the block if there is one, and its end.
        let mut ranges = Vec::new();
        let mut at = start;
        let mut blocks = blocks().peekable();
        while let Some((&address, &block)) = blocks.next() {
            if address > at {
                ranges.push((at, address - at, None));
            }
            let bound = blocks.peek().map_or(end, |(next, _)| **next) - address;
            let taken = self.taken.get(&address).filter(|&&taken| taken <= bound);
            let size = taken.copied().unwrap_or(block.size).max(block.size);
            ranges.push((address, size, Some(block)));
            at = address + size;
        }
        if at < end {
            ranges.push((at, end - at, None));
        }
        let active: u64 =
            ranges.iter().filter(|(.., block)| block.is_some()).map(|(_, size, _)| size).sum();
        pickle.dict(|pickle| {
            for (field, number) in [
                ("device", 0),
                ("address", start),
                ("total_size", end - start),
                ("allocated_size", active),
                ("active_size", active),
                ("requested_size", requested),
                ("stream", 0),
            ] {
                pickle.text(field);
                pickle.number(number);
            }
            pickle.text("segment_type");
            pickle.text("large");
            pickle.text("segment_pool_id");
            pickle.pair(0, 0);
            pickle.text("is_expandable");
            pickle.truth(true);
            pickle.text("frames");
            stacks.write(Label::NONE, pickle);
            pickle.text("blocks");
            pickle.list(ranges, |pickle, (address, size, block)| {
                pickle.dict(|pickle| {
                    pickle.text("address");
                    pickle.number(address);
                    pickle.text("size");
                    pickle.number(size);
                    pickle.text("requested_size");
                    pickle.number(block.map_or(0, |block| block.size));
                    pickle.text("state");
                    pickle.text(if block.is_some() { "active_allocated" } else { "inactive" });
                    pickle.text("frames");
                    stacks.write(block.map_or(Label::NONE, |block| block.label), pickle);
                });
            });
        });
    }
}

impl Entry {
    fn write(&self, pickle: &mut Pickle<'_>, stacks: &mut Stacks) {
        pickle.dict(|pickle| {
            pickle.text("action");
            pickle.text(self.action);
            for (field, number) in [
                ("addr", self.address),
                ("size", self.size),
                ("stream", self.stream.into()),
                ("time_us", self.time),
            ] {
                pickle.text(field);
                pickle.number(number);
            }
            if let Some(free) = self.free {
                pickle.text("device_free");
                pickle.number(free);
            }
            pickle.text("frames");
            stacks.write(self.label, pickle);
        });
    }
}

/// The stacks that labels are written as, each once.
#[derive(Default)]
struct Stacks(HashMap<Label, u32>);

impl Stacks {
    /// A label as a list of stack frames: each line of it that is one, as `file:line:function`, as that, and any
    /// other as a function in no file.
    fn write(&mut self, label: Label, pickle: &mut Pickle<'_>) {
        if let Some(&number) = self.0.get(&label) {
            return pickle.again(number);
        }
        pickle.list(label.as_str().lines(), |pickle, line| {
            let (filename, number, name) = frame(line);
            pickle.dict(|pickle| {
                pickle.text("name");
                pickle.text(name);
                pickle.text("filename");
                pickle.text(filename);
                pickle.text("line");
                pickle.number(number);
            });
        });
        let number = pickle.keep();
        self.0.insert(label, number);
    }
}

/// File, line and function of a frame.
fn frame(text: &str) -> (&str, u64, &str) {
    for (at, _) in text.match_indices(':') {
        let rest = &text[at + 1..];
        if let Some((number, name)) = rest.split_once(':')
            && let Ok(number) = number.parse()
        {
            return (&text[..at], number, name);
        }
    }
    ("label", 0, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_label_is_a_frame_if_it_looks_like_one() {
        assert_eq!(frame("a/b.py:7:grow"), ("a/b.py", 7, "grow"));
        assert_eq!(frame("??:0:at::empty(long)"), ("??", 0, "at::empty(long)"));
        assert_eq!(frame("c:\\x.py:12:<lambda>"), ("c:\\x.py", 12, "<lambda>"));
        assert_eq!(frame("overlay/input"), ("label", 0, "overlay/input"));
        assert_eq!(frame("at::empty"), ("label", 0, "at::empty"));
    }
}
