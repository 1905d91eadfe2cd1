//! What small blocks that outlive large ones keep from being returned, in one pool and in a pool of their
//! own.
//!
//! ```sh
//! cargo run --release -p vmem-benches --example small_blocks
//! ```

#![allow(clippy::print_stdout, reason = "a table for people at a terminal")]

use std::error::Error;

use vmem_benches::device;
use vmem_core::{Block, BlockLayout, MemoryResource, ResourceExt, Stream};
use vmem_pool::{BySize, Pool, PoolConfig, PoolHandle, VirtualArena};

const BLOCKS: usize = 40_000;
const LIVE: usize = 2_000;

fn main() -> Result<(), Box<dyn Error>> {
    keep("in one pool", 0)?;
    keep("in a pool of their own", 4 << 10)
}

/// Replaces blocks at random, half of them of up to 4 KiB and half of 64 KiB to 2 MiB; then frees all
/// large ones and returns what is unused.
fn keep(how: &str, limit: u64) -> Result<(), Box<dyn Error>> {
    let device = device(64 << 30);
    let stream = Stream::new(device.clone())?;
    let arena = || Pool::new(VirtualArena::new(device.clone())?, PoolConfig::default());
    let (small, large) = (arena()?, arena()?);
    let handles = [small.handle(), large.handle()];
    let pool = BySize::new(small, large, limit)?;
    // SAFETY: contract, freeing: no work is queued on any block.
    let free = |block: Block| unsafe { pool.deallocate(block, &stream) };
    // xorshift64 (Marsaglia, "Xorshift RNGs", 2003).
    let mut state = 88_172_645_463_325_252_u64;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut live: Vec<(Block, bool)> = Vec::new();
    for _ in 0..BLOCKS {
        if live.len() == LIVE {
            let (block, _) = live.swap_remove(usize::try_from(random(LIVE as u64))?);
            free(block)?;
        }
        let small = random(2) == 0;
        let size = if small { 1 + random(4 << 10) } else { (64 << 10) + random(2 << 20) };
        live.push((pool.allocate_on(BlockLayout::new(size)?, &stream)?, small));
    }
    let figures = || {
        let counters = handles.iter().filter_map(PoolHandle::counters);
        counters.fold((0, 0), |sum, one| (sum.0 + one.reserved, sum.1 + one.live))
    };
    let (before, _) = figures();
    let (small, large): (Vec<_>, Vec<_>) = live.into_iter().partition(|(_, small)| *small);
    large.into_iter().try_for_each(|(block, _)| free(block))?;
    handles.iter().try_for_each(|handle| handle.trim_to(0).map(drop))?;
    let (after, live) = figures();
    println!(
        "{how}: of {} MiB reserved, {} MiB are kept by {} KiB",
        before >> 20,
        after >> 20,
        live >> 10
    );
    small.into_iter().try_for_each(|(block, _)| free(block))?;
    Ok(())
}
