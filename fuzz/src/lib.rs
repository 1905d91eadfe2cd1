//! What the targets share.

#![forbid(unsafe_code)]

use vmem_trace::{ReadOptions, Strictness};

/// Reads a file that begins with `start`, and checks what was read of it.
///
/// # Panics
/// If a reading is not one that can be.
pub fn read(start: &[u8], bytes: &[u8]) {
    let file = [start, bytes].concat();
    let mut options = ReadOptions::default();
    let tolerant = options.read("fuzzed", &file[..]);
    options.strictness = Strictness::Strict;
    // What is read strictly is read tolerantly, to the same end.
    if let Ok(strict) = options.read("fuzzed", &file[..]) {
        assert_eq!(strict, tolerant.expect("it was read strictly"));
        assert_eq!(strict.notes, []);
    } else if let Ok(reading) = tolerant {
        let again = reading.trace.repeated(1).expect("it is no longer");
        assert_eq!(again.peak_live(), reading.trace.peak_live());
    }
}

/// A frame of a recording with these entries.
pub fn frame(entries: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(entries);
    let length = u32::try_from(entries.len()).unwrap_or(u32::MAX);
    [&length.to_le_bytes()[..], &crc.sum().to_le_bytes(), entries].concat()
}
