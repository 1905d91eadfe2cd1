//! Memory that goes back without being asked for.

use std::sync::Arc;
use std::time::Duration;

use vmem_core::{Block, ManualClock, Stream};
use vmem_pool::{AutoTrim, PoolConfig};

use crate::support::{MIB, alloc, arena, device, finish, free};

const SECOND: Duration = Duration::from_secs(1);

fn config(threshold: u64, age: Duration, clock: &ManualClock) -> PoolConfig {
    let auto_trim = AutoTrim::new(threshold, age);
    PoolConfig::default().with_auto_trim(auto_trim).with_clock(Arc::new(clock.clone()))
}

#[test]
fn without_an_age_whatever_is_free_above_the_threshold_goes_once_it_is_complete() {
    let device = device();
    let pool = arena(device.clone(), config(8 * MIB, Duration::ZERO, &ManualClock::new()));
    let stream = Stream::new(device.clone()).unwrap();
    let blocks: Vec<Block> = (0..10).map(|_| alloc(&pool, 4 * MIB, &stream)).collect();
    assert_eq!(device.used(), 40 * MIB);
    for block in blocks {
        stream.synchronize().unwrap();
        free(&pool, block, &stream);
        let counters = pool.handle().counters().unwrap();
        assert!(counters.reserved <= (8 * MIB).max(counters.live * 9 / 8 + 10 * MIB));
    }
    for _ in 0..3 {
        let small = alloc(&pool, 256, &stream);
        stream.synchronize().unwrap();
        free(&pool, small, &stream);
    }
    assert_eq!(device.used(), 8 * MIB);
    drop(stream);
    finish(&device, pool);
}

#[test]
fn what_was_needed_within_the_age_stays() {
    let device = device();
    let clock = ManualClock::new();
    let pool = arena(device.clone(), config(0, SECOND, &clock));
    let stream = Stream::new(device.clone()).unwrap();
    let spike = alloc(&pool, 64 * MIB, &stream);
    free(&pool, spike, &stream);
    let mut used = Vec::new();
    for _ in 0..4 {
        for _ in 0..3 {
            let block = alloc(&pool, 16 * MIB, &stream);
            stream.synchronize().unwrap();
            free(&pool, block, &stream);
        }
        used.push(device.used());
        clock.advance(SECOND);
    }
    // The first second ends with the spike in it, the second one shows it gone.
    assert_eq!(used, [64 * MIB, 64 * MIB, 18 * MIB, 18 * MIB]);
    let before = device.calls();
    let block = alloc(&pool, 16 * MIB, &stream);
    assert_eq!((device.calls() - before).total(), 0, "what is kept is at hand");
    free(&pool, block, &stream);
    drop(stream);
    finish(&device, pool);
}
