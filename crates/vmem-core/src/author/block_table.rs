//! Which blocks a resource has out, with what it must remember of each.

use std::fmt;

use super::fork;
use crate::sync::{Mutex, MutexGuard};
use crate::{
    Block, BlockLayout, DevicePtr, DriverError, FreeError, FreeErrorKind, Label, RawBlock,
    ResourceId,
};

/// The live blocks of a resource that issues its own, each with a value of `T`.
///
/// It gives every block a slot and a generation, and refuses foreign and stale blocks. Meant for
/// leaves and for wrappers that cannot pass their upstream's blocks on unchanged. All operations
/// take constant time under one lock.
///
/// A slot that has been used 2³² times is never used again, so that no generation comes back: each
/// such slot costs the table its entry, some 40 bytes, for good.
pub struct BlockTable<T> {
    owner: ResourceId,
    slots: Mutex<Slots<T>>,
}

struct Slots<T> {
    entries: Vec<Entry<T>>,
    vacant: Vec<u32>,
    /// Slots without a generation left.
    worn_out: usize,
}

struct Entry<T> {
    generation: u32,
    live: Option<(DevicePtr, T)>,
}

impl<T> BlockTable<T> {
    /// A table for a new resource.
    #[expect(clippy::new_without_default, reason = "each table is a new resource's identity")]
    pub fn new() -> Self {
        let slots = Mutex::new(Slots { entries: Vec::new(), vacant: Vec::new(), worn_out: 0 });
        Self { owner: ResourceId::new(), slots }
    }

    /// The identity under which the blocks are issued.
    pub fn owner(&self) -> ResourceId {
        self.owner
    }

    /// The number of live blocks.
    pub fn len(&self) -> usize {
        let slots = self.lock();
        slots.entries.len() - slots.vacant.len() - slots.worn_out
    }

    /// Returns true if no block is live.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Issues a block at `ptr` and remembers `value` for it.
    ///
    /// # Panics
    /// With 2³² live blocks.
    pub fn issue(&self, ptr: DevicePtr, layout: BlockLayout, label: Label, value: T) -> Block {
        let mut slots = self.lock();
        let slot = match slots.vacant.pop() {
            Some(slot) => slot,
            None => {
                let slot = u32::try_from(slots.entries.len()).expect("fewer than 2^32 live blocks");
                slots.entries.push(Entry { generation: 0, live: None });
                slot
            }
        };
        let entry = &mut slots.entries[slot as usize];
        entry.live = Some((ptr, value));
        let raw = RawBlock::new(ptr, layout, self.owner, slot, entry.generation, label);
        // SAFETY: contract, implementing/disjoint: the slot was vacant, so these parts are new and
        // no other block has them.
        unsafe { Block::from_raw(raw) }
    }

    /// Takes `block` back: calls `free` with its value, without the lock, and forgets it if that
    /// succeeds.
    ///
    /// # Errors
    /// With the block: [`Foreign`](FreeErrorKind::Foreign) and [`Stale`](FreeErrorKind::Stale)
    /// blocks, [`DeviceFault`](FreeErrorKind::DeviceFault) if `free` fails; the block is then still
    /// live. `resource` is the name the error carries.
    pub fn take_back(
        &self,
        block: Block,
        resource: &'static str,
        free: impl FnOnce(&T) -> Result<(), DriverError>,
    ) -> Result<T, FreeError> {
        let raw = block.raw();
        if raw.owner() != self.owner {
            return Err(FreeError::new(FreeErrorKind::Foreign, block, resource));
        }
        let Some(value) = self.take(&raw) else {
            return Err(FreeError::new(FreeErrorKind::Stale, block, resource));
        };
        let result = free(&value);
        let mut slots = self.lock();
        let entry = &mut slots.entries[raw.slot() as usize];
        match result {
            Ok(()) => {
                if let Some(next) = entry.generation.checked_add(1) {
                    entry.generation = next;
                    slots.vacant.push(raw.slot());
                } else {
                    slots.worn_out += 1;
                }
                Ok(value)
            }
            Err(error) => {
                entry.live = Some((raw.ptr(), value));
                Err(FreeError::from_driver(error, block, resource))
            }
        }
    }

