//! How many lanes and ranges of others a call looks at, for tests: what that is must not depend on how
//! many there are; and how often it takes a lock.

#[cfg(test)]
thread_local! {
    static VISITS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    static LOCKS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Another lane, or a range of one, was looked at.
#[inline]
pub(crate) fn note() {
    #[cfg(test)]
    VISITS.with(|visits| visits.set(visits.get() + 1));
}

/// How many were looked at on this thread since the last call.
#[cfg(test)]
pub(crate) fn take() -> u64 {
    VISITS.with(std::cell::Cell::take)
}

/// A lock is taken that another stream's request or free may need.
#[inline]
pub(crate) fn note_lock() {
    #[cfg(test)]
    LOCKS.with(|locks| locks.set(locks.get() + 1));
}

/// How many were taken on this thread since the last call.
#[cfg(test)]
pub(crate) fn take_locks() -> u64 {
    LOCKS.with(std::cell::Cell::take)
}
