//! Two streams that interleave, and free each other's blocks: the targets that are counts, of long runs.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vmem_benches::{Program, device};
use vmem_core::{
    AllocError, Block, Capabilities, Device, FreeError, MemoryResource, Request, Stream,
};
use vmem_pool::{Footprint, Pool, PoolConfig, VirtualArena};
use vmem_sim::{CallCounts, CallKind, SimDevice};
use vmem_trace::{Mark, Trace, Workload, WorkloadOptions};

use crate::footprint::smallest;
use crate::support::ratio;

/// A pool, with the driver calls that are its own: the program's, which orders its streams itself, are not
/// counted.
#[derive(Debug)]
struct Counted {
    pool: Pool<VirtualArena>,
    sim: Arc<SimDevice>,
    calls: AtomicU64,
    /// Those of them that take, map, move or return memory.
    mapping: AtomicU64,
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.pool, f)
    }
}

impl Counted {
    fn new(sim: Arc<SimDevice>, config: PoolConfig) -> Self {
        let pool = Pool::new(VirtualArena::new(sim.clone()).unwrap(), config).unwrap();
        Self { pool, sim, calls: AtomicU64::new(0), mapping: AtomicU64::new(0) }
    }

    fn count<R>(&self, call: impl FnOnce() -> R) -> R {
        let before = self.sim.calls();
        let result = call();
        let made: CallCounts = self.sim.calls() - before;
        let kinds = [
            CallKind::Create,
            CallKind::Release,
            CallKind::Map,
            CallKind::Unmap,
            CallKind::SetAccess,
        ];
        let mapping = kinds.into_iter().map(|kind| made.of(kind)).sum();
        self.calls.fetch_add(made.total(), Ordering::Relaxed);
        self.mapping.fetch_add(mapping, Ordering::Relaxed);
        result
    }

    /// What is held at most so far; and the driver calls so far, and those for memory.
    fn now(&self) -> (u64, u64, u64) {
        let reserved = self.pool.handle().counters().unwrap().peak_reserved;
        (reserved, self.calls.load(Ordering::Relaxed), self.mapping.load(Ordering::Relaxed))
    }
}

// SAFETY: contract, implementing: every call is the pool's.
unsafe impl MemoryResource for Counted {
    fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        self.count(|| self.pool.allocate(request))
    }

    unsafe fn deallocate(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
        // SAFETY: contract, freeing: the caller's promise.
        self.count(|| unsafe { self.pool.deallocate(block, stream) })
    }

    fn device(&self) -> &Arc<dyn Device> {
        self.pool.device()
    }

    fn capabilities(&self) -> Capabilities {
        self.pool.capabilities()
    }
}

fn overlays(passes: u32) -> Trace {
    let workload = Workload::OverlayTwoStreams;
    workload.generate(&WorkloadOptions { passes, ..workload.defaults() }).unwrap()
}

/// The figures after each pass, the first of none.
fn after_passes(passes: u32, config: PoolConfig) -> (Trace, Vec<(u64, u64, u64)>) {
    let trace = overlays(passes);
    let device = device(80 << 30);
    let pool = Counted::new(device.clone(), config);
    let mut program = Program::new(&pool, &device, &trace);
    let mut figures = Vec::new();
    let ran = program.run(&trace, |mark| {
        if mark == Mark::Pass {
            figures.push(pool.now());
        }
        true
    });
    ran.unwrap();
    program.free_all();
    figures.push(pool.now());
    (trace, figures)
}

#[test]
fn after_3_40_and_100_passes_two_streams_hold_little_more_than_is_live_and_have_settled() {
    let (trace, figures) = after_passes(100, PoolConfig::default());
    for passes in [3, 40, 100] {
        let held = ratio(figures[passes].0, &trace);
        assert!(held <= 1.03, "{passes} passes: {held:.4}");
    }
    for passes in [40, 100] {
        let (before, after) = (figures[passes - 3], figures[passes]);
        let (calls, mapping) = (after.1 - before.1, after.2 - before.2);
        assert!(calls <= 150, "{calls} calls in the three passes before {passes}");
        assert_eq!(mapping, 0, "memory is taken or moved before {passes}");
    }
}

#[test]
fn without_moves_two_streams_settle_too() {
    let config = PoolConfig::default().with_footprint(Footprint::Lazy);
    let (trace, figures) = after_passes(40, config);
    let held = ratio(figures[40].0, &trace);
    assert!(held <= 1.05, "{held:.4}");
    let calls = figures[40].1 - figures[37].1;
    assert!(calls <= 150, "{calls} calls in the last three passes");
}

#[test]
fn two_streams_need_no_larger_device_than_with_pytorchs_expandable_segments() {
    for (passes, most) in [(3, 1.0157), (12, 1.0157)] {
        for footprint in [Footprint::Lazy, Footprint::Tight] {
            let smallest = smallest(&overlays(passes), footprint);
            assert!(smallest <= most, "{passes} passes, {footprint:?}: {smallest:.4}");
        }
    }
}
