//! What adaptors answer in a forked child.

use std::error::Error;
use std::sync::Arc;

use vmem_adaptors::{AdaptorExt, Answer, Budget};
use vmem_core::{
    AsyncMemory, Block, DeviceMemory, DriverCode, DriverError, MemoryResource, ResourceExt, Stream,
};
use vmem_sim::SimDevice;
use vmem_testkit::in_child;

use crate::fake::{free, layout};

fn is_refused<T, E: Error + 'static>(answer: Result<T, E>) -> bool {
    let Err(error) = answer else { return false };
    let first: &(dyn Error + 'static) = &error;
    std::iter::successors(Some(first), |&error| error.source())
        .filter_map(|error| error.downcast_ref::<DriverError>())
        .any(|error| error.code() == DriverCode::NOT_INITIALIZED)
}

#[test]
fn what_a_handle_refuses_in_a_forked_child_names_the_call() {
    let device = SimDevice::new(1 << 20);
    let scrub = DeviceMemory::new(device.clone()).scrubbed().unwrap();
    let counted = DeviceMemory::new(device.clone()).with_statistics();
    let (scrub_handle, counters, leaf) =
        (scrub.handle(), counted.handle(), scrub.upstream().handle());
    let answer = in_child(|| {
        let refused = [
            scrub_handle.synchronize().unwrap_err(),
            counters.reset_peaks().unwrap_err(),
            counters.scope().map(drop).unwrap_err(),
            leaf.synchronize().unwrap_err(),
        ];
        refused.map(|error| error.driver().map_or("", DriverError::call))
            == [
                "ScrubHandle::synchronize",
                "StatsHandle::reset_peaks",
                "StatsHandle::scope",
                "QuarantineHandle::synchronize",
            ]
    });
    assert_eq!(answer, Ok(true));
}

#[test]
fn every_adaptor_refuses_a_forked_child_whatever_it_would_do_first() {
    let device = SimDevice::new(1 << 20);
    let stream = Stream::new(device.clone()).unwrap();
    let leaf = || DeviceMemory::new(device.clone());
    let scrubbed = leaf().scrubbed().unwrap();
    let scrub = scrubbed.handle();
    let full = leaf().limited(Budget::new(100)).into_dyn();
    let stacks: [Arc<dyn MemoryResource>; 6] = [
        full.clone(),
        leaf().with_statistics().into_dyn(),
        leaf().tracked().into_dyn(),
        leaf().on_failure(|_: &vmem_adaptors::Failure<'_>| Answer::Retry).into_dyn(),
        scrubbed.into_dyn(),
        AsyncMemory::new(device.clone()).unwrap().into_dyn(),
    ];
    for memory in &stacks {
        let block = memory.allocate_on(layout(100), &stream).unwrap();
        // The child has a copy of it.
        let raw = block.raw();
        let answer = in_child(|| {
            // SAFETY: the child's copy; its parent's is none of its business.
            let block = unsafe { Block::from_raw(raw) };
            // More than the limit leaves, which is refused for another reason otherwise.
            is_refused(memory.allocate_on(layout(100), &stream))
                && is_refused(free(&**memory, block, &stream))
                && is_refused(scrub.synchronize())
        });
        assert_eq!(answer, Ok(true), "{memory:?}");
        free(&**memory, block, &stream).unwrap();
    }
    drop((full, stacks, stream));
    device.assert_clean();
}
