//! The contract as a table of checks that any resource on any device can be held to.
//!
//! The checks use nothing but [`MemoryResource`] and [`Device`]; memory is written and read back
//! with the device's own fills and copies, so they run on hardware as well as on the simulator. On
//! the simulator, ask it afterwards whether it saw a race.
//!
//! Where a check follows one of RMM's tests, its documentation says `RMM n`, the number that
//! project's behaviour has in the checklist vmem was held to.
//!
//! [`MemoryResource`]: vmem_core::MemoryResource
//! [`Device`]: vmem_core::Device

mod buffer;
mod layout;
mod leak;
mod lost;
mod order;
mod ownership;
mod refusal;
mod request;
mod subject;
mod thread;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use leak::check_leak;
pub use subject::Subject;

use crate::{Finding, panic_text};

/// One promise of the contract, as something that can be run.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Check {
    /// The promise that it checks, as a sentence in snake case.
    pub name: &'static str,
    run: fn(&Subject<'_>) -> Result<(), Stop>,
}

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The promise was kept.
    Passed,
    /// The check does not apply to the subject, for this reason.
    Skipped(String),
    /// The promise was broken, in this way.
    Failed(String),
}

/// Why a check ended early.
#[derive(Debug)]
enum Stop {
    Skip(&'static str),
    Fail(Finding),
}

impl<E: Into<Finding>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Fail(error.into())
    }
}

impl Check {
    /// Runs the check. A panic in it, or in the subject, is a failure, and so are live bytes that the
    /// probe counts afterwards and not before. A failed check may leave blocks behind.
    ///
    /// # Panics
    /// If the subject's budget is under [`Subject::SMALLEST_BUDGET`].
    pub fn run(&self, subject: &Subject<'_>) -> Outcome {
        Outcome::of(self.try_run(subject))
    }

    fn try_run(&self, subject: &Subject<'_>) -> Result<(), Stop> {
        assert!(
            subject.budget >= Subject::SMALLEST_BUDGET,
            "a budget of {} B is under the smallest of {} B",
            subject.budget,
            Subject::SMALLEST_BUDGET
        );
        let before = (subject.failed_drops(), subject.probe.live_bytes());
        let result = catch_unwind(AssertUnwindSafe(|| {
            (self.run)(subject)?;
            subject.nothing_was_dropped_badly(before.0)?;
            subject.nothing_stayed_live(before.1)
        }));
        result.unwrap_or_else(|panic| {
            Err(Finding::new(format!("panicked: {}", panic_text(&*panic))).into())
        })
    }
}

impl Outcome {
    fn of(result: Result<(), Stop>) -> Self {
        match result {
            Ok(()) => Self::Passed,
            Err(Stop::Skip(reason)) => Self::Skipped(reason.into()),
            Err(Stop::Fail(finding)) => Self::Failed(finding.to_string()),
        }
    }
}

macro_rules! checks {
    ($($module:ident: $($name:ident)*;)*) => {
        &[$($(Check { name: stringify!($name), run: $module::$name },)*)*]
    };
}

/// All checks: that frees are not lost, then in the order of the contract's clauses.
pub const CHECKS: &[Check] = checks! {
    lost:
        no_free_is_swallowed
        no_freed_memory_is_lost;
    layout:
        small_blocks_are_distinct
        every_size_and_alignment_is_honoured
        capabilities_stay_the_same
        live_blocks_do_not_overlap
        a_random_mix_keeps_every_byte
        blocks_stay_put_under_churn;
    request:
        blocks_carry_the_request
        hints_are_accepted
        the_named_device_is_that_of_the_blocks
        the_resource_prints_as_one_line
        a_forwarded_resource_is_the_same_resource;
    ownership:
        foreign_blocks_are_given_back
        stale_blocks_are_given_back
        forged_blocks_are_given_back
        streams_of_another_device_are_refused;
    refusal:
        a_pebibyte_is_refused
        sizes_near_the_maximum_never_wrap
        exhaustion_passes;
    order:
        one_stream_reuses_without_waiting
        pending_writes_do_not_reach_the_next_owner
        pending_reads_see_the_old_bytes
        a_block_may_be_freed_on_another_stream
        the_default_streams_order_reuse
        a_stream_may_end_after_it_freed
        a_retired_stream_still_frees;
    thread:
        four_threads_use_their_own_streams
        four_threads_share_one_stream
        another_thread_frees_on_the_same_stream
        another_thread_frees_on_another_stream
        per_thread_default_streams_hand_blocks_over
        another_thread_frees_on_a_default_stream_not_its_own
        memory_of_an_ended_thread_is_reused_in_order;
    buffer:
        buffers_keep_their_bytes
        buffers_wait_for_other_streams
        an_empty_buffer_asks_for_nothing;
};

/// How many checks of [`CHECKS`] are about lost frees.
const ABOUT_LOST_FREES: usize = 2;

/// Runs every check and reports each: one row of a table of resources and promises. Where frees are
/// lost, checks that run out of memory are skipped: they would name the consequence.
///
/// # Panics
/// Those of [`Check::run`].
pub fn run(subject: &Subject<'_>) -> Vec<(&'static str, Outcome)> {
    let mut loses = None;
    let mut outcomes = Vec::new();
    for (nth, check) in CHECKS.iter().enumerate() {
        let result = check.try_run(subject);
        let ran_out = matches!(&result, Err(Stop::Fail(finding)) if finding.is_exhaustion());
        let outcome = match (Outcome::of(result), loses) {
            (Outcome::Failed(_), Some(cause)) if ran_out => {
                Outcome::Skipped(format!("memory ran out, after {cause} failed"))
            }
            (outcome, _) => outcome,
        };
        if nth < ABOUT_LOST_FREES && !ran_out && matches!(outcome, Outcome::Failed(_)) {
            loses = Some(check.name);
        }
        outcomes.push((check.name, outcome));
    }
    outcomes
}

/// Runs every check.
///
/// # Panics
/// If one fails, after all have run, with every failure; as [`Check::run`].
pub fn check(subject: &Subject<'_>) {
    let failures: Vec<String> = run(subject)
        .into_iter()
        .filter_map(|(name, outcome)| match outcome {
            Outcome::Failed(how) => Some(format!("{name}: {how}")),
            Outcome::Passed | Outcome::Skipped(_) => None,
        })
        .collect();
    assert!(failures.is_empty(), "the contract is broken:\n{}", failures.join("\n"));
}
