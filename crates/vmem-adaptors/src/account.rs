//! A resource's share of a budget.

#![forbid(unsafe_code)]

use std::fmt;

use vmem_core::Allowance;

use crate::Budget;
use crate::sync::atomic::{AtomicU64, Ordering};

/// One resource's part of a [`Budget`]: an [`Allowance`], for `VirtualArena::charged_to`.
///
/// A resource cannot give back more than it took. What it never gives back, because the device has
/// not taken it back, stays used.
///
/// ```
/// use vmem_adaptors::Budget;
/// use vmem_core::Allowance;
///
/// let budget = Budget::new(100);
/// let account = budget.account();
/// assert!(account.take(60) && !account.take(60));
/// account.give_back(60);
/// assert_eq!(budget.available(), 100);
/// ```
pub struct Account {
    budget: Budget,
    held: AtomicU64,
}

impl Account {
    pub(crate) fn new(budget: Budget) -> Self {
        Self { budget, held: AtomicU64::new(0) }
    }

    /// The budget it is part of.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The bytes that its resource holds.
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }
}

impl Allowance for Account {
    fn take(&self, bytes: u64) -> bool {
        let Some(charge) = self.budget.charge(bytes) else { return false };
        charge.leave();
        self.held.fetch_add(bytes, Ordering::Relaxed);
        true
    }

    fn give_back(&self, bytes: u64) {
        let less = |held: u64| Some(held.saturating_sub(bytes));
        let relaxed = Ordering::Relaxed;
        let held = self.held.fetch_update(relaxed, relaxed, less).unwrap_or(0);
        self.budget.give_back(bytes.min(held));
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("held", &self.held()).field("budget", &self.budget).finish()
    }
}
