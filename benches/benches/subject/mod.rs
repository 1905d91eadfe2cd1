//! What is measured, and what it is made to do: common to all benches.

mod churn;
mod memory;
mod nothing;
mod threads;
mod traced;

pub(crate) use churn::Churn;
pub(crate) use memory::{CAPACITY, Held, Memory, arena_pool, stack};
pub(crate) use threads::{Job, turns_in};
pub(crate) use traced::{Labels, Traced};

use vmem_trace::{Trace, Workload};

/// A workload as it is by default.
pub(crate) fn generate(workload: Workload) -> Trace {
    workload.generate(&workload.defaults()).expect("defaults can be generated")
}
