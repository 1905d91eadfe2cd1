//! One range of addresses and the state it is in.

use std::num::NonZeroU32;

use vmem_core::{BlockLayout, Label};

use super::{GRAIN, Span, StreamIx, Tag};

/// Which range. Four bytes, and four with `Option` around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slot(NonZeroU32);

impl Slot {
    /// Below every other slot.
    pub(super) const MIN: Self = Self(NonZeroU32::MIN);

    /// The slot of this index, of which zero is nobody's.
    ///
    /// # Panics
    /// At zero, and from 2³² on.
    #[inline]
    pub(super) fn at(index: usize) -> Self {
        let raw = u32::try_from(index).ok().and_then(NonZeroU32::new);
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
        self.0.get() as usize
    }

    /// Where a neighbour is: at index zero, where a range is that never joins, if there is none.
    #[inline]
    pub(super) fn index_of(neighbour: Option<Self>) -> usize {
        neighbour.map_or(0, Self::index)
    }
}

/// The states of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RangeState {
    /// In a block.
    Live,
    /// Free, and in its lane's index, but for the one that changed last.
    Free(Tag),
    /// Not mapped to memory.
    Unmapped,
    /// Mapped to memory that is in use at another address, or away from the device. What used it here is
    /// as the tag says.
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

    /// Whether it is in no block and nobody works on it.
    pub(crate) const fn is_unused(self) -> bool {
        matches!(self, Self::Free(_) | Self::Dormant(_))
    }

    /// The tag of a free range.
    #[inline]
    pub(crate) const fn tag(self) -> Option<Tag> {
        match self {
            Self::Free(tag) => Some(tag),
            _ => None,
        }
    }

    /// The tag of what is mapped to memory that is used elsewhere, or away.
    #[inline]
    pub(crate) const fn dormant(self) -> Option<Tag> {
        match self {
            Self::Dormant(tag) => Some(tag),
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

/// A range of addresses: 40 bytes, of which some mean one thing while it is free and another while it
/// is a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    pub(crate) start: u64,
    /// Free or dormant: the tag's epoch. Live: the size asked for.
    word: u64,
    /// Its size.
    grains: u32,
    pub(crate) prev: Option<Slot>,
    pub(crate) next: Option<Slot>,
    /// Counts the blocks that this slot has been.
    generation: u32,
    /// In an index: where in its size class. Live: the label.
    detail: u32,
    kind: Kind,
}

const _: () = assert!(size_of::<Range>() == 40, "as documented");

/// A [`RangeState`] in one word, so that one comparison tells whether two free ranges join: which state,
/// and above that the lane of a free or dormant range, and of a live one the binary logarithm of the
/// alignment asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind(u32);

/// Bits that say which state it is.
const BITS: u32 = 3;
const MASK: u32 = (1 << BITS) - 1;
/// Above these, of a live range, is the binary logarithm of an alignment, and above that its home.
const ALIGNMENTS: u32 = 63;
pub(super) const HOME: u32 = BITS + 6;

impl Kind {
    const VACANT: Self = Self(0);
    const CLAIMED: Self = Self(1);
    const UNMAPPED: Self = Self(2);
    const LIVE: u32 = 3;
    const FREE: u32 = 4;
    const DORMANT: u32 = 5;
    /// Live, and some of its memory is not the device's, or on its way.
    const RESTING: u32 = 7;

    /// Of a free range of this lane.
    #[inline]
    pub(super) const fn free(lane: StreamIx) -> Self {
        Self(lane.0 << BITS | Self::FREE)
    }

    #[inline]
    const fn of(state: RangeState) -> Self {
        match state {
            RangeState::Live => Self(Self::LIVE),
            RangeState::Free(tag) => Self::free(tag.lane),
            RangeState::Unmapped => Self::UNMAPPED,
            RangeState::Dormant(tag) => Self(tag.lane.0 << BITS | Self::DORMANT),
            RangeState::Claimed => Self::CLAIMED,
            RangeState::Vacant => Self::VACANT,
        }
    }

    /// Of a block of this layout that was taken for this lane.
    #[inline]
    const fn live(layout: BlockLayout, home: StreamIx) -> Self {
        Self(home.0 << HOME | layout.alignment().trailing_zeros() << BITS | Self::LIVE)
    }

    #[inline]
    const fn rest(self) -> u32 {
        self.0 >> BITS
    }
}

impl Range {
    /// A range of so many bytes, in whole grains, up to [`MOST`](super::MOST).
    #[inline]
    pub(super) fn new(span: Span, state: RangeState) -> Self {
        let mut range = Self::between(span.start, grains(span.size), None, None);
        range.set_state(state);
        range
    }

    /// A claimed one with these neighbours.
    #[inline]
    pub(super) const fn between(
        start: u64,
        grains: u32,
        prev: Option<Slot>,
        next: Option<Slot>,
    ) -> Self {
        let kind = Kind::CLAIMED;
        Self { start, word: 0, grains, prev, next, generation: 0, detail: 0, kind }
    }

    /// The state of it and its upper neighbour joined, if they may be.
    #[inline]
    pub(super) fn joined(&self, next: &Self) -> Option<RangeState> {
        self.state().joined(next.state())
    }

    /// Its length in bytes.
    #[inline]
    pub(crate) const fn size(&self) -> u64 {
        self.grains as u64 * GRAIN
    }

    #[inline]
    pub(super) const fn grains(&self) -> u32 {
        self.grains
    }

    /// It begins and ends elsewhere from now on.
    #[inline]
    pub(super) const fn resize(&mut self, start: u64, grains: u32) {
        self.start = start;
        self.grains = grains;
    }

    #[inline]
    pub(crate) const fn end(&self) -> u64 {
        self.start + self.size()
    }

    #[inline]
    pub(crate) const fn span(&self) -> Span {
        Span::new(self.start, self.size())
    }

    #[inline]
    pub(super) const fn kind(&self) -> Kind {
        self.kind
    }

    #[inline]
    pub(crate) const fn state(&self) -> RangeState {
        let tag = Tag { lane: StreamIx(self.kind.rest()), epoch: self.word };
        match self.kind.0 & MASK {
            Kind::LIVE | Kind::RESTING => RangeState::Live,
            Kind::FREE => RangeState::Free(tag),
            Kind::DORMANT => RangeState::Dormant(tag),
            state if state == Kind::UNMAPPED.0 => RangeState::Unmapped,
            state if state == Kind::CLAIMED.0 => RangeState::Claimed,
            _ => RangeState::Vacant,
        }
    }

    #[inline]
    pub(super) const fn set_state(&mut self, state: RangeState) {
        self.kind = Kind::of(state);
        if let RangeState::Free(tag) | RangeState::Dormant(tag) = state {
            self.word = tag.epoch;
        }
    }

    /// The epoch of a free range's tag.
    #[inline]
    pub(super) const fn epoch(&self) -> u64 {
        self.word
    }

    /// A free range of the same lane was joined to this one.
    #[inline]
    pub(super) fn raise_epoch(&mut self, epoch: u64) {
        self.word = self.word.max(epoch);
    }

    /// The lane that a live range was taken for.
    #[inline]
    pub(crate) const fn home(&self) -> StreamIx {
        StreamIx(self.kind.0 >> HOME)
    }

    #[inline]
    pub(crate) const fn is_live(&self) -> bool {
        self.kind.0 & Kind::LIVE == Kind::LIVE
    }

    /// Whether it is a block of which some memory is not the device's, or on its way.
    pub(crate) const fn is_resting(&self) -> bool {
        self.kind.0 & MASK == Kind::RESTING
    }

    /// Notes of a block whether it is [resting](Self::is_resting).
    pub(super) const fn set_resting(&mut self, resting: bool) {
        let state = if resting { Kind::RESTING } else { Kind::LIVE };
        self.kind = Kind(self.kind.0 & !MASK | state);
    }

    /// Whether a resting range is the block at this address, of that generation and layout; if so, it ends.
    pub(super) const fn end_resting(
        &mut self,
        start: u64,
        generation: u32,
        layout: BlockLayout,
    ) -> bool {
        if !self.is_resting() {
            return false;
        }
        self.set_resting(false);
        let ended = self.end_block(start, generation, layout, self.home());
        self.set_resting(true);
        ended
    }

    /// The lane of a free or dormant range.
    #[inline]
    pub(super) const fn lane(&self) -> StreamIx {
        StreamIx(self.kind.rest())
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

    /// Puts another range into this slot, which counts on.
    #[inline]
    pub(super) const fn replace(&mut self, range: Self) {
        *self = Self { generation: self.generation, ..range };
    }

    /// Makes the range a block and returns its generation.
    #[inline]
    pub(super) const fn begin_block(
        &mut self,
        layout: BlockLayout,
        label: Label,
        home: StreamIx,
    ) -> u32 {
        self.kind = Kind::live(layout, home);
        self.word = layout.size();
        self.detail = label.index();
        self.generation
    }

    /// Whether the range is the block at this address, of that generation and layout, taken for that lane; if
    /// so, it ends.
    #[inline]
    pub(super) const fn end_block(
        &mut self,
        start: u64,
        generation: u32,
        layout: BlockLayout,
        home: StreamIx,
    ) -> bool {
        let kind = Kind::live(layout, home);
        let same = self.start == start
            && self.kind.0 == kind.0
            && self.generation == generation
            && self.word == layout.size();
        self.generation = self.generation.wrapping_add(same as u32);
        same
    }

    /// What the owner of a block was told: its layout, label and generation. `None` if the range is
    /// not live.
    pub(crate) fn block(&self) -> Option<(BlockLayout, Label, u32)> {
        if !self.is_live() {
            return None;
        }
        let layout =
            BlockLayout::with_alignment(self.word, 1 << (self.kind.rest() & ALIGNMENTS)).ok()?;
        Some((layout, Label::from_index(self.detail)?, self.generation))
    }
}

/// A size that a range may have, in grains.
///
/// # Panics
/// Above [`MOST`](super::MOST).
#[inline]
pub(super) fn grains(size: u64) -> u32 {
    u32::try_from(size / GRAIN).expect("a range is below 1 TiB")
}
