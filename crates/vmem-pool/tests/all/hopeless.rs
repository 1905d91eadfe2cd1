//! Requests that cannot be served now: when they are tried again, and when they fail at once.

use vmem_core::{PinnedMemory, ResourceExt, Stream};
use vmem_pool::{Batch, Chunks, Pool, PoolConfig};

use crate::support::{MIB, alloc, arena, device, finish, free, keep_busy, layout, touch};

#[test]
fn on_host_accessible_memory_the_rest_of_complete_memory_is_at_hand() {
    let device = device();
    let upstream = PinnedMemory::new(device.clone()).unwrap();
    let config = PoolConfig { initial: 8 * MIB, batch: Batch::STRICT, ..Default::default() };
    let pool = Pool::new(Chunks::new(upstream, device.clone()), config).unwrap();
    let stream = Stream::new(device.clone()).unwrap();
    let block = alloc(&pool, 8 * MIB, &stream);
    touch(&device, &block, &stream);
    free(&pool, block, &stream);
    stream.synchronize().unwrap();
    let left = alloc(&pool, 2 * MIB, &stream);
    let before = device.calls();
    let right = alloc(&pool, 6 * MIB, &stream);
    assert_eq!((device.calls() - before).total(), 0);
    assert_eq!(pool.handle().counters().unwrap().growths, 1);
    free(&pool, left, &stream);
    free(&pool, right, &stream);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn on_host_accessible_memory_a_hopeless_request_is_tried_again_while_work_is_pending() {
    let device = device();
    let upstream = PinnedMemory::new(device.clone()).unwrap();
    let config = PoolConfig { ceiling: Some(8 * MIB), ..Default::default() };
    let pool = Pool::new(Chunks::new(upstream, device.clone()), config).unwrap();
    let stream = Stream::new(device.clone()).unwrap();
    let tried = || {
        let before = device.calls();
        assert!(pool.alloc(layout(6 * MIB), &stream).is_err());
        (device.calls() - before).total() > 0
    };
    let (kept, block) = (alloc(&pool, 4 * MIB, &stream), alloc(&pool, 4 * MIB, &stream));
    assert_eq!([tried(), tried()], [true, false], "all is live: nothing can change by itself");
    keep_busy(&device, &block, &stream);
    free(&pool, block, &stream);
    assert_eq!([tried(), tried()], [true, true], "what is pending may be complete by now");
    free(&pool, kept, &stream);
    pool.handle().trim_to(0).unwrap();
    free(&pool, alloc(&pool, 6 * MIB, &stream), &stream);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn pending_work_makes_a_hopeless_request_on_device_memory_no_less_hopeless() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig { ceiling: Some(8 * MIB), ..Default::default() });
    let stream = Stream::new(device.clone()).unwrap();
    let (kept, block) = (alloc(&pool, 4 * MIB, &stream), alloc(&pool, 4 * MIB, &stream));
    keep_busy(&device, &block, &stream);
    free(&pool, block, &stream);
    assert!(pool.alloc(layout(6 * MIB), &stream).is_err());
    let before = device.calls();
    assert!(pool.alloc(layout(6 * MIB), &stream).is_err());
    assert_eq!((device.calls() - before).total(), 0);
    free(&pool, kept, &stream);
    drop(stream);
    finish(&device, pool);
}
