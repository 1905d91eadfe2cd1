//! What a forked child may ask of a pool's handle.

use std::error::Error;

use vmem_core::{DriverCode, DriverError, HandleError, Stream};
use vmem_pool::PoolConfig;
use vmem_testkit::in_child;

use crate::support::{MIB, alloc, arena, device, finish, free};

fn is_refused<T>(answer: Result<T, HandleError>) -> bool {
    let error = answer.err();
    let driver = error.as_ref().and_then(|e| e.source()?.downcast_ref::<DriverError>());
    driver.is_some_and(|error| error.code() == DriverCode::NOT_INITIALIZED)
}

#[test]
fn a_handle_in_a_forked_child_refuses_what_can_fail_and_knows_no_figures() {
    let device = device();
    let pool = arena(device.clone(), PoolConfig::default());
    let stream = Stream::new(device.clone()).unwrap();
    free(&pool, alloc(&pool, MIB, &stream), &stream);
    let live = alloc(&pool, MIB, &stream);
    let ptr = live.ptr();
    let handle = pool.handle();
    let answer = in_child(|| {
        is_refused(handle.try_trim(0))
            && is_refused(handle.trim_to(0))
            && is_refused(handle.synchronize())
            && handle.counters().is_none()
            && handle.capacity().is_none()
            && handle.snapshot().is_none()
            && handle.find(ptr).is_none()
            && !format!("{handle:?} {pool:?}").is_empty()
    });
    assert_eq!(answer, Ok(true));
    free(&pool, live, &stream);
    drop(stream);
    finish(&device, pool);
}
