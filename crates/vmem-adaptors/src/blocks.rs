//! What is known of blocks while they are live, by where they are.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard};

use rustc_hash::FxBuildHasher;
use vmem_core::author::fork;
use vmem_core::{DevicePtr, RawBlock, ResourceId};

/// Where a block lies. No two live blocks of one resource lie at one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    owner: ResourceId,
    ptr: DevicePtr,
}

/// What tells a block from those that had its address before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn {
    slot: u32,
    generation: u32,
}

impl Place {
    pub(crate) fn of(block: &RawBlock) -> Self {
        Self { owner: block.owner(), ptr: block.ptr() }
    }
}

impl Turn {
    pub(crate) fn of(block: &RawBlock) -> Self {
        Self { slot: block.slot(), generation: block.generation() }
    }
}

/// A value for each block that was entered, until it is taken out. A block that is freed without the
/// map being told keeps its value until another block is entered at its address, so that there is
/// never more than one value for each address. An operation takes a lock and one step of a hash table.
pub(crate) struct BlockMap<T> {
    shards: [Shard<T>; SHARDS],
}

/// The number of parts, each with a lock of its own.
const SHARDS: usize = 64;

type Values<T> = HashMap<Place, (Turn, T), FxBuildHasher>;

/// On cache lines of its own.
#[repr(align(128))]
struct Shard<T>(Mutex<Values<T>>);

impl<T> BlockMap<T> {
    pub(crate) const fn new() -> Self {
        let shards = [const { Shard(Mutex::new(HashMap::with_hasher(FxBuildHasher))) }; SHARDS];
        Self { shards }
    }

    /// Enters a block. If it has a value already, `join` adds the new one to it. Returns the value of
    /// an earlier block in its place.
    pub(crate) fn enter(
        &self,
        block: &RawBlock,
        value: T,
        join: impl FnOnce(&mut T, T),
    ) -> Option<T> {
        let turn = Turn::of(block);
        match self.shard(block).entry(Place::of(block)) {
            Entry::Vacant(vacant) => {
                vacant.insert((turn, value));
                None
            }
            Entry::Occupied(mut occupied) if occupied.get().0 == turn => {
                join(&mut occupied.get_mut().1, value);
                None
            }
            Entry::Occupied(mut occupied) => Some(occupied.insert((turn, value)).1),
        }
    }

    /// Takes a block's value out.
    pub(crate) fn take(&self, block: &RawBlock) -> Option<T> {
        match self.shard(block).entry(Place::of(block)) {
            Entry::Occupied(occupied) if occupied.get().0 == Turn::of(block) => {
                Some(occupied.remove().1)
            }
            Entry::Occupied(_) | Entry::Vacant(_) => None,
        }
    }

    /// Forgets the values that `keep` does not want.
    pub(crate) fn retain(&self, keep: impl Fn(&mut T) -> bool) {
        for shard in &self.shards {
            lock(shard).retain(|_, (_, value)| keep(value));
        }
    }

    fn shard(&self, block: &RawBlock) -> MutexGuard<'_, Values<T>> {
        let [_, byte, ..] = FxBuildHasher.hash_one(block.ptr()).to_be_bytes();
        lock(&self.shards[usize::from(byte) % SHARDS])
    }
}

impl<T> fmt::Debug for BlockMap<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blocks: usize = self.shards.iter().map(|shard| lock(shard).len()).sum();
        f.debug_struct("BlockMap").field("blocks", &blocks).finish()
    }
}

fn lock<T>(shard: &Shard<T>) -> MutexGuard<'_, Values<T>> {
    fork::locked(|| shard.0.lock())
}
