//! Inside the driver's host functions, which may not call the driver.

use std::cell::Cell;

use vmem_core::{DriverCode, DriverError};

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Runs the body of a host function that the driver calls (`cuLaunchHostFunc`,
/// `cuStreamAddCallback`), where the driver may not be called.
///
/// While it runs, this thread's calls of every [`CudaDevice`](crate::CudaDevice) are refused with
/// [`NOT_PERMITTED`](vmem_core::DriverCode::NOT_PERMITTED) without reaching the driver; events and
/// streams that are dropped and memory that is freed meanwhile are given back by the next call from
/// elsewhere. A free that must wait for its stream first is refused like any other call. Without this
/// function the driver may deadlock.
pub fn host_callback<T>(body: impl FnOnce() -> T) -> T {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            DEPTH.set(DEPTH.get() - 1);
        }
    }
    DEPTH.set(DEPTH.get() + 1);
    let _leave = Leave;
    body()
}

/// Whether this thread is in such a function.
pub(crate) fn in_host_callback() -> bool {
    // A constant without a destructor outlives the thread's other variables.
    DEPTH.get() != 0
}

/// Refuses a call there.
pub(crate) fn refuse_in_host_callback(name: &'static str) -> Result<(), DriverError> {
    if !in_host_callback() {
        return Ok(());
    }
    let error = DriverError::new(name, DriverCode::NOT_PERMITTED);
    Err(error.with_detail("a host function of the driver may not call it"))
}
