//! The leaf.

use vmem_core::{
    AllocErrorKind, Capabilities, DriverCode, Features, FreeErrorKind, MemoryResource, ResourceExt,
    Stream,
};
use vmem_managed::{ManagedMemory, Unsupported};
use vmem_sim::{CallKind, Kernel, Parts, SimConfig, SimDevice};
use vmem_testkit::conformance::{self, Subject};

use crate::{MIB, free, launch, layout, set_up};

fn device_with(parts: Parts) -> SimConfig {
    SimConfig { parts, ..SimConfig::default() }
}

#[test]
fn the_contract_is_kept() {
    let (device, _, memory) = set_up(1 << 30);
    let mut subject = Subject::new(&memory);
    subject.other_device = Some(SimDevice::new(MIB));
    subject.budget = Subject::SMALLEST_BUDGET;
    conformance::check(&subject);
    device.assert_clean();
}

#[test]
fn a_device_without_managed_memory_is_refused() {
    let without = Parts::all() - Parts::MANAGED - Parts::CONCURRENT_MANAGED;
    let device = SimDevice::with_config(device_with(without)).unwrap();
    assert_eq!(ManagedMemory::new(device).unwrap_err(), Unsupported::NoManagedMemory);
}

#[test]
fn a_device_without_concurrent_access_is_refused() {
    let without = Parts::all() - Parts::CONCURRENT_MANAGED;
    let device = SimDevice::with_config(device_with(without)).unwrap();
    let error = ManagedMemory::new(device).unwrap_err();
    assert_eq!(error, Unsupported::NoConcurrentAccess);
    assert!(error.to_string().contains("at the same time"), "{error}");
}

#[test]
fn more_than_the_device_has_can_be_live_and_used() {
    let (device, stream, memory) = set_up(16 * MIB);
    let blocks: Vec<_> =
        (0..6).map(|_| memory.allocate_on(layout(8 * MIB), &stream).unwrap()).collect();
    for (tag, block) in (0..).zip(&blocks) {
        launch(&device, &stream, Kernel::write_pattern(block.ptr(), block.size(), tag));
    }
    for (tag, block) in (0..).zip(&blocks) {
        launch(&device, &stream, Kernel::check_pattern(block.ptr(), block.size(), tag));
    }
    for block in blocks {
        free(&memory, block, &stream);
    }
    device.assert_clean();
    assert!(device.peak_used() <= 16 * MIB);
    // What did not fit went to the host and came back.
    assert!(device.migrated_bytes() >= 32 * MIB);
    assert_eq!(device.used(), 0);
}

#[test]
fn a_free_waits_on_the_host_for_the_streams_tail() {
    let (device, stream, memory) = set_up(16 * MIB);
    let capabilities = Capabilities::new(Features::HOST_ACCESSIBLE | Features::MIGRATABLE);
    assert_eq!(memory.capabilities(), capabilities);
    let block = memory.allocate_on(layout(MIB), &stream).unwrap();
    launch(&device, &stream, Kernel::write_pattern(block.ptr(), MIB, 1));
    free(&memory, block, &stream);
    let calls = device.calls();
    assert_eq!(calls.of(CallKind::SynchronizeStream), 1);
    assert_eq!(calls.of(CallKind::ManagedFree), 1);
    // A free before the kernel's completion was seen breaks a rule.
    device.assert_clean();
}

#[test]
fn a_driver_out_of_memory_and_a_fault_are_told_apart() {
    let (device, stream, memory) = set_up(16 * MIB);
    device.fail_call(Some(CallKind::ManagedAllocate), 1, DriverCode::OUT_OF_MEMORY);
    device.fail_call(Some(CallKind::ManagedAllocate), 2, DriverCode::UNKNOWN);
    let kinds = [(); 2].map(|()| memory.allocate_on(layout(1), &stream).unwrap_err().kind());
    assert_eq!(kinds, [AllocErrorKind::OutOfMemory, AllocErrorKind::DeviceFault]);
    free(&memory, memory.allocate_on(layout(1), &stream).unwrap(), &stream);
}

#[test]
fn a_failed_free_leaves_the_block_live() {
    let (device, stream, memory) = set_up(16 * MIB);
    let block = memory.allocate_on(layout(1), &stream).unwrap();
    device.fail_call(Some(CallKind::ManagedFree), 1, DriverCode::UNKNOWN);
    // SAFETY: contract, freeing: no work was queued on the block.
    let error = unsafe { memory.deallocate(block, &stream) }.unwrap_err();
    assert_eq!(error.kind(), FreeErrorKind::DeviceFault);
    free(&memory, error.into_block(), &stream);
}

#[test]
fn streams_of_another_device_are_refused() {
    let (_device, stream, memory) = set_up(16 * MIB);
    let other = Stream::new(SimDevice::new(MIB)).unwrap();
    let error = memory.allocate_on(layout(1), &other).unwrap_err();
    assert_eq!(error.kind(), AllocErrorKind::InvalidStream);
    let block = memory.allocate_on(layout(1), &stream).unwrap();
    // SAFETY: contract, freeing: no work was queued; the stream is wrong on purpose and refused.
    let error = unsafe { memory.deallocate(block, &other) }.unwrap_err();
    assert_eq!(error.kind(), FreeErrorKind::InvalidStream);
    free(&memory, error.into_block(), &stream);
}

#[test]
fn after_device_loss_every_call_is_a_fault() {
    let (device, stream, memory) = set_up(16 * MIB);
    let block = memory.allocate_on(layout(1), &stream).unwrap();
    device.lose();
    let error = memory.allocate_on(layout(1), &stream).unwrap_err();
    assert_eq!(error.kind(), AllocErrorKind::DeviceFault);
    // SAFETY: contract, freeing: no work was queued on the block.
    let error = unsafe { memory.deallocate(block, &stream) }.unwrap_err();
    assert_eq!(error.kind(), FreeErrorKind::DeviceFault);
}

#[test]
fn dropping_it_with_live_blocks_is_recorded() {
    use vmem_core::Device;

    let (device, stream, memory) = set_up(16 * MIB);
    let _leaked = memory.allocate_on(layout(1), &stream).unwrap();
    drop(memory);
    let failure = device.base().drop_failures().first().unwrap();
    assert_eq!((failure.what, &*failure.reason), ("ManagedMemory", "1 live blocks leak"));
}
