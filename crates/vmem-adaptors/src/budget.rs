//! An amount of memory that several resources may use together.

#![forbid(unsafe_code)]

use std::fmt;
use std::sync::{Arc, Weak};
use vmem_core::author::fork;

use crate::sync::atomic::{AtomicI64, Ordering};
use crate::sync::{Mutex, MutexGuard};
use crate::{Account, charges};

/// An amount of memory, in bytes, that everything charged to it shares. Clones are the same budget.
///
/// It bounds what is charged to it: through a [`Limit`](crate::Limit) the live blocks that pass, as
/// asked for; through an [`Account`] what a resource holds, live or not.
///
/// Only what was charged is ever given back, so what is [available](Self::available) never exceeds
/// the limit.
///
/// A charge is one compare-and-swap of what is left, so that it never takes too much, and a charge
/// that is too large takes nothing, not even for a moment: a smaller one that fits is never refused
/// because of it. The limit can be changed at any time.
///
/// ```
/// use vmem_adaptors::Budget;
///
/// let budget = Budget::new(1000);
/// let charge = budget.charge(600).expect("600 of 1000 fit");
/// assert!(budget.charge(401).is_none());
/// assert_eq!(budget.available(), 400);
/// drop(charge);
/// assert_eq!(budget.used(), 0);
/// ```
#[derive(Clone)]
pub struct Budget(Arc<Inner>);

pub(crate) struct Inner {
    /// What is left: the limit less what is used; negative after the limit was lowered below that.
    /// One variable, so that whether a charge fits is decided by one exchange. It does not wrap: the
    /// limit and what is used are both at most 2⁶³ − 1.
    left: AtomicI64,
    /// The limit. Changed together with `left`, under this lock.
    limit: Mutex<i64>,
}

impl Budget {
    /// A budget of `limit` bytes. A limit above 2⁶³ − 1, the most that can be asked for, is the
    /// same as that.
    pub fn new(limit: u64) -> Self {
        let limit = clamp(limit);
        Self(Arc::new(Inner { left: AtomicI64::new(limit), limit: Mutex::new(limit) }))
    }

    /// The most that may be used, in bytes.
    pub fn limit(&self) -> u64 {
        self.lock().unsigned_abs()
    }

    /// Changes the limit. What is used stays; if that is more than the new limit, nothing is
    /// admitted until enough has been freed. Every charge after this call sees the new limit.
    pub fn set_limit(&self, limit: u64) {
        let limit = clamp(limit);
        let mut current = self.lock();
        self.0.left.fetch_add(limit - *current, Ordering::Relaxed);
        *current = limit;
    }

    /// The bytes used now.
    pub fn used(&self) -> u64 {
        self.state().used
    }

    /// The bytes left now; 0 if more is used than the limit allows.
    pub fn available(&self) -> u64 {
        let left = self.0.left.load(Ordering::Relaxed);
        u64::try_from(left).unwrap_or(0)
    }

    /// Takes `bytes` bytes until the returned charge is dropped; `None` if they do not fit.
    pub fn charge(&self, bytes: u64) -> Option<Charge<'_>> {
        let asked = i64::try_from(bytes).ok()?;
        let take = |left: i64| (left >= asked).then(|| left - asked);
        // Relaxed: the number itself is all that is decided here; no other memory is published.
        self.0.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        Some(Charge { budget: self, bytes })
    }

    /// An account for a resource that is charged for what it holds.
    pub fn account(&self) -> Account {
        Account::new(self.clone())
    }

    /// Limit and use at one moment.
    pub(crate) fn state(&self) -> BudgetState {
        self.0.state()
    }

    /// Gives back what was taken.
    pub(crate) fn give_back(&self, bytes: u64) {
        self.0.give_back(bytes);
    }

    pub(crate) fn is(&self, other: &Weak<Inner>) -> bool {
        std::ptr::eq(Arc::as_ptr(&self.0), other.as_ptr())
    }

    fn lock(&self) -> MutexGuard<'_, i64> {
        self.0.lock()
    }
}

impl Inner {
    /// Gives back what was taken.
    pub(crate) fn give_back(&self, bytes: u64) {
        self.left.fetch_add(clamp(bytes), Ordering::Relaxed);
    }

    fn state(&self) -> BudgetState {
        let limit = self.lock();
        let left = self.left.load(Ordering::Relaxed);
        BudgetState {
            limit: limit.unsigned_abs(),
            used: u64::try_from(limit.saturating_sub(left)).unwrap_or(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, i64> {
        fork::locked(|| self.limit.lock())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if fork::is_child() {
            return;
        }
        if self.state().used != 0 {
            charges::forget_the_dead();
        }
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BudgetState { limit, used } = self.state();
        f.debug_struct("Budget").field("limit", &limit).field("used", &used).finish()
    }
}

/// A budget's limit and use at one moment, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BudgetState {
    pub(crate) limit: u64,
    pub(crate) used: u64,
}

/// Part of a [`Budget`], given back when dropped.
#[must_use = "the charge is given back when dropped"]
#[derive(Debug)]
pub struct Charge<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Charge<'_> {
    /// The bytes that it holds.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Leaves the bytes taken, for `give_back`: how many, and of which budget.
    pub(crate) fn leave(mut self) -> (Weak<Inner>, u64) {
        let bytes = std::mem::take(&mut self.bytes);
        (Arc::downgrade(&self.budget.0), bytes)
    }
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        if self.bytes != 0 {
            self.budget.0.give_back(self.bytes);
        }
    }
}

fn clamp(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
