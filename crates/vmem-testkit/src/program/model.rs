//! What must be live, as plainly as it can be written down.

use vmem_core::{BlockLayout, Label, ReservationId};

use crate::finding::ensure;
use crate::{Finding, TrackedBlock};

/// The live blocks, in no order; each knows which bytes it must hold.
#[derive(Debug, Default)]
pub(super) struct Model {
    blocks: Vec<Entry>,
    live: Sum,
    drawn: Sum,
}

/// A live block, and the reservation that it was drawn from, if any.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) block: TrackedBlock,
    pub(super) drawn_from: Option<ReservationId>,
}

/// A number of blocks and their bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sum {
    pub(super) blocks: u64,
    pub(super) bytes: u64,
}

impl Sum {
    fn add(&mut self, bytes: u64) {
        self.blocks += 1;
        self.bytes += bytes;
    }

    fn subtract(&mut self, bytes: u64) {
        self.blocks -= 1;
        self.bytes -= bytes;
    }
}

impl Model {
    /// Takes up a block that the resource has just issued.
    pub(super) fn admit(
        &mut self,
        entry: Entry,
        layout: BlockLayout,
        label: Label,
    ) -> Result<(), Finding> {
        let block = &entry.block;
        let (ptr, size) = (block.ptr(), layout.size());
        ensure!(
            block.layout() == layout && ptr.is_aligned_to(layout.alignment()),
            "asked for {layout}, got {} at {ptr}",
            block.layout()
        );
        ensure!(block.label() == label, "asked under {label:?}, got {:?}", block.label());
        let Some(end) = ptr.checked_add(size) else {
            return Err(Finding::new(format!("{size} B at {ptr} wrap around")));
        };
        for Entry { block: other, .. } in &self.blocks {
            let other_end = other.ptr().get() + other.size();
            ensure!(
                end.get() <= other.ptr().get() || other_end <= ptr.get(),
                "{size} B at {ptr} overlap the live {} B at {}",
                other.size(),
                other.ptr()
            );
        }
        self.put_back(entry);
        Ok(())
    }

    /// The place of some live block, if there is any.
    pub(super) fn pick(&self, any: usize) -> Option<usize> {
        any.checked_rem(self.blocks.len())
    }

    /// The block at a place that [`pick`](Self::pick) named.
    pub(super) fn at(&mut self, place: usize) -> &mut TrackedBlock {
        &mut self.blocks[place].block
    }

    /// The block at an earlier place, and the one admitted last.
    pub(super) fn at_and_newest(
        &mut self,
        place: usize,
    ) -> Option<(&mut TrackedBlock, &mut TrackedBlock)> {
        let (newest, earlier) = self.blocks.split_last_mut()?;
        Some((&mut earlier.get_mut(place)?.block, &mut newest.block))
    }

    /// Removes the block at a place.
    pub(super) fn remove(&mut self, place: usize) -> Entry {
        let entry = self.blocks.swap_remove(place);
        let size = entry.block.size();
        self.live.subtract(size);
        if entry.drawn_from.is_some() {
            self.drawn.subtract(size);
        }
        entry
    }

    /// Takes up a block, if again because it could not be freed.
    pub(super) fn put_back(&mut self, entry: Entry) {
        let size = entry.block.size();
        self.live.add(size);
        if entry.drawn_from.is_some() {
            self.drawn.add(size);
        }
        self.blocks.push(entry);
    }

    /// The live blocks.
    pub(super) fn live(&self) -> Sum {
        self.live
    }

    /// Those of them that were drawn from reservations.
    pub(super) fn drawn(&self) -> Sum {
        self.drawn
    }
}
