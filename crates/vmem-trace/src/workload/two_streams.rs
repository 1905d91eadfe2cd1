//! Two overlays at a time, on two streams.

use super::error::Reason;
use super::model::Model;
use super::rng::Rng;
use super::schedule::Pass;
use super::{WorkloadOptions, check_length};
use crate::{Mark, Origin, TraceBuilder};

/// The largest number of allocations that one stream makes before the other has its turn.
const LONGEST_RUN: u64 = 20;

pub(super) fn generate(
    model: &Model,
    options: &WorkloadOptions,
    builder: &mut TraceBuilder,
) -> Result<(), Reason> {
    let sizes = model.sizes(&[("N", options.scale.get())])?;
    check_length(options.passes, 2, model.rows.len() as u64)?;
    let origins = [0, 1].map(|number| Origin { stream: number, thread: number });
    let mut operations = 0u64;
    for _ in 0..options.passes {
        builder.mark(Mark::Pass)?;
        let mut passes = [0, 1].map(|side: usize| {
            operations += 1;
            let results = if operations.is_multiple_of(3) { 1 - side } else { side };
            Pass::new(model, origins[side]).freeing_results_on(origins[results])
        });
        // The same seed in every pass: the repetitions of one pattern are what a pass is.
        let mut rng = Rng::new(options.seed);
        let mut steps = [model.steps().peekable(), model.steps().peekable()];
        let mut turn = 0;
        while steps.iter_mut().any(|steps| steps.peek().is_some()) {
            let run = usize::try_from(rng.between(1, LONGEST_RUN)).unwrap_or(1);
            for step in steps[turn].by_ref().take(run) {
                passes[turn].step(step, &sizes, builder)?;
            }
            turn = 1 - turn;
        }
    }
    Ok(())
}
