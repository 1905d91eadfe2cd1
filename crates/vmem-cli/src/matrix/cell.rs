//! One check on one stack on a device of its own, and what it left there.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::checks::Check;
use super::stage::Stage;
use crate::gauge::Gauge;
use crate::target::{Opened, Target};
use crate::tier::Tier;
use crate::{OpenError, bytes, place};

/// What a check came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It holds; what was found, if there is something to say.
    Passed(Option<String>),
    /// It does not apply, for this reason.
    Skipped(String),
    /// It does not hold, in this way.
    Failed(String),
}

/// What a driver may take for itself while a check runs, in bytes: contexts grow.
const DRIVERS_OWN: u64 = 64 << 20;

/// Runs a check, then looks at what it left on the device. A panic is a failure.
pub(super) fn run(check: &Check, tier: Tier, target: &Target, seed: u64) -> Outcome {
    let opened = match target.open(&Stage::wish(seed)) {
        Ok(opened) => opened,
        Err(OpenError::Absent(reason)) => return Outcome::Skipped(reason),
        Err(error) => return Outcome::Failed(place::in_one_line(&error)),
    };
    if let Some(missing) = tier.missing(&*opened.device) {
        return Outcome::Skipped(missing.to_owned());
    }
    let drops = opened.device.base().drop_failures().count();
    let stage = Stage { opened: opened.clone(), tier, seed };
    let outcome = match catch_unwind(AssertUnwindSafe(|| (check.run)(&stage))) {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => Outcome::Failed(place::in_one_line(&*error)),
        Err(panic) => Outcome::Failed(format!("panicked: {}", panic_text(&*panic))),
    };
    drop(stage);
    // What a failed check leaves behind is its own business.
    match (outcome, complaint(&opened, drops)) {
        (Outcome::Passed(_) | Outcome::Skipped(_), Some(complaint)) => Outcome::Failed(complaint),
        (outcome, _) => outcome,
    }
}

/// What is wrong with the device after a check: rules broken, drops failed, memory not returned.
fn complaint(opened: &Opened, drops: u64) -> Option<String> {
    if let Err(error) = opened.device.synchronize() {
        return Some(format!("the device failed afterwards: {error}"));
    }
    let failures = opened.device.base().drop_failures();
    if failures.count() > drops {
        let first = failures.first().map(|failure| failure.to_string()).unwrap_or_default();
        let count = failures.count() - drops;
        return Some(format!("{count} drops failed; the device's first ever: {first}"));
    }
    match &opened.gauge {
        Gauge::Simulated(device) => {
            if let Some(violation) = device.violations().first() {
                return Some(format!("a rule was broken: {violation}"));
            }
            let leaks = device.leaks();
            (!leaks.is_empty()).then(|| leaks.to_string())
        }
        Gauge::Hardware { .. } => {
            let kept = opened.gauge.used();
            (kept > DRIVERS_OWN)
                .then(|| format!("the device has {} less free than before", bytes::show(kept)))
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}
