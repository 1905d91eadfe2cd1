//! Faults that a review found in how memory is counted, joined, returned and refused.

use std::sync::Arc;

use vmem_core::{
    AsyncMemory, Device, DeviceBuffer, MemoryEvent, MemoryEventKind, MemoryObserver, PinnedMemory,
    ResourceExt, Stream,
};
use vmem_pool::{Batch, Chunks, Growth, Pool, PoolConfig, PoolHandle};
use vmem_sim::{CallKind, SimDevice};

use crate::support::{MIB, alloc, arena, bins, chunks, device, finish, free, keep_busy, layout};

#[test]
fn the_rest_of_a_range_that_was_waited_for_can_be_returned() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default().with_ceiling(8 * MIB));
    let [a, b, c] = [(); 3].map(|()| Stream::new(device.clone()).unwrap());
    let block = alloc(&pool, 8 * MIB, &a);
    keep_busy(&device, &block, &a);
    free(&pool, block, &a);
    let half = alloc(&pool, 4 * MIB, &b); // waits; the rest is (b, open)
    c.wait(&b.marker().unwrap()).unwrap();
    free(&pool, half, &c); // not freed on b
    device.synchronize().unwrap();
    assert_eq!(pool.handle().trim_to(0).unwrap(), 8 * MIB);
    drop((a, b, c));
    finish(&device, pool);
}

#[test]
fn a_pool_dropped_with_the_rest_of_a_waited_range_leaks_nothing() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default().with_ceiling(8 * MIB));
    let [a, b, c] = [(); 3].map(|()| Stream::new(device.clone()).unwrap());
    let block = alloc(&pool, 8 * MIB, &a);
    keep_busy(&device, &block, &a);
    free(&pool, block, &a);
    let half = alloc(&pool, 4 * MIB, &b);
    c.wait(&b.marker().unwrap()).unwrap();
    free(&pool, half, &c);
    drop(pool);
    assert_eq!(device.used(), 0, "leaked, drop failures {}", device.base().drop_failures().count());
}

#[test]
fn several_free_chunks_go_when_one_is_not_enough() {
    let device = device();
    let config = PoolConfig::default().with_ceiling(8 * MIB).with_growth(Growth::Exact);
    let pool = chunks(device.clone(), config);
    let s = Stream::new(device.clone()).unwrap();
    let blocks = [3, 3, 2].map(|m| alloc(&pool, m * MIB, &s));
    for b in blocks {
        free(&pool, b, &s);
    }
    s.synchronize().unwrap();
    let b = alloc(&pool, 4 * MIB, &s);
    free(&pool, b, &s);
}

#[test]
fn a_free_bin_of_another_size_makes_room() {
    let device = device();
    let pool = bins(device.clone(), PoolConfig::default().with_ceiling(8 * MIB));
    let s = Stream::new(device.clone()).unwrap();
    let b = alloc(&pool, 8 * MIB, &s);
    free(&pool, b, &s);
    s.synchronize().unwrap();
    let b = alloc(&pool, MIB, &s);
    free(&pool, b, &s);
}

#[test]
fn the_initial_chunk_of_a_stream_ordered_upstream_is_returned() {
    let device = device();
    let config = PoolConfig::default().with_initial(MIB).with_growth(Growth::AtLeast(4 * MIB));
    let pool = Pool::new(Chunks::new(AsyncMemory::new(device.clone()).unwrap()), config).unwrap();
    assert_eq!(pool.handle().trim_to(0).unwrap(), 4 * MIB);
}

#[test]
fn an_emptied_buffer_that_moves_waits_for_its_uses() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default());
    let [a, b] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
    let mut buffer = DeviceBuffer::new(&pool, MIB, &a).unwrap();
    buffer.make_ready_on(&b).unwrap();
    keep_busy(&device, buffer.block().unwrap(), &b);
    buffer.record_use(&b).unwrap();
    buffer.resize(0).unwrap();
    buffer.shrink_to_fit().unwrap();
    let again = alloc(&pool, MIB, &a);
    keep_busy(&device, &again, &a);
    free(&pool, again, &a);
    device.synchronize().unwrap();
    device.assert_clean();
}

#[test]
fn a_clone_waits_for_the_uses_of_its_source() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default());
    let [a, b, c] = [(); 3].map(|()| Stream::new(device.clone()).unwrap());
    let mut buffer = DeviceBuffer::new(&pool, MIB, &a).unwrap();
    buffer.fill(0..MIB, 0).unwrap();
    buffer.make_ready_on(&b).unwrap();
    keep_busy(&device, buffer.block().unwrap(), &b);
    buffer.record_use(&b).unwrap();
    let copy = buffer.try_clone(&c).unwrap();
    device.synchronize().unwrap();
    drop((copy, buffer));
    device.assert_clean();
}

#[test]
fn recorded_uses_do_not_pile_up() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default());
    let [a, b] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
    let mut buffer = DeviceBuffer::new(&pool, MIB, &a).unwrap();
    for _ in 0..1000 {
        buffer.record_use(&b).unwrap();
        b.synchronize().unwrap();
    }
    assert!(device.leaks().events < 100, "{:?}", device.leaks());
}

fn pinned(device: &Arc<SimDevice>, config: PoolConfig) -> Pool<Chunks<PinnedMemory>> {
    Pool::new(Chunks::new(PinnedMemory::new(device.clone()).unwrap()), config).unwrap()
}

