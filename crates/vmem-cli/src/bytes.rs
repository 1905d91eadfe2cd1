//! Amounts of memory as people write and read them.

/// The units, in powers of 1024, largest first.
const UNITS: &[(&str, u32)] = &[("T", 40), ("G", 30), ("M", 20), ("K", 10)];

/// Reads an amount of memory above zero: `24GiB`, `24G`, `512MiB`, `1073741824`, whatever the
/// case. Units are powers of 1024.
///
/// # Errors
/// What is accepted.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let refused = || {
        format!("`{text}` is not an amount of memory; accepted: whole bytes, or KiB, MiB, GiB, TiB")
    };
    let upper = text.trim().to_ascii_uppercase();
    let digits = upper.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = upper[digits.len()..].trim_start();
    let count: u64 = digits.parse().map_err(|_| refused())?;
    let shift = match unit {
        "" | "B" => 0,
        unit => UNITS
            .iter()
            .find(|(letter, _)| {
                unit.strip_prefix(letter).is_some_and(|rest| matches!(rest, "" | "B" | "IB"))
            })
            .map(|(_, shift)| *shift)
            .ok_or_else(refused)?,
    };
    let bytes = count.checked_mul(1 << shift);
    match bytes {
        Some(0) => Err("zero bytes; accepted: an amount of memory above zero".to_owned()),
        Some(bytes) => Ok(bytes),
        None => Err(format!("`{text}` exceeds 64 bits; accepted: less than 16777216 TiB")),
    }
}

/// An amount of memory to four digits at most: `2.825 GiB`, `512 B`.
pub(crate) fn show(bytes: u64) -> String {
    for (letter, shift) in UNITS {
        let unit = 1_u64 << shift;
        if bytes >= unit {
            let whole = bytes / unit;
            let decimals = match whole {
                0..=9 => 3,
                10..=99 => 2,
                100..=999 => 1,
                _ => 0,
            };
            return format!("{:.decimals$} {letter}iB", ratio(bytes, unit));
        }
    }
    format!("{bytes} B")
}

/// One amount over another, as a number for people.
#[expect(clippy::cast_precision_loss, reason = "shown to a few digits, of which an f64 has plenty")]
pub(crate) fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_powers_of_1024_whatever_the_case() {
        for text in ["24GiB", "24gib", "24G", "24 GB", "25769803776", "24576m"] {
            assert_eq!(parse(text), Ok(24 << 30), "{text}");
        }
        assert_eq!(parse("7"), Ok(7));
        assert_eq!(parse("3TiB"), Ok(3 << 40));
    }

    #[test]
    fn what_is_no_amount_is_refused_with_what_is() {
        for text in ["", "GiB", "-1", "1.5GiB", "12QiB", "12GiBs", "0x10", "ten", "1é"] {
            let message = parse(text).unwrap_err();
            assert!(message.contains("accepted"), "{text}: {message}");
        }
    }

    #[test]
    fn zero_and_overflow_are_refused() {
        assert!(parse("0").unwrap_err().contains("above zero"));
        assert!(parse("0GiB").unwrap_err().contains("above zero"));
        assert!(parse("16777216TiB").unwrap_err().contains("64 bits"));
        assert!(parse("16777215TiB").is_ok());
    }

    #[test]
    fn amounts_are_shown_to_four_digits() {
        assert_eq!(show(512), "512 B");
        assert_eq!(show(1 << 10), "1.000 KiB");
        assert_eq!(show(3_033_163_104), "2.825 GiB");
        assert_eq!(show(24 << 30), "24.00 GiB");
        assert_eq!(show(128 << 30), "128.0 GiB");
    }
}
