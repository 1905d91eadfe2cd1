//! Captures that another thread begins, or begins and ends, while a stream is being marked.

use vmem_core::author::{IdleEvent, StreamExt};
use vmem_core::{Device, DeviceBuffer, DeviceMemory, DriverCode, ResourceExt, Stream};
use vmem_sim::{Kernel, ViolationKind};
use vmem_testkit::Countdown;

use crate::common::{launch, stream};
use crate::quarantine::device;

#[test]
fn a_marker_that_a_capture_took_after_the_question_is_not_given_out() {
    let device = device(0);
    let hooked = Countdown::new(device.clone());
    let (busy, bystander) = (Stream::new(hooked.clone()).unwrap(), stream(&device));
    let (begin, raw) = (device.clone(), busy.raw());
    // SAFETY: contract, devices/handles: a valid stream.
    hooked.before("Device::record_event", move || unsafe { begin.begin_capture_raw(raw) }.unwrap());
    let idle = IdleEvent::new(device.clone()).unwrap();
    let (idle, error) = busy.record(idle).unwrap_err();
    assert_eq!(error.code(), DriverCode::STREAM_CAPTURE_UNSUPPORTED);
    device.end_capture(&busy).unwrap();
    bystander.wait(&busy.record(idle).unwrap()).unwrap();
    assert!(!bystander.is_capturing().unwrap());
    device.assert_clean();
}

#[test]
fn a_use_marked_in_a_capture_that_began_and_ended_meanwhile_keeps_the_block() {
    let device = device(0);
    let watched = Countdown::new(device.clone());
    let [home, user] = [(); 2].map(|()| Stream::new(watched.clone()).unwrap());
    let memory = DeviceMemory::new(watched.clone()).into_dyn();
    let mut buffer = DeviceBuffer::new(memory, 4096, &home).unwrap();
    buffer.make_ready_on(&user).unwrap();
    launch(&device, &user, Kernel::write_pattern(buffer.ptr().unwrap(), 4096, 1));
    let (begin, end, raw) = (device.clone(), device.clone(), user.raw());
    // SAFETY: contract, devices: a valid stream.
    let begins = move || unsafe { begin.begin_capture_raw(raw) }.unwrap();
    watched.before("Device::record_event", begins);
    // SAFETY: contract, devices: a valid stream.
    watched.after("Device::record_event", move || _ = unsafe { end.end_capture_raw(raw) }.unwrap());
    buffer.record_use(&user).unwrap();
    drop(buffer);
    // Refused, and nothing broken: the memory is not freed under the work.
    let broken = device.take_violations();
    assert!(!broken.is_empty() && broken.iter().all(|v| v.kind == ViolationKind::Capture));
    assert_ne!(device.base().drop_failures().count(), 0);
    assert_eq!(device.leaks().plain.count, 1);
    device.assert_clean();
}
