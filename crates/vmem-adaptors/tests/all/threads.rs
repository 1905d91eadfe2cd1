//! Adaptors used by several threads at once. RMM 63; every order of a few steps is in `loom.rs`.

use std::sync::{Arc, Barrier, mpsc};

use vmem_adaptors::{AdaptorExt, Budget};
use vmem_core::{
    AllocError, Block, Capabilities, Device, FreeError, MemoryResource, Request, ResourceExt,
    Stream,
};

use crate::fake::{Fake, free, layout, stream};

const THREADS: u64 = 4;

#[test]
fn sums_over_threads_are_exact_also_for_blocks_freed_elsewhere() {
    let stream = stream();
    let memory = Fake::new().with_statistics().tracked();
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (memory, stream, sender) = (&memory, &stream, sender.clone());
            scope.spawn(move || {
                for size in 1..=100 {
                    let block = memory.allocate_on(layout(size * 1000 + thread), stream).unwrap();
                    if size % 2 == 0 {
                        free(memory, block, stream).unwrap();
                    } else {
                        sender.send(block).unwrap();
                    }
                }
            });
        }
        drop(sender);
        for block in receiver {
            free(&memory, block, &stream).unwrap();
        }
    });
    let stats = memory.upstream().handle().stats().unwrap();
    let total = (1..=100).map(|size| size * 1000 * THREADS).sum::<u64>() + 100 * (1 + 2 + 3);
    assert_eq!((stats.bytes.current, stats.blocks.current), (0, 0));
    assert_eq!((stats.bytes.total, stats.blocks.total), (total, 100 * THREADS));
    assert_eq!(memory.handle().outstanding().unwrap(), 0);
}

#[test]
fn what_threads_charge_here_and_free_there_is_given_back_exactly() {
    let stream = stream();
    let upstream = Arc::new(Fake::new());
    let limits = [(); 2].map(|()| upstream.clone().limited(Budget::new(1 << 30)));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (limits, stream) = (&limits, &stream);
            scope.spawn(move || {
                for size in 1..=1000 {
                    let from = usize::try_from(thread + size).unwrap() % 2;
                    let block = limits[from].allocate_on(layout(size), stream).unwrap();
                    let through = usize::try_from(size % 3).unwrap();
                    free(limits.get(through).unwrap_or(&limits[0]), block, stream).unwrap();
                }
            });
        }
    });
    for limit in &limits {
        assert_eq!((limit.budget().used(), limit.budget().available()), (0, 1 << 30));
    }
    assert_eq!(upstream.live(), 0);
}

/// Runs `step` on `THREADS` threads, one after the other in the order of their numbers, all alive
/// until the last is done.
fn in_turn(step: impl Fn(u64) + Sync) {
    let barrier = Barrier::new(usize::try_from(THREADS).unwrap());
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (step, barrier) = (&step, &barrier);
            scope.spawn(move || {
                for turn in 0..THREADS {
                    if turn == thread {
                        step(thread);
                    }
                    barrier.wait();
                }
            });
        }
    });
}

#[test]
fn the_peak_under_threads_is_exact_for_blocks_of_every_size() {
    let stream = stream();
    for size in [1, 1 << 10, 8 << 20] {
        let memory = Fake::new().with_statistics();
        let (sender, receiver) = mpsc::channel();
        in_turn(|thread| {
            // What is freed in between makes the sum of each thread's own peak more than the peak.
            let passing = memory.allocate_on(layout(size), &stream).unwrap();
            free(&memory, passing, &stream).unwrap();
            sender.send(memory.allocate_on(layout(size + thread), &stream).unwrap()).unwrap();
        });
        for block in receiver.try_iter() {
            free(&memory, block, &stream).unwrap();
        }
        let stats = memory.handle().stats().unwrap();
        assert_eq!(stats.bytes.peak, THREADS * size + (1 + 2 + 3));
        assert_eq!((stats.bytes.current, stats.blocks.peak), (0, THREADS));
    }
}

/// Returns from a free only after the block's address was handed out again.
#[derive(Debug)]
struct Reusing {
    fake: Fake,
    freed: Barrier,
    reused: Barrier,
}

impl std::fmt::Display for Reusing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reusing<{}>", self.fake)
    }
}

// SAFETY: contract, implementing: it is the fake's; only the moment of return differs.
unsafe impl MemoryResource for Reusing {
    fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        self.fake.allocate(request)
    }

    unsafe fn deallocate(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
        let delayed = block.size() == 1;
        free(&self.fake, block, stream)?;
        if delayed {
            self.freed.wait();
            self.reused.wait();
        }
        Ok(())
    }

    fn device(&self) -> &Arc<dyn Device> {
        self.fake.device()
    }

    fn capabilities(&self) -> Capabilities {
        self.fake.capabilities()
    }
}

#[test]
fn a_slot_reused_before_the_free_returns_stays_tracked_and_counted() {
    let stream = stream();
    let memory = Reusing { fake: Fake::new(), freed: Barrier::new(2), reused: Barrier::new(2) };
    let memory = memory.tracked().with_statistics();
    let track = memory.upstream().handle();
    let first = memory.allocate_on(layout(1), &stream).unwrap();
    let slot = first.raw().slot();
    let second = std::thread::scope(|scope| {
        let freeing = scope.spawn(|| free(&memory, first, &stream));
        let barriers = memory.upstream().upstream();
        barriers.freed.wait();
        let second = memory.allocate_on(layout(256), &stream).unwrap();
        assert_eq!(second.raw().slot(), slot);
        barriers.reused.wait();
        freeing.join().unwrap().unwrap();
        second
    });
    assert_eq!(track.outstanding().unwrap(), 1);
    assert_eq!(memory.handle().stats().unwrap().bytes.current, 256);
    free(&memory, second, &stream).unwrap();
    assert_eq!(track.outstanding().unwrap(), 0);
    assert_eq!(memory.handle().stats().unwrap().bytes.current, 0);
}
