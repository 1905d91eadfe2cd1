//! Everything one adaptor counts.

#![forbid(unsafe_code)]

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use spin::mutex::{SpinMutex, SpinMutexGuard};
use vmem_core::Label;
use vmem_core::author::fork;

use super::figures::{LabelUsage, Stats, Usage};
use super::flow::Flows;
use super::scope;
use super::sizes::SizeHistogram;

/// On cache lines of its own, as every thread writes it. (128 because processors fetch lines of 64
/// in pairs.)
#[repr(align(128))]
pub(super) struct Counters {
    /// What it holds is touched for a few additions, in less time than a lock that puts threads to
    /// sleep takes to be given back: with `parking_lot`'s a pair takes 20 instructions more.
    counted: SpinMutex<Counted>,
    /// Apart from it: a forked child, in which every request fails, must not wait for a lock.
    failures: AtomicU64,
    refused_frees: AtomicU64,
}

#[derive(Default)]
struct Counted {
    all: Flows,
    /// By label index, up to the last that was seen. Unlabelled memory is counted in `all` only.
    labels: Vec<Flows>,
    sizes: SizeHistogram,
}

impl Counters {
    pub(super) fn new() -> Self {
        let (failures, refused_frees) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { counted: SpinMutex::default(), failures, refused_frees }
    }

    #[inline]
    pub(super) fn allocated(&self, size: u64, label: Label) {
        self.count(Counted::allocated, Flows::allocated, (size, label));
    }

    #[inline]
    pub(super) fn freed(&self, size: u64, label: Label) {
        self.count(Counted::freed, Flows::freed, (size, label));
    }

    /// Counts a block here and in the thread's scopes.
    ///
    /// Whatever is rare is one call at the end, so that the usual way saves no registers for it.
    #[inline(always)]
    fn count(
        &self,
        here: impl FnOnce(&mut Counted, u64, Label),
        in_scope: impl Fn(&mut Flows, u64),
        (size, label): (u64, Label),
    ) {
        if !scope::any_is_open()
            && let Some(mut counted) = self.counted.try_lock()
        {
            return here(&mut counted, size, label);
        }
        self.count_slowly(here, in_scope, (size, label));
    }

    #[cold]
    #[inline(never)]
    fn count_slowly(
        &self,
        here: impl FnOnce(&mut Counted, u64, Label),
        in_scope: impl Fn(&mut Flows, u64),
        (size, label): (u64, Label),
    ) {
        here(&mut self.lock(), size, label);
        scope::update(self, |flows| in_scope(flows, size));
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
        let Usage { bytes, blocks } = self.lock().all.usage();
        Stats {
            bytes,
            blocks,
            failures: self.failures.load(Ordering::Relaxed),
            refused_frees: self.refused_frees.load(Ordering::Relaxed),
        }
    }

    pub(super) fn sizes(&self) -> SizeHistogram {
        self.lock().sizes
    }

    pub(super) fn label(&self, label: Label) -> Usage {
        self.lock().labels.get(index(label)).copied().unwrap_or_default().usage()
    }

    pub(super) fn labels(&self) -> Vec<LabelUsage> {
        // A copy, so that names are looked up without the lock.
        let labels = self.lock().labels.clone();
        let seen = (0..).zip(labels).filter(|(_, flows)| *flows != Flows::default());
        seen.filter_map(|(index, flows)| {
            let usage = flows.usage();
            Some(LabelUsage { label: Label::from_index(index)?, usage })
        })
        .collect()
    }

    pub(super) fn reset_peaks(&self) {
        let mut counted = self.lock();
        counted.all.reset_peaks();
        counted.labels.iter_mut().for_each(Flows::reset_peaks);
    }

    fn lock(&self) -> SpinMutexGuard<'_, Counted> {
        self.counted.try_lock().unwrap_or_else(|| self.wait())
    }

    /// Waits while another thread counts: busily, then giving way, then asleep, so that a thread of
    /// high priority does not keep from running the one that it waits for.
    #[cold]
    #[inline(never)]
    fn wait(&self) -> SpinMutexGuard<'_, Counted> {
        let mut tries = 0_u32;
        loop {
            if let Some(counted) = self.counted.try_lock() {
                return counted;
            }
            if fork::is_child() {
                fork::abort();
            }
            match tries {
                0..64 => std::hint::spin_loop(),
                64..128 => std::thread::yield_now(),
                _ => std::thread::sleep(Duration::from_micros(50)),
            }
            tries = tries.saturating_add(1);
        }
    }
}

impl Counted {
    #[inline]
    fn allocated(&mut self, size: u64, label: Label) {
        self.all.allocated(size);
        self.sizes.add(size);
        self.under(label, |flows| flows.allocated(size));
    }

    #[inline]
    fn freed(&mut self, size: u64, label: Label) {
        self.all.freed(size);
        self.under(label, |flows| flows.freed(size));
    }

    #[inline]
    fn under(&mut self, label: Label, change: impl FnOnce(&mut Flows)) {
        if label != Label::NONE {
            match self.labels.get_mut(index(label)) {
                Some(flows) => change(flows),
                None => change(self.make_room(index(label))),
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn make_room(&mut self, index: usize) -> &mut Flows {
        self.labels.resize(index + 1, Flows::default());
        &mut self.labels[index]
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counters").finish_non_exhaustive()
    }
}

fn index(label: Label) -> usize {
    label.index() as usize
}
