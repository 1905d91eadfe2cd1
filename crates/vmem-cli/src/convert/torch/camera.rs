//! Watching a pool during a replay.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use vmem_core::{MemoryEvent, MemoryEventKind, MemoryObserver};
use vmem_pool::{Counters, PoolHandle, RangeState, Snapshot};
use vmem_trace::{Event, Trace};

/// A range of addresses, from its start up to its end.
pub(super) type Range = (u64, u64);

/// Notes where blocks are put and which addresses have memory, up to a moment.
#[derive(Debug)]
pub(super) struct Camera {
    pool: PoolHandle,
    /// How many calls are made of the stack up to the moment.
    calls: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    calls: usize,
    counters: Counters,
    picture: Picture,
    /// Where memory that is at home elsewhere can be shown.
    windows: HashSet<u64>,
    /// The moment has come.
    done: bool,
}

/// A pool at a moment, and how it came to that.
#[derive(Debug, Clone, Default)]
pub(super) struct Picture {
    /// Where each block was put, in the order in which they were allocated.
    pub(super) addresses: Vec<u64>,
    /// The addresses that have memory, by address, none touching the next.
    pub(super) mapped: Vec<Range>,
    /// When that changed.
    pub(super) changes: Vec<Change>,
    /// What blocks take, by their addresses, rounding included.
    pub(super) taken: HashMap<u64, u64>,
    /// What the pool holds, in bytes.
    pub(super) reserved: u64,
}

/// A change of the addresses that have memory.
#[derive(Debug, Clone)]
pub(super) struct Change {
    /// During which call of the stack, counted from 1; 0 for before the first.
    pub(super) call: usize,
    pub(super) unmapped: Vec<Range>,
    pub(super) mapped: Vec<Range>,
}

impl Camera {
    /// Watches `pool` during a replay of `trace`, until so many of its events have happened.
    pub(super) fn new(pool: PoolHandle, trace: &Trace, events: usize) -> Self {
        let calls = |event: &&Event| matches!(event, Event::Allocate { .. } | Event::Free { .. });
        let calls = trace.events()[..events].iter().filter(calls).count();
        let mut state = State::default();
        state.look(&pool, false);
        if calls == 0 {
            state.take(&pool);
        }
        Self { pool, calls, state: Mutex::new(state) }
    }

    /// What there is to be seen; `None` if the moment has not come.
    pub(super) fn picture(&self) -> Option<Picture> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.done.then(|| state.picture.clone())
    }
}

impl MemoryObserver for Camera {
    fn event(&self, event: &MemoryEvent) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_call = matches!(
            event.kind,
            MemoryEventKind::Allocate { .. }
                | MemoryEventKind::Free { .. }
                | MemoryEventKind::Failure { .. }
        );
        if state.done || !is_call {
            return;
        }
        state.calls += 1;
        // Whether other addresses have memory than before, as far as this alone tells.
        let mut moved = false;
        match event.kind {
            MemoryEventKind::Allocate { ptr, .. } => {
                state.picture.addresses.push(ptr.get());
                moved = !state.has_memory(ptr.get());
            }
            // Memory that is shown in a window is at home again, which nothing counts.
            MemoryEventKind::Free { ptr, .. } => moved = state.windows.contains(&ptr.get()),
            _ => {}
        }
        state.look(&self.pool, moved);
        // A request that is refused ends the replay.
        let refused = matches!(event.kind, MemoryEventKind::Failure { .. });
        if refused || state.calls == self.calls {
            state.take(&self.pool);
        }
    }
}

impl State {
    /// Looks whether other addresses have memory than before, as they do if the counters or the caller say so.
    fn look(&mut self, pool: &PoolHandle, said: bool) {
        let Some(counters) = pool.counters() else { return };
        let mapping = |of: &Counters| {
            (of.growths, of.bytes_grown, of.bytes_trimmed, of.moves, of.returns, of.aliased)
        };
        let changed = mapping(&counters) != mapping(&self.counters);
        self.counters = counters;
        if !(changed || said) {
            return;
        }
        let Some(snapshot) = pool.snapshot() else { return };
        self.windows = snapshot.windows.iter().map(|window| window.start.get()).collect();
        let now = mapped(&snapshot);
        let before = std::mem::replace(&mut self.picture.mapped, now);
        let unmapped = without(&before, &self.picture.mapped);
        let mapped = without(&self.picture.mapped, &before);
        if !(unmapped.is_empty() && mapped.is_empty()) {
            self.picture.changes.push(Change { call: self.calls, unmapped, mapped });
        }
    }

    /// Whether an address was among those with memory when it was last looked.
    fn has_memory(&self, address: u64) -> bool {
        let after = self.picture.mapped.partition_point(|&(start, _)| start <= address);
        let range = after.checked_sub(1).and_then(|at| self.picture.mapped.get(at));
        range.is_some_and(|&(_, end)| address < end)
    }

    fn take(&mut self, pool: &PoolHandle) {
        let Some(snapshot) = pool.snapshot() else { return };
        self.picture.reserved = snapshot.counters.reserved;
        let ranges = snapshot.segments.iter().flat_map(|segment| &segment.ranges);
        let live = ranges.filter(|range| matches!(range.state, RangeState::Live { .. }));
        self.picture.taken = live.map(|range| (range.start.get(), range.size)).collect();
        self.done = true;
    }
}

/// The addresses that have memory of their own.
fn mapped(snapshot: &Snapshot) -> Vec<Range> {
    let ranges = snapshot.segments.iter().flat_map(|segment| &segment.ranges);
    let of_own = ranges
        .filter(|range| !matches!(range.state, RangeState::Unmapped | RangeState::Dormant))
        .map(|range| (range.start.get(), range.start.get() + range.size));
    let mut joined: Vec<Range> = Vec::new();
    for (start, end) in of_own {
        match joined.last_mut() {
            Some(last) if last.1 == start => last.1 = end,
            _ => joined.push((start, end)),
        }
    }
    joined
}

/// What of some ranges is not in others; both by address, none touching the next.
fn without(these: &[Range], others: &[Range]) -> Vec<Range> {
    let mut left = Vec::new();
    let mut others = others.iter().copied().peekable();
    for &(mut start, end) in these {
        while let Some(&(from, to)) = others.peek() {
            if to > start && from < end {
                if from > start {
                    left.push((start, from));
                }
                start = to;
            }
            if to > end {
                break;
            }
            others.next();
        }
        if start < end {
            left.push((start, end));
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_taken_out_of_ranges() {
        let all = [(0, 10), (20, 30)];
        assert_eq!(without(&all, &[]), all);
        assert_eq!(without(&all, &all), []);
        assert_eq!(without(&all, &[(2, 4), (6, 22), (29, 40)]), [(0, 2), (4, 6), (22, 29)]);
        assert_eq!(without(&all, &[(0, 40)]), []);
        assert_eq!(without(&all, &[(10, 20)]), all);
        assert_eq!(without(&[(0, 5), (7, 9)], &[(0, 7), (8, 9)]), [(7, 8)]);
    }
}
