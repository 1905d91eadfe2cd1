//! How large a workload is.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use super::ParseError;

/// The size of a workload's input: polygons a side (overlay), query points (spatial join), input
/// polygons (dissolve), allocations (random).
///
/// ```
/// use vmem_trace::Scale;
///
/// assert_eq!("100k".parse(), Ok(Scale::new(100_000).unwrap()));
/// assert_eq!(Scale::new(1_000_000).unwrap().to_string(), "1m");
/// assert!("0".parse::<Scale>().is_err());
/// assert!("99999999999999999999k".parse::<Scale>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scale(NonZeroU64);

impl Scale {
    /// A scale of `n`; `None` for zero.
    pub const fn new(n: u64) -> Option<Self> {
        match NonZeroU64::new(n) {
            Some(n) => Some(Self(n)),
            None => None,
        }
    }

    /// The scale as a number.
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl FromStr for Scale {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let lower = text.trim().to_ascii_lowercase();
        let (digits, unit) = if let Some(digits) = lower.strip_suffix('k') {
            (digits, 1_000)
        } else if let Some(digits) = lower.strip_suffix('m') {
            (digits, 1_000_000)
        } else {
            (lower.as_str(), 1)
        };
        let number = digits.parse::<u64>().ok();
        number.and_then(|n| n.checked_mul(unit)).and_then(Self::new).ok_or_else(|| {
            let accepted = "10k, 100k, 1m, or a whole number of at least 1 with or without k \
                                (thousand) or m (million), up to 2^64 - 1";
            ParseError::new("scale", text, accepted)
        })
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.get() {
            n if n % 1_000_000 == 0 => write!(f, "{}m", n / 1_000_000),
            n if n % 1_000 == 0 => write!(f, "{}k", n / 1_000),
            n => write!(f, "{n}"),
        }
    }
}
