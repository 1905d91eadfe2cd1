//! What a device has less free after a check than before it.

use vmem_cli::parts::bytes;

/// What a driver may take for itself while a check runs, in bytes: contexts grow.
const DRIVERS_OWN: u64 = 64 << 20;

/// What a driver may keep when managed memory was freed, in bytes: the most that a run may take.
const MANAGED: u64 = 256 << 20;

/// How often a check of managed memory is repeated that left more than the driver's own.
const REPEATS: u32 = 4;

/// What to say of a device that has so much less free, where nothing can be repeated for it; nothing of what a driver
/// may keep.
pub(super) fn excess(managed: bool, used: u64) -> Option<String> {
    let most = if managed { MANAGED } else { DRIVERS_OWN };
    (used > most).then(|| missing(used))
}

/// Judges what is missing after a check on hardware, where nobody says who holds what. For managed
/// memory the driver keeps more than for plain memory (70 to 124 MiB were measured), and that serves
/// the next run too: when the check runs again, less than the driver's own comes on top of it, while
/// a leak grows each time.
///
/// `used` tells what is missing, in bytes, and `again` repeats the check. Returns what to say of a
/// check that passed.
///
/// # Errors
/// Why memory counts as leaked, or how a repetition failed.
pub(super) fn judge(
    managed: bool,
    used: impl Fn() -> u64,
    mut again: impl FnMut() -> Result<(), String>,
) -> Result<Option<String>, String> {
    let first = used();
    if first <= DRIVERS_OWN {
        return Ok(None);
    }
    if !managed {
        return Err(missing(first));
    }
    (0..REPEATS).try_for_each(|_| again())?;
    let last = used();
    let grown = last.saturating_sub(first);
    if last > MANAGED || grown > DRIVERS_OWN {
        let once = bytes::show(first);
        return Err(format!(
            "{} after {REPEATS} repetitions, {once} after the first",
            missing(last)
        ));
    }
    let kept = bytes::show(last.max(first));
    Ok(Some(format!("the driver keeps {kept} at most, {REPEATS} repetitions included")))
}

fn missing(kept: u64) -> String {
    format!("the device has {} less free than before", bytes::show(kept))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// Judges a check after which so much is missing, run by run; also how often it was repeated.
    fn judged(managed: bool, missing: &[u64]) -> (Result<Option<String>, String>, usize) {
        let run = Cell::new(0);
        let used = || missing[run.get()] * MIB;
        let again = || {
            run.set(run.get() + 1);
            Ok(())
        };
        (judge(managed, used, again), run.get())
    }

    #[test]
    fn little_is_the_drivers_own_and_needs_no_repetition() {
        assert_eq!(judged(true, &[64]), (Ok(None), 0));
        assert_eq!(judged(false, &[64]), (Ok(None), 0));
    }

    #[test]
    fn plain_memory_that_is_missing_is_a_leak_at_once() {
        let (verdict, repeated) = judged(false, &[65]);
        assert_eq!(verdict.unwrap_err(), "the device has 65.00 MiB less free than before");
        assert_eq!(repeated, 0);
    }

    #[test]
    fn managed_pages_that_the_driver_keeps_are_reported() {
        for missing in [[124; 5], [96, 76, 92, 124, 100], [100, 0, 0, 0, 0]] {
            let (verdict, repeated) = judged(true, &missing);
            let most = missing[0].max(missing[4]);
            let text = verdict.unwrap().unwrap();
            assert!(text.contains(&format!("keeps {}", bytes::show(most * MIB))), "{text}");
            assert_eq!(repeated, 4);
        }
    }

    #[test]
    fn managed_memory_that_goes_with_every_repetition_is_a_leak() {
        for leaked in [17, 40] {
            let missing: Vec<u64> = (0..5).map(|run| 70 + leaked * run).collect();
            let (verdict, _) = judged(true, &missing);
            assert!(
                verdict.unwrap_err().contains("after 4 repetitions, 70.00 MiB after the first")
            );
        }
    }

    #[test]
    fn more_than_a_run_may_take_is_a_leak_even_if_it_does_not_grow() {
        let (verdict, _) = judged(true, &[257; 5]);
        assert!(verdict.unwrap_err().starts_with("the device has 257.0 MiB less free"));
    }

    #[test]
    fn a_repetition_that_fails_fails_the_check() {
        let verdict = judge(true, || 100 * MIB, || Err("wrong bytes".to_owned()));
        assert_eq!(verdict, Err("wrong bytes".to_owned()));
    }

    #[test]
    fn a_device_that_is_not_asked_again_may_have_what_a_driver_keeps() {
        assert_eq!((excess(false, 64 * MIB), excess(true, 256 * MIB)), (None, None));
        assert!(excess(false, 65 * MIB).is_some() && excess(true, 257 * MIB).is_some());
    }
}
