//! Which lanes a thread has used lately, so that it finds them without a lock.

use std::cell::Cell;
use std::sync::Arc;

use vmem_core::{ResourceId, StreamId};

use crate::lanes::Front;

/// How many lanes a thread remembers.
const LANES: usize = 4;

thread_local! {
    static KNOWN: [Cell<Option<Known>>; LANES] = const { [const { Cell::new(None) }; LANES] };
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
    let with = |known: &[Cell<Option<Known>>; LANES]| {
        let place = &known[place(stream)];
        // Out of its place while it is used: nothing is borrowed when foreign code runs.
        let known = place.take()?;
        let used =
            if known.pool == pool && known.stream == stream { use_it(&known.front) } else { None };
        place.set(Some(known));
        used
    };
    // While a thread ends there is nothing to remember with.
    KNOWN.try_with(with).ok().flatten()
}

/// Remembers a lane in place of an older one.
pub(super) fn remember(pool: ResourceId, stream: StreamId, front: &Arc<Front>) {
    let known = Known { pool, stream, front: front.clone() };
    let forgotten = KNOWN.try_with(|all| all[place(stream)].replace(Some(known)));
    drop(forgotten);
}

#[inline]
fn place(stream: StreamId) -> usize {
    stream.get().to_le_bytes()[0] as usize % LANES
}
