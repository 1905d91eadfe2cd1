//! Everything one adaptor counts.

#![forbid(unsafe_code)]

use std::fmt;
use std::sync::OnceLock;

use vmem_core::Label;

use super::figures::{LabelUsage, Stats, Usage};
use super::gauge::{Cell, Gauge};
use super::scope;
use super::sizes::{SizeCell, SizeHistogram};
use super::slot::with_slot;
use super::table::Table;
use crate::sync::atomic::{AtomicU64, Ordering};

pub(super) struct Counters {
    all: Apart<Gauge>,
    /// By slot.
    threads: Table<Thread>,
    /// By label index. Unlabelled memory is counted in `all` only.
    labels: Table<Gauge>,
    /// The labels that something is booked on, by index.
    seen: Table<OnceLock<Label>>,
    failures: AtomicU64,
    refused_frees: AtomicU64,
}

/// What one thread counted: over everything, and by label index. On cache lines of its own, as the
/// size cell is.
#[derive(Default)]
struct Thread {
    cell: Cell,
    labels: Table<Cell>,
    sizes: SizeCell,
}

/// Something on cache lines of its own. (128 because processors fetch lines of 64 in pairs.)
#[derive(Default)]
#[repr(align(128))]
struct Apart<T>(T);

impl Counters {
    pub(super) fn new() -> Self {
        Self {
            all: Apart::default(),
            threads: Table::default(),
            labels: Table::default(),
            seen: Table::default(),
            failures: AtomicU64::new(0),
            refused_frees: AtomicU64::new(0),
        }
    }

    #[inline]
    pub(super) fn allocated(&self, size: u64, label: Label) {
        with_slot(|slot| {
            let thread = self.threads.get(slot);
            self.all.0.allocated(&thread.cell, size);
            thread.sizes.count(size);
            if label != Label::NONE {
                let cell = self.labelled(thread, label);
                self.labels.get(index(label)).allocated(cell, size);
            }
        });
        scope::allocated(self, size);
    }

    #[inline]
    pub(super) fn freed(&self, size: u64, label: Label) {
        with_slot(|slot| {
            let thread = self.threads.get(slot);
            self.all.0.freed(&thread.cell, size);
            if label != Label::NONE {
                let cell = self.labelled(thread, label);
                self.labels.get(index(label)).freed(cell, size);
            }
        });
        scope::freed(self, size);
    }

    /// The calling thread's cell for a label.
    #[inline]
    fn labelled<'a>(&self, thread: &'a Thread, label: Label) -> &'a Cell {
        let cell = thread.labels.get(index(label));
        if cell.is_unused() {
            self.see(label);
        }
        cell
    }

    #[cold]
    fn see(&self, label: Label) {
        self.seen.get(index(label)).get_or_init(|| label);
    }

    #[cold]
    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    #[cold]
    pub(super) fn refused_free(&self) {
        self.refused_frees.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn stats(&self) -> Stats {
        let Usage { bytes, blocks } = self.all.0.usage(self.cells());
        Stats {
            bytes,
            blocks,
            failures: self.failures.load(Ordering::Relaxed),
            refused_frees: self.refused_frees.load(Ordering::Relaxed),
        }
    }

    pub(super) fn sizes(&self) -> SizeHistogram {
        SizeCell::sum(self.threads.iter().map(|thread| &thread.sizes))
    }

    pub(super) fn label(&self, label: Label) -> Usage {
        let gauge = self.labels.peek(index(label));
        gauge.map_or_else(Usage::default, |gauge| gauge.usage(self.label_cells(label)))
    }

    pub(super) fn labels(&self) -> Vec<LabelUsage> {
        let read = |label| LabelUsage { label, usage: self.label(label) };
        self.each_label().map(read).collect()
    }

    pub(super) fn reset_peaks(&self) {
        self.all.0.reset_peak(self.cells());
        for label in self.each_label() {
            self.labels.get(index(label)).reset_peak(self.label_cells(label));
        }
    }

    fn cells(&self) -> impl Iterator<Item = &Cell> + Clone {
        self.threads.iter().map(|thread| &thread.cell)
    }

    fn label_cells(&self, label: Label) -> impl Iterator<Item = &Cell> + Clone {
        self.threads.iter().filter_map(move |thread| thread.labels.peek(index(label)))
    }

    fn each_label(&self) -> impl Iterator<Item = Label> {
        self.seen.iter().filter_map(OnceLock::get).copied()
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Counters({})", self.stats())
    }
}

fn index(label: Label) -> usize {
    label.index() as usize
}
