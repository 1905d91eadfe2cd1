//! Every kind of resource ends with live blocks. Other misuse is in the conformance suite, which each
//! crate runs on its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use vmem_adaptors::{AdaptorExt, Answer, Budget};
use vmem_core::{
    AllocError, AsyncMemory, Block, Capabilities, Device, DeviceMemory, FreeError, MemoryResource,
    PinnedMemory, Request, ResourceExt, Stream,
};
use vmem_managed::{ManagedMemory, Prefetch};
use vmem_pool::{BinningPool, Chunks, Footprint, Pool, PoolConfig, VirtualArena};
use vmem_runtime::{Reservation, Reservations};
use vmem_sim::SimDevice;
use vmem_testkit::conformance;

type Make = fn(Arc<dyn Device>) -> Arc<dyn MemoryResource>;

/// Every resource of these crates, wrappers over the kind of memory that they are most used with.
const RESOURCES: &[(&str, Make)] = &[
    ("DeviceMemory", |device| DeviceMemory::new(device).into_dyn()),
    ("PinnedMemory", |device| PinnedMemory::new(device).unwrap().into_dyn()),
    ("AsyncMemory", |device| AsyncMemory::new(device).unwrap().into_dyn()),
    ("ManagedMemory", |device| ManagedMemory::new(device).unwrap().into_dyn()),
    ("Prefetch", |device| Prefetch::new(ManagedMemory::new(device).unwrap()).into_dyn()),
    ("Pool<VirtualArena>", |device| arena(device, Footprint::Lazy).into_dyn()),
    ("tight Pool<VirtualArena>", |device| arena(device, Footprint::Tight).into_dyn()),
    ("Pool<Chunks>", |device| {
        let chunks = Chunks::new(DeviceMemory::new(device.clone()));
        Pool::new(chunks, PoolConfig::default()).unwrap().into_dyn()
    }),
    ("Pool<Chunks<PinnedMemory>>", |device| {
        let chunks = Chunks::new(PinnedMemory::new(device.clone()).unwrap());
        Pool::new(chunks, PoolConfig::default()).unwrap().into_dyn()
    }),
    ("BinningPool", |device| {
        let upstream = DeviceMemory::new(device.clone());
        BinningPool::new(upstream, PoolConfig::default()).unwrap().into_dyn()
    }),
    ("Statistics", |device| arena(device, Footprint::Lazy).with_statistics().into_dyn()),
    ("Limit", |device| arena(device, Footprint::Lazy).limited(Budget::new(1 << 40)).into_dyn()),
    ("Track", |device| arena(device, Footprint::Lazy).tracked().into_dyn()),
    ("OnFailure", |device| {
        arena(device, Footprint::Lazy).on_failure(|_| Answer::GiveUp).into_dyn()
    }),
    ("Reservations", |device| Drawing::new(device).into_dyn()),
];

fn arena(device: Arc<dyn Device>, footprint: Footprint) -> Pool<VirtualArena> {
    let config = PoolConfig::default().with_footprint(footprint);
    Pool::new(VirtualArena::new(device).unwrap(), config).unwrap()
}

/// Serves everything from one reservation.
#[derive(Debug)]
struct Drawing {
    reservation: Reservation,
    upstream: Reservations<Pool<VirtualArena>>,
}

impl Drawing {
    fn new(device: Arc<dyn Device>) -> Self {
        let stream = Stream::new(device.clone()).unwrap();
        let upstream = Reservations::new(arena(device.clone(), Footprint::Lazy));
        let reservation = upstream.handle().reserve(96 << 20, &stream).unwrap();
        Self { reservation, upstream }
    }
}

impl std::fmt::Display for Drawing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Drawing<{}>", self.upstream)
    }
}

// SAFETY: contract, implementing: blocks pass unchanged from one upstream that keeps it.
#[deny(clippy::missing_trait_methods)]
unsafe impl MemoryResource for Drawing {
    fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError> {
        self.upstream.allocate(&request.clone().with_reservation(self.reservation.id()))
    }

    unsafe fn deallocate(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
        // SAFETY: the caller keeps the freeing clauses, which are the same there.
        unsafe { self.upstream.deallocate(block, stream) }
    }

    fn device(&self) -> &Arc<dyn Device> {
        self.upstream.device()
    }

    fn capabilities(&self) -> Capabilities {
        self.upstream.capabilities()
    }
}

#[test]
fn every_resource_that_ends_with_live_blocks_leaks_them_and_says_so() {
    for (name, make) in RESOURCES {
        let sim = SimDevice::new(1 << 30);
        let device: Arc<dyn Device> = sim.clone();
        let leaks = AssertUnwindSafe(|| conformance::check_leak(make(device.clone())));
        assert!(catch_unwind(leaks).is_ok(), "{name}");
        sim.assert_clean();
    }
}
