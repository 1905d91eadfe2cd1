//! A forked child is refused every call of a device that its parent opened.

use std::ffi::c_int;

use vmem_core::{Device, DriverCode, DriverError};
use vmem_sim::SimDevice;

/// What `body` returns in a forked child, or the signal that ended it. An alarm ends a child that
/// hangs.
fn in_child(body: impl FnOnce() -> bool) -> Result<bool, c_int> {
    // SAFETY: the child makes calls that are refused before they take a lock, and leaves without
    // running destructors.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: no handler is set, so that the signal ends the child.
        unsafe { libc::alarm(20) };
        let good = body();
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(c_int::from(!good)) };
    }
    assert!(child > 0);
    let mut status = 0;
    // SAFETY: waits for the child made above, and writes to a local.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    if libc::WIFSIGNALED(status) {
        return Err(libc::WTERMSIG(status));
    }
    Ok(libc::WEXITSTATUS(status) == 0)
}

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
