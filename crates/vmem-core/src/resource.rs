//! The seam between a program and a stack of resources.

use std::fmt::{Debug, Display};
use std::sync::Arc;

use crate::{
    AllocError, Block, BlockLayout, Capabilities, Device, DeviceBuffer, FreeError, Request, Stream,
};

/// Something that hands out blocks of device memory in stream order.
///
/// Resources stack: a wrapper holds its upstream by value, as its one type parameter, and is itself
/// a resource. Erase to `dyn MemoryResource` once, outermost. It prints as one short line that
/// names it and, in angle brackets, its upstream.
///
/// # Safety
/// Implementors keep what [`contract`](crate::contract#implementing) promises for a resource.
pub unsafe trait MemoryResource: Debug + Display + Send + Sync {
    /// Hands out a block.
    ///
    /// The caller uses it as the contract's [allocating](crate::contract#allocating) clauses ask.
    ///
    /// # Errors
    /// [`AllocError`], whose [`kind`](AllocError::kind) says what a caller can do.
    fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError>;

    /// Takes a block back, to be reused after the work now on `stream`.
    ///
    /// # Errors
    /// [`FreeError`], with the block, if this resource did not issue it, has taken it back before,
    /// or could not free it. Nothing else is affected.
    ///
    /// # Safety
    /// The contract's [freeing](crate::contract#freeing) clauses hold.
    unsafe fn deallocate(&self, block: Block, stream: &Stream) -> Result<(), FreeError>;

    /// The device on whose streams the blocks can be used. It is the same for the resource's whole
    /// life; a wrapper returns its upstream's.
    fn device(&self) -> &Arc<dyn Device>;

    /// The features of its blocks.
    fn capabilities(&self) -> Capabilities;
}

macro_rules! forward {
    ($($(#[$doc:meta])* [$($generics:tt)*] $type:ty;)*) => {$(
        // SAFETY: contract, implementing: every call goes to one resource that keeps it.
        #[deny(clippy::missing_trait_methods)]
        unsafe impl<$($generics)*> MemoryResource for $type {
            fn allocate(&self, request: &Request<'_>) -> Result<Block, AllocError> {
                (**self).allocate(request)
            }

            unsafe fn deallocate(&self, block: Block, stream: &Stream) -> Result<(), FreeError> {
                // SAFETY: the caller keeps the freeing clauses, which are the same there.
                unsafe { (**self).deallocate(block, stream) }
            }

            fn device(&self) -> &Arc<dyn Device> {
                (**self).device()
            }

            fn capabilities(&self) -> Capabilities {
                (**self).capabilities()
            }
        }
    )*};
}

forward! {
    ['r, R: MemoryResource + ?Sized] &'r R;
    [R: MemoryResource + ?Sized] Box<R>;
    [R: MemoryResource + ?Sized] Arc<R>;
}

/// Methods of every resource, made of the required ones.
pub trait ResourceExt: MemoryResource {
    /// Hands out a block of `layout` on `stream`, under the thread's current label.
    ///
    /// # Errors
    /// Those of [`MemoryResource::allocate`].
    fn allocate_on(&self, layout: BlockLayout, stream: &Stream) -> Result<Block, AllocError> {
        self.allocate(&Request::new(layout, stream))
    }

    /// A buffer of `bytes` bytes, contents undefined, that frees itself on `stream`, and borrows the
    /// resource.
    ///
    /// # Errors
    /// Those of [`MemoryResource::allocate`].
    fn buffer(&self, bytes: u64, stream: &Stream) -> Result<DeviceBuffer<&Self>, AllocError> {
        DeviceBuffer::new(self, bytes, stream)
    }

    /// The same, holding a clone of the resource's handle. For a stack behind an
    /// `Arc<dyn MemoryResource>` that is a `DeviceBuffer` with its default parameter, which a field or a
    /// return type names without one.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use vmem_core::{DeviceBuffer, DeviceMemory, MemoryResource, ResourceExt, Stream};
    /// use vmem_sim::SimDevice;
    ///
    /// struct Column {
    ///     data: DeviceBuffer,
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let device = SimDevice::new(1 << 20);
    /// let stream = Stream::new(device.clone())?;
    /// let memory: Arc<dyn MemoryResource> = DeviceMemory::new(device).into_dyn();
    /// let column = Column { data: memory.owned_buffer(4096, &stream)? };
    /// assert_eq!(column.data.len(), 4096);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`MemoryResource::allocate`].
    fn owned_buffer(&self, bytes: u64, stream: &Stream) -> Result<DeviceBuffer<Self>, AllocError>
    where
        Self: Clone,
    {
        DeviceBuffer::new(self.clone(), bytes, stream)
    }

    /// Erases the stack's type. Take handles before.
    fn into_dyn(self) -> Arc<dyn MemoryResource>
    where
        Self: Sized + 'static,
    {
        Arc::new(self)
    }
}

impl<R: MemoryResource + ?Sized> ResourceExt for R {}
