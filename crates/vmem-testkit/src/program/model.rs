//! What must be live, as plainly as it can be written down.

use vmem_core::{BlockLayout, Label};

use crate::finding::ensure;
use crate::{Finding, TrackedBlock};

/// The live blocks, in no order; each knows which bytes it must hold.
#[derive(Debug, Default)]
pub(super) struct Model {
    blocks: Vec<TrackedBlock>,
    live_bytes: u64,
}

impl Model {
    /// Takes up a block that the resource has just issued.
    pub(super) fn admit(
        &mut self,
        block: TrackedBlock,
        layout: BlockLayout,
        label: Label,
    ) -> Result<(), Finding> {
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
        for other in &self.blocks {
            let other_end = other.ptr().get() + other.size();
            ensure!(
                end.get() <= other.ptr().get() || other_end <= ptr.get(),
                "{size} B at {ptr} overlap the live {} B at {}",
                other.size(),
                other.ptr()
            );
        }
        self.put_back(block);
        Ok(())
    }

    /// The place of some live block, if there is any.
    pub(super) fn pick(&self, any: usize) -> Option<usize> {
        any.checked_rem(self.blocks.len())
    }

    /// The block at a place that [`pick`](Self::pick) named.
    pub(super) fn at(&mut self, place: usize) -> &mut TrackedBlock {
        &mut self.blocks[place]
    }

    /// The block at an earlier place, and the one admitted last.
    pub(super) fn at_and_newest(
        &mut self,
        place: usize,
    ) -> Option<(&mut TrackedBlock, &mut TrackedBlock)> {
        let (newest, earlier) = self.blocks.split_last_mut()?;
        Some((earlier.get_mut(place)?, newest))
    }

    /// Removes the block at a place.
    pub(super) fn remove(&mut self, place: usize) -> TrackedBlock {
        let block = self.blocks.swap_remove(place);
        self.live_bytes -= block.size();
        block
    }

    /// Takes up a block, if again because it could not be freed.
    pub(super) fn put_back(&mut self, block: TrackedBlock) {
        self.live_bytes += block.size();
        self.blocks.push(block);
    }

    /// The sum of the live blocks' sizes.
    pub(super) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }
}
