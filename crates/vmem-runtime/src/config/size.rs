//! Amounts of memory, some of them known only once the device is.

use std::fmt;
use std::str::FromStr;

use vmem_core::parse_bytes;

/// What a size may be written as.
pub(crate) const ACCEPTED: &str = "a whole number of bytes, with K, M, G, T, KiB, MiB, GiB or TiB \
                                   in powers of 1024, or a whole percentage of the device's memory, 0% to \
                                   100%";

/// An amount of memory: bytes, or a part of a device that is not known yet.
///
/// ```
/// use vmem_runtime::Size;
///
/// assert_eq!("16GiB".parse(), Ok(Size::Bytes(16 << 30)));
/// assert_eq!("512m".parse(), Ok(Size::Bytes(512 << 20)));
/// let most: Size = "80%".parse()?;
/// assert_eq!(most.of(1000), 800);
/// assert!("-1".parse::<Size>().is_err());
/// # Ok::<(), vmem_runtime::SizeError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Size {
    /// So many bytes.
    Bytes(u64),
    /// So many hundredths of the device's memory.
    Percent(u8),
}

impl Size {
    /// The amount in bytes on a device of `total` bytes, rounded down.
    pub fn of(self, total: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => percent_of(total, percent.into()),
        }
    }
}

impl Size {
    /// Whether it is nothing, of whatever.
    pub(super) const fn is_zero(self) -> bool {
        matches!(self, Self::Bytes(0) | Self::Percent(0))
    }
}

/// So many hundredths of `total`, rounded down; the largest number if that is larger.
pub(crate) fn percent_of(total: u64, percent: u32) -> u64 {
    let bytes = u128::from(total) * u128::from(percent) / 100;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// A text that is not a [`Size`]. It prints what is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeError;

impl fmt::Display for SizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a size; accepted: {ACCEPTED}")
    }
}

impl std::error::Error for SizeError {}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let size = match text.trim().strip_suffix('%') {
            None => parse_bytes(text).map(Self::Bytes),
            // A number alone: `parse` takes a sign as well.
            Some(number) if !number.starts_with('+') => {
                let percent = number.trim_end().parse().ok().filter(|&percent| percent <= 100);
                percent.map(Self::Percent)
            }
            Some(_) => None,
        };
        size.ok_or(SizeError)
    }
}

impl fmt::Display for Size {
    /// In the form that [`FromStr`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = match *self {
            Self::Percent(percent) => return write!(f, "{percent}%"),
            Self::Bytes(bytes) => bytes,
        };
        let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        match units.iter().find(|(shift, _)| bytes != 0 && bytes.trailing_zeros() >= *shift) {
            Some((shift, unit)) => write!(f, "{}{unit}", bytes >> shift),
            None => write!(f, "{bytes}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_print_as_they_are_read() {
        for size in [0, 1, 255, 256, 1 << 10, 3 << 20, 16 << 30, u64::MAX].map(Size::Bytes) {
            assert_eq!(size.to_string().parse(), Ok(size));
        }
        assert_eq!(Size::Percent(80).to_string().parse(), Ok(Size::Percent(80)));
    }

    #[test]
    fn units_are_powers_of_1024_and_case_blind() {
        for (text, bytes) in [
            ("7", 7),
            (" 2k ", 2 << 10),
            ("2KiB", 2 << 10),
            ("3M", 3 << 20),
            ("3mib", 3 << 20),
            ("4 GIB", 4 << 30),
            ("4G", 4 << 30),
            ("2T", 2 << 40),
            ("1TiB", 1 << 40),
        ] {
            assert_eq!(text.parse(), Ok(Size::Bytes(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_size_is_refused_with_what_is() {
        let too_large = ["18446744073709551616", "17179869184G"];
        for text in ["", "-1", "+1", "1.5G", "G", "1 TB", "101%", "-1%", "%", "0x10", "1 000"]
            .iter()
            .chain(&too_large)
        {
            assert_eq!(text.parse::<Size>(), Err(SizeError), "{text}");
        }
        assert!(SizeError.to_string().contains("powers of 1024"));
    }

    #[test]
    fn a_percentage_waits_for_the_device_and_never_wraps() {
        assert_eq!(Size::Percent(33).of(100), 33);
        assert_eq!(Size::Percent(50).of(3), 1);
        assert_eq!(Size::Percent(100).of(u64::MAX), u64::MAX);
        assert_eq!(percent_of(u64::MAX, 200), u64::MAX);
    }
}
