//! Blocks that were asked for as such that may rest move but for a granule at either end.

use vmem_core::{Block, Contents, MemoryResource, Request, Resting};
use vmem_pool::{Footprint, PoolConfig};

use crate::resting::Bench;
use crate::support::{SMALL, layout};

impl Bench {
    fn that_may_rest(&self, size: u64) -> Block {
        let request = Request::new(layout(size), &self.stream).that_may_rest();
        self.pool.allocate(&request).unwrap()
    }
}

/// A sequence of numbers below a bound.
fn numbers(mut seed: u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    }
}

#[test]
fn at_most_two_granules_of_a_block_that_may_rest_are_shared_whatever_was_freed_before() {
    for footprint in [Footprint::Tight, Footprint::Lazy] {
        for seed in 0..6 {
            let bench = Bench::new(2048, PoolConfig::default().with_footprint(footprint));
            let mut next = numbers(seed);
            let mut blocks: Vec<(Block, u64)> = Vec::new();
            for tag in 0..160 {
                if blocks.len() > 30 || next(3) == 0 && !blocks.is_empty() {
                    let at = usize::try_from(next(blocks.len() as u64)).unwrap();
                    bench.free(blocks.swap_remove(at).0);
                    continue;
                }
                let small = next(2) == 0;
                let size = if small { next(6 * SMALL) } else { next(60 * SMALL) } + 256;
                let block = if small { bench.alloc(size) } else { bench.that_may_rest(size) };
                bench.write(&block, tag);
                if !small {
                    bench.stream.synchronize().unwrap();
                    let shared = bench.residence(&block).shared;
                    assert!(shared <= 2 * SMALL, "{shared} of {size}, seed {seed}");
                }
                blocks.push((block, tag));
            }
            // All of the large ones go and come back.
            let large: Vec<&Block> =
                blocks.iter().map(|(block, _)| block).filter(|it| it.size() > 9 * SMALL).collect();
            let moved = bench.demote(&large, Contents::Kept);
            assert!(moved.stayed <= 2 * SMALL * large.len() as u64, "{moved:?}");
            bench.promote(&large);
            blocks.iter().for_each(|(block, tag)| bench.check(block, *tag));
            blocks.into_iter().for_each(|(block, _)| bench.free(block));
            bench.finish();
        }
    }
}

#[test]
fn a_pool_can_be_told_so_for_all_its_blocks() {
    let config = PoolConfig::default().with_resting(Resting::Planned);
    let bench = Bench::new(256, config);
    // The first leaves part of its handle to the second.
    let [a, b, c] = [7, 9, 20].map(|n| bench.alloc(n * SMALL + 300));
    for block in [&a, &b, &c] {
        assert!(bench.residence(block).shared <= 2 * SMALL, "{:?}", bench.residence(block));
    }
    let moved = bench.demote(&[&b], Contents::Kept);
    assert!(moved.device >= 8 * SMALL, "{moved:?}");
    [a, b, c].into_iter().for_each(|block| bench.free(block));
    bench.finish();
}

#[test]
fn memory_of_the_same_size_is_used_again_without_a_driver_call() {
    let bench = Bench::new(256, PoolConfig::default());
    let block = bench.that_may_rest(20 * SMALL + 5000);
    bench.free(block);
    let before = bench.device.calls();
    for _ in 0..3 {
        let block = bench.that_may_rest(20 * SMALL + 5000);
        bench.free(block);
    }
    assert_eq!((bench.device.calls() - before).total(), 0);
    bench.finish();
}
