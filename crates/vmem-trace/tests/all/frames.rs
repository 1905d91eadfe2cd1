//! The frames of recordings: whole, cut and damaged.

use vmem_core::MemoryObserver;
use vmem_trace::{Irregularity, Recorder};

use crate::recordings::{Shared, allocate, event, free, recorded};
use crate::support::{count, strictly, tolerantly};

/// Where the frames of a recording begin, and where it ends.
fn frames(recording: &[u8]) -> Vec<usize> {
    let mut at = vec![MAGIC];
    while let Some(&[a, b, c, d]) = recording[*at.last().unwrap()..].first_chunk() {
        let length = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap();
        at.push(at.last().unwrap() + 8 + length);
    }
    assert_eq!(at.last(), Some(&recording.len()));
    at
}

/// The length of the first line.
pub(crate) const MAGIC: usize = 17;

/// A frame with these entries.
pub(crate) fn frame(entries: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(entries);
    let length = u32::try_from(entries.len()).unwrap();
    [&length.to_le_bytes()[..], &crc.sum().to_le_bytes(), entries].concat()
}

#[test]
fn a_bad_recording_is_refused_with_the_place() {
    let good = recorded(&[event(allocate, 256, 1000)]);
    let refused = |bytes: &[u8]| strictly("r", bytes).unwrap_err().reason().to_owned();
    assert!(refused(&good[..30]).contains("at byte 17: the recording is cut off"));
    let end = frames(&good)[1];
    assert!(refused(&good[..end]).contains(&format!("at byte {end}: the recording has no end")));
    let magic = &good[..MAGIC];
    for (entries, reason) in [
        (&[0, 7][..], "at byte 26: an entry that begins with 0x07"),
        (&[0, 0x81], "at byte 26: an entry that begins with 0x81"),
        (&[0, 1], "at byte 26: an entry of kind 1 whose fields are no numbers"),
        (&[0x80], "at byte 25: a frame without a time"),
        (&[0, 0, 2, b'a', 0xff], "at byte 26: a label that is no text in UTF-8"),
        (&[0, 0, 2, b'a'], "at byte 26: a label that is no text"),
        (&[0, 0, 0x81, 0x20], "of up to 4096 bytes"),
        (&[0, 9, 0, 1, 2, 8], "at byte 26: label 1 is not defined"),
        (&[0, 6, 0, 6, 0], "at byte 26: an entry of kind 6"),
    ] {
        let reasoned = refused(&[magic, &frame(entries)].concat());
        assert!(reasoned.contains(reason), "{reasoned}");
    }
    let zeroes = [magic, &[0; 64]].concat();
    assert!(refused(&zeroes).contains("at byte 17: a frame of 0 bytes; accepted are 1 to 65536"));
    let twice = [&good[..], &good[MAGIC..]].concat();
    assert!(refused(&twice).contains(&format!("at byte {end}: more bytes follow the end")));
    let unowned = recorded(&[event(free, 256, 1000)]);
    assert!(refused(&unowned).contains("no live block is at 0x100"));
    let wrong_size = recorded(&[event(allocate, 256, 1000), event(free, 256, 999)]);
    assert!(refused(&wrong_size).contains("frees 999 bytes of the 1000"));
    for length in 0..good.len() {
        assert!(strictly("r", &good[..length]).is_err());
    }
}

#[test]
fn a_recording_that_is_cut_off_or_damaged_is_read_up_to_its_last_whole_frame() {
    let written = Shared::default();
    let recorder = Recorder::new(written.clone()).unwrap();
    for address in [256, 512, 768] {
        recorder.event(&event(allocate, address, 1000));
        recorder.flush().unwrap();
    }
    drop(recorder);
    let good = written.bytes();
    let starts = frames(&good);
    assert_eq!(starts.len(), 5, "three events, the end, and where that ends");
    for length in starts[1]..good.len() {
        let reading = tolerantly("r", &good[..length]).unwrap();
        let whole = starts.iter().filter(|&&start| start > MAGIC && start <= length).count();
        assert_eq!(reading.trace.allocations(), whole as u64, "{length}");
        assert_eq!(count(&reading, Irregularity::CutEnd), 1, "{length}");
    }
    // A bit that is not as it was is noticed wherever it is, and nothing after it is believed.
    for at in starts[1]..good.len() {
        let mut flipped = good.clone();
        flipped[at] ^= 0x10;
        let reading = tolerantly("r", &flipped).unwrap();
        let before = starts.iter().filter(|&&start| start > MAGIC && start <= at).count();
        assert_eq!(reading.trace.allocations(), before as u64, "{at}");
        assert_eq!(reading.notes.len(), 1, "{at}");
    }
}
