//! Typed memory.

mod boxed;
mod pinned;
mod range;
mod scalar;
mod slice;
mod transfer;
mod vec;

pub use boxed::DeviceBox;
pub use pinned::PinnedBuffer;
pub use scalar::DeviceScalar;
pub use slice::{DeviceSlice, DeviceSliceMut};
pub use transfer::{Transfer, TransferError};
pub use vec::DeviceVec;
