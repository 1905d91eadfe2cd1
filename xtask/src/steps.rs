//! Steps that are announced, timed, and stop at the first failure.

use std::fmt;
use std::time::{Duration, Instant};

/// The steps run so far.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    done: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    name: String,
    took: Duration,
    passed: bool,
}

impl Steps {
    /// No steps yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Announces a step, runs it and times it.
    ///
    /// # Errors
    /// The step's name and what went wrong in it.
    pub(crate) fn run(
        &mut self,
        name: impl Into<String>,
        step: impl FnOnce() -> Result<(), String>,
    ) -> Result<(), String> {
        let name = name.into();
        eprintln!("\n==> {name}");
        let start = Instant::now();
        let outcome = step();
        self.done.push(Step { name: name.clone(), took: start.elapsed(), passed: outcome.is_ok() });
        outcome.map_err(|message| format!("step `{name}` failed: {message}"))
    }

    /// How many steps passed.
    pub(crate) fn passed(&self) -> usize {
        self.done.iter().filter(|step| step.passed).count()
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.done {
            let seconds = step.took.as_secs_f64();
            let outcome = if step.passed { "ok" } else { "FAILED" };
            writeln!(f, "{seconds:>8.1} s  {outcome:<6}  {}", step.name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_carries_the_name_of_its_step_and_is_listed() {
        let mut steps = Steps::new();
        assert_eq!(steps.run("first", || Ok(())), Ok(()));
        let failed = steps.run("second", || Err("it broke".to_owned()));
        assert_eq!(failed, Err("step `second` failed: it broke".to_owned()));
        assert_eq!(steps.passed(), 1);
        let listed = steps.to_string();
        assert!(listed.lines().any(|line| line.ends_with("ok      first")));
        assert!(listed.lines().any(|line| line.ends_with("FAILED  second")));
    }
}
