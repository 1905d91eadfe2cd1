//! One check on one stack on a device of its own, and what it left there.

use std::panic::{AssertUnwindSafe, catch_unwind};

use vmem_cli::OpenError;
use vmem_cli::parts::{Opened, Target, Tier};
use vmem_testkit::panic_text;

use super::checks::Check;
use super::context::CheckContext;
use super::leaks;

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

/// Runs a check, then looks at what it left on the device.
pub(super) fn run(check: &Check, tier: Tier, target: &Target, seed: u64) -> Outcome {
    let opened = match target.open(&CheckContext::device(seed)) {
        Ok(opened) => opened,
        Err(OpenError::Absent(reason)) => return Outcome::Skipped(reason),
        Err(error) => return Outcome::Failed(vmem_core::chain(&error).to_string()),
    };
    if let Some(missing) = tier.missing(&*opened.device) {
        return Outcome::Skipped(missing.to_owned());
    }
    let drops = opened.device.base().drop_failures().count();
    let context = CheckContext { target: target.clone(), opened, tier, seed };
    let outcome = attempt(check, &context, drops);
    // What a failed check leaves behind is its own business.
    if matches!(outcome, Outcome::Failed(_)) || context.opened.simulated().is_ok() {
        return outcome;
    }
    let again = || match attempt(check, &context, drops) {
        Outcome::Failed(how) => Err(how),
        _ => Ok(()),
    };
    match leaks::judge(tier.is_managed(), || context.opened.gauge.used(), again) {
        Ok(None) => outcome,
        Ok(Some(remark)) => outcome.and(remark),
        Err(complaint) => Outcome::Failed(complaint),
    }
}

/// Runs a check once. A panic is a failure, and so is what it broke on the device.
fn attempt(check: &Check, context: &CheckContext, drops: u64) -> Outcome {
    let outcome = match catch_unwind(AssertUnwindSafe(|| (check.run)(context))) {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => Outcome::Failed(vmem_core::chain(&*error).to_string()),
        Err(panic) => Outcome::Failed(format!("panicked: {}", panic_text(&*panic))),
    };
    if matches!(outcome, Outcome::Failed(_)) {
        return outcome;
    }
    complaint(&context.opened, drops).map_or(outcome, Outcome::Failed)
}

/// What is wrong with the device after a check: rules broken, drops failed and, where that is known
/// for certain, memory not returned.
pub(super) fn complaint(opened: &Opened, drops: u64) -> Option<String> {
    if let Err(error) = opened.device.synchronize() {
        return Some(format!("the device failed afterwards: {error}"));
    }
    let failures = opened.device.base().drop_failures();
    if failures.count() > drops {
        let first = failures.first().map(|failure| failure.to_string()).unwrap_or_default();
        let count = failures.count() - drops;
        return Some(format!("{count} drops failed; the device's first ever: {first}"));
    }
    let device = opened.simulated().ok()?;
    if let Some(violation) = device.violations().first() {
        return Some(format!("a rule was broken: {violation}"));
    }
    let leaks = device.leaks();
    (!leaks.is_empty()).then(|| leaks.to_string())
}

impl Outcome {
    /// The same, with a remark.
    fn and(self, remark: String) -> Self {
        match self {
            Self::Passed(None) => Self::Passed(Some(remark)),
            Self::Passed(Some(found)) => Self::Passed(Some(format!("{found}; {remark}"))),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vmem_cli::Backend;
    use vmem_core::Device;
    use vmem_sim::SimDevice;

    use super::*;

    /// A card of 2 GiB.
    #[derive(Debug)]
    struct Card(Arc<SimDevice>);

    impl Backend for Card {
        fn name(&self) -> &'static str {
            "card"
        }

        fn open(&self, _: u32) -> Result<Arc<dyn Device>, OpenError> {
            Ok(self.0.clone())
        }
    }

    /// What a check comes to that takes memory on its first runs and never gives it back.
    fn keeping(tier: &str, mib: u64, runs: u64) -> Outcome {
        let device = SimDevice::new(2 << 30);
        let target = Target::Hardware { backend: Arc::new(Card(device.clone())), ordinal: 0 };
        let left = std::cell::Cell::new(runs);
        let run = move |context: &CheckContext| {
            if left.replace(left.get().saturating_sub(1)) > 0 {
                context.opened.device.allocate(mib << 20)?;
            }
            Ok(Outcome::Passed(Some("found".to_owned())))
        };
        let check = Check { name: "test/keeps".to_owned(), run: Box::new(run) };
        super::run(&check, tier.parse().unwrap(), &target, 0)
    }

    #[test]
    fn what_a_driver_keeps_of_managed_memory_is_a_remark() {
        let Outcome::Passed(Some(text)) = keeping("c", 124, 1) else { panic!("it failed") };
        assert!(text.starts_with("found; the driver keeps 124.0 MiB at most"), "{text}");
        assert_eq!(keeping("c", 60, 1), Outcome::Passed(Some("found".to_owned())));
    }

    #[test]
    fn managed_memory_that_is_kept_time_and_again_fails_the_cell() {
        for mib in [65, 124, 300] {
            assert!(matches!(keeping("c", mib, u64::MAX), Outcome::Failed(_)), "{mib} MiB");
        }
    }

    #[test]
    fn other_memory_that_is_kept_fails_the_cell_without_a_repetition() {
        let Outcome::Failed(text) = keeping("a", 124, 1) else { panic!("it passed") };
        assert_eq!(text, "the device has 124.0 MiB less free than before");
    }
}
