//! Leases against moves, frees and ends of streams, over the real pool and the simulated device, whose
//! checker sees every access that a move does not wait for, or that does not wait for a move.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use loom::model::Builder;
use loom::thread;
use vmem_adaptors::{Scrub, Spill, Spillable};
use vmem_core::{Device, DeviceBuffer, ManualClock, MemoryResource, ResourceExt, Stream};
use vmem_pool::{Pool, PoolConfig, PoolHandle, VirtualArena};
use vmem_sim::{Kernel, Schedule, SimConfig, SimDevice};

const GRANULE: u64 = 4 << 10;

/// A seed under which a late device runs nothing by itself and its first queries find work pending.
const UNHURRIED: u64 = 82;

type Buffer = Spillable<DeviceBuffer>;

/// A device that holds two buffers of a granule, and a host that holds as many.
#[derive(Clone)]
struct Rig {
    device: Arc<SimDevice>,
    memory: Arc<dyn MemoryResource>,
    pool: PoolHandle,
    spill: Spill,
}

/// Runs `model` on a device on which a query finds work pending, and on one on which it finds it complete,
/// in every order with at most so many preemptions.
fn explore(preemptions: usize, model: impl Fn(&Rig) + Send + Sync + Copy + 'static) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    // Two models at once would share the numbers that streams are given.
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    for schedule in [Schedule::Late, Schedule::Eager] {
        let mut builder = Builder::new();
        builder.max_branches = 20_000;
        builder.preemption_bound = Some(preemptions);
        let orders = Arc::new(AtomicU64::new(0));
        let count = orders.clone();
        builder.check(move || {
            count.fetch_add(1, Ordering::Relaxed);
            let rig = Rig::new(schedule);
            model(&rig);
            rig.finish();
        });
        let orders = orders.load(Ordering::Relaxed);
        assert!(orders > 100, "too little is explored: {orders} orders");
    }
}

impl Rig {
    fn new(schedule: Schedule) -> Self {
        let device = SimDevice::with_config(SimConfig {
            capacity: 2 * GRANULE,
            host_capacity: 2 * GRANULE,
            granularity: GRANULE,
            schedule,
            seed: UNHURRIED,
            ..SimConfig::default()
        })
        .unwrap();
        // Real time would make two runs of one order differ.
        let config = PoolConfig::default().with_clock(Arc::new(ManualClock::new()));
        let pool = Pool::new(VirtualArena::new(device.clone()).unwrap(), config).unwrap();
        let handle = pool.handle();
        let spill = Spill::new(Arc::new(handle.clone()));
        Self { device, memory: pool.into_dyn(), pool: handle, spill }
    }

    fn stream(&self) -> Stream {
        Stream::new(self.device.clone()).unwrap()
    }

    /// A buffer of a granule with what is written to it complete.
    fn buffer(&self, stream: &Stream, tag: u64) -> Buffer {
        let buffer = DeviceBuffer::new(self.memory.clone(), GRANULE, stream).unwrap();
        let buffer = self.spill.adopt(buffer);
        self.write(&buffer, stream, tag);
        stream.synchronize().unwrap();
        buffer
    }

    fn write(&self, buffer: &Buffer, stream: &Stream, tag: u64) {
        let lease = buffer.lease(stream).unwrap();
        self.launch(stream, Kernel::write_pattern(lease.ptr().unwrap(), GRANULE, tag));
    }

    fn check(&self, buffer: &Buffer, stream: &Stream, tag: u64) {
        let lease = buffer.lease(stream).unwrap();
        self.launch(stream, Kernel::check_pattern(lease.ptr().unwrap(), GRANULE, tag));
    }

    fn launch(&self, stream: &Stream, kernel: Kernel) {
        // SAFETY: contract, devices/ranges: live memory, or the simulation refuses it.
        unsafe { self.device.launch(stream, kernel) }.unwrap();
    }

    /// Checks that nothing was raced for and nothing is left.
    fn finish(self) {
        let Self { device, memory, pool, spill } = self;
        pool.check_invariants();
        assert_eq!((spill.counts().buffers, spill.counts().host_bytes), (0, 0));
        drop((spill, memory));
        device.assert_clean();
        assert!(device.leaks().is_empty(), "{}", device.leaks());
        assert_eq!(device.base().drop_failures().count(), 0);
    }
}