    /// Calls `change` with a live block's value, under the table's lock. Returns `None` for any other
    /// block.
    pub fn update<O>(&self, block: &Block, change: impl FnOnce(&mut T) -> O) -> Option<O> {
        let raw = block.raw();
        if raw.owner() != self.owner {
            return None;
        }
        let mut slots = self.lock();
        let entry = slots.entries.get_mut(raw.slot() as usize)?;
        let matches = entry.generation == raw.generation();
        let live = entry.live.as_mut().filter(|(ptr, _)| matches && *ptr == raw.ptr());
        live.map(|(_, value)| change(value))
    }

    /// Removes the value if `raw` is live, leaving the slot taken.
    fn take(&self, raw: &RawBlock) -> Option<T> {
        let mut slots = self.lock();
        let entry = slots.entries.get_mut(raw.slot() as usize)?;
        let matches = entry.generation == raw.generation();
        entry.live.take_if(|(ptr, _)| matches && *ptr == raw.ptr()).map(|(_, value)| value)
    }

    fn lock(&self) -> MutexGuard<'_, Slots<T>> {
        fork::locked(|| self.slots.lock())
    }
}

impl<T> fmt::Debug for BlockTable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("BlockTable");
        out.field("owner", &self.owner).field("live", &self.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DriverCode;

    fn issue(table: &BlockTable<u8>) -> Block {
        let ptr = DevicePtr::new(4096).unwrap();
        table.issue(ptr, BlockLayout::new(1).unwrap(), Label::NONE, 7)
    }

    #[test]
    fn a_block_is_taken_back_once() {
        let table = BlockTable::new();
        let block = issue(&table);
        let raw = block.raw();
        assert_eq!(table.take_back(block, "test", |_| Ok(())).unwrap(), 7);
        // SAFETY: misuse on purpose; the table must refuse it.
        let stale = unsafe { Block::from_raw(raw) };
        let again = issue(&table);
        let error = table.take_back(stale, "test", |_| Ok(())).unwrap_err();
        assert_eq!(error.kind(), FreeErrorKind::Stale);
        assert!(table.take_back(again, "test", |_| Ok(())).is_ok());
        assert!(table.is_empty());
    }

    #[test]
    fn a_slot_without_a_generation_left_is_never_used_again() {
        let table = BlockTable::new();
        let first = issue(&table);
        let raw = first.raw().with_generation(u32::MAX);
        table.lock().entries[raw.slot() as usize].generation = u32::MAX;
        // SAFETY: these are the live block's parts now.
        let last = unsafe { Block::from_raw(raw) };
        assert!(table.take_back(last, "test", |_| Ok(())).is_ok());
        assert!(table.is_empty());
        let next = issue(&table);
        assert_ne!(next.raw().slot(), raw.slot());
        for generation in [0, u32::MAX] {
            // SAFETY: misuse on purpose; the table must refuse it.
            let stale = unsafe { Block::from_raw(raw.with_generation(generation)) };
            let error = table.take_back(stale, "test", |_| Ok(())).unwrap_err();
            assert_eq!(error.kind(), FreeErrorKind::Stale);
        }
        assert!(table.take_back(next, "test", |_| Ok(())).is_ok());
        assert!(table.is_empty());
    }

    #[test]
    fn another_tables_block_is_foreign() {
        let (table, other) = (BlockTable::<u8>::new(), BlockTable::new());
        let error = table.take_back(issue(&other), "test", |_| Ok(())).unwrap_err();
        assert_eq!(error.kind(), FreeErrorKind::Foreign);
        assert!(other.take_back(error.into_block(), "test", |_| Ok(())).is_ok());
    }

    #[test]
    fn a_failed_free_leaves_the_block_live() {
        let table = BlockTable::new();
        let fault = || Err(DriverError::new("free", DriverCode::UNKNOWN));
        let error = table.take_back(issue(&table), "test", |_| fault()).unwrap_err();
        assert_eq!(error.kind(), FreeErrorKind::DeviceFault);
        assert_eq!(table.len(), 1);
        assert!(table.take_back(error.into_block(), "test", |_| Ok(())).is_ok());
    }
}
