//! The soak itself is held to failing: a bug is planted between the pool and what is around it, and
//! the program must find it, name the seed, shrink it and find it again.

mod faulty;

use std::sync::Arc;

use faulty::{Bug, Faulty};

use vmem_cli::{Console, Progress, Stop};
use vmem_core::{Device, MemoryResource};
use vmem_testkit::{Caller, Op, Program};

use super::case::Case;
use super::run_over;
use super::shape::{Source, StackShape};
use crate::args::Soak;

/// What a soak came to.
#[derive(Debug)]
struct Outcome {
    code: u8,
    out: String,
}

/// Runs so many seeds, from this one, over pools with a bug.
fn soak(bug: Bug, seed: u64, programs: u64) -> Outcome {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (progress, stop) = (Progress::Hidden, Stop::default());
    let mut console = Console { out: &mut out, err: &mut err, progress, stop };
    let args = Soak { minutes: 1, programs: Some(programs), seed };
    let verdict = run_over(&args, &mut console, &move |pool, device| {
        Arc::new(Faulty::new(bug, pool, device))
    });
    let code = verdict.expect("the output is a vector").code();
    Outcome { code, out: String::from_utf8(out).expect("the output is text") }
}

/// The seeds of a short soak of programs alone: the next is one of several threads.
const PROGRAMS: u64 = 15;
const THREADED: u64 = 15;

/// One of several threads, on a stack without a ceiling and without a hook, which might recover from
/// a refusal.
const ROOMY_THREADED: u64 = 127;

impl Outcome {
    /// What was run, what was wrong with it, and the seed that stands for it.
    fn failure(&self) -> (&str, &str, u64) {
        let (case, rest) = self.out.split_once("\nfailed: ").expect("the case, then the failure");
        let (reason, rest) = rest
            .split_once("\nto run it again: vmem-lab soak --seed ")
            .expect("the failure, then how to run it again");
        let (seed, _) = rest.split_once(" --programs 1\n").expect("one program at that seed");
        (case, reason, seed.parse().expect("a seed is a number"))
    }
}

