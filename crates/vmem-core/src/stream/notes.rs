//! What resources note on a stream, so that they find it there again.

// Never loom's: whoever reads a note checks it.
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use crate::ResourceId;

/// How many resources find their notes again.
const NOTES: usize = 4;

/// The latest notes, a number for a resource.
#[derive(Debug, Default)]
pub(super) struct Notes {
    notes: [Note; NOTES],
    made: AtomicUsize,
}

#[derive(Debug, Default)]
struct Note {
    /// Zero is none.
    resource: AtomicU64,
    number: AtomicU32,
}

impl Notes {
    /// The number noted for a resource; or another resource's, if it is noting one just now.
    #[inline]
    pub(super) fn get(&self, resource: ResourceId) -> Option<u32> {
        let here = |note: &&Note| note.resource.load(Ordering::Relaxed) == resource.get();
        Some(self.notes.iter().find(here)?.number.load(Ordering::Relaxed))
    }

    /// Notes a number for a resource, instead of an older one, or of the oldest note of another.
    #[cold]
    pub(super) fn set(&self, resource: ResourceId, number: u32) {
        let here = |note: &&Note| note.resource.load(Ordering::Relaxed) == resource.get();
        let note = self
            .notes
            .iter()
            .find(here)
            .unwrap_or_else(|| &self.notes[self.made.fetch_add(1, Ordering::Relaxed) % NOTES]);
        note.resource.store(0, Ordering::Relaxed);
        note.number.store(number, Ordering::Relaxed);
        note.resource.store(resource.get(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_notes_are_found_again() {
        let notes = Notes::default();
        let resources: Vec<ResourceId> = (0..=NOTES).map(|_| ResourceId::new()).collect();
        (0..).zip(&resources).for_each(|(number, &resource)| notes.set(resource, number));
        notes.set(resources[2], 20);
        let found: Vec<_> = resources.iter().map(|&resource| notes.get(resource)).collect();
        assert_eq!(found, [None, Some(1), Some(20), Some(3), Some(4)]);
    }
}
