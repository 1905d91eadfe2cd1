//! What can spill.

use std::fmt;

use bytemuck::Pod;

use vmem_core::{
    Block, DeviceBox, DeviceBuffer, DevicePtr, DeviceVec, DriverError, MemoryResource, RawBlock,
    Stream,
};

/// Memory that a [`Spillable`](crate::Spillable) can hold: something that owns one block and frees it on
/// its home stream.
///
/// # Safety
/// While it is not borrowed mutably it keeps its block, which it names, and frees it when it is dropped, in
/// the order of its home stream.
pub unsafe trait SpillMemory: Send + Sync + 'static {
    /// The block; `None` if it holds none.
    fn block(&self) -> Option<RawBlock>;

    /// The address of the block; `None` if it holds none.
    fn ptr(&self) -> Option<DevicePtr> {
        self.block().map(|block| block.ptr())
    }

    /// The home stream.
    fn stream(&self) -> &Stream;

    /// Lets work queued on `stream` from now on use the memory, as
    /// [`DeviceBuffer::make_ready_on`] does.
    ///
    /// # Errors
    /// Those of [`DeviceBuffer::make_ready_on`].
    fn make_ready_on(&self, stream: &Stream) -> Result<(), DriverError>;

    /// Never frees the memory, as [`DeviceBuffer::abandon`].
    fn abandon(self, why: &dyn fmt::Display);
}

// SAFETY: a buffer moves and gives up its block through methods that borrow it mutably.
unsafe impl<R: MemoryResource + 'static> SpillMemory for DeviceBuffer<R> {
    fn block(&self) -> Option<RawBlock> {
        Self::block(self).map(Block::raw)
    }

    fn stream(&self) -> &Stream {
        Self::stream(self)
    }

    fn make_ready_on(&self, stream: &Stream) -> Result<(), DriverError> {
        Self::make_ready_on(self, stream)
    }

    fn abandon(self, why: &dyn fmt::Display) {
        Self::abandon(self, why);
    }
}

// SAFETY: as of the buffer that it holds.
unsafe impl<T: Pod + Send + Sync, R: MemoryResource + 'static> SpillMemory for DeviceBox<[T], R> {
    fn block(&self) -> Option<RawBlock> {
        Self::block(self).map(Block::raw)
    }

    fn stream(&self) -> &Stream {
        Self::stream(self)
    }

    fn make_ready_on(&self, stream: &Stream) -> Result<(), DriverError> {
        Self::make_ready_on(self, stream)
    }

    fn abandon(self, why: &dyn fmt::Display) {
        self.into_buffer().abandon(why);
    }
}

// SAFETY: as of the buffer that it holds.
unsafe impl<T: Pod + Send + Sync, R: MemoryResource + 'static> SpillMemory for DeviceVec<T, R> {
    fn block(&self) -> Option<RawBlock> {
        (**self).block().map(Block::raw)
    }

    fn stream(&self) -> &Stream {
        (**self).stream()
    }

    fn make_ready_on(&self, stream: &Stream) -> Result<(), DriverError> {
        (**self).make_ready_on(stream)
    }

    fn abandon(self, why: &dyn fmt::Display) {
        DeviceBox::from(self).into_buffer().abandon(why);
    }
}
