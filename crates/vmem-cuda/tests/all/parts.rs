//! The device's parts do what they say.

use vmem_core::author::{HostAccess, StreamExt, host_view};
use vmem_core::{Advice, AsyncMemory, Device, DevicePtr, Location, PinnedMemory, ResourceExt};

use crate::support::{Bench, MIB, bench};

/// Fills memory on the device and compares what the host finds there.
fn host_sees_the_device(bench: &Bench, at: DevicePtr, host: *mut u8) {
    let stream = bench.stream();
    stream
        .with_raw("fill", |device, raw| {
            // SAFETY: contract, devices/handles and devices/ranges: a live range and stream.
            unsafe { device.fill(at, 0x5a, 4096, raw) }
        })
        .unwrap();
    stream.synchronize().unwrap();
    // SAFETY: the range has that many bytes, and the work on it has completed.
    let bytes = unsafe { std::slice::from_raw_parts(host, 4096) };
    assert!(bytes.iter().all(|&byte| byte == 0x5a));
}

#[test]
fn pinned_memory_is_at_one_address_for_host_and_device() {
    let Some(bench) = bench() else { return };
    let pinned = bench.device.pinned().unwrap();
    let ptr = pinned.allocate(4096).unwrap();
    assert!(ptr.is_aligned_to(256));
    // SAFETY: contract, devices/ranges: a live pinned range.
    let host = host_view(&*bench.device(), ptr, 4096, HostAccess::Read).unwrap();
    assert_eq!(host.addr() as u64, ptr.get());
    host_sees_the_device(&bench, ptr, host);
    // SAFETY: contract, devices/pending-work: the work on it has completed.
    unsafe { pinned.free(ptr) }.unwrap();
    bench.finish();
}

#[test]
fn managed_memory_takes_every_advice_and_remembers_its_last_prefetch() {
    let Some(bench) = bench() else { return };
    let managed = bench.device.managed().unwrap();
    assert!(managed.concurrent_access());
    let ptr = managed.allocate(4 * MIB).unwrap();
    for advice in [
        Advice::ReadMostly,
        Advice::UnsetReadMostly,
        Advice::PreferredLocation(Location::Device),
        Advice::PreferredLocation(Location::Host),
        Advice::UnsetPreferredLocation,
        Advice::AccessedBy(Location::Device),
        Advice::UnsetAccessedBy(Location::Device),
        Advice::AccessedBy(Location::Host),
        Advice::UnsetAccessedBy(Location::Host),
    ] {
        // SAFETY: contract, devices/ranges: a live managed range.
        unsafe { managed.advise(ptr, 4 * MIB, advice) }
            .unwrap_or_else(|e| panic!("{advice:?}: {e}"));
    }
    let stream = bench.stream();
    // SAFETY: contract, devices/ranges: a live managed range.
    let last = || unsafe { managed.last_prefetch(ptr, 4 * MIB) }.unwrap();
    assert_eq!(last(), None);
    for to in [Location::Device, Location::Host] {
        stream
            .with_raw("prefetch", |_, raw| {
                // SAFETY: contract, devices/handles and devices/ranges: a live managed range and
                // stream.
                unsafe { managed.prefetch(ptr, 4 * MIB, to, raw) }
            })
            .unwrap();
        stream.synchronize().unwrap();
        assert_eq!(last(), Some(to));
    }
    // SAFETY: contract, devices/ranges: a live managed range.
    let host = host_view(&*bench.device(), ptr, 4096, HostAccess::Read).unwrap();
    host_sees_the_device(&bench, ptr, host);
    drop(stream);
    // SAFETY: contract, devices/pending-work: the work on it has completed.
    unsafe { managed.free(ptr) }.unwrap();
    bench.finish();
}

