//! The sizes in the rules, from `c10/core/AllocatorConfig.h` and `CUDACachingAllocator.cpp`.

#![forbid(unsafe_code)]

/// `kMinBlockSize`: requests are rounded up to a multiple of this many bytes.
const MIN_BLOCK_SIZE: u64 = 512;
/// `kSmallSize`: the largest rounded request that the small pool serves.
const SMALL_SIZE: u64 = 1 << 20;
/// `kSmallBuffer`: a segment of the small pool, and a page of its expandable segments.
const SMALL_BUFFER: u64 = 2 << 20;
/// `kLargeBuffer`: a segment for requests below [`MIN_LARGE_ALLOC`], and a page of the large pool's
/// expandable segments.
const LARGE_BUFFER: u64 = 20 << 20;
/// `kMinLargeAlloc`: the smallest rounded request that has a segment of its own size.
const MIN_LARGE_ALLOC: u64 = 10 << 20;
/// `kRoundLarge`: what such segments are multiples of.
const ROUND_LARGE: u64 = 2 << 20;

/// Which of the two pools (`small_blocks`, `large_blocks`) a block belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PoolKind {
    Small,
    Large,
}

impl PoolKind {
    /// `get_pool`: which pool serves requests that round to `size` bytes.
    pub(super) const fn of(size: u64) -> Self {
        if size <= SMALL_SIZE { Self::Small } else { Self::Large }
    }

    /// The page of the pool's expandable segments, in bytes (`segment_size_`).
    pub(super) const fn page(self) -> u64 {
        match self {
            Self::Small => SMALL_BUFFER,
            Self::Large => LARGE_BUFFER,
        }
    }
}

/// `round_size`, with `roundup_power2_divisions` off, as it is by default.
pub(super) const fn round_size(size: u64) -> u64 {
    if size < MIN_BLOCK_SIZE { MIN_BLOCK_SIZE } else { size.next_multiple_of(MIN_BLOCK_SIZE) }
}

/// `get_allocation_size`: the segment that is asked of the driver for a rounded size.
pub(super) const fn allocation_size(size: u64) -> u64 {
    if size <= SMALL_SIZE {
        SMALL_BUFFER
    } else if size < MIN_LARGE_ALLOC {
        LARGE_BUFFER
    } else {
        size.next_multiple_of(ROUND_LARGE)
    }
}

/// `should_split`: whether what remains of a block is worth a block of its own. `max_split_size`
/// is unlimited, as it is by default.
pub(super) const fn should_split(kind: PoolKind, expandable: bool, remaining: u64) -> bool {
    match kind {
        PoolKind::Large if !expandable => remaining > SMALL_SIZE,
        _ => remaining >= MIN_BLOCK_SIZE,
    }
}

/// The address space of an expandable segment, in bytes: 1 1/8 of the device's memory, in whole
/// pages.
pub(super) const fn segment_range(device_memory: u64, page: u64) -> u64 {
    (device_memory + device_memory / 8).next_multiple_of(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn segments_are_2_mib_then_20_mib_then_multiples_of_2_mib() {
        assert_eq!(allocation_size(512), 2 * MIB);
        assert_eq!(allocation_size(MIB), 2 * MIB);
        assert_eq!(allocation_size(MIB + 512), 20 * MIB);
        assert_eq!(allocation_size(10 * MIB - 512), 20 * MIB);
        assert_eq!(allocation_size(10 * MIB), 10 * MIB);
        assert_eq!(allocation_size(10 * MIB + 512), 12 * MIB);
    }

    #[test]
    fn requests_round_to_512() {
        assert_eq!(round_size(1), 512);
        assert_eq!(round_size(512), 512);
        assert_eq!(round_size(513), 1024);
    }

    #[test]
    fn large_native_blocks_keep_a_remainder_up_to_1_mib() {
        assert!(!should_split(PoolKind::Large, false, MIB));
        assert!(should_split(PoolKind::Large, false, MIB + 512));
        assert!(should_split(PoolKind::Large, true, 512));
        assert!(should_split(PoolKind::Small, false, 512));
        assert!(!should_split(PoolKind::Small, false, 0));
    }

    #[test]
    fn an_expandable_segment_has_more_addresses_than_the_device_has_memory() {
        assert_eq!(segment_range(64 << 30, 2 * MIB), 72 << 30);
        assert_eq!(segment_range(100 * MIB, 20 * MIB), 120 * MIB);
    }
}
