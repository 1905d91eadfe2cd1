//! Running something in a forked child.

use std::ffi::c_int;

/// Runs `body` in a forked child of this process, and returns its answer, or the signal that ended
/// the child: 6 where [`fork`](vmem_core::author::fork) ended it, 14 if it had not returned after 20
/// seconds.
///
/// The child has the calling thread only, and ends without running destructors or printing what it
/// has buffered. `body` must not panic: what it asserts it returns.
///
/// # Panics
/// If the system makes no child.
///
/// ```
/// use vmem_core::{Device, DriverCode};
/// use vmem_sim::SimDevice;
///
/// let device = SimDevice::new(1 << 20);
/// let refused = || {
///     let answer = device.allocate(256);
///     answer.is_err_and(|error| error.code() == DriverCode::NOT_INITIALIZED)
/// };
/// assert_eq!(vmem_testkit::in_child(refused), Ok(true));
/// device.allocate(256).unwrap();
/// ```
pub fn in_child(body: impl FnOnce() -> bool) -> Result<bool, c_int> {
    // SAFETY: the child is a copy of this process with this thread alone; it runs `body`, which takes
    // no lock of vmem's that another thread may have held, because there those refuse or end it.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: no memory is involved; the signal ends a child that hangs.
        unsafe { libc::alarm(20) };
        let good = body();
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(c_int::from(!good)) };
    }
    assert!(child > 0, "the system makes no child");
    let mut status = 0;
    // SAFETY: waits for the child made above, and writes to a local.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(waited, child, "the child is ours to wait for");
    if libc::WIFSIGNALED(status) {
        return Err(libc::WTERMSIG(status));
    }
    Ok(libc::WEXITSTATUS(status) == 0)
}
