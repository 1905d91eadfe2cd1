//! Which blocks are live.

#![forbid(unsafe_code)]

/// Values in numbered slots, each with the number of times its slot was used before.
///
/// Without a lock of its own: it is under the one that the modelled pool has anyway.
#[derive(Debug)]
pub(super) struct Slots<T> {
    entries: Vec<Entry<T>>,
    vacant: Vec<u32>,
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Slots<T> {
    /// Puts a value into a vacant slot.
    ///
    /// # Panics
    /// With 2³² values.
    pub(super) fn issue(&mut self, value: T) -> (u32, u32) {
        let slot = self.vacant.pop().unwrap_or_else(|| {
            let slot = u32::try_from(self.entries.len()).expect("fewer than 2^32 live blocks");
            self.entries.push(Entry { generation: 0, value: None });
            slot
        });
        let entry = &mut self.entries[slot as usize];
        entry.value = Some(value);
        (slot, entry.generation)
    }

    /// The value in a slot, if it has been there since the slot had that generation.
    pub(super) fn get(&self, slot: u32, generation: u32) -> Option<&T> {
        let entry = self.entries.get(slot as usize)?;
        entry.value.as_ref().filter(|_| entry.generation == generation)
    }

    /// Empties a slot that holds a value.
    pub(super) fn vacate(&mut self, slot: u32) {
        let entry = &mut self.entries[slot as usize];
        entry.value = None;
        entry.generation = entry.generation.wrapping_add(1);
        self.vacant.push(slot);
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.vacant.len()
    }
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), vacant: Vec::new() }
    }
}
