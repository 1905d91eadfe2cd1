//! Amounts of memory as people write and read them.

use vmem_core::parse_bytes;
pub use vmem_report::{ratio, show};

/// Reads an amount of memory above zero, as [`parse_bytes`] does.
///
/// # Errors
/// What is accepted.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    match parse_bytes(text) {
        Some(0) => Err("zero bytes; accepted: an amount of memory above zero".to_owned()),
        Some(bytes) => Ok(bytes),
        None => Err(format!(
            "`{text}` is not an amount of memory below 2^64 bytes; accepted: whole bytes, or with K, \
             M, G, T (or KiB, MiB, GiB, TiB) in powers of 1024; KB, MB, GB, TB, which are powers of \
             1000, and fractions are not"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_powers_of_1024_whatever_the_case() {
        for text in ["24GiB", "24gib", "24G", "24 GiB", "25769803776", "24576m"] {
            assert_eq!(parse(text), Ok(24 << 30), "{text}");
        }
        assert_eq!(parse("7"), Ok(7));
        assert_eq!(parse("3TiB"), Ok(3 << 40));
    }

    #[test]
    fn what_is_no_amount_is_refused_with_what_is() {
        for text in ["", "GiB", "-1", "1.5GiB", "12QiB", "12GiBs", "0x10", "ten", "1é", "50%"] {
            let message = parse(text).unwrap_err();
            assert!(message.contains("accepted"), "{text}: {message}");
        }
    }

    #[test]
    fn units_that_are_powers_of_1000_elsewhere_are_refused_rather_than_read_as_powers_of_1024() {
        for text in ["24GB", "24gb", "512 MB", "1kB", "1TB"] {
            let message = parse(text).unwrap_err();
            assert!(message.contains("powers of 1000"), "{text}: {message}");
        }
    }

    #[test]
    fn zero_and_overflow_are_refused() {
        assert!(parse("0").unwrap_err().contains("above zero"));
        assert!(parse("0GiB").unwrap_err().contains("above zero"));
        assert!(parse("16777216TiB").unwrap_err().contains("2^64"));
        assert!(parse("16777215TiB").is_ok());
    }
}
