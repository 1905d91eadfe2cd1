//! The host's memory.

/// The bytes that the host has, as Linux says; `None` elsewhere.
pub(super) fn memory() -> Option<u64> {
    total(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_found_among_the_lines_of_meminfo() {
        let text = "MemFree:   12 kB\nMemTotal:       16318480 kB\nBuffers: 1 kB\n";
        assert_eq!(total(text), Some(16_318_480 * 1024));
        for text in ["", "MemTotal: many kB", "MemTotal: 12", "MemFree: 12 kB"] {
            assert_eq!(total(text), None, "{text}");
        }
    }
}
