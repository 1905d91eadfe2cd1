//! Blocks of memory, and the door to and from their raw parts.

use crate::{BlockLayout, DevicePtr, Label, ResourceId};

/// A live block of memory issued by a [`MemoryResource`](crate::MemoryResource).
///
/// Move-only, so that freeing twice or with a wrong size does not compile. It has no `Drop`:
/// dropping a block without [`deallocate`](crate::MemoryResource::deallocate) leaks its memory until the
/// resource's end. Use [`DeviceBuffer`](crate::DeviceBuffer) for memory that frees itself.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "dropping a block leaks its memory; give it back to its resource"]
pub struct Block {
    raw: RawBlock,
}

/// The parts of a [`Block`], for edges that must carry one through foreign code, and for whoever
/// issues blocks.
///
/// Copying these out is safe; only [`Block::from_raw`] is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct RawBlock {
    ptr: DevicePtr,
    layout: BlockLayout,
    owner: ResourceId,
    slot: u32,
    generation: u32,
    label: Label,
}

impl RawBlock {
    /// The parts of a block of `layout` at `ptr`, issued by `owner` under `slot` and `generation`.
    #[inline]
    pub const fn new(
        ptr: DevicePtr,
        layout: BlockLayout,
        owner: ResourceId,
        slot: u32,
        generation: u32,
        label: Label,
    ) -> Self {
        Self { ptr, layout, owner, slot, generation, label }
    }

    /// The block's address.
    #[inline]
    pub const fn ptr(&self) -> DevicePtr {
        self.ptr
    }

    /// The size and alignment asked for.
    #[inline]
    pub const fn layout(&self) -> BlockLayout {
        self.layout
    }

    /// The resource that issued it.
    #[inline]
    pub const fn owner(&self) -> ResourceId {
        self.owner
    }

    /// The owner's index for it.
    #[inline]
    pub const fn slot(&self) -> u32 {
        self.slot
    }

    /// The number of earlier uses of that slot. A [`BlockTable`](crate::author::BlockTable)
    /// uses no slot more than 2³² times; a pool's count comes round then, so that a block freed
    /// twice, against the contract, with exactly so many uses of its slot between, is not noticed.
    #[inline]
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// The label of the memory.
    #[inline]
    pub const fn label(&self) -> Label {
        self.label
    }

    /// Returns it with another address.
    #[must_use]
    pub const fn with_ptr(self, ptr: DevicePtr) -> Self {
        Self { ptr, ..self }
    }

    /// Returns it with another layout.
    #[must_use]
    pub const fn with_layout(self, layout: BlockLayout) -> Self {
        Self { layout, ..self }
    }

    /// Returns it with another slot of its owner's.
    #[must_use]
    pub const fn with_slot(self, slot: u32) -> Self {
        Self { slot, ..self }
    }

    /// Returns it with another generation of its slot.
    #[must_use]
    pub const fn with_generation(self, generation: u32) -> Self {
        Self { generation, ..self }
    }
}

impl Block {
    /// A block from its raw parts.
    ///
    /// A resource calls this to issue a block; foreign code calls it to get back a block that it
    /// took apart with [`into_raw`](Self::into_raw).
    ///
    /// # Safety
    /// At most one `Block` of these parts exists at a time, and they are those of a live block, as
    /// the [implementing](crate::contract#implementing) clauses define it. (The owner still refuses
    /// a stale or foreign block, but the memory may meanwhile have been reused by others.)
    #[inline]
    pub const unsafe fn from_raw(raw: RawBlock) -> Self {
        Self { raw }
    }

    /// Takes the block apart without freeing it.
    #[inline]
    pub const fn into_raw(self) -> RawBlock {
        self.raw
    }

    /// The parts, without giving up the block.
    #[inline]
    pub const fn raw(&self) -> RawBlock {
        self.raw
    }

    /// The block's address.
    #[inline]
    pub const fn ptr(&self) -> DevicePtr {
        self.raw.ptr
    }

    /// The size and alignment asked for.
    #[inline]
    pub const fn layout(&self) -> BlockLayout {
        self.raw.layout
    }

    /// The size asked for, in bytes.
    #[inline]
    pub const fn size(&self) -> u64 {
        self.raw.layout.size()
    }

    /// The resource that issued it.
    #[inline]
    pub const fn owner(&self) -> ResourceId {
        self.raw.owner
    }

    /// The label of the memory.
    #[inline]
    pub const fn label(&self) -> Label {
        self.raw.label
    }
}
