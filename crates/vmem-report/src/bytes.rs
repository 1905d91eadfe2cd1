//! Amounts of memory for people.

/// The units, in powers of 1024, largest first.
const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];

/// An amount of memory to four digits at most: `2.825 GiB`, `512 B`.
pub fn show(bytes: u64) -> String {
    for (unit, shift) in UNITS {
        let one = 1_u64 << shift;
        if bytes >= one {
            let decimals = match bytes / one {
                0..=9 => 3,
                10..=99 => 2,
                100..=999 => 1,
                _ => 0,
            };
            return format!("{:.decimals$} {unit}", ratio(bytes, one));
        }
    }
    format!("{bytes} B")
}

/// One amount over another, as a number for people.
#[expect(clippy::cast_precision_loss, reason = "shown to a few digits, of which an f64 has plenty")]
pub fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// So many blocks, in words.
pub(crate) fn blocks(count: u64) -> String {
    if count == 1 { "1 block".to_owned() } else { format!("{count} blocks") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_shown_to_four_digits() {
        assert_eq!(show(512), "512 B");
        assert_eq!(show(1 << 10), "1.000 KiB");
        assert_eq!(show(3_033_163_104), "2.825 GiB");
        assert_eq!(show(24 << 30), "24.00 GiB");
        assert_eq!(show(128 << 30), "128.0 GiB");
    }
}
