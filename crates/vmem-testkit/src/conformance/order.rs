//! Stream order: memory is reused only after the work it was freed behind.
//!
//! The checks leave work pending and free under it. A resource that reuses too early lets the old
//! work meet the new; which wins shows in the bytes, or to the simulator's checker.

use vmem_core::Stream;

use super::{Stop, Subject};
use crate::TrackedBlock;

/// Sizes on both sides of a pool's usual classes and of a granule of 2 MiB.
const SIZES: [u64; 6] = [100, 4096, 5000, 64 << 10, 300_000, 1 << 20];

/// On one stream, blocks freed under pending reads and writes are reused in order.
pub(super) fn one_stream_reuses_without_waiting(subject: &Subject<'_>) -> Result<(), Stop> {
    let stream = subject.stream()?;
    for size in SIZES {
        let mut results = Vec::new();
        for _ in 0..4 {
            let mut source = subject.written(size, &stream)?;
            let mut result = subject.allocate(size, &stream)?;
            source.copy_to(&mut result, &stream)?;
            subject.free(source, &stream)?;
            results.push(result);
        }
        for result in results {
            subject.verify_and_free(result, &stream)?;
        }
    }
    Ok(())
}

/// What a stream still writes to a block it has freed does not reach the block's next owner.
pub(super) fn pending_writes_do_not_reach_the_next_owner(
    subject: &Subject<'_>,
) -> Result<(), Stop> {
    let (a, b) = (subject.stream()?, subject.stream()?);
    for size in SIZES {
        hand_over(subject, size, &a, &b)?;
        hand_over(subject, size, &b, &a)?;
    }
    Ok(())
}

/// What a stream still reads from a block it has freed is what was there when it was freed.
pub(super) fn pending_reads_see_the_old_bytes(subject: &Subject<'_>) -> Result<(), Stop> {
    let (a, b) = (subject.stream()?, subject.stream()?);
    for size in SIZES {
        let mut results = Vec::new();
        for _ in 0..4 {
            let mut result = subject.allocate(size, &a)?;
            let mut source = subject.written(size, &a)?;
            source.copy_to(&mut result, &a)?;
            subject.free(source, &a)?;
            let next = subject.written(size, &b)?;
            b.synchronize()?;
            results.push((result, next));
        }
        for (result, next) in results {
            subject.verify_and_free(result, &a)?;
            subject.verify_and_free(next, &b)?;
        }
    }
    Ok(())
}

/// RMM 17: a block used and freed on a stream other than its own, ordered by events, comes back to
/// its own stream only after that use.
pub(super) fn a_block_may_be_freed_on_another_stream(subject: &Subject<'_>) -> Result<(), Stop> {
    let (home, user) = (subject.stream()?, subject.stream()?);
    for size in SIZES {
        let mut results = Vec::new();
        for _ in 0..4 {
            let mut result = subject.allocate(size, &user)?;
            let mut block = subject.written(size, &home)?;
            block.copy_to(&mut result, &user)?;
            subject.free(block, &user)?;
            let next = subject.written(size, &home)?;
            home.synchronize()?;
            results.push((result, next));
        }
        for (result, next) in results {
            subject.verify_and_free(result, &user)?;
            subject.verify_and_free(next, &home)?;
        }
    }
    Ok(())
}

/// RMM 5: memory changes hands in order between the default streams and a stream that does not
/// synchronise with them.
pub(super) fn the_default_streams_order_reuse(subject: &Subject<'_>) -> Result<(), Stop> {
    let owned = subject.stream()?;
    let defaults = [
        Stream::legacy_default(subject.device().clone()),
        Stream::per_thread_default(subject.device().clone()),
    ];
    for default in &defaults {
        for size in SIZES {
            hand_over(subject, size, default, &owned)?;
            hand_over(subject, size, &owned, default)?;
        }
    }
    hand_over(subject, 4096, &defaults[0], &defaults[1])?;
    hand_over(subject, 4096, &defaults[1], &defaults[0])
}

/// RMM 24: what a stream freed is reused, in order, after the stream was retired or dropped.
pub(super) fn a_stream_may_end_after_it_freed(subject: &Subject<'_>) -> Result<(), Stop> {
    let next = subject.stream()?;
    for size in SIZES.repeat(4) {
        let retired = subject.stream()?;
        free_under_writes(subject, size, &retired)?;
        retired.retire()?;
        take_over(subject, size, &next)?;

        let dropped = subject.stream()?;
        free_under_writes(subject, size, &dropped)?;
        drop(dropped);
        take_over(subject, size, &next)?;
    }
    Ok(())
}

/// A stream that was retired still takes back what was allocated on it: its final marker covers
/// every use.
pub(super) fn a_retired_stream_still_frees(subject: &Subject<'_>) -> Result<(), Stop> {
    let next = subject.stream()?;
    for size in SIZES.repeat(4) {
        let retired = subject.stream()?;
        let mut block = subject.written(size, &retired)?;
        block.write(&retired)?;
        retired.retire()?;
        subject.free(block, &retired)?;
        take_over(subject, size, &next)?;
    }
    Ok(())
}

/// `from` frees a block it is still writing to, `to` takes one of that size: the bytes are `to`'s.
pub(super) fn hand_over(
    subject: &Subject<'_>,
    size: u64,
    from: &Stream,
    to: &Stream,
) -> Result<(), Stop> {
    let mut taken = Vec::new();
    for _ in 0..4 {
        free_under_writes(subject, size, from)?;
        taken.push(subject.written(size, to)?);
        to.synchronize()?;
    }
    from.synchronize()?;
    verify_and_free_all(subject, taken, to)
}

/// Frees a block of `size` bytes under several pending writes.
pub(super) fn free_under_writes(
    subject: &Subject<'_>,
    size: u64,
    stream: &Stream,
) -> Result<(), Stop> {
    let mut block = subject.written(size, stream)?;
    block.write(stream)?;
    block.write(stream)?;
    subject.free(block, stream)
}

/// Takes blocks of `size` bytes for `stream`, of which one may be another's former one: once all
/// work has completed, the bytes are `stream`'s.
pub(super) fn take_over(subject: &Subject<'_>, size: u64, stream: &Stream) -> Result<(), Stop> {
    let mut taken = Vec::new();
    for _ in 0..2 {
        taken.push(subject.written(size, stream)?);
    }
    stream.synchronize()?;
    subject.device().synchronize()?;
    verify_and_free_all(subject, taken, stream)
}

fn verify_and_free_all(
    subject: &Subject<'_>,
    blocks: Vec<TrackedBlock>,
    stream: &Stream,
) -> Result<(), Stop> {
    for block in blocks {
        subject.verify_and_free(block, stream)?;
    }
    Ok(())
}
