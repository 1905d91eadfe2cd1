//! Whether work should start.

#![forbid(unsafe_code)]

use std::fmt;
use std::num::NonZeroU64;

/// The answer to whether work fits in the memory that is left, and how much of it would.
///
/// ```
/// use std::num::NonZeroU64;
/// use vmem_runtime::Admission;
///
/// let units = NonZeroU64::new(100).unwrap();
/// let admission = Admission::of(1000, units, 600);
/// assert!(!admission.is_admitted());
/// assert_eq!((admission.bytes_per_unit, admission.units_that_fit), (10, 60));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Admission {
    /// The bytes that the work needs.
    pub bytes: u64,
    /// Of how many equal units it consists.
    pub units: NonZeroU64,
    /// The bytes that were left.
    pub left: u64,
    /// The bytes that one unit needs, rounded up.
    pub bytes_per_unit: u64,
    /// The number of units that fit, at most all of them.
    pub units_that_fit: u64,
}

impl Admission {
    /// Measures work on `units` equal units that needs `bytes` bytes in all against `left` bytes.
    pub fn of(bytes: u64, units: NonZeroU64, left: u64) -> Self {
        let bytes_per_unit = bytes.div_ceil(units.get());
        let units_that_fit =
            if bytes <= left { units.get() } else { left.checked_div(bytes_per_unit).unwrap_or(0) };
        Self { bytes, units, left, bytes_per_unit, units_that_fit }
    }

    /// Returns true if all of the work fits.
    pub fn is_admitted(&self) -> bool {
        self.bytes <= self.left
    }
}

impl fmt::Display for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, units, left, bytes_per_unit, units_that_fit } = self;
        let verdict = if self.is_admitted() { "admitted" } else { "refused" };
        write!(
            f,
            "{verdict}: {bytes} B for {units} units with {left} B left, {bytes_per_unit} B a unit, \
             {units_that_fit} units"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: u64, units: u64, left: u64) -> (bool, u64, u64) {
        let admission = Admission::of(bytes, NonZeroU64::new(units).unwrap(), left);
        (admission.is_admitted(), admission.bytes_per_unit, admission.units_that_fit)
    }

    #[test]
    fn a_thousand_bytes_for_a_hundred_units_with_600_left_are_refused_at_60_units() {
        assert_eq!(of(1000, 100, 600), (false, 10, 60));
    }

    #[test]
    fn exactly_what_is_left_is_admitted_whatever_the_rounding() {
        assert_eq!(of(1000, 100, 1000), (true, 10, 100));
        assert_eq!(of(1001, 100, 1001), (true, 11, 100));
        assert_eq!(of(0, 7, 0), (true, 0, 7));
        assert_eq!(of(u64::MAX, 1, u64::MAX), (true, u64::MAX, 1));
    }

    #[test]
    fn fewer_units_fit_than_were_refused() {
        assert_eq!(of(1001, 100, 1000), (false, 11, 90));
        assert_eq!(of(5, 10, 3), (false, 1, 3));
        assert_eq!(of(1000, 1, 999), (false, 1000, 0));
    }
}
