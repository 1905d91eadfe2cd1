//! Advice and prefetches on single blocks.

use std::sync::Arc;

use vmem_core::{
    AccessClass, Advice, Block, DriverCode, Location, MemoryResource, Quarantined, Request,
    ResourceExt, Stream,
};
use vmem_managed::{Hint, HintCounts, ManagedMemory, Prefetch};
use vmem_pool::{Chunks, Pool, PoolConfig};
use vmem_sim::{CallKind, CaptureMode, Kernel, SimConfig, SimDevice};

use crate::{MIB, free, launch, layout, set_up};

const SIZE: u64 = 4 * MIB;

fn allocate(memory: &ManagedMemory, stream: &Stream, access: AccessClass) -> Block {
    let request = Request::new(layout(SIZE), stream).with_access(access);
    memory.allocate(&request).unwrap()
}

/// How many bytes move between host and device while the device reads a block twice, with a host
/// read between, after the host wrote it.
fn migrated(access: AccessClass) -> u64 {
    let (device, stream, memory) = set_up(64 * MIB);
    moves(&device, &stream, &memory, access);
    device.migrated_bytes()
}

fn moves(device: &SimDevice, stream: &Stream, memory: &ManagedMemory, access: AccessClass) {
    let mut block = allocate(memory, stream, access);
    // SAFETY: no work was queued on the block, and the view ends here.
    unsafe { memory.host_view_mut(&mut block, stream) }.unwrap().fill(7);
    let read = || Kernel::new("read").reads(block.ptr(), SIZE);
    launch(device, stream, read());
    // SAFETY: the view's call waits for the kernel, and the view ends here.
    let first = unsafe { memory.host_view(&block, stream) }.unwrap()[0];
    assert_eq!(first, 7);
    launch(device, stream, read());
    stream.synchronize().unwrap();
    free(memory, block, stream);
    device.assert_clean();
}

#[test]
fn the_access_class_decides_what_moves() {
    // To the device, back to the host, to the device again.
    assert_eq!(migrated(AccessClass::Unknown), 3 * SIZE);
    // Mapped where it is.
    assert_eq!(migrated(AccessClass::Streaming), 0);
    // Duplicated once.
    assert_eq!(migrated(AccessClass::WriteOnce), SIZE);
}

#[test]
fn an_access_class_is_one_piece_of_advice_and_none_is_no_call() {
    let (device, stream, memory) = set_up(64 * MIB);
    let classes = [
        (AccessClass::Unknown, 0),
        (AccessClass::Streaming, 1),
        (AccessClass::RandomReuse, 1),
        (AccessClass::WriteOnce, 1),
    ];
    for (access, calls) in classes {
        let before = device.calls().of(CallKind::Advise);
        let block = allocate(&memory, &stream, access);
        assert_eq!(device.calls().of(CallKind::Advise) - before, calls, "{access:?}");
        free(&memory, block, &stream);
    }
    let counts = memory.handle().hints().unwrap();
    assert_eq!((counts.taken, counts.refused), (3, 0));
}

#[test]
fn a_driver_that_refuses_all_advice_fails_no_request() {
    let (device, stream, memory) = set_up(64 * MIB);
    let classes = [AccessClass::Streaming, AccessClass::RandomReuse, AccessClass::WriteOnce];
    for (number, access) in (1..).zip(classes) {
        device.fail_call(Some(CallKind::Advise), 1, DriverCode::NOT_SUPPORTED);
        let block = allocate(&memory, &stream, access);
        assert_eq!(memory.handle().hints().unwrap().refused, number);
        launch(&device, &stream, Kernel::write_pattern(block.ptr(), SIZE, 1));
        free(&memory, block, &stream);
    }
    device.assert_clean();
}

#[test]
fn a_block_carries_no_advice_of_an_earlier_one() {
    for access in [AccessClass::Streaming, AccessClass::RandomReuse, AccessClass::WriteOnce] {
        let (device, stream, memory) = set_up(64 * MIB);
        let earlier = allocate(&memory, &stream, access);
        launch(&device, &stream, Kernel::write_pattern(earlier.ptr(), SIZE, 1));
        free(&memory, earlier, &stream);
        let moved = device.migrated_bytes();
        moves(&device, &stream, &memory, AccessClass::Unknown);
        assert_eq!(device.migrated_bytes() - moved, 3 * SIZE, "after {access:?}");
    }
}

