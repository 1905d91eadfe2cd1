//! Freeing: a free that succeeds has freed.
//!
//! These checks come first, because what loses memory fails others later, for lack of it.

use vmem_core::{BlockLayout, FreeErrorKind, Request, Stream};

use super::ownership::is_refused;
use super::{Stop, Subject};
use crate::finding::ensure;

/// Every free reaches whoever issued the block: after it, a second free is refused. Twice as many
/// frees as it takes to meet one that gets lost in a thousand, whichever of the two it is.
pub(super) fn no_free_is_swallowed(subject: &Subject<'_>) -> Result<(), Stop> {
    let stream = subject.stream()?;
    let live = subject.probe.live_bytes();
    for size in [1, 300, 4096, 60_000].into_iter().cycle().take(1000) {
        let raw = allocate_and_free(subject, BlockLayout::new(size)?, &stream)?;
        is_refused(subject, raw, FreeErrorKind::Stale, "a freed block", &stream)?;
    }
    let after = subject.probe.live_bytes();
    ensure!(after == live, "{live:?} B were live before a thousand pairs, {after:?} B after");
    subject.probe.check_invariants();
    Ok(())
}

/// The memory of freed blocks can be had again: what the resource holds of the device does not grow
/// while it serves one request again and again. Only what shrinks the device's free memory three
/// times in a row is held against it, because others may use the device too.
pub(super) fn no_freed_memory_is_lost(subject: &Subject<'_>) -> Result<(), Stop> {
    let stream = subject.stream()?;
    for size in [64 << 10, subject.budget / 2] {
        let layout = BlockLayout::new(size)?;
        let repeat = |times: u32| -> Result<u64, Stop> {
            for _ in 0..times {
                allocate_and_free(subject, layout, &stream)?;
            }
            stream.synchronize()?;
            Ok(subject.device().memory_info()?.free)
        };
        // Whatever it takes once.
        let mut free = repeat(8)?;
        for attempt in 1.. {
            let before = std::mem::replace(&mut free, repeat(256)?);
            if free >= before {
                break;
            }
            ensure!(
                attempt < 3,
                "256 blocks of {size} B were served and freed one after the other, and {} B of the \
                 device's free memory are gone, for the third time",
                before - free
            );
        }
    }
    subject.probe.check_invariants();
    Ok(())
}

fn allocate_and_free(
    subject: &Subject<'_>,
    layout: BlockLayout,
    stream: &Stream,
) -> Result<vmem_core::RawBlock, Stop> {
    let block = subject.resource.allocate(&Request::new(layout, stream))?;
    let raw = block.raw();
    // SAFETY: contract, freeing: the block was never used, and the stream is the request's.
    unsafe { subject.resource.deallocate(block, stream) }?;
    Ok(raw)
}
