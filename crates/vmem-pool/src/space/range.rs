//! One range of addresses and the state it is in.

use std::num::NonZeroU32;

use vmem_core::{BlockLayout, Label};

/// Which range. Four bytes, and four with `Option` around it.
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
    pub(super) const fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// Which lane last freed a range, and in which of its epochs. Epoch 0 was before any work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) lane: u32,
    pub(crate) epoch: u64,
}

/// The states of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RangeState {
    /// In a block.
    Live,
    /// Free, and in its lane's index.
    Free(Tag),
    /// Not mapped to memory.
    Unmapped,
    /// Mapped to memory that is in use at another address. What used it here is as the tag says.
    Dormant(Tag),
    /// Being worked on by one thread.
    Claimed,
    /// No range: the slot is unused.
    Vacant,
}

impl RangeState {
    #[inline]
    pub(super) const fn is_indexed(self) -> bool {
        matches!(self, Self::Free(_) | Self::Unmapped | Self::Dormant(_))
    }

    /// The tag of a free range.
    #[inline]
    pub(crate) const fn tag(self) -> Option<Tag> {
        match self {
            Self::Free(tag) => Some(tag),
            _ => None,
        }
    }

    /// The state of two neighbours joined, if they may be.
    #[inline]
    pub(super) fn joined(self, next: Self) -> Option<Self> {
        match (self, next) {
            (Self::Free(a), Self::Free(b)) if a.lane == b.lane => {
                Some(Self::Free(Tag { lane: a.lane, epoch: a.epoch.max(b.epoch) }))
            }
            (Self::Unmapped, Self::Unmapped) => Some(Self::Unmapped),
            (Self::Dormant(a), Self::Dormant(b)) if a.lane == b.lane => {
                Some(Self::Dormant(Tag { lane: a.lane, epoch: a.epoch.max(b.epoch) }))
            }
            _ => None,
        }
    }
}

/// A range of addresses: 48 bytes, of which some mean one thing while it is free and another while it
/// is a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    pub(crate) start: u64,
    pub(crate) size: u64,
    /// Free or dormant: the tag's epoch. Live: the size asked for.
    word: u64,
    pub(crate) prev: Option<Slot>,
    pub(crate) next: Option<Slot>,
    /// Counts the blocks that this slot has been.
    generation: u32,
    /// In an index: where in its size class. Live: the label.
    detail: u32,
    /// Free or dormant: the tag's lane.
    lane: u32,
    kind: Kind,
    /// Live: the binary logarithm of the alignment asked for.
    alignment: u8,
}

/// A [`RangeState`] without its tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Live,
    Free,
    Unmapped,
    Dormant,
    Claimed,
    Vacant,
}

impl Range {
    #[inline]
    pub(super) fn new(start: u64, size: u64, state: RangeState) -> Self {
        let mut range = Self {
            start,
            size,
            word: 0,
            prev: None,
            next: None,
            generation: 0,
            detail: 0,
            lane: 0,
            kind: Kind::Vacant,
            alignment: 0,
        };
        range.set_state(state);
        range
    }

    /// The same with these neighbours.
    #[inline]
    pub(super) const fn between(self, prev: Option<Slot>, next: Option<Slot>) -> Self {
        Self { prev, next, ..self }
    }

    /// The state of it and its upper neighbour joined, if they may be.
    #[inline]
    pub(super) fn joined(&self, next: &Self) -> Option<RangeState> {
        self.state().joined(next.state())
    }

    #[inline]
    pub(crate) const fn end(&self) -> u64 {
        self.start + self.size
    }

    #[inline]
    pub(crate) const fn extent(&self) -> (u64, u64) {
        (self.start, self.size)
    }

    #[inline]
    pub(crate) const fn state(&self) -> RangeState {
        let tag = Tag { lane: self.lane, epoch: self.word };
        match self.kind {
            Kind::Live => RangeState::Live,
            Kind::Free => RangeState::Free(tag),
            Kind::Unmapped => RangeState::Unmapped,
            Kind::Dormant => RangeState::Dormant(tag),
            Kind::Claimed => RangeState::Claimed,
            Kind::Vacant => RangeState::Vacant,
        }
    }

    #[inline]
    pub(super) fn set_state(&mut self, state: RangeState) {
        self.kind = match state {
            RangeState::Live => Kind::Live,
            RangeState::Free(_) => Kind::Free,
            RangeState::Unmapped => Kind::Unmapped,
            RangeState::Dormant(_) => Kind::Dormant,
            RangeState::Claimed => Kind::Claimed,
            RangeState::Vacant => Kind::Vacant,
        };
        if let RangeState::Free(tag) | RangeState::Dormant(tag) = state {
            self.lane = tag.lane;
            self.word = tag.epoch;
        }
    }

    /// The epoch of its tag, if it is free memory of this lane.
    #[inline]
    pub(super) fn free_of(&self, lane: u32) -> Option<u64> {
        let free = self.kind == Kind::Free && self.lane == lane;
        free.then_some(self.word)
    }

    /// A free range of the same lane was joined to this one.
    #[inline]
    pub(super) fn raise_epoch(&mut self, epoch: u64) {
        self.word = self.word.max(epoch);
    }

    #[inline]
    pub(crate) const fn is_live(&self) -> bool {
        matches!(self.kind, Kind::Live)
    }

    #[inline]
    pub(crate) const fn tag(&self) -> Option<Tag> {
        self.state().tag()
    }

    /// Where an indexed range is in its size class.
    #[inline]
    pub(super) const fn position(&self) -> u32 {
        self.detail
    }

    #[inline]
    pub(super) const fn set_position(&mut self, position: u32) {
        self.detail = position;
    }

    /// Puts the range into a slot that was another one before, which has been that many blocks.
    #[inline]
    pub(super) const fn in_slot_of(self, before: &Self) -> Self {
        Self { generation: before.generation, ..self }
    }

    /// Makes the range a block and returns its generation.
    #[inline]
    pub(super) fn begin_block(&mut self, layout: BlockLayout, label: Label) -> u32 {
        self.kind = Kind::Live;
        self.word = layout.size();
        self.detail = label.index();
        // At most 63.
        self.alignment = layout.alignment().trailing_zeros().to_le_bytes()[0];
        self.generation
    }

    /// Whether the live range is the block of that generation and layout; if so, it ends.
    #[inline]
    pub(super) fn end_block(&mut self, generation: u32, layout: BlockLayout) -> bool {
        let same = self.generation == generation
            && self.word == layout.size()
            && 1 << self.alignment == layout.alignment();
        self.generation = self.generation.wrapping_add(u32::from(same));
        same
    }

    /// What the owner of a block was told: its layout, label and generation. `None` if the range is
    /// not live.
    pub(crate) fn block(&self) -> Option<(BlockLayout, Label, u32)> {
        if !self.is_live() {
            return None;
        }
        let layout = BlockLayout::with_alignment(self.word, 1 << self.alignment).ok()?;
        Some((layout, Label::from_index(self.detail)?, self.generation))
    }
}

const _: () = assert!(size_of::<Range>() == 48, "as documented");
