//! Moving the memory of live blocks between the device and the host, at their addresses.

use std::fmt::{self, Debug};

use crate::{BoxedError, DevicePtr, DriverError, RawBlock};

/// Moves the memory of live blocks between the device and the host. Their addresses stay as they are.
///
/// A block whose memory was *demoted* rests on the host: work that touches it there is right, and slow
/// (an H100 reads it at 50 GB/s in order and at a forty-eighth of its own rate at random). One that was
/// demoted with its contents [discarded](Contents::Discarded) has no memory at all: no work may touch it
/// until it is promoted, and what it holds then is undefined. Freeing either is an ordinary free.
///
/// Only whole physical handles move. What shares one with a block that is not to move stays on the
/// device, and is counted ([`Moved::stayed`], [`Residence::shared`]): at most two granules of a block
/// whose request said that it [may rest](crate::Request::that_may_rest).
///
/// Every call moves all that can move of the blocks it is given, or nothing. `vmem_pool::PoolHandle` is
/// one, for pools over a virtual arena; the blocks are those that the pool issued, which
/// [`block_at`](Self::block_at) finds for whoever holds an address only.
pub trait Residency: Debug + Send + Sync {
    /// Moves the memory of these blocks to the host, or gives it up. Blocks that rest there already
    /// stay; those with contents to discard give up the host's memory too. Waits on the host for the
    /// copies; takes driver calls for each handle. Requests and frees go on meanwhile, but those that
    /// take memory from the device wait.
    ///
    /// # Errors
    /// [`ResidencyError`]. Of [`Split`](ResidencyErrorKind::Split) its documentation says what holds;
    /// after every other error every block is as it was.
    ///
    /// # Safety
    /// The contract's [moving](crate::contract#moving) clauses hold: no work is pending on any of the
    /// blocks, and none is queued, by host, device, peer or a graph that is launched, until the call
    /// returns; none at all until [`promote`](Self::promote), if contents are discarded. The blocks may
    /// be freed at any time.
    unsafe fn demote(
        &self,
        blocks: &[RawBlock],
        contents: Contents,
    ) -> Result<Moved, ResidencyError>;

    /// Gives these blocks device memory again, and their contents unless those were discarded. Blocks
    /// that are on the device already stay. Takes memory from the device under the resource's ceiling,
    /// and before it fails for want of some returns what is free of the resource's own. Waits on the
    /// host for the copies.
    ///
    /// # Errors
    /// Those of [`demote`](Self::demote).
    ///
    /// # Safety
    /// That of [`demote`](Self::demote), until the call returns.
    unsafe fn promote(&self, blocks: &[RawBlock]) -> Result<Moved, ResidencyError>;

    /// Where the memory of a block is now; `None` if it is not a live block of this resource. Makes no
    /// driver call.
    fn residence(&self, block: &RawBlock) -> Option<Residence>;

    /// The live block that begins at `ptr`, as the resource issued it; `None` if there is none.
    fn block_at(&self, ptr: DevicePtr) -> Option<RawBlock>;

    /// How many more bytes of the host it may use now, as far as it was told; what it keeps ready
    /// counts. 0 where nothing can move.
    fn host_room(&self) -> u64;
}

/// What becomes of the contents of memory that leaves the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Contents {
    /// The host keeps them, in memory that is mapped at the block's address.
    #[default]
    Kept,
    /// They are given up. The address stays the block's, and nothing is mapped there.
    Discarded,
}

/// Bytes that a call moved, and that it could not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Moved {
    /// Bytes of device memory that were given up, or taken: whole handles. What was moved out of a
    /// place where it is only lent stays with the resource, as free memory.
    pub device: u64,
    /// Bytes that were copied between device and host.
    pub copied: u64,
    /// Bytes of the blocks, rounding included, that stay on the device because they share a handle with
    /// something that was not to move.
    pub stayed: u64,
}

impl Moved {
    /// So many bytes of each.
    pub const fn new(device: u64, copied: u64, stayed: u64) -> Self {
        Self { device, copied, stayed }
    }
}

