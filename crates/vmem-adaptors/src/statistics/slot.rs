//! A small number for each living thread, so that each can have counters of its own.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard};
use vmem_core::author::fork;

thread_local! {
    /// The thread's slot, or `NONE`. Apart from its owner below because a value without a
    /// destructor is cheaper to read and can be read to the thread's very end.
    static SLOT: Cell<usize> = const { Cell::new(NONE) };
    static OWNER: Slot = {
        let slot = Slot::take();
        SLOT.set(slot.0);
        slot
    };
}

const NONE: usize = usize::MAX;

/// Calls `f` with a slot that no other thread has until `f` returns: the thread's own, the lowest
/// that was free at its first call. What earlier threads wrote under the slot is visible.
#[inline]
pub(super) fn with_slot<T>(f: impl FnOnce(usize) -> T) -> T {
    match SLOT.get() {
        NONE => with_new_slot(f),
        slot => f(slot),
    }
}

#[cold]
fn with_new_slot<T>(f: impl FnOnce(usize) -> T) -> T {
    match OWNER.try_with(|owner| owner.0) {
        Ok(slot) => f(slot),
        // The thread is ending and has given up its slot: borrow one for this call.
        Err(_) => f(Slot::take().0),
    }
}

struct Slot(usize);

impl Slot {
    fn take() -> Self {
        let mut slots = slots();
        let free = slots.free.pop_first();
        Self(free.unwrap_or_else(|| {
            slots.next += 1;
            slots.next - 1
        }))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if fork::is_child() {
            return;
        }
        if SLOT.get() == self.0 {
            SLOT.set(NONE);
        }
        slots().free.insert(self.0);
    }
}

struct Slots {
    next: usize,
    free: BTreeSet<usize>,
}

fn slots() -> MutexGuard<'static, Slots> {
    static SLOTS: Mutex<Slots> = Mutex::new(Slots { next: 0, free: BTreeSet::new() });
    fork::locked(|| SLOTS.lock())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn living_threads_have_different_slots_and_each_keeps_its_own() {
        let barrier = Barrier::new(4);
        let seen = Mutex::new(BTreeSet::new());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let slot = with_slot(|slot| slot);
                    barrier.wait();
                    assert_eq!(with_slot(|again| again), slot);
                    assert!(seen.lock().unwrap().insert(slot));
                    barrier.wait();
                });
            }
        });
        assert_eq!(seen.lock().unwrap().len(), 4);
    }

    #[test]
    fn an_ending_thread_can_still_borrow_a_slot() {
        struct AtExit(std::sync::mpsc::Sender<usize>);
        impl Drop for AtExit {
            fn drop(&mut self) {
                self.0.send(with_slot(|slot| slot)).unwrap();
            }
        }
        thread_local! {
            static FIRST: Cell<Option<AtExit>> = const { Cell::new(None) };
        }
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            // Registered before the slot, so destroyed on either side of it, by platform.
            FIRST.set(Some(AtExit(sender)));
            with_slot(|_| ());
        })
        .join()
        .unwrap();
        assert_ne!(receiver.recv().unwrap(), NONE);
    }

    #[test]
    fn a_slot_that_an_ending_thread_gave_up_is_not_used_by_it_again() {
        use std::sync::mpsc;

        const OTHERS: usize = 64;

        struct AtExit {
            up: mpsc::Sender<()>,
            taken: mpsc::Receiver<BTreeSet<usize>>,
            result: mpsc::Sender<bool>,
        }
        impl Drop for AtExit {
            fn drop(&mut self) {
                // By now other threads have taken all slots that were given up lately.
                self.up.send(()).unwrap();
                let taken = self.taken.recv().unwrap();
                self.result.send(with_slot(|slot| taken.contains(&slot))).unwrap();
            }
        }
        thread_local! {
            static FIRST: Cell<Option<AtExit>> = const { Cell::new(None) };
        }
        let (up, go) = mpsc::channel();
        let (tell, taken) = mpsc::channel();
        let (result, shared) = mpsc::channel();
        let ending = std::thread::spawn(move || {
            FIRST.set(Some(AtExit { up, taken, result }));
            with_slot(|_| ());
        });
        go.recv().unwrap();
        let barrier = Barrier::new(OTHERS + 1);
        let seen = Mutex::new(BTreeSet::new());
        std::thread::scope(|scope| {
            for _ in 0..OTHERS {
                scope.spawn(|| {
                    seen.lock().unwrap().insert(with_slot(|slot| slot));
                    barrier.wait();
                    barrier.wait();
                });
            }
            barrier.wait();
            tell.send(seen.lock().unwrap().clone()).unwrap();
            assert!(!shared.recv().unwrap());
            barrier.wait();
        });
        ending.join().unwrap();
    }

    #[test]
    fn threads_that_come_and_go_share_a_few_slots() {
        let highest =
            (0..1000).map(|_| std::thread::spawn(|| with_slot(|slot| slot)).join().unwrap());
        assert!(highest.max() < Some(500), "one thread at a time, beside those of other tests");
    }
}