#[test]
fn a_pending_best_fit_does_not_hide_complete_host_memory() {
    let device = device();
    let pool = pinned(
        &device,
        PoolConfig::default().with_ceiling(8192).with_initial(8192).with_batch(Batch::STRICT),
    );
    let [s, t] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
    // [big 3072][k 1024][small 2048][k2 2048]
    let big = alloc(&pool, 3072, &s);
    let k = alloc(&pool, 1024, &s);
    let small = alloc(&pool, 2048, &s);
    let k2 = alloc(&pool, 2048, &s);
    free(&pool, big, &s);
    s.synchronize().unwrap();
    keep_busy(&device, &small, &s);
    free(&pool, small, &s);
    let r = pool.allocate_on(layout(2048), &t);
    assert!(r.is_ok(), "{:?}", r.err());
    for b in [r.unwrap(), k, k2] {
        free(&pool, b, &s);
    }
}

#[test]
fn on_host_memory_a_request_waits_for_what_was_freed() {
    let device = device();
    let pool = pinned(&device, PoolConfig::default().with_ceiling(4096));
    let s = Stream::new(device.clone()).unwrap();
    let b = alloc(&pool, 4096, &s);
    keep_busy(&device, &b, &s);
    free(&pool, b, &s);
    let r = pool.allocate_on(layout(4096), &s);
    assert!(r.is_ok(), "{:?}", r.err());
    // The work takes as long, and the host may touch the block at once.
    assert!(device.virtual_time() >= std::time::Duration::from_secs(1000));
    free(&pool, r.unwrap(), &s);
}

#[test]
fn growing_by_at_least_everything_takes_what_there_is() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default().with_growth(Growth::AtLeast(u64::MAX)));
    let s = Stream::new(device.clone()).unwrap();
    let b = alloc(&pool, MIB, &s);
    free(&pool, b, &s);
}

/// An observer that returns memory whenever the pool grows. Called under a lock of the pool, it
/// would wait for itself.
#[derive(Debug, Default)]
struct Trimmer(std::sync::Mutex<Option<PoolHandle>>);

impl MemoryObserver for Trimmer {
    fn event(&self, event: &MemoryEvent) {
        if matches!(event.kind, MemoryEventKind::Growth { .. }) {
            let h = self.0.lock().unwrap().clone();
            if let Some(h) = h {
                h.try_trim(u64::MAX).unwrap();
            }
        }
    }
}

#[test]
fn an_observer_may_call_the_pool() {
    let device = device();
    let observer = Arc::new(Trimmer::default());
    let erased: Arc<dyn MemoryObserver> = observer.clone();
    let pool = arena(device.clone(), PoolConfig::default().with_observer(erased));
    *observer.0.lock().unwrap() = Some(pool.handle());
    let stream = Stream::new(device.clone()).unwrap();
    free(&pool, alloc(&pool, MIB, &stream), &stream);
}

#[test]
fn events_of_markers_are_recorded_again() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default().with_ceiling(8 * MIB));
    let [a, b] = [(); 2].map(|()| Stream::new(device.clone()).unwrap());
    for i in 0..200 {
        let s = if i % 2 == 0 { &a } else { &b };
        let block = alloc(&pool, 8 * MIB, s);
        free(&pool, block, s);
        s.synchronize().unwrap();
    }
    // Each stream keeps up to 32 before it asks how far they have come.
    let n = device.calls().of(CallKind::CreateEvent);
    assert!(n < 70, "{n} events created");
}

#[test]
fn a_pool_that_cannot_return_its_memory_says_so() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default());
    let s = Stream::new(device.clone()).unwrap();
    let b = alloc(&pool, MIB, &s);
    free(&pool, b, &s);
    device.begin_capture(&s).unwrap();
    drop(pool);
    device.end_capture(&s).unwrap();
    assert!(
        device.used() == 0 || device.base().drop_failures().count() > 0,
        "used {}",
        device.used()
    );
}

#[test]
fn frees_on_a_retired_stream_coalesce() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default());
    let s = Stream::new(device.clone()).unwrap();
    let blocks: Vec<_> = (0..8).map(|_| alloc(&pool, MIB, &s)).collect();
    s.retire().unwrap();
    for b in blocks {
        free(&pool, b, &s);
    }
    let free_ranges = pool.handle().snapshot().unwrap().segments[0]
        .ranges
        .iter()
        .filter(|r| !matches!(r.state, vmem_pool::RangeState::Unmapped))
        .count();
    assert_eq!(free_ranges, 1, "one lane per free");
}

#[test]
fn the_rest_of_a_stream_ordered_host_chunk_is_used() {
    let device = device();
    let inner = pinned(&device, PoolConfig::default());
    let config = PoolConfig::default().with_growth(Growth::AtLeast(MIB));
    let pool = Pool::new(Chunks::new(inner), config).unwrap();
    let s = Stream::new(device.clone()).unwrap();
    let blocks: Vec<_> = (0..8)
        .map(|_| {
            let b = alloc(&pool, 1024, &s);
            s.synchronize().unwrap();
            b
        })
        .collect();
    let r = pool.handle().counters().unwrap().reserved;
    for b in blocks {
        free(&pool, b, &s);
    }
    assert_eq!(r, MIB);
}
