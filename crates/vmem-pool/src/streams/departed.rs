//! Streams that ended, of which nothing is left but the work that was still on them.

use vmem_core::Event;

/// So many markers are kept.
const MOST: usize = 8;

/// The last markers of forgotten lanes that were not known to be complete then.
#[derive(Debug, Default)]
pub(crate) struct Departed {
    markers: Vec<Event>,
    /// There were more, or some that had left none.
    unknown: bool,
    /// How many lanes were noted in all.
    count: u64,
}

impl Departed {
    /// A lane is forgotten whose work may be pending up to this marker.
    pub(super) fn note(&mut self, marker: Option<Event>) {
        self.count += 1;
        match marker {
            Some(marker) if self.markers.len() < MOST => self.markers.push(marker),
            _ => self.unknown = true,
        }
    }

    pub(crate) fn markers(&self) -> impl Iterator<Item = &Event> {
        self.markers.iter()
    }

    /// Whether nothing tells of some of their work.
    pub(crate) fn is_unknown(&self) -> bool {
        self.unknown
    }

    /// How many lanes were noted in all.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }
}
