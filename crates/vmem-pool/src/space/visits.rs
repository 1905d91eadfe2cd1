//! How many lanes and ranges of others a call looks at, for tests: what that is must not depend on how
//! many there are.

#[cfg(test)]
thread_local! {
    static VISITS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
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
