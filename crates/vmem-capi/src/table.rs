//! From an address to its block.

use std::sync::{Arc, Mutex, MutexGuard};

use rustc_hash::{FxBuildHasher, FxHashMap};
use serde_json::json;
use vmem_core::author::fork;
use vmem_core::{DevicePtr, RawBlock, RawStream, Stream};

use crate::instance::Instance;
use crate::status::{Failure, vmem_status};
use crate::uses::Uses;

/// A block that is out.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) raw: RawBlock,
    pub(crate) instance: Arc<Instance>,
    /// The stream it was allocated on, and its handle then.
    pub(crate) stream: Stream,
    pub(crate) handle: RawStream,
    /// What was recorded besides, if anything.
    pub(crate) uses: Option<Box<Uses>>,
}

/// How many locks there are. Blocks of one stretch of 2 MiB share one.
const SHARDS: usize = 64;
const STRETCH: u32 = 21;

type Shard = FxHashMap<u64, Live>;

/// The live blocks of all devices, whose addresses are one space, by where they start. A look-up takes one
/// lock; only that of an address inside a block looks at more.
static TABLE: [Mutex<Shard>; SHARDS] =
    [const { Mutex::new(Shard::with_hasher(FxBuildHasher)) }; SHARDS];

fn shard(address: u64) -> MutexGuard<'static, Shard> {
    // Fibonacci hashing: the upper six bits.
    let number = (address >> STRETCH).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58;
    lock(usize::try_from(number).unwrap_or(0))
}

fn lock(number: usize) -> MutexGuard<'static, Shard> {
    fork::locked(|| TABLE[number].lock())
}

/// Enters a block that was just issued or whose free failed.
pub(crate) fn enter(live: Live) {
    let previous = shard(live.raw.ptr().get()).insert(live.raw.ptr().get(), live);
    debug_assert!(previous.is_none(), "two live blocks at one address");
}

/// Takes the block out that starts at an address.
pub(crate) fn take(address: u64) -> Option<Live> {
    shard(address).remove(&address)
}

/// Calls `look` with the block that starts at an address, under its shard's lock.
pub(crate) fn with<T>(address: u64, look: impl FnOnce(&mut Live) -> T) -> Option<T> {
    shard(address).get_mut(&address).map(look)
}

/// What is known of a block without its lock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) raw: RawBlock,
    pub(crate) ordinal: u32,
    pub(crate) handle: RawStream,
}

impl Found {
    fn of(live: &Live) -> Self {
        Self { raw: live.raw, ordinal: live.instance.ordinal, handle: live.handle }
    }

    /// Whether an address lies in the block.
    fn holds(&self, address: u64) -> bool {
        let start = self.raw.ptr().get();
        (start..start + self.raw.layout().size()).contains(&address)
    }
}

/// The block that an address lies in. One look-up where it starts there; otherwise in time of the number of
/// blocks.
pub(crate) fn holding(address: u64) -> Option<Found> {
    with(address, |live| Found::of(live)).or_else(|| {
        let inside = |number| {
            let shard = lock(number);
            shard.values().map(Found::of).find(|found| found.holds(address))
        };
        (0..SHARDS).find_map(inside)
    })
}

/// How many blocks of a device are out, and their bytes.
pub(crate) fn live_of(instance: &Arc<Instance>) -> (u64, u64) {
    let mut sum = (0, 0);
    for number in 0..SHARDS {
        for live in lock(number).values().filter(|live| Arc::ptr_eq(&live.instance, instance)) {
            sum = (sum.0 + 1, sum.1 + live.raw.layout().size());
        }
    }
    sum
}

/// An address as a caller gave it; `None` for null.
pub(crate) fn address<T>(ptr: *const T) -> Option<DevicePtr> {
    DevicePtr::new(ptr.addr() as u64)
}

/// Why an address is not one of a block.
#[cold]
pub(crate) fn not_a_block(address: u64) -> Failure {
    let text = match holding(address) {
        Some(found) => format!(
            "{address:#x} lies inside the block that starts at {} and has {} B; blocks are known by where \
             they start",
            found.raw.ptr(),
            found.raw.layout().size(),
        ),
        None => format!(
            "no live block is at {address:#x}: it was freed before, or never came from this library"
        ),
    };
    Failure::new(vmem_status::VMEM_ERROR_NOT_A_BLOCK, text).with("address", json!(address))
}
