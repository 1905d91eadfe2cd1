//! Memory of live blocks that goes to the host and comes back: of single blocks, and by label.

#![expect(unsafe_code, reason = "moving live memory is a promise about its uses")]

use vmem_core::{
    Contents, Label, Moved, Residency, ResidencyError, ResidencyErrorKind, Stream, chain,
};
use vmem_pool::Pending;
use vmem_testkit::{Finding, TrackedBlock};

use super::stack::RandomStack;

/// The blocks of one thread that have a label of their own, which nobody else uses.
#[derive(Debug)]
pub(super) struct Sleepers {
    pub(super) label: Label,
    pub(super) blocks: Vec<TrackedBlock>,
}

impl Sleepers {
    /// Those of the thread of this number.
    pub(super) fn new(thread: usize) -> Self {
        Self { label: Label::intern(&format!("sleepers {thread}")), blocks: Vec::new() }
    }
}

impl RandomStack {
    /// Has the memory of a block rest on the host, or be the device's again (`wakes`), if it is all of a
    /// block of the pool's. Writes the block first, and waits for that.
    ///
    /// # Errors
    /// Any but for want of room, or because the pool's memory cannot move.
    pub(super) fn rest_block(
        &self,
        block: &mut TrackedBlock,
        stream: &Stream,
        wakes: bool,
    ) -> Result<(), Finding> {
        // What was drawn from memory set aside may share its block with what others use.
        let whole =
            self.pool.block_at(block.ptr()).filter(|raw| raw.layout().size() == block.size());
        let Some(raw) = whole else { return Ok(()) };
        block.write(stream)?;
        stream.synchronize()?;
        let moved = match wakes {
            // SAFETY: contract, moving/nothing-pending: the write came after all other uses, it was waited
            // for, and nobody else uses the block.
            true => unsafe { self.pool.promote(&[raw]) },
            // SAFETY: contract, moving/nothing-pending: as above.
            false => unsafe { self.pool.demote(&[raw], Contents::Kept) },
        };
        moved_or_no_room(moved).map(|_| ())
    }

    /// Puts a thread's blocks to sleep, or wakes them, by their label; then looks what they hold. Returns
    /// whether any memory moved. Not where freed blocks are cleared: another thread may do that, and they
    /// have their label until then.
    ///
    /// # Errors
    /// Any but for want of room, or because the pool's memory cannot move; blocks that hold something else.
    pub(super) fn nap(
        &self,
        sleepers: &mut Sleepers,
        stream: &Stream,
        wakes: bool,
    ) -> Result<bool, Finding> {
        if self.clears_freed() {
            return Ok(false);
        }
        for block in &mut sleepers.blocks {
            block.write(stream)?;
        }
        let label = Some(sleepers.label);
        let moved = match wakes {
            // SAFETY: contract, moving/nothing-pending: what is pending is waited for, and only this
            // thread uses blocks of this label.
            true => unsafe { self.pool.wake(label, Pending::Wait) },
            // SAFETY: contract, moving/nothing-pending: as above.
            false => unsafe { self.pool.sleep(label, Contents::Kept, Pending::Wait) },
        };
        let moved = moved_or_no_room(moved)?;
        for block in &mut sleepers.blocks {
            block.verify(stream)?;
        }
        Ok(moved.copied > 0)
    }
}

fn moved_or_no_room(moved: Result<Moved, ResidencyError>) -> Result<Moved, Finding> {
    use ResidencyErrorKind::{DeviceFull, HostFull, Unsupported};
    moved.or_else(|error| match error.kind() {
        DeviceFull | HostFull | Unsupported => Ok(Moved::default()),
        _ => Err(Finding::new(chain(&error).to_string())),
    })
}
