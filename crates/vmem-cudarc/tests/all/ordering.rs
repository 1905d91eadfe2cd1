//! Slices on several streams, whose order the software driver's checker watches.

use std::sync::Arc;

use cudarc::driver::{CudaSlice, DriverError, sys};
use vmem_core::MemoryResource;
use vmem_cudarc::{SharedStream, VmemSlice};

use crate::support::{Bench, bench, bench_with, control};

const LEN: usize = 1 << 16;

/// A slice whose memory was another's before, with work still queued on the pool's side.
fn zeros(pool: &Arc<dyn MemoryResource>, stream: &SharedStream) -> VmemSlice<u8> {
    VmemSlice::alloc_zeros(pool.clone(), LEN, stream).unwrap()
}

/// A slice of `home`, written there and read on `other`, dropped, and its memory written by a next slice
/// of `home`, with nothing to order the two streams but what cudarc and the slice do, and `between`.
fn pass(
    bench: &Bench,
    pool: &Arc<dyn MemoryResource>,
    before: impl FnOnce(),
    between: impl FnOnce(&mut VmemSlice<u8>, &SharedStream, &SharedStream),
) {
    let (home, other) = (bench.stream(), bench.stream());
    let mut to: CudaSlice<u8> = other.cudarc().alloc_zeros(LEN).unwrap();
    let mut x = zeros(pool, &home);
    home.cudarc().synchronize().unwrap();
    before();
    other.cudarc().memcpy_dtod(&x, &mut to).unwrap();
    between(&mut x, &home, &other);
    let was = x.as_cuda_slice().as_view().len();
    drop(x);
    // What a test left there is not for the next slice to report.
    let _ = bench.context.check_err();
    let next = zeros(pool, &home);
    assert_eq!(next.len(), was);
    drop((next, to));
}

/// The rules broken so far. Asking runs what is queued.
fn violations() -> String {
    control("violations")
}

fn without_tracking(bench: &Bench) {
    // SAFETY: the test orders its streams, or shows what happens if it does not.
    unsafe { bench.context.disable_event_tracking() };
}

#[test]
fn with_tracking_the_memory_of_a_slice_waits_for_its_reader_on_another_stream() {
    for seed in 0..8 {
        let Some(bench) = bench_with(&format!("SEED={seed}")) else { return };
        let (pool, _) = bench.pool();
        pass(&bench, &pool, || {}, |_, _, _| {});
        drop(pool);
        bench.finish();
    }
}

#[test]
fn with_tracking_a_slice_without_a_write_waits_for_what_its_memory_was_before() {
    let Some(bench) = bench_with("SEED=0") else { return };
    let (pool, _) = bench.pool();
    let (home, other) = (bench.stream(), bench.stream());
    drop(zeros(&pool, &home));
    // SAFETY: written below, on another stream than the one that filled the memory last.
    let mut x = unsafe { VmemSlice::<u8>::alloc(pool.clone(), LEN, &home) }.unwrap();
    other.cudarc().memset_zeros(&mut x).unwrap();
    drop((x, home, other, pool));
    bench.finish();
}

#[test]
fn without_tracking_the_order_is_the_programs() {
    let Some(bench) = bench_with("SEED=0") else { return };
    without_tracking(&bench);
    let (pool, _) = bench.pool();
    pass(&bench, &pool, || {}, |_, home, other| home.cudarc().join(other.cudarc()).unwrap());
    assert_eq!(violations(), "", "the program has ordered its streams");
    pass(&bench, &pool, || {}, |x, _, other| x.record_use(other).unwrap());
    assert_eq!(violations(), "", "the program has told of the use");
    pass(&bench, &pool, || {}, |_, _, _| {});
    assert_ne!(violations(), "", "nobody has ordered anything, which the checker does not see");
}

#[test]
fn make_ready_on_orders_the_first_use_on_another_stream_without_tracking() {
    let Some(bench) = bench_with("SEED=0") else { return };
    without_tracking(&bench);
    let (pool, _) = bench.pool();
    let (home, other) = (bench.stream(), bench.stream());
    let mut x = zeros(&pool, &home);
    x.make_ready_on(&other).unwrap();
    other.cudarc().memset_zeros(&mut x).unwrap();
    x.record_use(&other).unwrap();
    drop((x, home, other, pool));
    bench.finish();
}

#[test]
fn tracking_that_is_switched_on_later_knows_nothing_of_a_slice_made_before() {
    let Some(bench) = bench_with("SEED=0") else { return };
    without_tracking(&bench);
    let (pool, _) = bench.pool();
    // SAFETY: the slices made before are ordered below, or shown not to be.
    let switch_on = || unsafe { bench.context.enable_event_tracking() };
    pass(&bench, &pool, switch_on, |x, _, other| x.record_use(other).unwrap());
    assert_eq!(violations(), "", "the program has told of the use");
    without_tracking(&bench);
    pass(&bench, &pool, switch_on, |_, _, _| {});
    assert_ne!(violations(), "", "nobody has ordered anything, which the checker does not see");
}

#[test]
fn tracking_that_is_switched_off_later_leaves_the_order_to_the_program() {
    let Some(bench) = bench_with("SEED=0") else { return };
    let (pool, _) = bench.pool();
    pass(&bench, &pool, || without_tracking(&bench), |x, _, other| x.record_use(other).unwrap());
    drop(pool);
    bench.finish();
}

#[test]
fn an_error_that_an_earlier_call_left_does_not_keep_a_drop_from_waiting() {
    let Some(bench) = bench_with("SEED=0") else { return };
    let (pool, _) = bench.pool();
    let left = DriverError(sys::CUresult::CUDA_ERROR_INVALID_VALUE);
    pass(&bench, &pool, || {}, |_, _, _| bench.context.record_err::<()>(Err(left)));
    drop(pool);
    bench.finish();
}

#[test]
fn the_error_that_an_earlier_call_left_is_still_there_after_a_drop() {
    let Some(bench) = bench() else { return };
    let (pool, _) = bench.pool();
    let stream = bench.stream();
    let x = zeros(&pool, &stream);
    let left = DriverError(sys::CUresult::CUDA_ERROR_INVALID_VALUE);
    bench.context.record_err::<()>(Err(left));
    drop(x);
    assert_eq!(bench.context.check_err(), Err(left));
    drop((pool, stream));
    bench.finish();
}

/// cudarc has one event for the reads of a slice: of two readers that do not wait for each other it
/// remembers the later one.
#[test]
fn of_two_readers_at_once_the_program_tells_of_the_first() {
    let read_twice = |tell: bool| {
        let bench = bench_with("SEED=0")?;
        let (pool, _) = bench.pool();
        let (home, first, second) = (bench.stream(), bench.stream(), bench.stream());
        let mut all: CudaSlice<u8> = first.cudarc().alloc_zeros(LEN).unwrap();
        let mut one: CudaSlice<u8> = second.cudarc().alloc_zeros(1).unwrap();
        let mut x = zeros(&pool, &home);
        first.cudarc().memcpy_dtod(&x, &mut all).unwrap();
        if tell {
            x.record_use(&first).unwrap();
        }
        second.cudarc().memcpy_dtod(&x.slice(..1), &mut one).unwrap();
        drop(x);
        drop(zeros(&pool, &home));
        Some(violations())
    };
    let (Some(untold), Some(told)) = (read_twice(false), read_twice(true)) else { return };
    assert_ne!(
        untold, "",
        "cudarc remembers every reader now, and the documentation does not say so"
    );
    assert_eq!(told, "");
}
