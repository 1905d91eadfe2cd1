//! A forked child is refused every call of a device that its parent opened.

use vmem_core::{Device, DriverCode, DriverError};
use vmem_sim::SimDevice;
use vmem_testkit::in_child;

fn is_refused<T>(answer: Result<T, DriverError>) -> bool {
    answer.is_err_and(|error| error.code() == DriverCode::NOT_INITIALIZED)
}

#[test]
fn a_forked_child_is_refused_every_driver_call() {
    let device = SimDevice::new(1 << 20);
    let answer = in_child(|| {
        is_refused(device.memory_info())
            && is_refused(device.allocate(256))
            && is_refused(device.create_stream())
            && is_refused(device.create_event())
            && is_refused(device.synchronize())
            && is_refused(device.pinned().unwrap().allocate(256))
            && is_refused(device.virtual_memory().unwrap().reserve(2 << 20))
    });
    assert_eq!(answer, Ok(true));
    device.memory_info().unwrap();
    device.assert_clean();
}

#[test]
fn what_cannot_answer_with_an_error_ends_a_forked_child_instead_of_waiting_for_a_lock() {
    let device = SimDevice::new(1 << 20);
    assert_eq!(in_child(|| device.calls().total() == 0), Err(libc::SIGABRT));
    device.assert_clean();
}
