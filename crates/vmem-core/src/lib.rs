//! The seams of vmem: what a memory resource is, what a device is, and the contract between them.
//!
//! vmem is a set of small crates that a program stacks into the GPU memory manager it needs. This
//! crate holds what all of them share and nothing else:
//!
//! * [`MemoryResource`], the seam between a program and a stack of resources, with its vocabulary:
//!   [`Request`], [`BlockLayout`], [`Block`], [`Capabilities`], [`AllocError`], [`FreeError`];
//! * [`Device`], the seam between a stack and a driver, with the parts a device may have:
//!   [`VirtualMemory`], [`Managed`], [`Pinned`], [`AsyncPool`];
//! * [`Stream`] and [`Event`], owned handles that know when they end, with [`StreamPool`] and
//!   [`TimedEvent`];
//! * [`DeviceBuffer`], memory that frees itself in stream order, and over it typed memory:
//!   [`DeviceVec`], [`DeviceBox`], [`DeviceScalar`], views of parts ([`DeviceSlice`],
//!   [`DeviceSliceMut`]), and [`PinnedBuffer`] on the host with copies that nothing waits for
//!   ([`Transfer`]);
//! * [`Residency`], which moves the memory of live blocks to the host and back;
//! * the leaves [`DeviceMemory`], [`PinnedMemory`] and [`AsyncMemory`], which ask the driver for
//!   every block;
//! * [`Label`]s that name memory and [`MemoryObserver`]s that watch it;
//! * [`author`], what resources and devices of other crates are built with.
//!
//! The rules that make this sound are written once, in [`contract`].
//!
//! ```
//! use std::sync::Arc;
//! use vmem_core::{BlockLayout, Device, DeviceMemory, ResourceExt, Stream};
//! use vmem_sim::SimDevice;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let device: Arc<dyn Device> = SimDevice::new(1 << 30);
//! let stream = Stream::new(device.clone())?;
//! let memory = DeviceMemory::new(device);
//!
//! let mut buffer = memory.buffer(4096, &stream)?;
//! buffer.copy_from_slice(0, &[7; 4096])?;
//! assert_eq!(buffer.to_vec()?, vec![7; 4096]);
//! # Ok(())
//! # }
//! ```
//!
//! The crate needs `std`. Its one feature, `serde`, serialises the data types.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod allowance;
pub mod author;
mod block;
mod buffer;
mod bytes;
mod capabilities;
mod clock;
pub mod contract {
    #![doc = include_str!("contract.md")]
}
mod device;
mod error;
mod event;
mod handle;
mod id;
mod label;
mod layout;
mod leaf;
mod observe;
mod ptr;
mod request;
mod residency;
mod resource;
mod stream;
mod sync;
mod typed;
mod uses;

pub use allowance::Allowance;
pub use block::{Block, RawBlock};
pub use buffer::DeviceBuffer;
pub use bytes::parse_bytes;
pub use capabilities::{Capabilities, Features};
pub use clock::{Clock, ManualClock, SystemClock};
pub use device::{
    Advice, AsyncPool, Completion, Device, DeviceFacts, Location, Managed, MemoryInfo,
    PhysicalHandle, Pinned, RawEvent, RawStream, VirtualMemory,
};
pub use error::{
    AllocError, AllocErrorKind, Attempt, BoxedError, DriverCode, DriverError, ExhaustionReport,
    FreeError, FreeErrorKind, LayoutError, chain,
};
pub use event::{Event, TimedEvent};
pub use handle::HandleError;
pub use id::{DeviceId, ReservationId, ResourceId, StreamId};
pub use label::{Label, LabelScope, label};
pub use layout::BlockLayout;
pub use leaf::{AsyncMemory, DeviceMemory, PinnedMemory, QuarantineHandle, Quarantined};
pub use observe::{MemoryEvent, MemoryEventKind, MemoryObserver};
pub use ptr::DevicePtr;
pub use request::{AccessClass, Request, Resting, Retry};
pub use residency::{Contents, Moved, Residence, Residency, ResidencyError, ResidencyErrorKind};
pub use resource::{MemoryResource, ResourceExt};
pub use stream::{Stream, StreamKind, StreamPool};
pub use typed::{
    DeviceBox, DeviceScalar, DeviceSlice, DeviceSliceMut, DeviceVec, PinnedBuffer, Transfer,
    TransferError,
};

/// The program of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

#[cfg(test)]
mod tests {
    use super::author::{BlockTable, IdleEvent, WeakStream};
    use super::*;

    fn shared<T: Send + Sync>() {}

    #[test]
    fn every_public_handle_is_send_and_sync() {
        shared::<Block>();
        shared::<DeviceBuffer>();
        shared::<DeviceVec<u32>>();
        shared::<DeviceSlice<'_, u32>>();
        shared::<DeviceSliceMut<'_, u32>>();
        shared::<DeviceScalar<u32>>();
        shared::<PinnedBuffer<u32>>();
        shared::<Transfer<u32>>();
        shared::<TransferError<u32>>();
        shared::<Event>();
        shared::<IdleEvent>();
        shared::<TimedEvent>();
        shared::<StreamPool>();
        shared::<Stream>();
        shared::<WeakStream>();
        shared::<AllocError>();
        shared::<FreeError>();
        shared::<DeviceMemory>();
        shared::<PinnedMemory>();
        shared::<AsyncMemory>();
        shared::<BlockTable<u64>>();
        shared::<ManualClock>();
    }

    #[test]
    fn errors_are_one_pointer_wide() {
        let pointer = size_of::<usize>();
        assert_eq!(size_of::<AllocError>(), pointer);
        assert_eq!(size_of::<Result<(), FreeError>>(), pointer);
    }
}
