//! Advice and prefetches on single blocks.

use std::sync::Arc;

use vmem_core::{
    AccessClass, Advice, Block, DriverCode, Location, MemoryResource, Request, ResourceExt, Stream,
};
use vmem_managed::{Hint, HintCounts, ManagedMemory};
use vmem_sim::{CallKind, Kernel, SimDevice};

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
    let mut block = allocate(&memory, &stream, access);
    // SAFETY: no work was queued on the block, and the view ends here.
    unsafe { memory.host_view_mut(&mut block, &stream) }.unwrap().fill(7);
    let read = || Kernel::new("read").reads(block.ptr(), SIZE);
    launch(&device, &stream, read());
    // SAFETY: the view's call waits for the kernel, and the view ends here.
    let first = unsafe { memory.host_view(&block, &stream) }.unwrap()[0];
    assert_eq!(first, 7);
    launch(&device, &stream, read());
    stream.synchronize().unwrap();
    free(&memory, block, &stream);
    device.assert_clean();
    device.migrated_bytes()
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
    let counts = HintCounts { taken: 3, refused: 0 };
    assert_eq!(memory.hints().counts(), Some(counts));
}

#[test]
fn refused_advice_does_not_fail_the_allocation() {
    let (device, stream, memory) = set_up(64 * MIB);
    device.fail_call(Some(CallKind::Advise), 1, DriverCode::NOT_SUPPORTED);
    let block = allocate(&memory, &stream, AccessClass::RandomReuse);
    assert_eq!(memory.hints().counts().unwrap().refused, 1);
    free(&memory, block, &stream);
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
    let counts = HintCounts { taken: 0, refused: 3 };
    assert_eq!(memory.hints().counts(), Some(counts));
    launch(&device, &stream, Kernel::write_pattern(block.ptr(), SIZE, 1));
    free(&memory, block, &stream);
    device.assert_clean();
}

#[test]
fn another_resources_block_is_refused() {
    let (device, stream, memory) = set_up(64 * MIB);
    let other = ManagedMemory::new(device.clone()).unwrap();
    let mut block = other.alloc(layout(1), &stream).unwrap();
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
fn the_hint_handle_says_when_the_resource_is_gone() {
    let (_device, _stream, memory) = set_up(64 * MIB);
    let hints = memory.hints();
    let erased: Arc<dyn MemoryResource> = memory.into_dyn();
    assert_eq!(hints.counts(), Some(HintCounts::default()));
    drop(erased);
    assert_eq!(hints.counts(), None);
}
