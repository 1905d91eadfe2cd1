//! Streams that may be destroyed without a word: who gets what was freed on them.

use std::sync::Arc;

use vmem_core::author::StreamExt;
use vmem_core::{Device, MemoryResource, RawStream, ResourceExt, Stream};
use vmem_pool::PoolConfig;
use vmem_sim::{CallKind, SimDevice};

use crate::support::{ArenaPool, MIB, alloc, arena, device, finish, free, layout, touch};

struct Scene {
    device: Arc<SimDevice>,
    pool: ArenaPool,
    raw: RawStream,
    borrowed: Stream,
    other: Stream,
}

/// A pool of 8 MiB, a stream of others and one of vmem's.
fn scene() -> Scene {
    let device = device();
    let config = PoolConfig::default().with_ceiling(8 * MIB);
    let pool = arena(device.clone(), config);
    let raw = device.create_blocking_stream().unwrap();
    // SAFETY: the stream was just made.
    let borrowed = unsafe { Stream::borrowed(device.clone(), raw) }.unwrap();
    let other = Stream::new(device.clone()).unwrap();
    Scene { device, pool, raw, borrowed, other }
}

impl Scene {
    /// Allocates and uses all there is on the borrowed stream.
    fn fill(&self) -> vmem_core::Block {
        // SAFETY: the stream is destroyed by `die` only.
        let block = unsafe { self.borrowed.vouched(|| alloc(&self.pool, 8 * MIB, &self.borrowed)) };
        // As a program does, past vmem.
        // SAFETY: the stream is alive, and the range is the block's.
        unsafe { self.device.fill(block.ptr(), 1, block.size(), self.raw) }.unwrap();
        block
    }

    fn die(&self) {
        // SAFETY: nothing names it after this.
        unsafe { self.device.destroy_stream(self.raw) }.unwrap();
    }

    fn end(self) {
        let Self { device, pool, borrowed, other, .. } = self;
        drop((borrowed, other));
        finish(&device, pool);
    }
}

#[test]
fn a_borrowed_stream_gets_its_own_memory_back_at_once_and_without_a_marker() {
    let scene = scene();
    let (pool, borrowed) = (&scene.pool, &scene.borrowed);
    let block = scene.fill();
    let ptr = block.ptr();
    free(pool, block, borrowed);
    let before = scene.device.calls().of(CallKind::RecordEvent);
    // Nobody vouches, nor has to.
    let block = alloc(pool, 8 * MIB, borrowed);
    assert_eq!(block.ptr(), ptr);
    assert_eq!(scene.device.calls().of(CallKind::RecordEvent), before);
    free(pool, block, borrowed);
    scene.die();
    pool.handle().synchronize().unwrap();
    scene.end();
}

#[test]
fn what_was_freed_on_a_dead_stream_is_others_after_a_wait_for_the_device_alone() {
    let scene = scene();
    let block = scene.fill();
    scene.die();
    free(&scene.pool, block, &scene.borrowed);
    let handle = scene.pool.handle();
    assert!(scene.pool.allocate_on(layout(MIB), &scene.other).is_err());
    assert_eq!(handle.trim_to(0).unwrap(), 0);
    handle.synchronize().unwrap();
    let block = alloc(&scene.pool, 8 * MIB, &scene.other);
    touch(&scene.device, &block, &scene.other);
    free(&scene.pool, block, &scene.other);
    scene.end();
}

#[test]
fn memory_that_others_wanted_is_marked_by_the_next_call_that_vouches() {
    let scene = scene();
    let (pool, borrowed, other) = (&scene.pool, &scene.borrowed, &scene.other);
    let block = scene.fill();
    free(pool, block, borrowed);
    assert!(pool.allocate_on(layout(4 * MIB), other).is_err(), "nobody can name the stream");
    let vouching = || {
        let small = alloc(pool, MIB, borrowed);
        free(pool, small, borrowed);
    };
    // SAFETY: the stream is destroyed below.
    unsafe { borrowed.vouched(vouching) };
    let block = alloc(pool, 4 * MIB, other);
    touch(&scene.device, &block, other);
    free(pool, block, other);
    scene.die();
    pool.handle().synchronize().unwrap();
    scene.end();
}

#[test]
fn what_ends_unmarked_counts_as_quarantined_and_what_was_retired_does_not() {
    for retires in [false, true] {
        let scene = scene();
        let block = scene.fill();
        free(&scene.pool, block, &scene.borrowed);
        if retires {
            // SAFETY: the stream is destroyed after this.
            unsafe { scene.borrowed.vouched(|| scene.borrowed.retire()) }.unwrap();
        }
        scene.die();
        let Scene { device, pool, borrowed, other, .. } = scene;
        drop(borrowed);
        let quarantined = pool.handle().counters().unwrap().quarantined;
        assert_eq!(quarantined, if retires { 0 } else { 8 * MIB });
        let got = pool.allocate(&request(&other)).ok();
        assert_eq!(got.is_some(), retires);
        got.into_iter().for_each(|block| free(&pool, block, &other));
        pool.handle().synchronize().unwrap();
        drop(other);
        finish(&device, pool);
    }
}

fn request(stream: &Stream) -> vmem_core::Request<'_> {
    vmem_core::Request::new(layout(8 * MIB), stream)
}

#[test]
fn a_wait_asked_of_a_borrowed_stream_is_queued_before_its_memory_is_used_again() {
    let scene = scene();
    let (pool, borrowed, other) = (&scene.pool, &scene.borrowed, &scene.other);
    let block = scene.fill();
    // SAFETY: the stream is destroyed below.
    let home = unsafe { borrowed.vouched(|| borrowed.marker()) }.unwrap();
    other.wait(&home).unwrap();
    touch(&scene.device, &block, other);
    borrowed.wait_later(&other.marker().unwrap()).unwrap();
    drop(home);
    free(pool, block, borrowed);
    let block = scene.fill();
    free(pool, block, borrowed);
    scene.die();
    pool.handle().synchronize().unwrap();
    scene.end();
}
