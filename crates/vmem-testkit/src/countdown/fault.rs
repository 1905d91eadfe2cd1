//! Which calls fail in a run, and what came of it.

use std::borrow::Cow;
use std::sync::Arc;

use vmem_core::DriverCode;

use super::Countdown;

/// The codes worth sweeping over: exhaustion, a fault, and a number that no version of the driver's
/// headers has.
pub const FAULT_CODES: [DriverCode; 3] =
    [DriverCode::OUT_OF_MEMORY, DriverCode::UNKNOWN, DriverCode(12345)];

/// Which driver calls fail in one run of a sweep: one, or two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The how many-th call, from one.
    pub n: u64,
    /// The code that the call answers.
    pub code: DriverCode,
    /// The second one: the how many-th call after the first that failed, from one, and its answer.
    pub then: Option<(u64, DriverCode)>,
}

impl Fault {
    /// One call failing.
    pub const fn new(n: u64, code: DriverCode) -> Self {
        Self { n, code, then: None }
    }

    /// Arms `countdown` with it.
    pub fn arm(self, countdown: &Countdown) {
        countdown.arm(self.n, self.code);
        if let Some((n, code)) = self.then {
            countdown.arm_next(n, code);
        }
    }
}

/// The calls that failed in a run, and those made after the first failure. A [`Countdown`] converts into
/// it; so can anything else that makes calls fail.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fired {
    /// The calls that failed, in order.
    pub failed: Vec<Cow<'static, str>>,
    /// The calls after the first of them, for as long as one could fail.
    pub since: Vec<Cow<'static, str>>,
}

impl From<Arc<Countdown>> for Fired {
    fn from(countdown: Arc<Countdown>) -> Self {
        let owned = |names: Vec<&'static str>| names.into_iter().map(Cow::Borrowed).collect();
        Self { failed: owned(countdown.failed()), since: owned(countdown.calls_since()) }
    }
}
