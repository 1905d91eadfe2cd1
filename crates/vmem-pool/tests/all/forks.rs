//! What a forked child may ask of a pool's handle.

use std::error::Error;

use vmem_core::{DriverCode, DriverError, HandleError, Stream};
use vmem_pool::PoolConfig;

use crate::support::{MIB, alloc, arena, device, finish, free};

fn is_refused<T>(answer: Result<T, HandleError>) -> bool {
    let error = answer.err();
    let driver = error.as_ref().and_then(|e| e.source()?.downcast_ref::<DriverError>());
    driver.is_some_and(|error| error.code() == DriverCode::NOT_INITIALIZED)
}

#[test]
fn a_handle_refuses_in_a_forked_child_what_can_fail() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default());
    let stream = Stream::new(device.clone()).unwrap();
    free(&pool, alloc(&pool, MIB, &stream), &stream);
    let handle = pool.handle();
    // SAFETY: the child makes calls that are refused before they take a lock, and leaves without
    // running destructors.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: no handler is set, so that the signal ends the child should it hang.
        unsafe { libc::alarm(20) };
        let good = is_refused(handle.try_trim(0))
            && is_refused(handle.trim_to(0))
            && is_refused(handle.synchronize());
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(libc::c_int::from(!good)) };
    }
    assert!(child > 0);
    let mut status = 0;
    // SAFETY: waits for the child made above, and writes to a local.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{status}");
    drop(stream);
    finish(&device, pool);
}
