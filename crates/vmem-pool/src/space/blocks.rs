//! Ranges as blocks.

use vmem_core::{BlockLayout, Label, RawBlock};

use super::ranges::Ranges;
use super::{RangeState, Slot, StreamIx};

impl Ranges {
    /// Makes a claimed range a block and returns its generation.
    #[inline(always)]
    pub(crate) fn begin_block(
        &mut self,
        slot: Slot,
        layout: BlockLayout,
        label: Label,
        home: StreamIx,
    ) -> u32 {
        debug_assert!(self[slot].state() == RangeState::Claimed);
        self.at(slot).begin_block(layout, label, home)
    }

    /// Ends the block that `raw` describes, whose range stays live until it is freed. `None` if it
    /// is not a block of these.
    #[inline(always)]
    pub(crate) fn end_block(&mut self, raw: &RawBlock, home: StreamIx) -> Option<Slot> {
        let slot = Slot::from_raw(raw.slot())?;
        let range = self.slots.get_mut(slot.index())?;
        let ended = range.end_block(raw.ptr().get(), raw.generation(), raw.layout(), home);
        ended.then_some(slot)
    }

    /// Notes of a block whether some of its memory is not the device's, or on its way. Such a block is
    /// ended by [`end_resting`](Self::end_resting) only.
    pub(crate) fn set_resting(&mut self, slot: Slot, resting: bool) {
        debug_assert!(self[slot].is_live());
        self.at(slot).set_resting(resting);
    }

    /// Ends the resting block that `raw` describes, whose range stays live until it is freed. `None` if
    /// there is no such block.
    pub(crate) fn end_resting(&mut self, raw: &RawBlock) -> Option<Slot> {
        let slot = Slot::from_raw(raw.slot())?;
        let range = self.slots.get_mut(slot.index())?;
        let ended = range.end_resting(raw.ptr().get(), raw.generation(), raw.layout());
        ended.then_some(slot)
    }

    /// The lane that the block was taken for, if it is one of these.
    pub(crate) fn home_of(&self, raw: &RawBlock) -> Option<StreamIx> {
        let range = self.slots.get(Slot::from_raw(raw.slot())?.index())?;
        range.is_live().then(|| range.home())
    }

    /// The slot of the live block that `raw` describes.
    pub(crate) fn slot_of(&self, raw: &RawBlock) -> Option<Slot> {
        let slot = Slot::from_raw(raw.slot())?;
        let range = self.get(slot)?;
        let (layout, _, generation) = range.block()?;
        let same = (layout, generation) == (raw.layout(), raw.generation());
        (same && range.start == raw.ptr().get()).then_some(slot)
    }

    /// The live range that starts at `start`. Steps as for [`covering`](Self::covering).
    pub(crate) fn find(&self, start: u64) -> Option<Slot> {
        let slot = self.covering(start)?;
        (self[slot].start == start && self[slot].is_live()).then_some(slot)
    }
}
