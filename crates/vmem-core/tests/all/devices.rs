//! Two devices: what belongs to one is refused by the other, before its driver is asked.

use std::sync::Arc;

use vmem_core::author::{IdleEvent, StreamExt};
use vmem_core::{
    AllocErrorKind, DeviceBuffer, DeviceMemory, DriverCode, MemoryResource, ResourceExt, Stream,
};
use vmem_sim::SimDevice;

use crate::common::{code, sim, stream};

const FOREIGN: DriverCode = DriverCode::INVALID_CONTEXT;

struct Two {
    here: Arc<SimDevice>,
    there: Arc<SimDevice>,
    home: Stream,
    other: Stream,
    buffer: DeviceBuffer,
}

fn two() -> Two {
    let (here, there) = (sim(0), sim(1));
    let (home, other) = (stream(&here), stream(&there));
    let memory: Arc<dyn MemoryResource> = DeviceMemory::new(here.clone()).into_dyn();
    let buffer = DeviceBuffer::from_slice(memory, &[1; 512], &home).unwrap();
    Two { here, there, home, other, buffer }
}

/// Runs `step`, which must not reach either driver.
fn without_a_call(two: &mut Two, step: impl FnOnce(&mut Two)) {
    let before = (two.here.calls(), two.there.calls());
    step(two);
    assert_eq!((two.here.calls(), two.there.calls()), before);
}

#[test]
fn a_buffer_refuses_streams_of_another_device() {
    let mut two = two();
    for retired in [false, true] {
        if retired {
            // Its final marker was seen complete, so that there is nothing to wait for.
            two.home.retire().unwrap();
            two.home.synchronize().unwrap();
        }
        without_a_call(&mut two, |two| {
            let Two { other, buffer, .. } = two;
            assert_eq!(code(buffer.set_stream(other)), FOREIGN);
            assert_eq!(code(buffer.make_ready_on(other)), FOREIGN);
            assert_eq!(code(buffer.record_use(other)), FOREIGN);
            let refused = buffer.try_clone(other).unwrap_err();
            assert_eq!(refused.kind(), AllocErrorKind::InvalidStream);
            assert_eq!(buffer.stream(), &two.home);
        });
    }
    let Two { here, there, buffer, .. } = two;
    drop(buffer);
    assert_eq!(here.leaks().plain.count, 0);
    here.assert_clean();
    there.assert_clean();
}

#[test]
fn a_stream_refuses_events_of_another_device() {
    let mut two = two();
    let marker = two.other.marker().unwrap();
    for observed in [false, true] {
        if observed {
            marker.synchronize().unwrap();
        }
        without_a_call(&mut two, |two| {
            assert_eq!(code(two.home.wait(&marker)), FOREIGN);
            assert_eq!(code(two.home.wait_later(&marker)), FOREIGN);
            assert!(!two.home.has_pending_waits());
        });
    }
    let idle = IdleEvent::new(two.there.clone()).unwrap();
    assert_eq!(idle.device_id(), two.other.device_id());
    let mut kept = None;
    without_a_call(&mut two, |two| {
        let (idle, error) = two.home.record(idle).unwrap_err();
        assert_eq!(error.code(), FOREIGN);
        kept = Some(idle);
    });
    let recorded = two.other.record(kept.unwrap()).unwrap();
    assert_eq!(recorded.device_id(), two.other.device_id());
    two.here.assert_clean();
    two.there.assert_clean();
}

#[test]
fn another_threads_stream_refuses_events_of_another_device_too() {
    let two = two();
    let shared: Arc<dyn vmem_core::Device> = two.here.clone();
    let own = Stream::per_thread_default(shared.clone());
    let marker = two.other.marker().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| assert_eq!(code(own.wait(&marker)), FOREIGN));
    });
    assert!(!own.has_pending_waits());
}
