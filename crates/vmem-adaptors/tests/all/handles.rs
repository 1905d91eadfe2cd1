//! What handles answer when their resource is gone.

use std::sync::Arc;
use std::thread;

use vmem_adaptors::{
    AdaptorExt, Answer, RecoveryHandle, ScrubHandle, StatsHandle, StatsScope, TrackHandle,
};
use vmem_core::{DeviceMemory, HandleError, Label, MemoryResource, ResourceExt, Stream};
use vmem_sim::SimDevice;

use crate::fake::{free, layout};

fn is_gone<T>(answer: Result<T, HandleError>) -> bool {
    answer.is_err_and(|error| error.is_gone())
}

/// Every handle of this crate, of one stack.
#[derive(Clone)]
struct Handles {
    stats: StatsHandle,
    track: TrackHandle,
    recovery: RecoveryHandle,
    scrub: ScrubHandle,
}

impl Handles {
    /// What each call answers: whether the resource is gone.
    fn answers(&self) -> [bool; 11] {
        let Self { stats, track, recovery, scrub } = self;
        [
            stats.stats().is_none(),
            stats.sizes().is_none(),
            stats.labels().is_none(),
            stats.label(Label::NONE).is_none(),
            is_gone(stats.reset_peaks()),
            is_gone(stats.scope()),
            track.outstanding().is_none(),
            track.report().is_none(),
            recovery.counts().is_none(),
            scrub.quarantined().is_none(),
            is_gone(scrub.synchronize()),
        ]
    }
}

fn stack(device: &Arc<SimDevice>) -> (Arc<dyn MemoryResource>, Handles) {
    let scrub = DeviceMemory::new(device.clone()).scrubbed().unwrap();
    let of_scrub = scrub.handle();
    let recovery = scrub.on_failure(|_| Answer::GiveUp);
    let of_recovery = recovery.handle();
    let track = recovery.tracked();
    let of_track = track.handle();
    let stats = track.with_statistics();
    let handles =
        Handles { stats: stats.handle(), track: of_track, recovery: of_recovery, scrub: of_scrub };
    (stats.into_dyn(), handles)
}

#[test]
fn every_handle_answers_while_its_resource_exists_and_says_gone_from_its_drop_on() {
    let device = SimDevice::new(64 << 20);
    let stream = Stream::new(device.clone()).unwrap();
    let (memory, handles) = stack(&device);
    free(&memory, memory.allocate_on(layout(4096), &stream).unwrap(), &stream).unwrap();
    assert_eq!(handles.answers(), [false; 11]);
    drop(memory);
    assert_eq!(handles.answers(), [true; 11]);
    assert_eq!(handles.clone().answers(), [true; 11]);
    for text in [
        format!("{:?}", handles.stats),
        format!("{:?}", handles.track),
        format!("{:?}", handles.recovery),
        format!("{:?}", handles.scrub),
    ] {
        assert!(text.contains("gone") || text.contains("None"), "{text}");
    }
}

#[test]
fn a_resource_that_is_dropped_while_others_ask_is_gone_for_all_of_them_from_then_on() {
    for _ in 0..50 {
        let device = SimDevice::new(64 << 20);
        let (memory, handles) = stack(&device);
        thread::scope(|scope| {
            for _ in 0..3 {
                let handles = handles.clone();
                // Each asks until it is told, and is told the same ever after.
                scope.spawn(move || {
                    while handles.answers() != [true; 11] {}
                    assert_eq!(handles.answers(), [true; 11]);
                });
            }
            drop(memory);
            assert_eq!(handles.answers(), [true; 11], "whatever calls are in progress");
        });
        device.assert_clean();
    }
}

#[test]
fn a_scope_keeps_its_own_figures_and_no_adaptor_alive() {
    let device = SimDevice::new(64 << 20);
    let stream = Stream::new(device.clone()).unwrap();
    let memory = DeviceMemory::new(device.clone()).with_statistics();
    let handle = memory.handle();
    let scope: StatsScope = handle.scope().unwrap();
    free(&memory, memory.allocate_on(layout(100), &stream).unwrap(), &stream).unwrap();
    drop(memory);
    assert!(handle.stats().is_none());
    assert_eq!(scope.usage().bytes.peak, 100);
    // Another adaptor, wherever it lies, is not taken for the one that is gone.
    let other = DeviceMemory::new(device).with_statistics();
    free(&other, other.allocate_on(layout(200), &stream).unwrap(), &stream).unwrap();
    assert_eq!(scope.usage().bytes.total, 100);
}
