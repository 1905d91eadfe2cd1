//! What is live over the events of a trace, by what and for whom: the same on every stack.

use std::collections::HashMap;

use vmem_core::Label;
use vmem_trace::{Event, Trace};

use crate::buckets::Buckets;
use crate::composition::{Composition, Held};
use crate::grouping::{Grouping, group_of_size};

/// The most refusals of a log that are looked at one by one.
pub(crate) const MOST_REFUSALS: usize = 200;

/// A trace's own history, in buckets.
#[derive(Debug)]
pub(crate) struct Timeline {
    pub(crate) name: String,
    pub(crate) buckets: Buckets,
    /// By label, by stream and by size.
    pub(crate) groupings: [Grouping; 3],
    /// The group of each label's index, in the first grouping.
    label_groups: HashMap<Label, u8>,
    /// Whether any memory has a label.
    labelled: bool,
    /// The most bytes live in each bucket, and the fewest.
    pub(crate) most: Vec<u64>,
    pub(crate) least: Vec<u64>,
    /// What is live when most is.
    pub(crate) peak: Composition,
    /// The requests that failed where the trace was taken, as far as they are looked at, with what was
    /// live then.
    pub(crate) failures: Vec<LoggedFailure>,
    /// How many there are.
    pub(crate) failure_count: u64,
    pub(crate) allocations: u64,
}

/// A request that failed where the trace was taken.
#[derive(Debug, Clone)]
pub(crate) struct LoggedFailure {
    pub(crate) size: u64,
    pub(crate) stream: u32,
    pub(crate) live: Composition,
}

impl Timeline {
    pub(crate) fn of(trace: &Trace) -> Self {
        let buckets = Buckets::of(trace.events().len());
        let scan = Scan::of(trace);
        let (by_label, label_groups) = Grouping::of_labels(&scan.labels, buckets);
        let (by_stream, stream_groups) = Grouping::of_streams(&scan.streams, buckets);
        let by_size = Grouping::of_sizes(buckets);
        let mut timeline = Self {
            name: trace.name().to_owned(),
            buckets,
            labelled: scan.labels.keys().any(|label| *label != Label::NONE),
            groupings: [by_label, by_stream, by_size],
            label_groups,
            most: vec![0; buckets.count()],
            least: vec![u64::MAX; buckets.count()],
            peak: Composition::default(),
            failures: Vec::new(),
            failure_count: scan.failures,
            allocations: trace.allocations(),
        };
        timeline.fill(trace, &stream_groups, scan.peak_at);
        timeline
    }

    /// The group that a block is drawn as in the address space: of its label where any memory has one,
    /// of its size otherwise.
    pub(crate) fn group_in_space(&self, label: Label, size: u64) -> u8 {
        if self.labelled {
            self.label_groups.get(&label).copied().unwrap_or(0)
        } else {
            group_of_size(size)
        }
    }

    /// Which of the groupings says most.
    pub(crate) fn telling(&self) -> usize {
        if self.labelled { 0 } else { 2 }
    }

    fn fill(&mut self, trace: &Trace, stream_groups: &HashMap<u32, u8>, peak_at: usize) {
        let mut table: Vec<Option<(Held, [u8; 3])>> = Vec::new();
        let mut live = 0_u64;
        let mut by_group = self.groupings.each_ref().map(|grouping| vec![0; grouping.names.len()]);
        // The first event of a bucket opens it, whether more is live after it or not.
        let mut open = usize::MAX;
        for (index, event) in trace.events().iter().enumerate() {
            match *event {
                Event::Allocate { slot, size, origin, label } => {
                    let groups = [
                        self.label_groups.get(&label).copied().unwrap_or(0),
                        stream_groups.get(&origin.stream).copied().unwrap_or(0),
                        group_of_size(size),
                    ];
                    let held = Held { size, label, stream: origin.stream, since: index };
                    put(&mut table, slot, (held, groups));
                    live += size;
                    for (sums, group) in by_group.iter_mut().zip(groups) {
                        sums[usize::from(group)] += size;
                    }
                }
                Event::Free { slot, .. } => {
                    let held = usize::try_from(slot).ok().and_then(|slot| table[slot].take());
                    let (held, groups) = held.expect("a trace frees only what is live");
                    live -= held.size;
                    for (sums, group) in by_group.iter_mut().zip(groups) {
                        sums[usize::from(group)] -= held.size;
                    }
                }
                Event::Failure { size, origin } if self.failures.len() < MOST_REFUSALS => {
                    let live = Composition::of(index, held_in(&table));
                    self.failures.push(LoggedFailure { size, stream: origin.stream, live });
                }
                _ => {}
            }
            let bucket = self.buckets.of_event(index);
            self.least[bucket] = self.least[bucket].min(live);
            if bucket != open || live > self.most[bucket] {
                open = bucket;
                self.most[bucket] = live;
                for (grouping, sums) in self.groupings.iter_mut().zip(&by_group) {
                    grouping.put(bucket, sums);
                }
            }
            if index == peak_at {
                self.peak = Composition::of(index, held_in(&table));
            }
        }
        if trace.events().is_empty() {
            self.least.fill(0);
        }
    }
}

fn put<T>(table: &mut Vec<Option<T>>, slot: u32, value: T) {
    let slot = usize::try_from(slot).expect("a slot indexes a table in memory");
    if table.len() <= slot {
        table.resize_with(slot + 1, || None);
    }
    table[slot] = Some(value);
}

fn held_in<T>(table: &[Option<(Held, T)>]) -> impl Iterator<Item = &Held> {
    table.iter().flatten().map(|(held, _)| held)
}

/// What has to be known before groups can be chosen.
#[derive(Default)]
struct Scan {
    /// Bytes times events by label and by stream: what fills the picture.
    labels: HashMap<Label, u128>,
    streams: HashMap<u32, u128>,
    /// The first event after which most is live.
    peak_at: usize,
    failures: u64,
}

impl Scan {
    fn of(trace: &Trace) -> Self {
        let mut scan = Self::default();
        let mut table: Vec<Option<(u64, Label, u32, usize)>> = Vec::new();
        let (mut live, mut peak) = (0_u64, 0_u64);
        for (index, event) in trace.events().iter().enumerate() {
            match *event {
                Event::Allocate { slot, size, origin, label } => {
                    put(&mut table, slot, (size, label, origin.stream, index));
                    live += size;
                    if live > peak {
                        (peak, scan.peak_at) = (live, index);
                    }
                }
                Event::Free { slot, .. } => {
                    let held = usize::try_from(slot).ok().and_then(|slot| table[slot].take());
                    if let Some((size, ..)) = held {
                        live -= size;
                    }
                    scan.book(held, index);
                }
                Event::Failure { .. } => scan.failures += 1,
                _ => {}
            }
        }
        for held in table {
            scan.book(held, trace.events().len());
        }
        scan
    }

    fn book(&mut self, held: Option<(u64, Label, u32, usize)>, until: usize) {
        if let Some((size, label, stream, since)) = held {
            let area = u128::from(size) * u128::try_from(until - since).unwrap_or(u128::MAX);
            *self.labels.entry(label).or_default() += area;
            *self.streams.entry(stream).or_default() += area;
        }
    }
}