/// How many steps the program of a printed case has.
fn steps(case: &str) -> usize {
    let (_, ops) = case.split_once("ops: [").expect("a program has steps");
    let (ops, _) = ops.rsplit_once(']').expect("the steps end");
    let mut depth = 0;
    let between = ops.chars().filter(|&c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    usize::from(!ops.is_empty()) + between.count()
}

/// One of the first programs finds the bug and names it so, is shrunk to at most so many steps, and its
/// seed alone finds the same again.
fn is_found(bug: Bug, what: &str, most_steps: usize) {
    let names_it = |outcome: &Outcome| {
        let (case, reason, _) = outcome.failure();
        reason.contains(what) && steps(case) <= most_steps
    };
    let found = (0..PROGRAMS)
        .map(|seed| soak(bug, seed, 1))
        .find(|outcome| outcome.code == 1 && names_it(outcome));
    let found = found.unwrap_or_else(|| panic!("{bug:?} is not found as `{what}`"));
    let (case, _, seed) = found.failure();
    let again = soak(bug, seed, 1);
    assert_eq!(again.code, 1, "{bug:?}: {}", again.out);
    let (same_case, same_reason, same_seed) = again.failure();
    assert_eq!((same_case, same_seed), (case, seed));
    assert!(same_reason.contains(what), "{bug:?}: {}", again.out);
}

#[test]
fn without_a_bug_the_same_soak_passes() {
    let outcome = soak(Bug::None, 0, PROGRAMS + 1);
    assert_eq!(outcome.code, 0, "{}", outcome.out);
    assert!(outcome.out.starts_with("passed: 15 programs and 1 runs"), "{}", outcome.out);
}

#[test]
fn a_skipped_wait_is_found_as_a_race() {
    is_found(Bug::SkipsWaits, "Race in ", 8);
}

#[test]
fn an_overlap_is_found() {
    is_found(Bug::Overlaps, "overlap", 3);
}

#[test]
fn a_wrong_counter_is_found() {
    is_found(Bug::Miscounts, "the pool's live bytes says", 1);
}

#[test]
fn a_refusal_of_what_fits_is_found() {
    is_found(Bug::Refuses, "Faulty", 3);
}

#[test]
fn a_free_that_is_lost_is_found() {
    is_found(Bug::LosesFrees, "the pool's live bytes says", 6);
}

#[test]
fn memory_that_is_never_returned_is_found() {
    is_found(Bug::KeepsThePool, "outstanding: ", 1);
}

#[test]
fn memory_that_a_scrub_leaves_as_it_was_is_found() {
    is_found(Bug::Unclean, "wrong bytes: 0x5e instead of 0x00", 2);
}

#[test]
fn a_call_that_names_a_destroyed_stream_is_found() {
    let allocate =
        Op::Allocate { size: 1, alignment: 256, stream: 0, label: 0, caller: Caller::Runner };
    let case = Case {
        stack: StackShape::of(Source::Arena, None),
        fault: None,
        program: Program {
            streams: 1,
            ops: vec![Op::Lent { size: 1, block: 0, ends: true }, allocate],
        },
    };
    let run = |bug| case.run(&move |pool, device| Arc::new(Faulty::new(bug, pool, device)));
    run(Bug::None).expect("nobody names the stream");
    let found = run(Bug::KeepsVouching).expect_err("the next request names it");
    assert!(found.contains("broken rules"), "{found}");
}

#[test]
fn several_threads_find_what_its_threads_leave_behind() {
    for (bug, what) in [(Bug::LosesFrees, "the pool's live"), (Bug::KeepsThePool, "outstanding: ")]
    {
        let found = soak(bug, THREADED, 1);
        assert_eq!(found.code, 1, "{bug:?}: {}", found.out);
        let (case, reason, seed) = found.failure();
        assert!(case.starts_with("ThreadedCase"), "{case}");
        assert!(reason.contains(what), "{bug:?}: {reason}");
        assert_eq!(seed, THREADED);
    }
}

/// Without a ceiling, nothing that the threads ask for may be refused.
#[test]
fn several_threads_find_a_refusal_of_what_fits_for_all() {
    let found = soak(Bug::Refuses, ROOMY_THREADED, 1);
    assert_eq!(found.code, 1, "{}", found.out);
    let (case, reason, _) = found.failure();
    assert!(case.contains("ceiling: None"), "{case}");
    assert!(reason.contains("Faulty") || reason.contains("what fits was refused"), "{reason}");
}

/// Under a ceiling what has a free block of its size, or room to grow, must be served by bins; what
/// has neither need not.
#[test]
fn a_refusal_by_bins_under_a_ceiling_is_found() {
    let allocate =
        |size| Op::Allocate { size, alignment: 256, stream: 0, label: 0, caller: Caller::Runner };
    let free = Op::Free { block: 0, stream: 0, caller: Caller::Runner };
    let (half, quarter) = (512 << 10, 256 << 10);
    let bins = |ops: &[Op]| Case {
        stack: StackShape::of(Source::Bins, Some(half + quarter)),
        fault: None,
        program: Program { streams: 6, ops: ops.to_vec() },
    };
    let faulty = |bug| {
        move |pool: Arc<dyn MemoryResource>, device: &Arc<dyn Device>| -> Arc<dyn MemoryResource> {
            Arc::new(Faulty::new(bug, pool, device))
        }
    };
    let sequences: [&[Op]; 2] = [
        // Room to grow.
        &[allocate(100), allocate(100), allocate(half)],
        // A free block of the same power of two, on which work may be pending; no room to grow.
        &[allocate(half - 1), allocate(quarter), free, allocate(half - 2)],
    ];
    for ops in sequences {
        let ran = bins(ops).run(&faulty(Bug::None)).expect("bins serve what fits");
        assert_eq!(ran.refusals, 0);
        let refusal = bins(ops).run(&faulty(Bug::Refuses)).expect_err("the third is refused");
        assert!(refusal.contains("Faulty"), "{refusal}");
    }
    // All in use: the refusal is rightful.
    let full = [allocate(half), allocate(quarter), allocate(1)];
    assert_eq!(bins(&full).run(&faulty(Bug::None)).expect("it may be refused").refusals, 1);
    assert_eq!(bins(&full).run(&faulty(Bug::Refuses)).expect("it may be refused").refusals, 1);
}
