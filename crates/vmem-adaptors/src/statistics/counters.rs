//! Everything one adaptor counts.

#![forbid(unsafe_code)]

use std::sync::OnceLock;

use vmem_core::Label;

use super::figures::{LabelUsage, Stats, Usage};
use super::gauge::{Cell, Gauge};
use super::scope;
use super::sizes::{SizeCell, SizeHistogram};
use super::slot::with_slot;
use super::table::Table;
use crate::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug)]
pub(super) struct Counters {
    all: Gauge,
    /// By slot.
    threads: Table<Thread>,
    /// By label index. Unlabelled memory is counted in `all` only.
    labels: Table<OnceLock<Box<Labelled>>>,
    failures: AtomicU64,
    refused_frees: AtomicU64,
}

/// What one thread counted over everything.
#[derive(Debug, Default)]
struct Thread {
    cell: Cell,
    sizes: SizeCell,
}

#[derive(Debug)]
struct Labelled {
    label: Label,
    gauge: Gauge,
    /// By slot.
    cells: Table<Cell>,
}

impl Counters {
    pub(super) fn new() -> Self {
        Self {
            all: Gauge::default(),
            threads: Table::new(),
            labels: Table::new(),
            failures: AtomicU64::new(0),
            refused_frees: AtomicU64::new(0),
        }
    }

    #[inline]
    pub(super) fn allocated(&self, size: u64, label: Label) {
        with_slot(|slot| {
            let thread = self.threads.get(slot);
            self.all.allocated(&thread.cell, size);
            thread.sizes.count(size);
            if label != Label::NONE {
                let Labelled { gauge, cells, .. } = self.labelled(label);
                gauge.allocated(cells.get(slot), size);
            }
        });
        scope::allocated(self, size);
    }

    #[inline]
    pub(super) fn freed(&self, size: u64, label: Label) {
        with_slot(|slot| {
            self.all.freed(&self.threads.get(slot).cell, size);
            if label != Label::NONE {
                let Labelled { gauge, cells, .. } = self.labelled(label);
                gauge.freed(cells.get(slot), size);
            }
        });
        scope::freed(self, size);
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
        let Usage { bytes, blocks } = self.all.usage(self.cells());
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
        let labelled = self.labels.peek(index(label)).and_then(OnceLock::get);
        labelled.map_or_else(Usage::default, |labelled| labelled.usage())
    }

    pub(super) fn labels(&self) -> Vec<LabelUsage> {
        let read =
            |labelled: &Labelled| LabelUsage { label: labelled.label, usage: labelled.usage() };
        self.each_label().map(read).collect()
    }

    pub(super) fn reset_peaks(&self) {
        self.all.reset_peak(self.cells());
        self.each_label().for_each(|labelled| labelled.gauge.reset_peak(labelled.cells.iter()));
    }

    #[inline]
    fn labelled(&self, label: Label) -> &Labelled {
        let labelled = self.labels.get(index(label));
        labelled.get_or_init(|| Box::new(Labelled::new(label)))
    }

    fn cells(&self) -> impl Iterator<Item = &Cell> + Clone {
        self.threads.iter().map(|thread| &thread.cell)
    }

    fn each_label(&self) -> impl Iterator<Item = &Labelled> {
        self.labels.iter().filter_map(OnceLock::get).map(|labelled| &**labelled)
    }
}

impl Labelled {
    fn new(label: Label) -> Self {
        Self { label, gauge: Gauge::default(), cells: Table::new() }
    }

    fn usage(&self) -> Usage {
        self.gauge.usage(self.cells.iter())
    }
}

fn index(label: Label) -> usize {
    label.index() as usize
}
