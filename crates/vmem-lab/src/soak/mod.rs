//! `vmem-lab soak`: random programs on random stacks, with random faults, for as long as one likes.

mod allowance;
mod cache;
mod case;
mod naps;
#[cfg(test)]
mod planted;
mod room;
mod shape;
mod stack;
mod step;
mod tally;
mod threaded;

use std::cell::Cell;
use std::fmt::Debug;
use std::time::{Duration, Instant};

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use vmem_cli::Console;
use vmem_cli::parts::{Error, Verdict, bar};

use crate::args::Soak;
use case::Case;
use stack::Wrap;
use tally::Tally;
use threaded::ThreadedCase;

/// Every so many seeds, several threads run instead of a program.
const THREADED_EVERY: u64 = 16;

/// Runs what was asked for and prints what it came to.
///
/// # Errors
/// An output that cannot be written.
pub(crate) fn run(args: &Soak, console: &mut Console<'_>) -> Result<Verdict, Error> {
    run_over(args, console, &stack::nothing)
}

/// The same with something over each pool.
fn run_over(args: &Soak, console: &mut Console<'_>, wrap: &Wrap) -> Result<Verdict, Error> {
    let (start, mut told) = (Instant::now(), Instant::now());
    let time = Duration::from_secs(60 * args.minutes);
    let steps = args.programs.unwrap_or(time.as_secs());
    let bar = bar(usize::try_from(steps).unwrap_or(usize::MAX), console.progress);
    let mut sum = Tally::default();
    let mut seed = args.seed;
    loop {
        let run = seed.wrapping_sub(args.seed);
        let done = match args.programs {
            Some(programs) => run >= programs,
            None => start.elapsed() >= time,
        };
        if console.stop.is_requested() {
            bar.finish_and_clear();
            writeln!(console.out, "interrupted: {sum}, nothing wrong; seeds from {}", args.seed)?;
            return Ok(Verdict::Interrupted);
        }
        if done {
            break;
        }
        match one(seed, wrap) {
            Ok(tally) => sum += tally,
            Err(failure) => {
                bar.finish_and_clear();
                writeln!(console.out, "{failure}")?;
                writeln!(console.out, "to run it again: vmem-lab soak --seed {seed} --programs 1")?;
                writeln!(console.out, "before that: {sum}, seeds {} to {seed}", args.seed)?;
                return Ok(Verdict::Failed);
            }
        }
        seed = seed.wrapping_add(1);
        bar.set_position(args.programs.map_or(start.elapsed().as_secs(), |_| run + 1));
        bar.set_message(sum.to_string());
        if told.elapsed() >= Duration::from_secs(60) {
            told = Instant::now();
            let minutes = start.elapsed().as_secs() / 60;
            writeln!(console.err, "after {minutes} min, seed {seed}: {sum}")?;
        }
    }
    bar.finish_and_clear();
    let seconds = start.elapsed().as_secs();
    writeln!(console.out, "passed: {sum}, no race found; seeds from {}, {seconds} s", args.seed)?;
    Ok(Verdict::Passed)
}

/// Runs what a seed stands for.
///
/// # Errors
/// What failed, shrunk as far as that is possible, in words.
fn one(seed: u64, wrap: &Wrap) -> Result<Tally, String> {
    if seed % THREADED_EVERY == THREADED_EVERY - 1 {
        // Threads do not run the same way twice, so that there is nothing to shrink by.
        return shrunk(ThreadedCase::strategy(), runner(seed, 0), |case| case.run(wrap));
    }
    shrunk(Case::strategy(), runner(seed, 4096), |case| case.run(wrap))
}

/// Runs the stack and the program that these bytes stand for: for fuzzers.
///
/// # Errors
/// What was wrong, in words.
pub fn soak_bytes(bytes: &[u8]) -> Result<(), String> {
    let case = Case::decode(bytes);
    case.run(&stack::nothing).map(drop).map_err(|failure| format!("{case:?}\nfailed: {failure}"))
}

/// Draws a value and runs it; if that fails, looks for a simpler one that fails too.
fn shrunk<T: Debug>(
    strategy: impl Strategy<Value = T>,
    mut runner: TestRunner,
    run: impl Fn(&T) -> Result<Tally, String>,
) -> Result<Tally, String> {
    let tree = strategy.new_tree(&mut runner).map_err(|reason| reason.to_string())?;
    let tally = Cell::new(Tally::default());
    let ran = runner.run_one(tree, |value| {
        tally.set(run(&value).map_err(TestCaseError::fail)?);
        Ok(())
    });
    match ran {
        Ok(_) => Ok(tally.get()),
        Err(TestError::Fail(reason, value)) => Err(format!("{value:?}\nfailed: {reason}")),
        Err(TestError::Abort(reason)) => Err(reason.to_string()),
    }
}

/// What draws by this seed, and shrinks in at most so many steps.
fn runner(seed: u64, max_shrink_iters: u32) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { failure_persistence: None, max_shrink_iters, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    TestRunner::new_with_rng(config, rng)
}
