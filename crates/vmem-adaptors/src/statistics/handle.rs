//! Reading statistics from outside the stack.

use vmem_core::author::Handle;
use vmem_core::{HandleError, Label};

use super::counters::Counters;
use super::figures::{LabelUsage, Stats, Usage};
use super::scope::StatsScope;
use super::sizes::SizeHistogram;

/// Reads and resets what a [`Statistics`](crate::Statistics) adaptor counts.
///
/// It does not keep the adaptor alive; every call answers when that is gone. Clones read the same
/// counters.
#[derive(Debug, Clone)]
pub struct StatsHandle {
    counters: Handle<Counters>,
}

impl StatsHandle {
    pub(super) fn new(counters: Handle<Counters>) -> Self {
        Self { counters }
    }

    /// The figures over everything; `None` once the adaptor is gone.
    pub fn stats(&self) -> Option<Stats> {
        self.counters.get().map(|counters| counters.stats())
    }

    /// The sizes of the blocks; `None` once the adaptor is gone.
    pub fn sizes(&self) -> Option<SizeHistogram> {
        self.counters.get().map(|counters| counters.sizes())
    }

    /// The figures of one label, all zero for a label never seen and for [`Label::NONE`]; `None`
    /// once the adaptor is gone.
    pub fn label(&self, label: Label) -> Option<Usage> {
        self.counters.get().map(|counters| counters.label(label))
    }

    /// The figures of each label that was ever seen, in the order in which labels were interned;
    /// `None` once the adaptor is gone.
    pub fn labels(&self) -> Option<Vec<LabelUsage>> {
        self.counters.get().map(|counters| counters.labels())
    }

    /// Makes what is in use now the peak, over everything and for each label.
    ///
    /// # Errors
    /// [`HandleError::Gone`] once the adaptor is.
    pub fn reset_peaks(&self) -> Result<(), HandleError> {
        self.counters.require("StatsHandle::reset_peaks")?.reset_peaks();
        Ok(())
    }

    /// Starts counting what the calling thread does through the adaptor.
    ///
    /// # Errors
    /// [`HandleError::Gone`] once the adaptor is.
    pub fn scope(&self) -> Result<StatsScope, HandleError> {
        Ok(StatsScope::begin(&self.counters.require("StatsHandle::scope")?))
    }
}