#[test]
fn the_stream_ordered_pool_keeps_what_its_threshold_says_until_it_is_trimmed() {
    let Some(bench) = bench() else { return };
    let pool = bench.device.async_pool().unwrap();
    assert_eq!(pool.release_threshold().unwrap(), bench.device.facts().total_memory);
    let stream = bench.stream();
    let memory = AsyncMemory::new(bench.device()).unwrap();
    drop(memory.buffer(8 * MIB, &stream).unwrap());
    stream.synchronize().unwrap();
    assert!(pool.reserved().unwrap() >= 8 * MIB);
    memory.trim_to(0).unwrap();
    assert_eq!(pool.reserved().unwrap(), 0);
    pool.set_release_threshold(0).unwrap();
    assert_eq!(pool.release_threshold().unwrap(), 0);
    drop(memory.buffer(8 * MIB, &stream).unwrap());
    stream.synchronize().unwrap();
    assert_eq!(pool.reserved().unwrap(), 0);
    drop((memory, stream));
    bench.finish();
}

#[test]
fn one_handle_mapped_at_two_addresses_has_the_same_bytes() {
    let Some(bench) = bench() else { return };
    let memory = bench.device.virtual_memory().unwrap();
    let granule = memory.granularity();
    let range = memory.reserve(2 * granule).unwrap();
    assert!(range.is_aligned_to(granule));
    let second = range.checked_add(granule).unwrap();
    let handle = memory.create(granule).unwrap();
    for at in [range, second] {
        // SAFETY: contract, devices/handles and devices/ranges: a fresh range and a handle of its
        // size.
        unsafe { memory.map(at, granule, handle) }.unwrap();
    }
    // SAFETY: contract, devices/ranges: two whole mappings that no work uses.
    unsafe { memory.set_access(range, 2 * granule) }.unwrap();
    let stream = bench.stream();
    let mut bytes = [0_u8; 64];
    stream
        .with_raw("copies", |device, raw| {
            // SAFETY: contract, devices/handles and devices/ranges: a mapped range and a live
            // stream.
            unsafe { device.fill(range, 0xc3, granule, raw) }?;
            // SAFETY: contract, devices/handles, devices/ranges and devices/host-memory: as above;
            // the array outlives the wait below.
            unsafe { device.copy_to_host(bytes.as_mut_ptr(), second, 64, raw) }
        })
        .unwrap();
    stream.synchronize().unwrap();
    assert_eq!(bytes, [0xc3; 64]);
    // SAFETY: contract, devices/pending-work: the work through the mappings has completed.
    unsafe { memory.unmap(range, 2 * granule) }.unwrap();
    // SAFETY: contract, devices/handles: the handle is used no more.
    unsafe { memory.release(handle) }.unwrap();
    // SAFETY: contract, devices/ranges: nothing is mapped in the range any more.
    unsafe { memory.free_range(range, 2 * granule) }.unwrap();
    drop(stream);
    bench.finish();
}

#[test]
fn copies_and_fills_of_nothing_do_nothing() {
    let Some(bench) = bench() else { return };
    let stream = bench.stream();
    let ptr = bench.device.allocate(256).unwrap();
    let mut host = [1_u8; 1];
    stream
        .with_raw("nothing", |device, raw| {
            // SAFETY: contract, devices/handles, devices/ranges and devices/host-memory: a live
            // range and stream, no bytes.
            unsafe { device.copy_from_host(ptr, host.as_ptr(), 0, raw) }?;
            // SAFETY: as above.
            unsafe { device.copy_to_host(host.as_mut_ptr(), ptr, 0, raw) }?;
            // SAFETY: as above.
            unsafe { device.fill(ptr, 1, 0, raw) }
        })
        .unwrap();
    stream.synchronize().unwrap();
    assert_eq!(host, [1]);
    // SAFETY: contract, devices/pending-work: the work on it has completed.
    unsafe { bench.device.free(ptr) }.unwrap();
    drop(stream);
    bench.finish();
}

#[test]
fn the_hosts_view_of_a_pinned_block_is_what_the_device_wrote() {
    let Some(bench) = bench() else { return };
    let stream = bench.stream();
    let memory = PinnedMemory::new(bench.device()).unwrap();
    let mut buffer = memory.buffer(4096, &stream).unwrap();
    buffer.copy_from_slice(0, &[0x42; 4096]).unwrap();
    assert_eq!(buffer.to_vec().unwrap(), vec![0x42; 4096]);
    drop(buffer);
    drop((memory, stream));
    bench.finish();
}
