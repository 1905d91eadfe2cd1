//! A short soak, and what the program says of one.

use vmem_lab::soak_bytes;

use crate::support::ran;

#[test]
fn a_short_soak_finds_nothing_wrong() {
    let outcome = ran(&["soak", "--programs", "256"]);
    assert_eq!(outcome.code, 0, "{}", outcome.out);
    let last = outcome.out.lines().last().unwrap();
    assert!(last.starts_with("passed: 240 programs and 16 runs of several threads, "), "{last}");
    // What a soak is there for took place.
    for none in [
        " 0 operations",
        " 0 faults",
        " in 0 programs",
        " 0 devices",
        " 0 B verified",
        " 0 moves",
        " 0 waits",
        " 0 B gone",
        " 0 moves by label",
    ] {
        assert!(!last.contains(none), "{last}");
    }
    assert!(last.contains("no race found; seeds from 0"), "{last}");
}

#[test]
fn any_bytes_are_a_program() {
    for length in [0, 1, 100, 5000] {
        for start in [0_u8, 77] {
            let bytes: Vec<u8> = (0..length)
                .map(|i: u32| start.wrapping_add(u8::try_from(i * i % 256).unwrap()))
                .collect();
            soak_bytes(&bytes).unwrap();
        }
    }
}

#[test]
fn minutes_and_programs_exclude_each_other() {
    let outcome = ran(&["soak", "--programs", "1", "--minutes", "1"]);
    assert_eq!(outcome.code, 2);
    assert!(outcome.err.contains("--minutes"), "{}", outcome.err);
}
