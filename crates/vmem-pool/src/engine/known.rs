//! Which lanes a thread has used lately, so that it finds them without a lock.

use std::cell::RefCell;
use std::sync::Arc;

use vmem_core::{ResourceId, StreamId};

use crate::lanes::Front;

/// How many lanes a thread remembers.
const LANES: usize = 16;

#[cfg(not(loom))]
thread_local! {
    static KNOWN: RefCell<[Option<Known>; LANES]> = const { RefCell::new([const { None }; LANES]) };
}

#[cfg(loom)]
loom::thread_local! {
    static KNOWN: RefCell<[Option<Known>; LANES]> = RefCell::new([const { None }; LANES]);
}

/// A lane as a thread remembers it. Neither pools nor streams ever have the same number again.
struct Known {
    pool: ResourceId,
    stream: StreamId,
    front: Arc<Front>,
}

/// Calls `use_it` with the front of the stream's lane, if this thread remembers it.
#[inline]
pub(super) fn with<R>(
    pool: ResourceId,
    stream: StreamId,
    use_it: impl FnOnce(&Front) -> R,
) -> Option<R> {
    let with = |known: &RefCell<[Option<Known>; LANES]>| {
        let known = known.try_borrow().ok()?;
        match &known[cache_index(pool, stream)] {
            Some(known) if known.pool == pool && known.stream == stream => {
                Some(use_it(&known.front))
            }
            _ => None,
        }
    };
    // While a thread ends there is nothing to remember with.
    KNOWN.try_with(with).ok().flatten()
}

/// Remembers a lane in place of an older one, unless this thread is using one just now.
pub(super) fn remember(pool: ResourceId, stream: StreamId, front: &Arc<Front>) {
    let remember = |known: &RefCell<[Option<Known>; LANES]>| {
        let known = known.try_borrow_mut().ok();
        known?[cache_index(pool, stream)].replace(Known { pool, stream, front: front.clone() })
    };
    let forgotten = KNOWN.try_with(remember);
    drop(forgotten);
}

/// Where the cache keeps a lane: streams made one after the other lie side by side, and one stream lies
/// elsewhere for each of several pools made one after the other.
#[inline]
fn cache_index(pool: ResourceId, stream: StreamId) -> usize {
    let mixed = pool.get().wrapping_mul(5).wrapping_add(stream.get());
    mixed.to_le_bytes()[0] as usize % LANES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Batch;
    use crate::lanes::{CLEAN, Lanes, Reuse};

    /// Where the place was the stream's alone, a program that used one stream with two pools took
    /// the whole lock for every call.
    #[test]
    fn a_stream_has_different_places_in_different_pools() {
        let lanes = Lanes::new(Reuse::StreamOrdered, Batch::default());
        let front = lanes.get(CLEAN.lane).unwrap().front();
        let stream = StreamId::new();
        let first = ResourceId::new();
        let elsewhere = |pool: &ResourceId| !(pool.get() - first.get()).is_multiple_of(16);
        let second = std::iter::repeat_with(ResourceId::new).find(elsewhere).unwrap();
        [first, second].into_iter().for_each(|pool| remember(pool, stream, front));
        for pool in [first, second] {
            assert_eq!(with(pool, stream, Front::lane), Some(CLEAN.lane));
        }
    }
}
