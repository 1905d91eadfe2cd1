//! Memory of live blocks on the host and back, on a real device and over the software driver.

use std::time::Instant;

use vmem_core::author::StreamExt;
use vmem_core::{Block, Contents, Device, Residency, Stream};
use vmem_pool::{Pending, Pool, PoolConfig, VirtualArena};

use crate::support::{MIB, alloc, bench, control, free, has_control, turn};

fn fill(block: &Block, value: u32, stream: &Stream) {
    let filled = stream.with_raw("fill", |device, raw| {
        // SAFETY: contract, devices/handles and devices/ranges: a live block and stream.
        unsafe { device.fill_u32(block.ptr(), value, block.size() / 4, raw) }
    });
    filled.unwrap();
}

/// Looks at the first and the last words of a block, and at some between.
fn holds(block: &Block, value: u32, stream: &Stream) {
    let mut words = [0_u32; 1024];
    let bytes = size_of_val(&words) as u64;
    let places = [0, block.size() / 3 / 4096 * 4096, block.size() - bytes];
    for at in places {
        let from = block.ptr().checked_add(at).unwrap();
        let copied = stream.with_raw("copy", |device, raw| {
            // SAFETY: contract, devices/ranges and devices/host-memory: a live block, and an array
            // that is left alone until the stream was waited for.
            unsafe { device.copy_to_host(words.as_mut_ptr().cast(), from, bytes, raw) }
        });
        copied.unwrap();
        stream.synchronize().unwrap();
        assert!(words.iter().all(|&word| word == value), "at {at}: {:#x}", words[0]);
    }
}

#[test]
fn blocks_sleep_on_the_host_and_wake_with_their_contents_at_their_addresses() {
    let Some(bench) = bench() else { return };
    // Enough for figures that mean something, where there is hardware.
    let size = if has_control() { 32 * MIB } else { 2048 * MIB };
    let stream = bench.stream();
    let pool =
        Pool::new(VirtualArena::new(bench.device()).unwrap(), PoolConfig::default()).unwrap();
    let handle = pool.handle();
    let blocks: Vec<Block> = (0..3).map(|_| alloc(&pool, size, &stream)).collect();
    for (value, block) in (1..).zip(&blocks) {
        fill(block, value, &stream);
    }
    let room = || bench.device.memory_info().unwrap().free;
    let before = room();
    handle.fill_host_reserve(3 * size).unwrap();
    for (round, contents) in
        [Contents::Kept, Contents::Kept, Contents::Discarded].iter().enumerate()
    {
        let begun = Instant::now();
        // SAFETY: nothing is queued on the blocks meanwhile.
        let slept = unsafe { handle.sleep(None, *contents, Pending::Wait) }.unwrap();
        let asleep = begun.elapsed();
        assert_eq!((slept.device, slept.stayed), (3 * size, 0));
        assert!(room() >= before + 3 * size, "the device has its memory back");
        if *contents == Contents::Kept {
            for (value, block) in (1..).zip(&blocks) {
                holds(block, value, &stream);
                assert_eq!(handle.residence(&block.raw()).unwrap().host, size);
            }
            fill(&blocks[1], 2, &stream);
        }
        let begun = Instant::now();
        // SAFETY: as above.
        unsafe { handle.wake(None, Pending::Wait) }.unwrap();
        report(round, 3 * size, asleep, begun.elapsed());
        for (value, block) in (1..).zip(&blocks) {
            if *contents == Contents::Discarded {
                fill(block, value, &stream);
            }
            holds(block, value, &stream);
        }
    }
    handle.check_invariants();
    blocks.into_iter().for_each(|block| free(&pool, block, &stream));
    drop(pool);
    drop(stream);
    bench.finish();
}

#[expect(clippy::print_stderr, reason = "what it took on hardware is of interest")]
fn report(round: usize, bytes: u64, slept: std::time::Duration, woken: std::time::Duration) {
    let rate = |took: std::time::Duration| bytes / u64::try_from(took.as_micros().max(1)).unwrap();
    let (sleep, wake) = (rate(slept), rate(woken));
    eprintln!(
        "round {round}: {bytes} B, asleep in {slept:?} ({sleep} MB/s), awake in {woken:?} ({wake} MB/s)"
    );
}

#[test]
fn a_device_that_cannot_map_the_hosts_memory_is_found_out_by_trying() {
    let Some(turn) = turn("HOST_HANDLES=off") else { return };
    let device = vmem_cuda::CudaDevice::open(0).unwrap();
    let memory = device.virtual_memory().unwrap();
    assert!(!memory.has_host_memory());
    assert!(memory.create_on_host(2 * MIB).is_err());
    drop(device);
    assert_eq!(control("leaks"), "");
    drop(turn);
}

#[test]
fn what_is_tried_to_find_the_hosts_memory_is_given_back_whatever_fails() {
    for step in ["cuMemAddressReserve", "cuMemCreate", "cuMemMap", "cuMemSetAccess"] {
        let Some(turn) = turn("") else { return };
        if !has_control() {
            return;
        }
        let device = vmem_cuda::CudaDevice::open(0).unwrap();
        // Of the two places that are tried the first fails, and the second does.
        control(&format!("fail 1 801 {step}"));
        assert!(device.virtual_memory().unwrap().has_host_memory(), "{step}");
        assert_eq!(control("fired"), step);
        drop(device);
        assert_eq!(control("leaks"), "", "{step}");
        drop(turn);
    }
}
