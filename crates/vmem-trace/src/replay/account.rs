//! What a replay is asked about while it runs, and how long it takes.

use std::time::{Duration, Instant};

use super::run::{Observer, Run, Unobserved};
use vmem_core::{AllocError, RawBlock};

use super::watch::{Moment, Watch};
use super::{AskedAgain, Failure, LoggedFailures, ReplayError, ReplayStack};
use crate::{Event, Mark};

/// Books what happens, and samples what the stack holds.
pub(super) struct Account<'a> {
    stack: &'a dyn ReplayStack,
    watch: Option<&'a mut dyn Watch>,
    failures: LoggedFailures,
    live: u64,
    passes: u32,
    pub(super) allocations: u64,
    pub(super) peak_live: u64,
    pub(super) peak_reserved: u64,
    /// Driver calls made before the second pass.
    pub(super) calls_before_steady: Option<u64>,
    pub(super) asked_again: Vec<AskedAgain>,
}

impl<'a> Account<'a> {
    pub(super) fn new(
        stack: &'a dyn ReplayStack,
        failures: LoggedFailures,
        watch: Option<&'a mut dyn Watch>,
    ) -> Self {
        Self {
            stack,
            watch,
            failures,
            live: 0,
            passes: 0,
            allocations: 0,
            peak_live: 0,
            peak_reserved: stack.peak_reserved(),
            calls_before_steady: None,
            asked_again: Vec::new(),
        }
    }
}

impl Observer for Account<'_> {
    fn allocated(&mut self, size: u64) {
        self.allocations += 1;
        self.live += size;
        self.peak_live = self.peak_live.max(self.live);
        self.peak_reserved = self.peak_reserved.max(self.stack.reserved());
    }

    fn failed_then(
        &mut self,
        (index, size): (usize, u64),
        ask: impl FnOnce() -> Result<Option<Failure>, ReplayError>,
    ) -> Result<(), ReplayError> {
        if self.failures == LoggedFailures::AskedAgain {
            let failure = ask()?;
            self.peak_reserved = self.peak_reserved.max(self.stack.reserved());
            self.asked_again.push(AskedAgain { index, size, live_bytes: self.live, failure });
        }
        Ok(())
    }

    fn freed(&mut self, size: u64) {
        self.live -= size;
    }

    fn marked(&mut self, mark: Mark, driver_calls: impl FnOnce() -> Option<u64>) {
        if mark == Mark::Pass {
            self.passes += 1;
            if self.passes == 2 {
                self.calls_before_steady = driver_calls();
            }
        }
    }

    fn after(
        &mut self,
        index: usize,
        event: &Event,
        block: Option<RawBlock>,
        driver_calls: impl FnOnce() -> Option<u64>,
    ) {
        if let Some(watch) = &mut self.watch {
            watch.after(&Moment { index, event: *event, block, driver_calls: driver_calls() });
        }
    }

    fn refused(&mut self, index: usize, error: &AllocError) {
        if let Some(watch) = &mut self.watch {
            watch.refused(index, error);
        }
    }
}

/// The time of the fastest repetition, of as many as `at_least` takes; or the request that failed.
pub(super) fn time(
    run: &mut Run<'_>,
    at_least: Duration,
) -> Result<Result<Duration, Failure>, ReplayError> {
    let begin = Instant::now();
    let mut fastest = Duration::MAX;
    while fastest == Duration::MAX || begin.elapsed() < at_least {
        let own = run.own_costs().time;
        let start = Instant::now();
        let failure = run.once(&mut Unobserved)?;
        let taken = start.elapsed();
        if let Some(failure) = failure {
            return Ok(Err(failure));
        }
        let own = run.own_costs().time - own;
        fastest = fastest.min(taken.saturating_sub(own));
    }
    Ok(Ok(fastest))
}
