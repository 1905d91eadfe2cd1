//! Where the memory of a block is.

use vmem_core::{RawBlock, Residence};

use super::Core;
use crate::supply::Backing;

impl<B: Backing> Core<B> {
    /// Where the memory of a block is; `None` if it is not a live one.
    pub(super) fn residence_of(&self, block: &RawBlock) -> Option<Residence> {
        if block.owner() != self.streams.id {
            return None;
        }
        let mut state = self.streams.lock();
        let slot = state.space.slot_of(block)?;
        let (memory, lanes) = state.memory();
        Some(memory.residence(slot, &|tag| lanes.is_complete(tag)))
    }
}
