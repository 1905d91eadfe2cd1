use std::cell::Cell;

use vmem_benches::SimStack;
use vmem_core::BoxedError;
use vmem_trace::{Trace, Workload, min_device};

use crate::support::{generate, plain_factory};

const STEP: u64 = 2 << 20;

/// A trace of 20 steps' peak.
fn trace() -> Trace {
    let size = 20 * STEP - 1;
    let rows = format!("id,lower,upper,size\n0,0,1,{size}\n");
    vmem_trace::read("one", rows.as_bytes()).unwrap().trace
}

/// Stacks that can be built on devices of so many steps, and then pass.
fn built(steps: impl Fn(u64) -> bool) -> impl Fn(u64) -> Result<SimStack, BoxedError> {
    move |capacity| {
        assert_eq!(capacity % STEP, 0);
        if steps(capacity / STEP) {
            plain_factory(1 << 30)
        } else {
            Err(format!("{} steps are too few", capacity / STEP).into())
        }
    }
}

#[test]
fn the_smallest_device_is_found_wherever_it_is() {
    for least in [1, 2, 3, 19, 20, 21, 22, 35, 100, 1_000] {
        let found = min_device(&trace(), built(|steps| steps >= least));
        assert_eq!(found.unwrap(), least * STEP);
    }
}

#[test]
fn a_larger_device_that_fails_within_eight_steps_moves_the_answer_above_it() {
    for (holes, answer) in [(vec![31], 32), (vec![38], 39), (vec![38, 45, 47], 48), (vec![39], 30)]
    {
        let factory = built(|steps| steps >= 30 && !holes.contains(&steps));
        assert_eq!(min_device(&trace(), factory).unwrap(), answer * STEP, "{holes:?}");
    }
}

#[test]
fn a_trace_that_never_passes_is_an_error_with_the_last_failure() {
    let tried = Cell::new(0);
    let factory = built(|steps| {
        tried.set(tried.get().max(steps));
        false
    });
    let error = min_device(&trace(), factory).unwrap_err().to_string();
    assert!(error.contains("steps are too few"), "{error}");
    assert!(tried.get() * STEP >= 16 << 30);
}

#[test]
fn plain_memory_needs_no_device_smaller_than_the_peak_and_none_much_larger() {
    let trace = generate(Workload::OverlayCore, "10k");
    let least = min_device(&trace, plain_factory).unwrap();
    assert!(least >= trace.peak_live());
    assert!(least < trace.peak_live() + (16 << 20));
}
