//! Copies of buffers.

use super::{DeviceBuffer, NAME, queue_copy};
use crate::uses::wait_or_leave;
use crate::{
    AllocError, AllocErrorKind, BlockLayout, DevicePtr, DriverError, Event, IdleEvent,
    MemoryResource, Stream,
};

impl<R: MemoryResource> DeviceBuffer<R> {
    /// A copy of the buffer with `stream` as its home, from the same resource. The home stream waits
    /// for the copy, or, where it cannot, the buffer does before it is freed or moved.
    ///
    /// # Errors
    /// [`InvalidStream`](AllocErrorKind::InvalidStream) for a stream of another device;
    /// [`Capturing`](AllocErrorKind::Capturing) if one of two different streams captures; as
    /// [`MemoryResource::allocate`]; a failed copy is a device fault.
    pub fn try_clone(&self, stream: &Stream) -> Result<Self, AllocError>
    where
        R: Clone,
    {
        let layout = BlockLayout::new(self.len.max(1))?;
        if let Err(error) = self.check_device("DeviceBuffer::try_clone", stream) {
            let kind = AllocErrorKind::InvalidStream;
            return Err(AllocError::new(kind, layout, NAME).with_source(error));
        }
        let copy = Self::new(self.resource.clone(), self.len, stream)?;
        if let (Some(to), Some(from)) = (copy.ptr(), self.ptr()) {
            let fault = |error| AllocError::from_driver(error, layout, NAME);
            if *stream == self.stream {
                let queued = self.uses().precede_work(stream);
                queued.and_then(|()| queue_copy(stream, to, from, self.len)).map_err(fault)?;
            } else {
                self.copy_across(stream, to, from).map_err(fault)?;
            }
        }
        Ok(copy)
    }

    /// Queues a copy of the buffer on another stream than its home, and keeps the buffer from being
    /// freed, moved or written before the copy has read it.
    fn copy_across(
        &self,
        stream: &Stream,
        to: DevicePtr,
        from: DevicePtr,
    ) -> Result<(), DriverError> {
        // Whatever can fail without harm comes before the copy.
        let event = IdleEvent::new(stream.device().clone())?;
        self.wait_on(stream)?;
        stream.with_raw_outside_capture("DeviceBuffer::try_clone", |device, raw| {
            // SAFETY: contract, devices 1, 2 and 5: two live, distinct blocks and a valid stream.
            unsafe { device.copy_within(to, from, self.len, raw) }
        })?;
        match stream.record(event) {
            Ok(read) => {
                let home = &self.stream;
                // Nothing more is queued on a retired home stream.
                let ordered = !home.is_retired()
                    && wait_or_leave(home, &read).or_else(|_| read.synchronize()).is_ok();
                if !ordered {
                    let mut uses = self.uses();
                    uses.note(stream.id(), read);
                    uses.limit(Event::synchronize);
                }
                Ok(())
            }
            Err((_, error)) => stream.synchronize_alone().map_err(|_| {
                self.uses().lose(stream);
                error
            }),
        }
    }
}
