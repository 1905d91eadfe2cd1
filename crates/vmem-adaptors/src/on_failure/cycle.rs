//! How often a thread may call an adaptor's hook.

#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use vmem_core::Clock;

use super::RetryPolicy;
use super::counts::Counts;

thread_local! {
    static IN_HOOK: Cell<bool> = const { Cell::new(false) };
    /// The thread's event of each adaptor that ever failed on it.
    static EVENTS: RefCell<Vec<(Weak<Counts>, Event)>> = const { RefCell::new(Vec::new()) };
}

/// Hook calls that belong together, by [`RetryPolicy`].
#[derive(Default, Clone, Copy)]
struct Event {
    /// Those that count.
    calls: u32,
    returned: Option<Duration>,
}

/// Whether the calling thread is inside a hook, of any adaptor.
pub(super) fn in_hook() -> bool {
    IN_HOOK.get()
}

/// Permission for one hook call; dropping it, by return or unwinding, ends the call.
pub(super) struct Call<'a> {
    owner: &'a Arc<Counts>,
    clock: &'a dyn Clock,
}

impl<'a> Call<'a> {
    /// Enters the hook, unless the calling thread's event with `owner` has had all its tries or the
    /// thread is ending. The call counts until it is [forgiven](forgive).
    pub(super) fn begin(
        owner: &'a Arc<Counts>,
        clock: &'a dyn Clock,
        policy: RetryPolicy,
    ) -> Option<Self> {
        let now = clock.now();
        let begun = with_event(owner, |event| {
            let pause = event.returned.map(|returned| now.saturating_sub(returned));
            if pause.is_none_or(|pause| pause > policy.gap) {
                event.calls = 0;
            }
            let left = event.calls < policy.tries;
            event.calls += u32::from(left);
            left
        });
        (begun == Some(true)).then(|| {
            IN_HOOK.set(true);
            Self { owner, clock }
        })
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        IN_HOOK.set(false);
        // The hook may be unwinding: a clock that panicked too would end the process. Without a time
        // the event goes on from the last one known.
        if let Ok(now) = catch_unwind(AssertUnwindSafe(|| self.clock.now())) {
            with_event(self.owner, |event| event.returned = Some(now));
        }
    }
}

/// A call of the calling thread's event with `owner` helped: it does not count.
pub(super) fn forgive(owner: &Arc<Counts>) {
    with_event(owner, |event| event.calls = event.calls.saturating_sub(1));
}

/// Ends the calling thread's event with `owner`: the next failure starts a new one.
pub(super) fn give_up(owner: &Arc<Counts>) {
    with_event(owner, |event| *event = Event::default());
}

/// `None` while the thread's destructors run.
fn with_event<T>(owner: &Arc<Counts>, f: impl FnOnce(&mut Event) -> T) -> Option<T> {
    let of_owner = |entry: &(Weak<Counts>, Event)| std::ptr::eq(entry.0.as_ptr(), &**owner);
    EVENTS
        .try_with(|events| {
            let mut events = events.borrow_mut();
            let at = events.iter().position(of_owner).unwrap_or_else(|| {
                events.retain(|(owner, _)| owner.strong_count() != 0);
                events.push((Arc::downgrade(owner), Event::default()));
                events.len() - 1
            });
            f(&mut events[at].1)
        })
        .ok()
}
