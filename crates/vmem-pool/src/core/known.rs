//! Which lanes a thread has used lately, so that it finds them without a lock.

use std::cell::RefCell;
use std::sync::Arc;

use vmem_core::{ResourceId, StreamId};

use crate::lanes::Front;

/// How many lanes a thread remembers.
const LANES: usize = 4;

#[cfg(not(loom))]
thread_local! {
    static KNOWN: RefCell<[Option<Known>; LANES]> = const { RefCell::new([const { None }; LANES]) };
}

#[cfg(loom)]
loom::thread_local! {
    static KNOWN: RefCell<[Option<Known>; LANES]> = RefCell::new(Default::default());
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
    use_it: impl FnOnce(&Front) -> Option<R>,
) -> Option<R> {
    let with = |known: &RefCell<[Option<Known>; LANES]>| {
        let known = known.try_borrow().ok()?;
        match &known[place(stream)] {
            Some(known) if known.pool == pool && known.stream == stream => use_it(&known.front),
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
        known?[place(stream)].replace(Known { pool, stream, front: front.clone() })
    };
    let forgotten = KNOWN.try_with(remember);
    drop(forgotten);
}

#[inline]
fn place(stream: StreamId) -> usize {
    stream.get().to_le_bytes()[0] as usize % LANES
}