#[test]
fn a_lease_beside_a_demotion_finds_what_was_written_and_keeps_what_it_writes() {
    explore(3, |rig| {
        let stream = rig.stream();
        let buffer = rig.buffer(&stream, 1);
        let spill = rig.spill.clone();
        let demoting = thread::spawn(move || spill.demote(u64::MAX));
        rig.check(&buffer, &stream, 1);
        rig.write(&buffer, &stream, 2);
        demoting.join().unwrap();
        rig.check(&buffer, &rig.stream(), 2);
        drop((buffer, stream));
    });
}

#[test]
fn a_buffer_that_is_dropped_beside_a_demotion_gives_its_memory_back_once() {
    explore(3, |rig| {
        let stream = rig.stream();
        let buffer = rig.buffer(&stream, 1);
        let spill = rig.spill.clone();
        let demoting = thread::spawn(move || spill.demote(u64::MAX));
        rig.write(&buffer, &stream, 2);
        drop(buffer);
        demoting.join().unwrap();
        let next = rig.buffer(&stream, 3);
        rig.check(&next, &stream, 3);
        drop((next, stream));
    });
}

#[test]
fn a_buffer_that_is_cleared_as_it_is_freed_is_not_moved_meanwhile() {
    explore(3, |rig| {
        let stream = rig.stream();
        let cleared: Arc<dyn MemoryResource> = Arc::new(Scrub::new(rig.memory.clone()).unwrap());
        let buffer = DeviceBuffer::new(cleared.clone(), GRANULE, &stream).unwrap();
        let buffer = rig.spill.adopt(buffer);
        stream.synchronize().unwrap();
        let spill = rig.spill.clone();
        let demoting = thread::spawn(move || spill.demote(u64::MAX));
        rig.write(&buffer, &stream, 2);
        drop(buffer);
        demoting.join().unwrap();
        drop((cleared, stream));
    });
}

#[test]
fn leases_of_two_streams_bring_a_buffer_back_once_and_both_find_what_it_holds() {
    explore(3, |rig| {
        let (stream, other) = (rig.stream(), rig.stream());
        let buffer = Arc::new(rig.buffer(&stream, 1));
        assert_eq!(rig.spill.demote(GRANULE), GRANULE);
        let (shared, theirs) = (buffer.clone(), rig.clone());
        let leasing = thread::spawn(move || {
            theirs.check(&shared, &other, 1);
            drop(shared);
        });
        rig.check(&buffer, &stream, 1);
        leasing.join().unwrap();
        assert!(buffer.is_on_device());
        drop((buffer, stream));
    });
}

#[test]
fn a_stream_that_ends_with_its_last_lease_beside_a_demotion_keeps_the_order() {
    explore(3, |rig| {
        let home = rig.stream();
        let buffer = Arc::new(rig.buffer(&home, 1));
        let (shared, theirs, ending) = (buffer.clone(), rig.clone(), rig.stream());
        let using = thread::spawn(move || {
            theirs.write(&shared, &ending, 2);
            drop((shared, ending));
        });
        rig.spill.demote(u64::MAX);
        using.join().unwrap();
        rig.check(&buffer, &home, 2);
        drop((buffer, home));
    });
}

#[test]
fn two_demotions_move_a_buffer_once() {
    explore(3, |rig| {
        let stream = rig.stream();
        let buffers = [rig.buffer(&stream, 1), rig.buffer(&stream, 2)];
        let spill = rig.spill.clone();
        let demoting = thread::spawn(move || spill.demote(GRANULE));
        let mine = rig.spill.demote(GRANULE);
        assert_eq!(mine + demoting.join().unwrap(), 2 * GRANULE);
        for (tag, buffer) in (1..).zip(&buffers) {
            rig.check(buffer, &stream, tag);
        }
        drop((buffers, stream));
    });
}

#[test]
#[should_panic(expected = "broken rules")]
fn a_use_without_a_lease_is_caught() {
    explore(3, |rig| {
        let stream = rig.stream();
        let buffer = rig.buffer(&stream, 1);
        let spill = rig.spill.clone();
        let demoting = thread::spawn(move || spill.demote(u64::MAX));
        // SAFETY: it is not what may be done: the checker is to see it.
        let ptr = unsafe { buffer.ptr_without_lease() }.unwrap();
        rig.launch(&stream, Kernel::write_pattern(ptr, GRANULE, 2));
        demoting.join().unwrap();
        drop((buffer, stream));
    });
}
