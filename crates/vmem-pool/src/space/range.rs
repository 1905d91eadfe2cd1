//! One range of addresses and the state it is in.

use std::num::NonZeroU32;

use crate::sabotage;

/// The index of a range. Four bytes, and four with `Option` around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slot(NonZeroU32);

impl Slot {
    /// Below every other slot.
    pub(super) const MIN: Self = Self(NonZeroU32::MIN);

    /// The slot of this index.
    ///
    /// # Panics
    /// From 2³² − 1 on.
    #[inline]
    pub(super) fn at(index: usize) -> Self {
        let raw = u32::try_from(index + 1).ok().and_then(NonZeroU32::new);
        Self(raw.expect("fewer than 2^32 ranges"))
    }

    /// The slot that a block carries, unless no slot has that number.
    #[inline]
    pub(crate) const fn from_raw(raw: u32) -> Option<Self> {
        match NonZeroU32::new(raw) {
            Some(raw) => Some(Self(raw)),
            None => None,
        }
    }

    #[inline]
    pub(crate) const fn raw(self) -> u32 {
        self.0.get()
    }

    #[inline]
    pub(crate) const fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// Which lane last freed a range, and in which of its epochs. Epoch 0 was before any work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) lane: u32,
    pub(crate) epoch: u64,
}

/// What a range is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// In a block.
    Live,
    /// Free, and in its lane's index.
    Free(Tag),
    /// Not mapped to memory.
    Hole,
    /// Mapped to memory that is in use at another address. What used it here is as the tag says.
    Dormant(Tag),
    /// Being worked on by one thread.
    Claimed,
    /// No range: the slot is unused.
    Vacant,
}

impl State {
    #[inline]
    pub(super) const fn is_indexed(self) -> bool {
        matches!(self, Self::Free(_) | Self::Hole | Self::Dormant(_))
    }

    /// The tag of a free range.
    #[inline]
    pub(crate) const fn tag(self) -> Option<Tag> {
        match self {
            Self::Free(tag) => Some(tag),
            _ => None,
        }
    }

    #[inline]
    pub(crate) const fn is_live(self) -> bool {
        matches!(self, Self::Live)
    }

    /// The state of two neighbours joined, if they may be.
    #[inline]
    pub(super) fn joined(self, next: Self) -> Option<Self> {
        match (self, next) {
            (Self::Free(a), Self::Free(b)) if a.lane == b.lane || sabotage::coalesce_lanes() => {
                Some(Self::Free(Tag { lane: a.lane, epoch: a.epoch.max(b.epoch) }))
            }
            (Self::Hole, Self::Hole) => Some(Self::Hole),
            (Self::Dormant(a), Self::Dormant(b)) if a.lane == b.lane => {
                Some(Self::Dormant(Tag { lane: a.lane, epoch: a.epoch.max(b.epoch) }))
            }
            _ => None,
        }
    }
}

/// A range of addresses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    pub(crate) start: u64,
    pub(crate) size: u64,
    pub(crate) prev: Option<Slot>,
    pub(crate) next: Option<Slot>,
    /// Where it is in its size class, while it is in an index.
    pub(super) place: u32,
    pub(crate) state: State,
}

impl Range {
    #[inline]
    pub(super) const fn new(start: u64, size: u64, state: State) -> Self {
        Self { start, size, prev: None, next: None, place: 0, state }
    }
}

impl Range {
    #[inline]
    pub(crate) const fn end(&self) -> u64 {
        self.start + self.size
    }

    #[inline]
    pub(crate) const fn extent(&self) -> (u64, u64) {
        (self.start, self.size)
    }

    pub(crate) const fn tag(&self) -> Option<Tag> {
        self.state.tag()
    }
}
