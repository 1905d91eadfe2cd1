//! The blocks that are out.

#![forbid(unsafe_code)]

use std::backtrace::Backtrace;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Mutex, MutexGuard};

use rustc_hash::FxBuildHasher;
use vmem_core::author::{Handled, fork};
use vmem_core::{RawBlock, StreamId};

use super::report::{LeakReport, OutstandingBlock};
use super::{Backtraces, TrackHandle};
use crate::blocks::{Place, Turn};

struct Tracked {
    block: RawBlock,
    stream: StreamId,
    sequence: u64,
    backtrace: Option<Backtrace>,
}

#[derive(Default)]
struct Entries {
    next: u64,
    /// By place, so that a block that was freed some other way goes when another one lies there; and
    /// by turn, because a place is another's while the block is being freed.
    live: HashMap<Place, (Turn, Tracked), FxBuildHasher>,
}

pub(super) struct Ledger {
    backtraces: Backtraces,
    entries: Mutex<Entries>,
}

impl Ledger {
    pub(super) fn new(backtraces: Backtraces) -> Self {
        Self { backtraces, entries: Mutex::default() }
    }

    pub(super) fn backtraces(&self) -> Backtraces {
        self.backtraces
    }

    pub(super) fn enter(&self, block: RawBlock, stream: StreamId) {
        // Captured before the lock: it takes long.
        let backtrace = match self.backtraces {
            Backtraces::Off => None,
            Backtraces::Capture => Some(Backtrace::force_capture()),
        };
        let mut entries = self.lock();
        entries.next += 1;
        let sequence = entries.next;
        let entry = Tracked { block, stream, sequence, backtrace };
        let former = entries.live.insert(Place::of(&block), (Turn::of(&block), entry));
        drop(entries);
        // A backtrace is dropped without the lock.
        drop(former);
    }

    /// Strikes a block out; nothing happens if it was never entered.
    pub(super) fn strike(&self, block: &RawBlock) {
        let mut entries = self.lock();
        let struck = match entries.live.entry(Place::of(block)) {
            Entry::Occupied(entry) if entry.get().0 == Turn::of(block) => Some(entry.remove()),
            Entry::Occupied(_) | Entry::Vacant(_) => None,
        };
        drop(entries);
        drop(struck);
    }

    pub(super) fn len(&self) -> usize {
        self.lock().live.len()
    }

    pub(super) fn report(&self) -> LeakReport {
        let list = |entry: &Tracked| OutstandingBlock {
            sequence: entry.sequence,
            ptr: entry.block.ptr(),
            layout: entry.block.layout(),
            label: entry.block.label(),
            stream: entry.stream,
            backtrace: entry.backtrace.as_ref().map(Backtrace::to_string),
        };
        let mut blocks: Vec<_> = self.lock().live.values().map(|(_, entry)| list(entry)).collect();
        blocks.sort_unstable_by_key(|block| block.sequence);
        LeakReport { blocks }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        fork::locked(|| self.entries.lock())
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("outstanding", &self.len()).finish_non_exhaustive()
    }
}

/// Reports what is still out when the adaptor is dropped.
pub(super) struct ReportAtDrop {
    ledger: Handled<Ledger>,
    armed: bool,
}

impl ReportAtDrop {
    pub(super) fn new(ledger: Ledger) -> Self {
        Self { ledger: Handled::new(ledger), armed: true }
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(super) fn handle(&self) -> TrackHandle {
        TrackHandle { ledger: self.ledger.handle() }
    }

    /// The blocks outlive the adaptor on purpose.
    pub(super) fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for ReportAtDrop {
    fn drop(&mut self) {
        if fork::is_child() {
            return;
        }
        if self.armed && self.ledger.len() != 0 {
            self.ledger.report().log();
        }
    }
}
