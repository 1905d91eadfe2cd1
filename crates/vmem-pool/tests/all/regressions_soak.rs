//! Faults that a soak of random programs on random stacks found, shrunk.

use std::sync::Arc;

use vmem_core::{BlockLayout, Device, ResourceExt, Stream};
use vmem_pool::{Growth, PoolConfig};

use crate::support::{MIB, alloc, chunks, device, finish, free, keep_busy, layout};

/// A thread frees on its default stream and asks on another of its streams. Nobody but that thread
/// can mark the default stream, so the thief's rungs passed it by; the pool marked it only while it
/// looked for chunks to return, after which no rung looked again, and the request was refused
/// although what it needed was free.
#[test]
fn what_a_thread_freed_on_its_default_stream_serves_its_other_streams() {
    let device = device();
    let erased: Arc<dyn Device> = device.clone();
    let config = PoolConfig::default().with_ceiling(2 * MIB).with_growth(Growth::Exact);
    let pool = chunks(device.clone(), config);
    let mine = Stream::per_thread_default(erased.clone());
    let other = Stream::new(erased).unwrap();
    let kept = alloc(&pool, MIB, &other);
    let freed = alloc(&pool, MIB, &mine);
    keep_busy(&device, &freed, &mine);
    free(&pool, freed, &mine);
    let again = pool.allocate_on(layout(MIB / 2), &other).unwrap();
    free(&pool, again, &other);
    free(&pool, kept, &other);
    drop((mine, other));
    finish(&device, pool);
}

/// The same where another thread was the first to free on that default stream: the pool did not know
/// whose it was, and its owner did not look there.
#[test]
fn what_another_thread_freed_on_a_threads_default_stream_serves_its_other_streams() {
    let device = device();
    let erased: Arc<dyn Device> = device.clone();
    let config = PoolConfig::default().with_ceiling(2 * MIB).with_growth(Growth::Exact);
    let pool = chunks(device.clone(), config);
    let mine = Stream::per_thread_default(erased.clone());
    let other = Stream::new(erased).unwrap();
    let block = alloc(&pool, 2 * MIB, &other);
    let before = other.marker().unwrap();
    mine.wait(&before).unwrap();
    drop(before);
    std::thread::scope(|scope| scope.spawn(|| free(&pool, block, &mine)).join().unwrap());
    let again = pool.allocate_on(layout(2 * MIB), &other).unwrap();
    free(&pool, again, &other);
    drop((mine, other));
    finish(&device, pool);
}

/// A request was refused for want of an aligned address. That refusal was remembered by its size
/// alone, and a request of the same size on another stream, to which any address would do, was
/// refused as hopeless with most of the chunk free.
#[test]
fn a_refusal_for_want_of_alignment_says_nothing_of_requests_that_need_none() {
    let device = device();
    let config =
        PoolConfig::default().with_ceiling(128 << 10).with_growth(Growth::AtLeast(128 << 10));
    let pool = chunks(device.clone(), config);
    let (here, there) =
        (Stream::new(device.clone()).unwrap(), Stream::new(device.clone()).unwrap());
    let first = alloc(&pool, 1, &here);
    let aligned = BlockLayout::with_alignment(1, 256 << 10).unwrap();
    assert!(
        pool.allocate_on(aligned, &here).is_err(),
        "the chunk holds no such address but its first"
    );
    let second = alloc(&pool, 1, &there);
    assert!(pool.allocate_on(aligned, &there).is_err());
    free(&pool, first, &here);
    free(&pool, second, &there);
    drop((here, there));
    finish(&device, pool);
}
