//! What happens just before or after a call, as if another thread did it.

use std::fmt;
use std::sync::Mutex;

use vmem_core::author::fork;

/// Whether a hook is called before or after its driver call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Before,
    After,
}

struct Hook {
    when: When,
    call: &'static str,
    run: Box<dyn FnOnce() + Send>,
}

#[derive(Default)]
pub(super) struct Hooks(Mutex<Vec<Hook>>);

impl Hooks {
    /// Puts a hook in place, instead of an earlier one there.
    pub(super) fn set(&self, when: When, call: &'static str, run: Box<dyn FnOnce() + Send>) {
        let earlier = self.take(when, call);
        fork::locked(|| self.0.lock()).push(Hook { when, call, run });
        drop(earlier);
    }

    /// Calls the hook that is in place, if there is one, and removes it. It may make driver calls of
    /// its own, and put others in place.
    pub(super) fn run(&self, when: When, call: &'static str) {
        if let Some(hook) = self.take(when, call) {
            (hook.run)();
        }
    }

    fn take(&self, when: When, call: &'static str) -> Option<Hook> {
        let mut hooks = fork::locked(|| self.0.lock());
        let place = hooks.iter().position(|hook| (hook.when, hook.call) == (when, call))?;
        Some(hooks.swap_remove(place))
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hooks = fork::locked(|| self.0.lock());
        f.debug_list().entries(hooks.iter().map(|hook| (hook.when, hook.call))).finish()
    }
}
