//! Reading statistics from outside the stack.

use vmem_core::Label;

use super::counters::Counters;
use super::figures::{LabelUsage, Stats, Usage};
use super::scope::StatsScope;
use super::sizes::SizeHistogram;
use crate::shared::Shared;

/// Reads and resets what a [`Statistics`](crate::Statistics) adaptor counts.
///
/// Take it before the stack's type is erased. Clones read the same counters. The last figures stay
/// readable after the stack is gone; [`is_live`](Self::is_live) tells.
///
/// Figures read while other threads allocate are exact for some moment of each thread; a free is
/// never counted without its allocation.
#[derive(Debug, Clone)]
pub struct StatsHandle {
    counters: Shared<Counters>,
}

impl StatsHandle {
    pub(super) fn new(counters: Shared<Counters>) -> Self {
        Self { counters }
    }

    /// Whether the adaptor still exists.
    pub fn is_live(&self) -> bool {
        self.counters.is_live()
    }

    /// The figures over everything. Takes time in the number of threads.
    pub fn stats(&self) -> Stats {
        self.counters.stats()
    }

    /// How large the blocks were.
    pub fn sizes(&self) -> SizeHistogram {
        self.counters.sizes()
    }

    /// What is booked on one label; all zero for a label never seen and for [`Label::NONE`].
    pub fn label(&self, label: Label) -> Usage {
        self.counters.label(label)
    }

    /// What is booked on each label that was ever seen, in the order in which labels were interned.
    pub fn labels(&self) -> Vec<LabelUsage> {
        self.counters.labels()
    }

    /// Makes what is in use now the peak, over everything and for each label. Exact while no other
    /// thread allocates.
    pub fn reset_peaks(&self) {
        self.counters.reset_peaks();
    }

    /// Starts counting what the calling thread does through the adaptor.
    pub fn scope(&self) -> StatsScope {
        StatsScope::begin(self.counters.state().clone())
    }
}
