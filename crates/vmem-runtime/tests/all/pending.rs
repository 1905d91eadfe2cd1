//! What was freed before serves a request on every tier that pools, whatever work is pending on it.

use std::sync::Arc;
use std::time::Duration;

use vmem_core::{MemoryResource, ResourceExt, Stream};
use vmem_pool::{Chunks, Pool, PoolConfig};
use vmem_runtime::{PoolLimit, RuntimeConfig, Size, Tier};
use vmem_sim::{Kernel, Parts, SimConfig, SimDevice};

use crate::support::{KINDS, MIB, alloc, config, finish, free, layout, runtime};

/// A device of 64 MiB.
fn device(seed: u64, without: Parts) -> Arc<SimDevice> {
    let parts = Parts::all() - without;
    let config = SimConfig { capacity: 64 * MIB, seed, parts, ..Default::default() };
    SimDevice::with_config(config).unwrap()
}

/// Frees 20 MiB under a kernel of 5 ms and asks for so much more than what is left.
fn serves(device: &SimDevice, memory: &dyn MemoryResource, bytes: u64, stream: &Stream) {
    let block = alloc(memory, 20 * MIB, stream);
    let kernel = Kernel::write_pattern(block.ptr(), block.size(), 1);
    // SAFETY: a live block and stream.
    unsafe { device.launch(stream, kernel.taking(Duration::from_millis(5))) }.unwrap();
    free(memory, block, stream);
    let served = memory.allocate_on(layout(bytes), stream);
    free(memory, served.unwrap_or_else(|error| panic!("{bytes} B: {error}")), stream);
}

fn every_schedule(without: Parts, config: &RuntimeConfig, bytes: u64) {
    for seed in 0..20 {
        let device = device(seed, without);
        let stream = Stream::new(device.clone()).unwrap();
        let runtime = runtime(config.clone(), &device);
        serves(&device, &runtime.resource().unwrap(), bytes, &stream);
        drop((runtime, stream));
        finish(&device);
    }
}

#[test]
fn tier_a_without_virtual_memory_gives_what_was_freed_before() {
    every_schedule(Parts::VIRTUAL_MEMORY, &config(), 46 * MIB);
}

#[test]
fn tier_a_under_a_limit_that_suits_chunks_gives_what_was_freed_before() {
    let pool_limit = PoolLimit::AtMost(Size::Bytes(48 * MIB));
    every_schedule(Parts::empty(), &config().with_pool_limit(pool_limit), 46 * MIB);
}

#[test]
fn every_tier_that_pools_gives_what_was_freed_before_and_so_does_a_pool_over_it() {
    for kind in KINDS.into_iter().filter(|kind| kind.tier != Tier::C) {
        every_schedule(kind.without, &kind.config(), 60 * MIB);
        for seed in 0..4 {
            let device = device(seed, kind.without);
            let stream = Stream::new(device.clone()).unwrap();
            let stack = kind.stack(&device);
            let chunks = Chunks::new(stack.resource.clone());
            let pool = Pool::new(chunks, PoolConfig::default()).unwrap();
            serves(&device, &pool, 60 * MIB, &stream);
            drop((pool, stack, stream));
            finish(&device);
        }
    }
}
