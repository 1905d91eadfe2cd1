//! Several threads at one resource.

use std::sync::mpsc;
use std::thread;

use vmem_core::Stream;
use vmem_core::author::StreamExt;

use super::layout::random_mix;
use super::order::{free_under_writes, take_over};
use super::{Stop, Subject};
use crate::finding::ensure;
use crate::panic_text;
use crate::{Finding, TrackedBlock};

/// RMM 12: four threads with a stream each mix allocations and frees, and free memory that the
/// others then reuse.
pub(super) fn four_threads_use_their_own_streams(subject: &Subject<'_>) -> Result<(), Stop> {
    on_four_threads(|i| {
        let stream = subject.stream()?;
        random_mix(subject, &mut subject.rng(i), subject.budget / 4, &stream)
    })
}

/// RMM 12: the same on one shared stream.
pub(super) fn four_threads_share_one_stream(subject: &Subject<'_>) -> Result<(), Stop> {
    let stream = subject.stream()?;
    on_four_threads(|i| random_mix(subject, &mut subject.rng(i), subject.budget / 4, &stream))
}

/// RMM 14, 16: one thread allocates, another frees, both on the same stream.
pub(super) fn another_thread_frees_on_the_same_stream(subject: &Subject<'_>) -> Result<(), Stop> {
    let stream = subject.stream()?;
    hand_blocks_over(subject, || Ok(stream.clone()), || Ok(stream.clone()))?;
    let default = || Ok(Stream::legacy_default(subject.device().clone()));
    hand_blocks_over(subject, default, default)
}

/// RMM 17: one thread allocates on a stream, another waits for it and frees on a second one.
pub(super) fn another_thread_frees_on_another_stream(subject: &Subject<'_>) -> Result<(), Stop> {
    hand_blocks_over(subject, || subject.stream(), || subject.stream())
}

/// RMM 15: the same, each thread on its own default stream.
pub(super) fn per_thread_default_streams_hand_blocks_over(
    subject: &Subject<'_>,
) -> Result<(), Stop> {
    let default = || Ok(Stream::per_thread_default(subject.device().clone()));
    hand_blocks_over(subject, default, default)
}

/// A block is used on another thread's stream and freed there on this thread's default stream,
/// which the other thread cannot name to the driver; this thread reuses it only after that use.
pub(super) fn another_thread_frees_on_a_default_stream_not_its_own(
    subject: &Subject<'_>,
) -> Result<(), Stop> {
    let (mine, theirs) = (Stream::per_thread_default(subject.device().clone()), subject.stream()?);
    for size in [100, 5000, 300_000] {
        let mut taken = Vec::new();
        for _ in 0..4 {
            let mut block = subject.written(size, &mine)?;
            in_thread(|| {
                block.write(&theirs)?;
                block.write(&theirs)?;
                subject.free(block, &mine)
            })?;
            taken.push(subject.written(size, &mine)?);
        }
        theirs.synchronize()?;
        for block in taken {
            subject.verify_and_free(block, &mine)?;
        }
    }
    Ok(())
}

/// What a thread freed on its default stream is reused, in order, after the thread has ended: where the
/// last handle of its stream went with it, and where one outlives it. In the second case no event can
/// cover the thread's work, so that the resource may keep the memory aside until it is told to wait for
/// the device.
pub(super) fn memory_of_an_ended_thread_is_reused_in_order(
    subject: &Subject<'_>,
) -> Result<(), Stop> {
    let next = subject.stream()?;
    for size in [100, 5000, 300_000].repeat(4) {
        in_thread(|| {
            let default = Stream::per_thread_default(subject.device().clone());
            free_under_writes(subject, size, &default)
        })?;
        take_over(subject, size, &next)?;

        let orphan = in_thread(|| {
            let default = Stream::per_thread_default(subject.device().clone());
            free_under_writes(subject, size, &default)?;
            Ok(default)
        })?;
        ensure!(orphan.is_orphaned(), "{orphan:?} outlives its thread");
        take_over(subject, size, &next)?;
        drop(orphan);
        take_over(subject, size, &next)?;
        subject.probe.synchronize();
        take_over(subject, size, &next)?;
    }
    Ok(())
}

/// One thread allocates and writes a hundred blocks, each of which another thread checks and frees.
fn hand_blocks_over(
    subject: &Subject<'_>,
    produce: impl FnOnce() -> Result<Stream, Stop> + Send,
    consume: impl FnOnce() -> Result<Stream, Stop> + Send,
) -> Result<(), Stop> {
    let (sender, receiver) = mpsc::sync_channel::<TrackedBlock>(8);
    let largest = (1 << 20).min(subject.budget / 16);
    thread::scope(|scope| {
        let producer = scope.spawn(move || {
            let (stream, mut rng) = (produce()?, subject.rng(14));
            for _ in 0..100 {
                let block = subject.written(rng.between(1, largest), &stream)?;
                if sender.send(block).is_err() {
                    break; // The consumer gave up and says why.
                }
            }
            Ok(())
        });
        let consumer = scope.spawn(move || {
            let stream = consume()?;
            for (i, mut block) in receiver.into_iter().enumerate() {
                if i % 3 == 0 {
                    block.write(&stream)?;
                } else {
                    block.verify(&stream)?;
                }
                subject.free(block, &stream)?;
            }
            Ok(())
        });
        join(consumer).and(join(producer))
    })
}

fn on_four_threads(work: impl Fn(u64) -> Result<(), Stop> + Sync) -> Result<(), Stop> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|i| scope.spawn(move || work(i))).collect();
        threads.into_iter().try_for_each(join)
    })
}

fn in_thread<T: Send>(work: impl FnOnce() -> Result<T, Stop> + Send) -> Result<T, Stop> {
    thread::scope(|scope| join(scope.spawn(work)))
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, Result<T, Stop>>) -> Result<T, Stop> {
    thread.join().unwrap_or_else(|panic| {
        let text = panic_text(&*panic);
        Err(Finding::new(format!("a thread panicked: {text}")).into())
    })
}
