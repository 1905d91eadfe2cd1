//! Where blocks are placed, and what decides it.

use vmem_core::{Block, Stream};
use vmem_pool::{Footprint, Placement, PoolConfig};
use vmem_sim::{SimConfig, SimDevice};

use crate::support::{MIB, alloc, arena, finish, free, touch};

/// Offsets of the blocks of a program on three streams, on a device whose work completes as the
/// seed has it.
fn offsets(placement: Placement, footprint: Footprint, seed: u64) -> Vec<u64> {
    let config = SimConfig { capacity: 256 * MIB, seed, ..Default::default() };
    let device = SimDevice::with_config(config).unwrap();
    let config = PoolConfig::default().with_placement(placement).with_footprint(footprint);
    let pool = arena(device.clone(), config);
    let start = pool.handle().snapshot().unwrap().segments[0].start.get();
    let streams = [(); 3].map(|()| Stream::new(device.clone()).unwrap());
    let mut live: Vec<(Block, usize)> = Vec::new();
    let mut offsets = Vec::new();
    for step in 0..300_usize {
        let size = (1 + (step as u64 * 7919) % 13) * 400_000;
        let on = (step * 31 / 7) % 3;
        let block = alloc(&pool, size, &streams[on]);
        touch(&device, &block, &streams[on]);
        offsets.push(block.ptr().get() - start);
        live.push((block, on));
        if live.len() > 12 {
            let (block, on) = live.remove(step * 5 % 12);
            free(&pool, block, &streams[on]);
        }
        // The host looks at how far the device has come, as programs do.
        let _ = streams[step % 3].marker().unwrap().is_complete();
    }
    for (block, on) in live {
        free(&pool, block, &streams[on]);
    }
    drop(streams);
    finish(&device, pool);
    offsets
}

#[test]
fn reproducible_offsets_do_not_depend_on_how_far_the_device_has_come() {
    for footprint in [Footprint::Lazy, Footprint::Tight] {
        let first = offsets(Placement::Reproducible, footprint, 0);
        for seed in 1..6 {
            assert_eq!(offsets(Placement::Reproducible, footprint, seed), first, "seed {seed}");
        }
    }
}

#[test]
fn other_offsets_do() {
    let first = offsets(Placement::ByCompletion, Footprint::Lazy, 0);
    let differs = |seed| offsets(Placement::ByCompletion, Footprint::Lazy, seed) != first;
    assert!((1..12).any(differs), "the program above would show a dependence");
}
