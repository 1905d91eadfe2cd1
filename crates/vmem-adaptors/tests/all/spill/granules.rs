//! Buffers that are parts of what moves, or share it.

use vmem_adaptors::{MayRest, Spill, Spillable};
use vmem_core::{DeviceBuffer, DevicePtr, Residency, ResourceExt, Stream};
use vmem_pool::{Chunks, Pool, PoolConfig, VirtualArena};
use vmem_sim::{Kernel, SimConfig, SimDevice};

use super::mover::Memory;
use super::{Bench, SIZE, address};

#[test]
fn memory_that_was_cut_from_a_block_which_can_move_stays_where_it_is() {
    let bench = Bench::new(0, 1 << 14, 1 << 14);
    let chunks = Chunks::new(Memory(bench.mover.clone()));
    let pool = Pool::new(chunks, PoolConfig::default()).unwrap().into_dyn();
    let [first, second] =
        [(); 2].map(|()| DeviceBuffer::new(pool.clone(), SIZE, &bench.stream).unwrap());
    // At its address begins the chunk.
    assert!(bench.mover.block_at(first.ptr().unwrap()).is_some());
    let first = bench.spill.adopt(first);
    bench.stream.synchronize().unwrap();
    bench.launch(&bench.stream, Kernel::write_pattern(second.ptr().unwrap(), SIZE, 2));
    assert_eq!((bench.spill.room(), bench.spill.demote(u64::MAX)), (0, 0));
    let lease = first.lease(&bench.stream).unwrap();
    bench.launch(&bench.stream, Kernel::write_pattern(lease.ptr().unwrap(), SIZE, 1));
    drop(lease);
    drop((first, second, pool));
    bench.finish();
}

#[test]
fn memory_that_was_brought_back_by_hand_moves_out_again() {
    let bench = Bench::new(0, 1, 1);
    let buffer = bench.buffers(1).remove(0);
    let spill = bench.spill.clone().with_host_limit(SIZE);
    assert_eq!(spill.demote(SIZE), SIZE);
    let block = bench.mover.block_at(DevicePtr::new(address(&buffer)).unwrap()).unwrap();
    // SAFETY: nothing is pending on the buffer.
    unsafe { bench.mover.promote(&[block]) }.unwrap();
    assert_eq!(spill.room(), SIZE);
    assert_eq!((spill.demote(SIZE), spill.demote(SIZE)), (SIZE, 0));
    assert_eq!(spill.counts().host_bytes, SIZE);
    drop((buffer, spill));
    bench.finish();
}

const GRANULE: u64 = 64 << 10;

#[test]
fn buffers_that_share_a_granule_move_out_and_back_as_often_as_they_are_asked_to() {
    let config = SimConfig {
        capacity: 32 * GRANULE,
        host_capacity: 32 * GRANULE,
        granularity: GRANULE,
        ..SimConfig::default()
    };
    let device = SimDevice::with_config(config).unwrap();
    let stream = Stream::new(device.clone()).unwrap();
    let pool =
        Pool::new(VirtualArena::new(device.clone()).unwrap(), PoolConfig::default()).unwrap();
    let handle = pool.handle();
    let spill = Spill::new(std::sync::Arc::new(handle.clone()));
    let memory = MayRest::new(pool.into_dyn());
    let launch = |kernel| {
        // SAFETY: contract, devices/ranges: memory under a lease.
        unsafe { device.launch(&stream, kernel) }.unwrap();
    };
    // The pool has handles of a granule each, one beside the other.
    let warm = [(); 20].map(|()| DeviceBuffer::new(memory.clone(), GRANULE, &stream).unwrap());
    drop(warm);
    stream.synchronize().unwrap();
    let sizes = [7 * GRANULE + 300, 9 * GRANULE + 300];
    let buffers = sizes.map(|size| {
        let buffer = DeviceBuffer::new(memory.clone(), size, &stream).unwrap();
        spill.adopt(buffer)
    });
    for (size, buffer) in sizes.into_iter().zip(&buffers) {
        launch(Kernel::write_pattern(buffer.lease(&stream).unwrap().ptr().unwrap(), size, size));
    }
    let use_all = || {
        for (size, buffer) in sizes.into_iter().zip(&buffers) {
            let ptr = buffer.lease(&stream).unwrap().ptr().unwrap();
            launch(Kernel::check_pattern(ptr, size, size));
        }
        stream.synchronize().unwrap();
    };
    use_all();
    for _ in 0..3 {
        let before = spill.counts();
        let room = spill.room();
        assert!(room >= 15 * GRANULE, "{room}");
        assert!(spill.demote(u64::MAX) >= room);
        assert_eq!((spill.room(), spill.demote(u64::MAX)), (0, 0));
        use_all();
        // Nothing more comes back, and nothing is tried.
        let counts = spill.counts();
        assert!(buffers.iter().all(Spillable::is_on_device));
        assert!(counts.host_bytes > 0, "they share no granule");
        assert!(counts.host_bytes <= 2 * GRANULE, "{counts:?}");
        assert!(counts.promoted_bytes >= before.promoted_bytes + room);
        use_all();
        assert_eq!(spill.counts(), counts);
    }
    drop(buffers);
    assert_eq!(spill.counts().host_bytes, 0);
    handle.check_invariants();
    drop((handle, memory, spill, stream));
    device.assert_clean();
}