/// Where the memory of a block is, in bytes of the block, rounding included. The first four together are
/// its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Residence {
    /// In the device's memory.
    pub device: u64,
    /// In the host's memory, mapped at the block's address.
    pub host: u64,
    /// Nowhere: contents were discarded.
    pub discarded: u64,
    /// Held, but not mapped at the block's address, because the driver failed twice
    /// ([`Split`](ResidencyErrorKind::Split)). No work may touch it until it is promoted.
    pub displaced: u64,
    /// Of those on the device, bytes in handles that other blocks or pending memory use as well: what
    /// would stay if only this block were demoted.
    pub shared: u64,
}

impl Residence {
    /// Whether all of it is in the device's memory.
    pub const fn is_on_device(&self) -> bool {
        self.host == 0 && self.discarded == 0 && self.displaced == 0
    }

    /// Whether work may touch it: all of it is mapped, wherever.
    pub const fn is_accessible(&self) -> bool {
        self.discarded == 0 && self.displaced == 0
    }
}

/// The kinds of [`ResidencyError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum ResidencyErrorKind {
    /// The resource has been dropped.
    Gone,
    /// The resource's memory cannot move: it is no virtual arena, or the device has no memory on the
    /// host that it can map.
    Unsupported,
    /// A block is not a live one of the resource.
    NotLive,
    /// Work is or may be pending on the blocks, and was not to be waited for or cannot be.
    Busy,
    /// The host has too little memory, or the resource may use no more of it.
    HostFull,
    /// The device has too little memory, or the resource may take no more.
    DeviceFull,
    /// The driver failed. Every block is as it was.
    Driver,
    /// The driver failed, and failed again when that was to be undone. Every block has its contents,
    /// unless they were discarded, but some of them may be on the other side, and some
    /// [displaced](Residence::displaced). [`Residency::residence`] tells of each; demoting or promoting
    /// it again mends it.
    Split,
}

/// Memory that was not moved.
#[derive(Debug)]
pub struct ResidencyError {
    kind: ResidencyErrorKind,
    missing: Option<u64>,
    source: Option<BoxedError>,
}

impl ResidencyError {
    /// An error of this kind.
    pub const fn new(kind: ResidencyErrorKind) -> Self {
        Self { kind, missing: None, source: None }
    }

    /// Returns it with the bytes that were [missing](Self::missing).
    #[must_use]
    pub fn with_missing(self, bytes: u64) -> Self {
        Self { missing: Some(bytes), ..self }
    }

    /// Returns it with its cause.
    #[must_use]
    pub fn with_source(self, source: impl Into<BoxedError>) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    /// The kind of failure.
    pub const fn kind(&self) -> ResidencyErrorKind {
        self.kind
    }

    /// Of [`DeviceFull`](ResidencyErrorKind::DeviceFull), the bytes of the device's memory that are to be
    /// freed so that the same call succeeds, if nothing else takes them; `None` if that is not known.
    pub const fn missing(&self) -> Option<u64> {
        self.missing
    }

    /// The driver's error, if that is the cause.
    pub fn driver(&self) -> Option<&DriverError> {
        self.source.as_ref()?.downcast_ref()
    }
}

impl fmt::Display for ResidencyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            ResidencyErrorKind::Gone => "the resource has been dropped",
            ResidencyErrorKind::Unsupported => "the resource's memory cannot rest on the host",
            ResidencyErrorKind::NotLive => "a block is not a live one of the resource",
            ResidencyErrorKind::Busy => "work may be pending on the blocks",
            ResidencyErrorKind::HostFull => "the host has too little memory for the blocks",
            ResidencyErrorKind::DeviceFull => "the device has too little memory for the blocks",
            ResidencyErrorKind::Driver => "the driver failed; every block is as it was",
            ResidencyErrorKind::Split => {
                "the driver failed, and again when that was to be undone; some blocks are displaced"
            }
        })
    }
}

impl std::error::Error for ResidencyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
