//! The n-th driver call fails, for every n: nothing leaks, the error is of the right kind, and the
//! pool works afterwards.

use std::sync::Arc;

use vmem_core::{
    AllocErrorKind, BlockLayout, Device, DriverCode, MemoryResource, ResourceExt, Stream,
};
use vmem_pool::{Footprint, PoolConfig, PoolHandle, Sharding};
use vmem_sim::SimDevice;
use vmem_testkit::{Countdown, FAULT_CODES, Fault, TrackedBlock, sweep};

use crate::support::{MIB, arena, bins, chunks, layout};

/// A mix that climbs every rung: two streams, growth, steals, merges, trims.
fn scenario(
    sim: &SimDevice,
    pool: &dyn MemoryResource,
    handle: &PoolHandle,
    streams: &[Stream; 2],
    code: DriverCode,
) {
    let mut blocks: Vec<TrackedBlock> = Vec::new();
    let sizes = [3 * MIB, 100, MIB, 5 * MIB, 700, 2 * MIB, 9 * MIB, 4 * MIB];
    for round in 0..3 {
        for (i, &size) in sizes.iter().enumerate() {
            let stream = &streams[(i + round) % 2];
            let request = vmem_core::Request::new(layout(size), stream);
            match TrackedBlock::allocate(pool, &request) {
                Ok(block) => blocks.push(block),
                Err(error) => {
                    let expected = match code {
                        DriverCode::OUT_OF_MEMORY => AllocErrorKind::OutOfMemory,
                        _ => AllocErrorKind::DeviceFault,
                    };
                    assert_eq!(error.kind(), expected, "{error}");
                }
            }
            handle.check_invariants();
            if i % 3 == 2 && !blocks.is_empty() {
                let block = blocks.remove(blocks.len() / 2);
                blocks.extend(freed(pool, block, stream));
            }
        }
        for block in std::mem::take(&mut blocks) {
            blocks.extend(freed(pool, block, &streams[round % 2]));
            handle.check_invariants();
        }
        capture(sim, pool, &streams[1]);
        let _ = handle.try_trim(4 * MIB);
        handle.check_invariants();
    }
    for block in blocks {
        let again = freed(pool, block, &streams[0]);
        assert!(again.is_none(), "only one call fails");
    }
}

/// While a stream captures, it gets what is at hand or is refused, whatever fails.
fn capture(sim: &SimDevice, pool: &dyn MemoryResource, stream: &Stream) {
    // SAFETY: contract, devices 1: a live stream of this device.
    unsafe { sim.begin_capture_raw(stream.raw()) }.unwrap();
    let kept = [256, 3 * MIB, 6 * MIB].map(|size| {
        let request = vmem_core::Request::new(layout(size), stream);
        TrackedBlock::allocate(pool, &request)
    });
    // SAFETY: as above.
    unsafe { sim.end_capture_raw(stream.raw()) }.unwrap();
    for block in kept.into_iter().flatten() {
        if let Some(block) = freed(pool, block, stream) {
            assert!(freed(pool, block, stream).is_none(), "only one call fails");
        }
    }
}

/// Frees a block; gives it back if the fault hit the waits that the free needs.
fn freed(pool: &dyn MemoryResource, block: TrackedBlock, stream: &Stream) -> Option<TrackedBlock> {
    block.free(pool, stream).err().map(vmem_testkit::FailedFree::into_block)
}

