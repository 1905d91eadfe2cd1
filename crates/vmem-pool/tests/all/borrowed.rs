//! Streams that may be destroyed without a word: who gets what was freed on them.

use std::sync::Arc;

use vmem_core::author::StreamExt;
use vmem_core::{Device, MemoryResource, RawStream, ResourceExt, Stream};
use vmem_pool::{Batch, PoolConfig};
use vmem_sim::{CallKind, SimDevice};

use crate::support::{
    ArenaPool, MIB, alloc, arena, device, finish, free, keep_busy, layout, touch,
};

struct Scene {
    device: Arc<SimDevice>,
    pool: ArenaPool,
    raw: RawStream,
    borrowed: Stream,
    other: Stream,
}

/// A pool of 8 MiB, a stream of others and one of vmem's.
fn scene() -> Scene {
    scene_with(Batch::default())
}

fn scene_with(batch: Batch) -> Scene {
    let device = device();
    let config = PoolConfig::default().with_ceiling(8 * MIB).with_batch(batch);
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

    /// Calls something whose caller vouches for the borrowed stream.
    fn vouched<R>(&self, call: impl FnOnce() -> R) -> R {
        // SAFETY: the stream is destroyed by `die` only.
        unsafe { self.borrowed.vouched(call) }
    }

    /// A second stream uses the pool.
    fn have_company(&self) {
        free(&self.pool, alloc(&self.pool, MIB, &self.other), &self.other);
    }

    fn events_recorded(&self) -> u64 {
        self.device.calls().of(CallKind::RecordEvent)
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
fn what_a_vouched_free_frees_is_others_although_the_stream_is_destroyed_at_once() {
    for size in [256, MIB, 8 * MIB] {
        let scene = scene();
        let (pool, borrowed, other) = (&scene.pool, &scene.borrowed, &scene.other);
        scene.have_company();
        scene.vouched(|| {
            let block = alloc(pool, size, borrowed);
            // SAFETY: the stream is alive, and the range is the block's.
            unsafe { scene.device.fill(block.ptr(), 1, size, scene.raw) }.unwrap();
            free(pool, block, borrowed);
        });
        scene.die();
        let block = alloc(pool, 8 * MIB, other);
        touch(&scene.device, &block, other);
        free(pool, block, other);
        scene.end();
    }
}

#[test]
fn alone_small_vouched_frees_record_nothing_and_what_large_ones_free_is_the_first_comers() {
    let scene = scene();
    let (pool, borrowed, other) = (&scene.pool, &scene.borrowed, &scene.other);
    let before = scene.events_recorded();
    scene.vouched(|| (0..10).for_each(|_| free(pool, alloc(pool, 4096, borrowed), borrowed)));
    assert_eq!(scene.events_recorded(), before);
    let block = scene.fill();
    scene.vouched(|| free(pool, block, borrowed));
    scene.die();
    let block = alloc(pool, 8 * MIB, other);
    touch(&scene.device, &block, other);
    free(pool, block, other);
    scene.end();
}

#[test]
fn the_rest_of_what_a_borrowed_stream_waited_for_is_others_too() {
    let scene = scene();
    let (pool, borrowed, other) = (&scene.pool, &scene.borrowed, &scene.other);
    let all = alloc(pool, 8 * MIB, other);
    keep_busy(&scene.device, &all, other);
    free(pool, all, other);
    let taken = scene.vouched(|| alloc(pool, MIB, borrowed));
    let rest = alloc(pool, 7 * MIB, other);
    touch(&scene.device, &rest, other);
    free(pool, rest, other);
    scene.vouched(|| free(pool, taken, borrowed));
    scene.die();
    scene.end();
}

#[test]
fn a_full_batch_that_nobody_vouched_for_is_marked_by_the_next_call_that_does() {
    let scene = scene_with(Batch::new(4, u64::MAX));
    let (pool, borrowed, other) = (&scene.pool, &scene.borrowed, &scene.other);
    scene.have_company();
    let allocate = || alloc(pool, MIB, borrowed);
    let mut blocks = scene.vouched(|| [(); 5].map(|()| allocate())).into_iter();
    for (frees, marked) in [(3, 0), (2, 1)] {
        let before = scene.events_recorded();
        blocks.by_ref().take(frees).for_each(|block| free(pool, block, borrowed));
        assert_eq!(scene.events_recorded(), before, "nobody may name the stream");
        let next = scene.vouched(allocate);
        assert_eq!(scene.events_recorded(), before + marked);
        free(pool, next, other);
    }
    scene.die();
    free(pool, alloc(pool, 8 * MIB, other), other);
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
