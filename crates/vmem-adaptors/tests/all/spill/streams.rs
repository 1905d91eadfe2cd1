//! Work of streams that leases do not name, or cannot.

use std::thread;

use vmem_core::{DeviceBox, DriverCode, Stream};
use vmem_sim::Kernel;

use super::mover::Memory;
use super::{Bench, SIZE};

#[test]
fn work_that_can_be_neither_marked_nor_waited_for_is_not_overtaken() {
    for seed in 0..8 {
        let bench = Bench::new(seed, 1, 1);
        let own = Stream::per_thread_default(bench.device.clone());
        let mut buffer = bench.buffer();
        let lease = buffer.lease(&own).unwrap();
        bench.launch(&own, Kernel::write_pattern(lease.ptr().unwrap(), SIZE, 3));
        let elsewhere = || {
            // Nothing can be told of another thread's default stream.
            drop(lease);
            let refused = [buffer.lease(&bench.stream).map(drop).err(), buffer.with(|_| ()).err()];
            for error in refused {
                assert_eq!(error.unwrap().code(), DriverCode::NOT_PERMITTED);
            }
            buffer.into_inner().map(drop).unwrap_err()
        };
        let buffer = thread::scope(|scope| scope.spawn(elsewhere).join().unwrap());
        bench.check(&buffer, &bench.stream, 3);
        drop(buffer.into_inner().unwrap());
        drop(own);
        bench.finish();
    }
}

#[test]
fn uses_that_are_recorded_under_a_lease_keep_the_memory_where_it_is() {
    for seed in 0..16 {
        let bench = Bench::new(seed, 1, 1);
        let [other, third] = [(); 2].map(|()| Stream::new(bench.device.clone()).unwrap());
        let len = usize::try_from(SIZE).unwrap();
        let memory = Memory(bench.mover.clone());
        let memory = DeviceBox::<[u8], _>::uninit(memory, len, &bench.stream).unwrap();
        let mut buffer = bench.spill.adopt(memory);
        for (tag, stream) in [(1, &bench.stream), (2, &other)] {
            let lease = buffer.lease(stream).unwrap();
            let elements = lease.memory().as_slice();
            elements.make_ready_on(&third).unwrap();
            bench.launch(&third, Kernel::write_pattern(elements.ptr().unwrap(), SIZE, tag));
            elements.record_use(&third).unwrap();
            drop(lease);
            // The checker finds a move that comes too early.
            bench.spill.demote(SIZE);
        }
        let work = |memory: &mut DeviceBox<[u8], Memory>| {
            let mut elements = memory.as_mut_slice();
            elements.make_ready_on(&third).unwrap();
            bench.launch(&third, Kernel::write_pattern(elements.ptr().unwrap(), SIZE, 3));
            elements.record_use(&third).unwrap();
        };
        buffer.with(work).unwrap();
        bench.spill.demote(SIZE);
        bench.device.settle();
        bench.spill.demote(SIZE);
        assert!(!buffer.is_on_device(), "seed {seed}");
        drop((buffer, other, third));
        bench.finish();
    }
}
