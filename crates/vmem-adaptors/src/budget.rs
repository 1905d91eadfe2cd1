//! An amount of memory that several resources may use together.

#![forbid(unsafe_code)]

use std::fmt;
use std::sync::{Arc, PoisonError};

use crate::sync::atomic::{AtomicI64, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// An amount of memory, in bytes, that everything charged to it shares. Clones are the same budget.
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

struct Inner {
    /// What is left: the limit less what is used; negative after the limit was lowered below that.
    /// One variable, so that whether a charge fits is decided by one exchange.
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

    /// How much is used now, in bytes.
    pub fn used(&self) -> u64 {
        self.state().used
    }

    /// How much is left now, in bytes; 0 if more is used than the limit allows.
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

    /// Gives back what a [kept](Charge::keep) charge took.
    pub(crate) fn give_back(&self, bytes: u64) {
        // Saturating: a block charged elsewhere must not wrap an endless budget into an empty one.
        let put = |left: i64| Some(left.saturating_add(clamp(bytes)));
        let relaxed = Ordering::Relaxed;
        self.0.left.fetch_update(relaxed, relaxed, put).expect("the update always has a value");
    }

    /// Limit and use at one moment.
    pub(crate) fn state(&self) -> BudgetState {
        let limit = self.lock();
        let left = self.0.left.load(Ordering::Relaxed);
        BudgetState {
            limit: limit.unsigned_abs(),
            used: u64::try_from(limit.saturating_sub(left)).unwrap_or(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, i64> {
        self.0.limit.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// How much it holds, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Leaves the bytes taken, for [`Budget::give_back`].
    pub(crate) fn keep(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        if self.bytes != 0 {
            self.budget.give_back(self.bytes);
        }
    }
}

fn clamp(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