#[test]
fn blocks_of_a_pool_share_pages_and_are_given_no_advice() {
    let (device, stream, memory) = set_up(64 * MIB);
    let pool = Pool::new(Chunks::new(memory), PoolConfig::default()).unwrap();
    for access in [AccessClass::Streaming, AccessClass::RandomReuse, AccessClass::WriteOnce] {
        let request = Request::new(layout(SIZE), &stream).with_access(access);
        let block = pool.allocate(&request).unwrap();
        free(&pool, block, &stream);
    }
    assert_eq!(device.calls().of(CallKind::Advise), 0);
}

#[test]
fn advice_by_hand_reaches_the_driver_and_its_refusal_is_an_error() {
    let (device, stream, memory) = set_up(64 * MIB);
    let block = allocate(&memory, &stream, AccessClass::Unknown);
    memory.advise(&block, Advice::ReadMostly).unwrap();
    memory.advise(&block, Advice::PreferredLocation(Location::Host)).unwrap();
    assert_eq!(device.calls().of(CallKind::Advise), 2);
    device.fail_call(Some(CallKind::Advise), 1, DriverCode::UNKNOWN);
    let error = memory.advise(&block, Advice::UnsetReadMostly).unwrap_err();
    assert_eq!(error.code(), DriverCode::UNKNOWN);
    free(&memory, block, &stream);
}

#[test]
fn a_prefetch_moves_the_pages_and_is_remembered() {
    let (device, stream, memory) = set_up(64 * MIB);
    let block = allocate(&memory, &stream, AccessClass::Unknown);
    assert_eq!(memory.last_prefetch(&block).unwrap(), None);
    assert!(memory.prefetch(&block, Location::Device, &stream).is_taken());
    assert_eq!(memory.last_prefetch(&block).unwrap(), Some(Location::Device));
    assert_eq!(device.used(), SIZE);
    assert!(memory.prefetch(&block, Location::Host, &stream).is_taken());
    assert_eq!(memory.last_prefetch(&block).unwrap(), Some(Location::Host));
    assert_eq!(device.used(), 0);
    free(&memory, block, &stream);
    device.assert_clean();
}

#[test]
fn a_refused_prefetch_is_counted_and_harmless() {
    let (device, stream, memory) = set_up(64 * MIB);
    let block = allocate(&memory, &stream, AccessClass::Unknown);
    device.fail_call(Some(CallKind::Prefetch), 1, DriverCode::INVALID_VALUE);
    let Hint::Refused(error) = memory.prefetch(&block, Location::Device, &stream) else {
        panic!("the driver was told to refuse");
    };
    assert_eq!(error.code(), DriverCode::INVALID_VALUE);
    let retired = Stream::new(device.clone()).unwrap();
    retired.retire().unwrap();
    let elsewhere = Stream::new(SimDevice::new(MIB)).unwrap();
    for stream in [&retired, &elsewhere] {
        assert!(!memory.prefetch(&block, Location::Device, stream).is_taken());
    }
    let counts = memory.handle().hints().unwrap();
    assert_eq!((counts.taken, counts.refused), (0, 3));
    launch(&device, &stream, Kernel::write_pattern(block.ptr(), SIZE, 1));
    free(&memory, block, &stream);
    device.assert_clean();
}

#[test]
fn another_resources_block_is_refused() {
    let (device, stream, memory) = set_up(64 * MIB);
    let other = ManagedMemory::new(device.clone()).unwrap();
    let mut block = other.allocate_on(layout(1), &stream).unwrap();
    let invalid = DriverCode::INVALID_VALUE;
    assert_eq!(memory.advise(&block, Advice::ReadMostly).unwrap_err().code(), invalid);
    assert_eq!(memory.last_prefetch(&block).unwrap_err().code(), invalid);
    assert!(!memory.prefetch(&block, Location::Device, &stream).is_taken());
    // SAFETY: no work was queued on the block; refused anyway.
    let view = unsafe { memory.host_view_mut(&mut block, &stream) };
    assert_eq!(view.unwrap_err().code(), invalid);
    let calls = device.calls();
    assert_eq!(calls.of(CallKind::Advise) + calls.of(CallKind::Prefetch), 0);
    free(&other, block, &stream);
}

#[test]
fn handles_answer_while_their_resource_exists_and_say_gone_from_its_drop_on() {
    let (_device, _stream, memory) = set_up(64 * MIB);
    let managed = memory.handle();
    let prefetch = Prefetch::new(memory);
    let prefetched = prefetch.handle();
    let erased: Arc<dyn MemoryResource> = prefetch.into_dyn();
    assert_eq!(managed.hints(), Some(HintCounts::default()));
    assert_eq!(prefetched.counts(), Some(HintCounts::default()));
    assert_eq!(managed.quarantined(), Some(Quarantined::default()));
    managed.synchronize().unwrap();
    drop(erased);
    assert_eq!((managed.hints(), prefetched.counts(), managed.quarantined()), (None, None, None));
    assert!(managed.clone().synchronize().is_err_and(|error| error.is_gone()));
}

