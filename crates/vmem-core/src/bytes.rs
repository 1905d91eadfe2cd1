//! Amounts of memory as people write them.

/// Reads an amount of memory in bytes: a whole number, alone or with K, M, G, T, `KiB`, `MiB`, `GiB`
/// or `TiB`, which are powers of 1024 here, whatever the case. `None` for anything else, so for `KB`
/// and its like, which are powers of 1000 elsewhere, for fractions, and for 2⁶⁴ bytes or more.
///
/// ```
/// use vmem_core::parse_bytes;
///
/// assert_eq!(parse_bytes("16GiB"), Some(16 << 30));
/// assert_eq!(parse_bytes("512 m"), Some(512 << 20));
/// assert_eq!(parse_bytes("1.5G"), None);
/// assert_eq!(parse_bytes("24GB"), None);
/// ```
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}
