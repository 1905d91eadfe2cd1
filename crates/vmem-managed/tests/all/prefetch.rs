//! The adaptor. RMM 73, 76.

use vmem_core::{AllocErrorKind, DeviceMemory, DriverCode, Location, MemoryResource, ResourceExt};
use vmem_managed::{HintCounts, Prefetch};
use vmem_sim::{CallKind, SimDevice};
use vmem_testkit::conformance::{self, Subject};

use crate::{MIB, free, layout, set_up};

#[test]
fn the_contract_is_kept_over_managed_and_plain_memory() {
    let (device, _, managed) = set_up(1 << 30);
    let plain = DeviceMemory::new(device.clone());
    let stacks = [Prefetch::new(managed).into_dyn(), Prefetch::new(plain).into_dyn()];
    for stack in stacks {
        let mut subject = Subject::new(&stack);
        subject.other_device = Some(SimDevice::new(MIB));
        subject.budget = Subject::SMALLEST_BUDGET;
        conformance::check(&subject);
    }
    device.assert_clean();
}

#[test]
fn new_managed_blocks_are_prefetched_to_the_device() {
    let (device, stream, managed) = set_up(16 * MIB);
    let memory = Prefetch::new(managed);
    let block = memory.allocate_on(layout(2 * MIB), &stream).unwrap();
    assert_eq!(memory.upstream().last_prefetch(&block).unwrap(), Some(Location::Device));
    assert_eq!(memory.handle().counts().unwrap().taken, 1);
    free(&memory, block, &stream);

    let managed = memory.into_inner();
    let block = managed.allocate_on(layout(2 * MIB), &stream).unwrap();
    assert_eq!(managed.last_prefetch(&block).unwrap(), None);
    free(&managed, block, &stream);
    device.assert_clean();
}

#[test]
fn memory_that_does_not_migrate_is_left_alone() {
    let (device, stream, _) = set_up(16 * MIB);
    let memory = Prefetch::new(DeviceMemory::new(device.clone()));
    let block = memory.allocate_on(layout(MIB), &stream).unwrap();
    assert_eq!(device.calls().of(CallKind::Prefetch), 0);
    assert_eq!(memory.handle().counts(), Some(HintCounts::default()));
    free(&memory, block, &stream);
}

#[test]
fn a_refused_prefetch_does_not_fail_the_allocation() {
    let (device, stream, managed) = set_up(16 * MIB);
    let memory = Prefetch::new(managed);
    device.fail_call(Some(CallKind::Prefetch), 1, DriverCode::INVALID_VALUE);
    let block = memory.allocate_on(layout(MIB), &stream).unwrap();
    assert_eq!(memory.handle().counts().unwrap().refused, 1);
    free(&memory, block, &stream);
    device.assert_clean();
}

#[test]
fn more_than_the_device_has_is_prefetched_as_far_as_it_fits() {
    let (device, stream, managed) = set_up(16 * MIB);
    let memory = Prefetch::new(managed);
    let blocks: Vec<_> =
        (0..5).map(|_| memory.allocate_on(layout(8 * MIB), &stream).unwrap()).collect();
    assert!(device.used() <= 16 * MIB);
    for block in blocks {
        free(&memory, block, &stream);
    }
    device.assert_clean();
}

#[test]
fn refusals_and_capabilities_pass_unchanged() {
    let (device, stream, managed) = set_up(16 * MIB);
    let capabilities = managed.capabilities();
    let memory = Prefetch::new(managed);
    assert_eq!(memory.capabilities(), capabilities);
    device.fail_call(Some(CallKind::ManagedAllocate), 1, DriverCode::OUT_OF_MEMORY);
    let error = memory.allocate_on(layout(1), &stream).unwrap_err();
    assert_eq!((error.kind(), error.resource()), (AllocErrorKind::OutOfMemory, "ManagedMemory"));
    assert_eq!(device.calls().of(CallKind::Prefetch), 0);
}
