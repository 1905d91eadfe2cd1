//! A look inside a resource under test.

use std::fmt::Debug;

use vmem_core::{AllocError, BlockLayout, DevicePtr, Label, ReservationId, Stream};

use crate::Finding;

/// A look inside a resource, which its own tests give the kit. All methods are optional.
///
/// `()` is the probe that knows nothing.
pub trait Probe: Debug + Sync {
    /// Panics if the resource's internal invariants do not hold. Called after every operation, on
    /// several threads at once where a check uses several.
    fn check_invariants(&self) {}

    /// Compares figures of the resource's own with what they must be. Called after every operation
    /// of a program.
    ///
    /// # Errors
    /// The first figure that is wrong.
    fn check_figures(&self, _expected: &Ledger) -> Result<(), Finding> {
        Ok(())
    }

    /// The resource's own count of live bytes, which must equal the sum of the live blocks'
    /// requested sizes.
    fn live_bytes(&self) -> Option<u64> {
        None
    }

    /// Bytes the resource holds from its upstream or device.
    fn reserved_bytes(&self) -> Option<u64> {
        None
    }

    /// The most bytes the resource may hold: what [`reserved_bytes`](Self::reserved_bytes), and the
    /// live bytes, never exceed.
    fn ceiling(&self) -> Option<u64> {
        None
    }

    /// Whether the resource has room for such a block for certain, whatever else it is asked for:
    /// then it must serve it. False if that is not known.
    fn has_room_for(&self, _layout: BlockLayout) -> bool {
        false
    }

    /// What the device's memory holds until it is first written, if the resource clears memory between
    /// owners: blocks that are not drawn from memory set aside then hold this or zeros, and a free that
    /// fails may have cleared its block.
    fn cleared(&self) -> Option<u8> {
        None
    }

    /// Bytes that caches of the subject's own hold.
    fn cached_bytes(&self) -> u64 {
        0
    }

    /// Gives unused memory back, in whatever way the resource has. Programs call it between other
    /// operations.
    fn trim(&self) {}

    /// Waits for the whole device on the resource's behalf, if it has a way to be told so: what was
    /// freed on the default stream of a thread that has ended since can be had again then. Nothing
    /// captures meanwhile.
    fn synchronize(&self) {}

    /// Has the memory of live blocks rest on the host, with its contents, or be the device's again
    /// (`wakes`), if the resource has a way to be told so: of those under a label, or of all. Work on the
    /// blocks may be pending. Afterwards all of them can be used, wherever they are.
    fn rest(&self, _label: Option<Label>, _wakes: bool) {}

    /// Lets a cache of the subject's own take a block of this size. Does nothing if it has none.
    fn fill_cache(&self, _bytes: u64, _stream: &Stream) {}

    /// Changes how many bytes may be live from now on. False if the resource has no such limit.
    fn set_limit(&self, _bytes: u64) -> bool {
        false
    }

    /// Sets memory aside; `None` if the resource cannot.
    fn reserve(
        &self,
        _bytes: u64,
        _stream: &Stream,
    ) -> Option<Result<Box<dyn SetAside>, AllocError>> {
        None
    }
}

impl Probe for () {}

/// Memory set aside for requests that name it, until this is dropped.
pub trait SetAside: Debug {
    /// What requests name.
    fn id(&self) -> ReservationId;

    /// How much was set aside, in bytes.
    fn size(&self) -> u64;

    /// The largest request, at the default alignment, that can be drawn now, in bytes.
    fn largest(&self) -> u64;

    /// Whether an address lies in it.
    fn contains(&self, ptr: DevicePtr) -> bool;
}

/// The bytes that must be live at one moment, as requested; the argument of [`Probe::check_figures`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Ledger {
    /// The live blocks, those drawn from memory that was set aside included.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of the live blocks, those that were drawn.
    pub drawn_blocks: u64,
    /// Their bytes.
    pub drawn_bytes: u64,
    /// The stretches of memory that are set aside, or still have a block drawn from them.
    pub held: u64,
    /// Their bytes.
    pub held_bytes: u64,
    /// The most bytes that were lost to a failed drop: figures may be that much higher.
    pub leaked_bytes: u64,
    /// The most blocks that were lost so.
    pub leaked_blocks: u64,
}
