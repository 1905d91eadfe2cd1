//! Which ranges are live blocks, and what their owners were told.

use vmem_core::{Block, BlockLayout, DevicePtr, Label, RawBlock, Request, ResourceId};

use super::State;
use crate::lanes::{CLEAN, Reuse};
use crate::space::{Need, Slot, Space, State as Range, Tag};

/// What the pool remembers of each slot's block, beside the range itself.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    infos: Vec<Info>,
}

#[derive(Debug, Clone, Copy)]
struct Info {
    layout: BlockLayout,
    label: Label,
    /// Counts the blocks that this slot has been.
    generation: u32,
}

impl Blocks {
    /// Starts a block in `slot` and returns its generation.
    #[inline]
    fn start(&mut self, slot: Slot, layout: BlockLayout, label: Label) -> u32 {
        let index = slot.index();
        if self.infos.len() <= index {
            self.infos.resize(index + 1, Info { layout, label, generation: 0 });
        }
        let info = &mut self.infos[index];
        info.layout = layout;
        info.label = label;
        info.generation
    }

    /// What the owner of a live range was told.
    pub(crate) fn describe(&self, slot: Slot) -> Option<(BlockLayout, Label)> {
        self.infos.get(slot.index()).map(|info| (info.layout, info.label))
    }

    /// The raw parts of the live block that starts at `ptr`.
    pub(crate) fn find(
        &self,
        ptr: DevicePtr,
        space: &Space,
        owner: ResourceId,
    ) -> Option<RawBlock> {
        let slot = space.find(ptr.get())?;
        let info = self.infos.get(slot.index())?;
        let Info { layout, label, generation } = *info;
        Some(RawBlock { ptr, layout, owner, slot: slot.raw(), generation, label })
    }
}

impl State {
    /// Ends the block that `raw` describes and returns its slot; `None` if it is not live.
    #[inline]
    pub(super) fn take_back(&mut self, raw: &RawBlock) -> Option<Slot> {
        let slot = Slot::from_raw(raw.slot)?;
        let range = self.space.get(slot)?;
        let info = self.blocks.infos.get_mut(slot.index())?;
        let same = range.state.is_live()
            && range.start == raw.ptr.get()
            && info.generation == raw.generation
            && info.layout == raw.layout;
        info.generation = info.generation.wrapping_add(u32::from(same));
        same.then_some(slot)
    }

    /// Takes the best fit from the lane's own memory, or else from memory that no pending work
    /// touches. The result is claimed.
    #[inline]
    pub(crate) fn hit(&mut self, lane: u32, need: Need) -> Option<Slot> {
        match self.lanes.reuse() {
            Reuse::StreamOrdered => {
                let own = self.space.take_best(lane, need, None);
                let rest = Tag { lane, epoch: 0 };
                own.or_else(|| self.space.take_best(CLEAN.lane, need, Some(rest)))
            }
            Reuse::Observed => self.space.take_best(CLEAN.lane, need, None),
        }
    }

    /// Cuts a claimed range to what a request needs; the rest is free with the tag `rest`.
    pub(crate) fn fit(&mut self, slot: Slot, need: Need, rest: Tag) {
        let range = self.space[slot];
        let at = need.place(range.start, range.size).expect("a claimed range fits its request");
        self.space.cut(slot, at, need.size, Range::Free(rest));
    }

    /// Turns a claimed range into a block.
    #[inline]
    pub(crate) fn issue(&mut self, slot: Slot, request: &Request<'_>, owner: ResourceId) -> Block {
        self.space.make_live(slot);
        let Request { layout, label, .. } = *request;
        let generation = self.blocks.start(slot, layout, label);
        self.counters.allocations += 1;
        self.counters.live += layout.size();
        self.counters.peak_live = self.counters.peak_live.max(self.counters.live);
        self.note_need();
        let ptr = DevicePtr::new(self.space[slot].start).expect("a range does not start at zero");
        let raw = RawBlock { ptr, layout, owner, slot: slot.raw(), generation, label };
        // SAFETY: contract, implementing 1: the range was claimed until now, so no other block has it, and its
        // generation has not been issued before.
        unsafe { Block::from_raw(raw) }
    }
}