/// Queues something that takes a while, then a prefetch behind it.
fn prefetch_late(device: &SimDevice, memory: &ManagedMemory, block: &Block, stream: &Stream) {
    launch(device, stream, Kernel::new("before the prefetch"));
    assert!(memory.prefetch(block, Location::Device, stream).is_taken());
}

/// Whether all that `stream` was given has run, without looking further than that.
fn is_done(device: &SimDevice, stream: &Stream) -> bool {
    let before = device.calls();
    let done = stream.is_complete().unwrap();
    assert_eq!((device.calls() - before).of(CallKind::QueryStream), 1);
    done
}

#[test]
fn a_block_is_not_freed_while_its_pages_move_on_another_stream() {
    for seed in 0..16 {
        let config = SimConfig { capacity: 64 * MIB, seed, ..SimConfig::default() };
        let device = SimDevice::with_config(config).unwrap();
        let memory = ManagedMemory::new(device.clone()).unwrap();
        let (home, other) = (Stream::new(device.clone()), Stream::new(device.clone()));
        let (home, other) = (home.unwrap(), other.unwrap());
        let block = allocate(&memory, &home, AccessClass::Unknown);
        prefetch_late(&device, &memory, &block, &other);
        free(&memory, block, &home);
        assert!(is_done(&device, &other), "seed {seed}: freed under a prefetch");
        device.assert_clean();
    }
}

#[test]
fn a_prefetch_that_cannot_be_marked_is_waited_for_and_else_the_block_is_set_aside() {
    let (device, home, memory) = set_up(64 * MIB);
    let other = Stream::new(device.clone()).unwrap();
    let block = allocate(&memory, &home, AccessClass::Unknown);
    device.fail_call(Some(CallKind::RecordEvent), 1, DriverCode::UNKNOWN);
    prefetch_late(&device, &memory, &block, &other);
    assert!(is_done(&device, &other));
    device.fail_call(Some(CallKind::RecordEvent), 1, DriverCode::UNKNOWN);
    device.fail_call(Some(CallKind::SynchronizeStream), 1, DriverCode::UNKNOWN);
    prefetch_late(&device, &memory, &block, &other);
    free(&memory, block, &home);
    let quarantine = memory.handle();
    assert_eq!(quarantine.quarantined().unwrap().blocks, 1);
    assert_eq!(device.calls().of(CallKind::ManagedFree), 0);
    quarantine.synchronize().unwrap();
    assert_eq!(quarantine.quarantined().unwrap().blocks, 0);
    assert!(is_done(&device, &other));
    device.assert_clean();
}

#[test]
fn a_capture_takes_no_prefetch() {
    let (device, stream, managed) = set_up(64 * MIB);
    let memory = Prefetch::new(managed);
    device.exchange_capture_mode(CaptureMode::Relaxed);
    let kept = memory.allocate_on(layout(SIZE), &stream).unwrap();
    device.begin_capture(&stream).unwrap();
    assert!(!memory.upstream().prefetch(&kept, Location::Host, &stream).is_taken());
    let other = memory.allocate_on(layout(SIZE), &stream).unwrap();
    free(&memory, kept, &stream);
    free(&memory, other, &stream);
    assert!(device.end_capture(&stream).unwrap().is_empty());
    assert_eq!(device.calls().of(CallKind::Prefetch), 1);
    let quarantine = memory.upstream().handle();
    assert_eq!(quarantine.quarantined().unwrap().bytes, 2 * SIZE);
    quarantine.synchronize().unwrap();
    assert_eq!(quarantine.quarantined().unwrap().bytes, 0);
    device.assert_clean();
}

#[test]
fn thousands_of_blocks_are_a_line_of_debug_text() {
    let (_device, stream, memory) = set_up(64 * MIB);
    let memory = Prefetch::new(memory);
    let blocks: Vec<Block> =
        (0..2000).map(|_| memory.allocate_on(layout(1), &stream).unwrap()).collect();
    for text in [format!("{memory:?}"), format!("{:?}", memory.handle())] {
        assert!(text.len() < 400, "{text}");
    }
    blocks.into_iter().for_each(|block| free(&memory, block, &stream));
}
