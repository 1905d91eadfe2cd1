//! How large the handles are that memory is taken in.
//!
//! The driver takes as long for a handle of 32 MiB as for one of 2 MiB, to take it and to map it elsewhere.
//! But what is in use of a handle keeps the rest of it from moving, so that large ones cost memory: about
//! half a handle for each free stretch. `docs/decisions/0025` has what was measured.

/// The most that a handle is to have, whatever else: what it takes to release one grows with its size.
const MOST: u64 = 128 << 20;

/// A request's memory comes in about so many handles, so that what a block leaves can be used in parts.
const PARTS: u64 = 5;

/// Smaller handles than this, or this part of what is held, save next to nothing.
const LEAST: u64 = 8 << 20;
const LEAST_PART: u64 = 512;

/// The same of a block that may rest on the host, which moves as a whole: the calls for a handle take as long as
/// a copy of several MiB.
const LEAST_TO_REST: u64 = 32 << 20;

/// The part of the memory there is that a handle has at most on a device of 80 GiB. On a smaller one it is
/// a smaller part, in proportion: a program that just fits there needs every granule.
const LIMIT_PART: u64 = 2048;
const LIMIT: u64 = 80 << 30;

/// The most that a handle is to have of `missing` bytes that are taken now, where `held` are held and
/// `limit` may be. Whole granules.
pub(super) fn largest(limit: u64, held: u64, missing: u64, granule: u64) -> u64 {
    let part = part(held, missing, granule);
    let (limit, whole) = (u128::from(limit), u128::from(LIMIT));
    let share = limit * limit / whole / u128::from(LIMIT_PART);
    let share = u64::try_from(share).unwrap_or(MOST).min(MOST) / granule * granule;
    part.min(share).max(granule)
}

/// The same for memory of one block that may rest on the host, whatever there is of the device's: it moves
/// as a whole, and each handle of it takes calls every time, as long as a copy of several MiB does.
pub(super) fn largest_to_rest(held: u64, missing: u64, granule: u64) -> u64 {
    part(held, missing, granule).max(LEAST_TO_REST.next_multiple_of(granule)).min(MOST)
}

fn part(held: u64, missing: u64, granule: u64) -> u64 {
    let least = LEAST.max(held.max(missing) / LEAST_PART / granule * granule);
    missing.div_ceil(PARTS).max(least).next_multiple_of(granule)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const G: u64 = 2 * MIB;

    #[test]
    fn handles_grow_with_the_request_with_what_is_held_and_with_the_device() {
        let on_80_gib = |held, missing| largest(80 << 30, held, missing, G);
        assert_eq!(on_80_gib(0, G), 8 * MIB, "more than is missing, so that it is one handle");
        assert_eq!(on_80_gib(0, 100 * MIB), 20 * MIB);
        assert_eq!(on_80_gib(8 << 30, 2 * MIB), 16 * MIB);
        assert_eq!(on_80_gib(0, 10 << 30), 40 * MIB, "a two-thousandth of the device");
        assert_eq!(largest(24 << 30, 0, 10 << 30, G), G);
        assert_eq!(largest(40 << 30, 0, 10 << 30, G), 10 * MIB);
        assert_eq!(largest(u64::MAX, 0, 1 << 40, G), MOST);
        assert_eq!(largest(1 << 20, 0, G, G), G);
    }

    #[test]
    fn handles_of_blocks_that_may_rest_are_large_on_small_devices_too() {
        assert_eq!(largest_to_rest(0, 15 * MIB, G), 32 * MIB, "one handle");
        assert_eq!(largest_to_rest(0, 100 * MIB, G), 32 * MIB);
        assert_eq!(largest_to_rest(0, 200 * MIB, G), 40 * MIB);
        assert_eq!(largest_to_rest(0, 10 << 30, G), MOST);
    }
}