fn survives<R: MemoryResource>(
    make: impl Fn(Arc<dyn Device>, PoolConfig) -> (R, PoolHandle),
    config: &PoolConfig,
) {
    let faults = sweep(&FAULT_CODES, 2000, |fault: Fault| {
        let sim = SimDevice::new(48 * MIB);
        let countdown = Countdown::new(sim.clone());
        let streams = [(); 2].map(|()| Stream::new(countdown.clone()).unwrap());
        let (pool, handle) = make(countdown.clone(), config.clone());
        fault.arm(&countdown);
        scenario(&sim, &pool, &handle, &streams, fault.code);
        countdown.disarm();
        // The pool still gives out all it may, and gives back all it holds.
        handle.trim_to(0).unwrap();
        let most = 32 * MIB;
        let block = pool.alloc(BlockLayout::new(most).unwrap(), &streams[1]);
        let block = block.unwrap_or_else(|error| {
            panic!("after {:?} answered {}: {error}", countdown.fired(), fault.code)
        });
        // SAFETY: contract, freeing: no work was queued on the block.
        unsafe { pool.deallocate(block, &streams[1]) }.unwrap();
        handle.trim_to(0).unwrap();
        handle.check_invariants();
        assert_eq!(handle.counters().unwrap().reserved, 0, "{:?}", countdown.fired());
        drop((pool, streams));
        sim.assert_clean();
        let leaks = sim.leaks();
        let lost_destroy = matches!(countdown.fired(), Some("Device::destroy_event"));
        assert!(leaks.is_empty() || lost_destroy, "{:?}: {leaks:?}", countdown.fired());
        countdown
    });
    assert!(faults > 100, "only {faults} faults were reached");
}

#[test]
fn any_failing_call_leaves_the_arena_pool_usable_and_nothing_leaked() {
    survives(
        |device, config| {
            let pool = arena(device, config);
            let handle = pool.handle();
            (pool, handle)
        },
        &PoolConfig::default(),
    );
}

#[test]
fn any_failing_call_leaves_a_capped_arena_pool_usable_and_nothing_leaked() {
    survives(
        |device, config| {
            let pool = arena(device, config);
            let handle = pool.handle();
            (pool, handle)
        },
        &PoolConfig { ceiling: Some(40 * MIB), ..Default::default() },
    );
}

#[test]
fn any_failing_call_leaves_a_tight_arena_pool_usable_and_nothing_leaked() {
    survives(
        |device, config| {
            let pool = arena(device, config);
            let handle = pool.handle();
            (pool, handle)
        },
        &PoolConfig { footprint: Footprint::Tight, ..Default::default() },
    );
}

#[test]
fn any_failing_call_leaves_a_sharded_arena_pool_usable_and_nothing_leaked() {
    survives(
        |device, config| {
            let pool = arena(device, config);
            let handle = pool.handle();
            (pool, handle)
        },
        &PoolConfig {
            sharding: Sharding::PerStream,
            footprint: Footprint::Tight,
            ..Default::default()
        },
    );
}

#[test]
fn any_failing_call_leaves_the_chunk_pool_usable_and_nothing_leaked() {
    survives(
        |device, config| {
            let pool = chunks(device, config);
            let handle = pool.handle();
            (pool, handle)
        },
        &PoolConfig::default(),
    );
}

#[test]
fn any_failing_call_leaves_the_binning_pool_usable_and_nothing_leaked() {
    survives(
        |device, config| {
            let pool = bins(device, config);
            let handle = pool.handle();
            (pool, handle)
        },
        &PoolConfig::default(),
    );
}

#[test]
fn a_lost_device_is_an_error_and_not_a_hang() {
    let device = SimDevice::new(64 * MIB);
    let stream = Stream::new(device.clone()).unwrap();
    let pool = arena(device.clone(), PoolConfig::default());
    let block = pool.alloc(layout(MIB), &stream).unwrap();
    device.lose();
    let error = pool.alloc(layout(8 * MIB), &stream).unwrap_err();
    assert_eq!(error.kind(), AllocErrorKind::DeviceFault);
    // SAFETY: contract, freeing: no work was queued on the block.
    unsafe { pool.deallocate(block, &stream) }.unwrap();
    assert!(pool.handle().trim_to(0).is_err());
    pool.handle().check_invariants();
    drop(pool);
    assert!(device.base().drop_failures().count() > 0, "the leak is reported");
}
