//! Lanes that have ended, until nothing refers to them any more, and what may be pending of those that were
//! forgotten since.

use vmem_core::Event;

use crate::space::StreamIx;

/// So many markers of forgotten lanes are kept.
const MOST_MARKERS: usize = 8;

/// Lanes that have ended, and what is left of those that are forgotten.
#[derive(Debug, Default)]
pub(crate) struct Departed {
    /// Lanes that have ended and are not forgotten.
    pub(super) ended: Vec<StreamIx>,
    /// With more of those it is time to look which can be forgotten.
    sweep_above: usize,
    /// The last markers of forgotten lanes that were not known to be complete then.
    pub(crate) markers: Vec<Event>,
    /// There were more, or some that had left none.
    pub(crate) unknown: bool,
    /// How many lanes were noted in all.
    pub(crate) count: u64,
}

impl Departed {
    /// Whether it is time to look which of the lanes that have ended can be forgotten. Looking takes as
    /// many steps as there are, so it is put off until twice as many have ended as could not be
    /// forgotten the last time.
    pub(super) fn is_sweep_due(&self) -> bool {
        self.ended.len() > self.sweep_above
    }

    /// Lanes that have ended, which were looked at, cannot be forgotten yet.
    pub(super) fn keep(&mut self, lanes: Vec<StreamIx>) {
        self.sweep_above = 2 * lanes.len();
        self.ended = lanes;
    }

    /// A lane is forgotten whose work may be pending up to this marker.
    pub(super) fn note(&mut self, marker: Option<Event>) {
        self.count += 1;
        match marker {
            Some(marker) if self.markers.len() < MOST_MARKERS => self.markers.push(marker),
            _ => self.unknown = true,
        }
    }

    /// All work of the device was waited for when so many lanes had been noted. Returns their markers, if there
    /// were no more since.
    #[must_use = "events are destroyed by driver calls, which must not happen under the lock"]
    pub(crate) fn take_done(&mut self, count: u64) -> Vec<Event> {
        if self.count > count {
            return Vec::new();
        }
        self.unknown = false;
        std::mem::take(&mut self.markers)
    }
}
