//! Replay: what a stack makes of a trace.

mod account;
mod min_device;
mod report;
mod run;
mod stack;
mod watch;

use std::time::Duration;

use account::Account;
pub use min_device::min_device;
pub use report::{AskedAgain, Failure, ReplayError, ReplayReport};
use run::Run;
pub use stack::ReplayStack;
pub use watch::{Moment, Watch};

use crate::Trace;

/// Options for a replay. `Default` replays once, without timing and without what had failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReplayOptions {
    /// After the replay that is reported, repeat the trace on the same stack for at least this
    /// long, and at least once, to time it; `None` does not time.
    pub timing: Option<Duration>,
    /// What becomes of requests that failed where the trace was taken.
    pub failures: LoggedFailures,
}

/// The treatment of requests that failed where a trace was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum LoggedFailures {
    /// They are passed over.
    #[default]
    Skipped,
    /// They are asked for again where they stand, and freed at once if served. That is no part of
    /// [`allocations`](ReplayReport::allocations) or [`peak_live`](ReplayReport::peak_live); what the
    /// stack takes for it and what it costs is the stack's, as everything else is. Timing passes them over.
    AskedAgain,
}

/// Replays a trace through a stack and reports what it cost.
///
/// Every stream of the trace becomes a stream of the device. All calls are made by the calling
/// thread, in the order of the trace, whatever threads appear in it. A block freed on another
/// stream than it was allocated on is freed as the
/// [contract](vmem_core::contract#freeing) asks: the freeing stream first waits for a marker on the
/// allocating stream, one for any run of such frees without an allocation between them. Those
/// driver calls, and those that create the streams, are the program's and are not counted. The
/// first request that fails ends the replay. What is live at the end is freed on its own stream.
///
/// Reserved bytes are sampled after every allocation. Time is measured separately, so that neither
/// sampling nor reading the clock is in it: the trace is repeated without observation, the clock is
/// read before and after each whole repetition, the time of ordering streams is subtracted, and
/// the fastest repetition is divided by the number of pairs. That leaves the resource's calls, and
/// the replay's own building of requests and keeping of blocks in a table: typically 10 to 15
/// ns a pair, the same for every stack.
///
/// O(events).
///
/// # Errors
/// [`ReplayError`] if a stream cannot be created or ordered, or a block is not taken back. A request
/// that fails is not an error here: [`ReplayReport::failure`] tells of it.
pub fn replay(
    trace: &Trace,
    stack: &dyn ReplayStack,
    options: &ReplayOptions,
) -> Result<ReplayReport, ReplayError> {
    account_for(trace, stack, options, None)
}

/// The same as [`replay`], untimed, with somebody who is told of every event.
///
/// ```
/// use vmem_core::AllocError;
/// use vmem_trace::{Moment, Watch};
///
/// /// Notes the highest address.
/// #[derive(Default)]
/// struct Highest(u64);
///
/// impl Watch for Highest {
///     fn after(&mut self, moment: &Moment) {
///         let address = moment.block.map_or(0, |block| block.ptr().get());
///         self.0 = self.0.max(address);
///     }
///     fn refused(&mut self, _: usize, _: &AllocError) {}
/// }
/// ```
///
/// # Errors
/// As of [`replay`].
pub fn replay_watched(
    trace: &Trace,
    stack: &dyn ReplayStack,
    watch: &mut dyn Watch,
) -> Result<ReplayReport, ReplayError> {
    account_for(trace, stack, &ReplayOptions::default(), Some(watch))
}

fn account_for<'a>(
    trace: &Trace,
    stack: &'a dyn ReplayStack,
    options: &ReplayOptions,
    watch: Option<&'a mut dyn Watch>,
) -> Result<ReplayReport, ReplayError> {
    let mut run = Run::new(trace, stack)?;
    let mut account = Account::new(stack, options.failures, watch);
    let mut failure = run.once(&mut account)?;
    let own = run.own_costs();
    let driver_calls = run.driver_calls();
    let mut report = ReplayReport {
        trace: trace.name().to_owned(),
        stack: stack.description(),
        allocations: account.allocations,
        peak_live: account.peak_live,
        peak_reserved: account.peak_reserved.max(stack.peak_reserved()),
        driver_calls,
        driver_calls_steady: driver_calls
            .zip(account.calls_before_steady)
            .map(|(end, start)| end.saturating_sub(start)),
        virtual_time: stack.virtual_time().map(|t| t.saturating_sub(own.virtual_time)),
        retries: stack.retries(),
        migrated_bytes: stack.migrated_bytes(),
        ns_per_pair: None,
        failure: None,
        asked_again: account.asked_again,
    };
    if let (None, Some(at_least)) = (&failure, options.timing) {
        match account::time(&mut run, at_least)? {
            Ok(fastest) => {
                let pairs = trace.allocations() as f64;
                report.ns_per_pair = (pairs > 0.0).then(|| fastest.as_secs_f64() * 1e9 / pairs);
            }
            Err(late) => failure = Some(late),
        }
    }
    report.failure = failure;
    Ok(report)
}
