//! A pool whose blocks can rest on the host, to test.

use std::sync::Arc;

use vmem_core::{
    Block, Contents, Device, Moved, RawBlock, Residence, Residency, ResidencyErrorKind, Stream,
};
use vmem_pool::{Counters, PoolConfig, PoolHandle};
use vmem_sim::{Kernel, Parts, SimConfig, SimDevice};

use crate::support::{ArenaPool, SMALL, alloc, arena, finish, free};

pub(crate) struct Bench {
    pub(crate) device: Arc<SimDevice>,
    pub(crate) stream: Stream,
    pub(crate) pool: ArenaPool,
    pub(crate) handle: PoolHandle,
}

impl Bench {
    /// On a device of so many small granules.
    pub(crate) fn new(granules: u64, config: PoolConfig) -> Self {
        Self::with_parts(granules, config, Parts::all())
    }

    pub(crate) fn with_parts(granules: u64, config: PoolConfig, parts: Parts) -> Self {
        let capacity = granules * SMALL;
        let sim = SimConfig { capacity, granularity: SMALL, parts, ..SimConfig::default() };
        let device = SimDevice::with_config(sim).unwrap();
        Self::over(device.clone(), device, config)
    }

    /// Over a device that stands in front of a simulated one.
    pub(crate) fn over(device: Arc<SimDevice>, front: Arc<dyn Device>, config: PoolConfig) -> Self {
        let stream = Stream::new(front.clone()).unwrap();
        let pool = arena(front, config);
        let handle = pool.handle();
        Self { device, stream, pool, handle }
    }

    pub(crate) fn stream(&self) -> Stream {
        Stream::new(self.stream.device().clone()).unwrap()
    }

    pub(crate) fn alloc(&self, size: u64) -> Block {
        alloc(&self.pool, size, &self.stream)
    }

    pub(crate) fn free(&self, block: Block) {
        free(&self.pool, block, &self.stream);
    }

    pub(crate) fn write(&self, block: &Block, tag: u64) {
        self.launch(Kernel::write_pattern(block.ptr(), block.size(), tag));
    }

    pub(crate) fn check(&self, block: &Block, tag: u64) {
        self.launch(Kernel::check_pattern(block.ptr(), block.size(), tag));
    }

    fn launch(&self, kernel: Kernel) {
        // SAFETY: contract, devices/handles and devices/ranges: a live block, used on one stream.
        unsafe { self.device.launch(&self.stream, kernel) }.unwrap();
    }

    /// Waits for the stream, then demotes.
    pub(crate) fn demote(&self, blocks: &[&Block], contents: Contents) -> Moved {
        self.stream.synchronize().unwrap();
        // SAFETY: the stream was waited for, and nothing is queued meanwhile.
        let moved = unsafe { self.handle.demote(&raw(blocks), contents) }.unwrap();
        self.handle.check_invariants();
        moved
    }

    pub(crate) fn cannot_demote(
        &self,
        blocks: &[&Block],
        contents: Contents,
    ) -> ResidencyErrorKind {
        self.stream.synchronize().unwrap();
        // SAFETY: as above.
        let error = unsafe { self.handle.demote(&raw(blocks), contents) }.unwrap_err();
        self.handle.check_invariants();
        error.kind()
    }

    pub(crate) fn promote(&self, blocks: &[&Block]) -> Moved {
        self.stream.synchronize().unwrap();
        // SAFETY: as above.
        let moved = unsafe { self.handle.promote(&raw(blocks)) }.unwrap();
        self.handle.check_invariants();
        moved
    }

    pub(crate) fn residence(&self, block: &Block) -> Residence {
        self.handle.residence(&block.raw()).unwrap()
    }

    pub(crate) fn counters(&self) -> Counters {
        self.handle.counters().unwrap()
    }

    /// Everything is as it should be, and nothing is left once the pool is gone.
    pub(crate) fn finish(self) {
        self.stream.synchronize().unwrap();
        self.handle.check_invariants();
        let Self { device, stream, pool, .. } = self;
        drop(stream);
        finish(&device, pool);
        assert_eq!((device.used(), device.host_used()), (0, 0));
    }
}

pub(crate) fn raw(blocks: &[&Block]) -> Vec<RawBlock> {
    blocks.iter().map(|block| block.raw()).collect()
}
