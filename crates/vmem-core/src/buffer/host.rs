//! Copies between a buffer and the host's memory.

use super::{DeviceBuffer, NAME};
use crate::{
    AllocError, BlockLayout, Device, DevicePtr, DriverError, MemoryResource, RawStream, Stream,
};

/// Copies are staged in pieces of at most so many bytes.
const PIECE: usize = 4 << 20;

impl<R: MemoryResource> DeviceBuffer<R> {
    /// A buffer that holds a copy of `bytes`. Waits for the copy.
    ///
    /// # Errors
    /// As [`MemoryResource::allocate`]; [`Capturing`](crate::AllocErrorKind::Capturing) if the stream
    /// captures; a failed copy is a device fault.
    pub fn from_slice(resource: R, bytes: &[u8], stream: &Stream) -> Result<Self, AllocError> {
        let mut buffer = Self::new(resource, bytes.len() as u64, stream)?;
        if let Err(error) = buffer.copy_from_slice(0, bytes) {
            let layout = BlockLayout::new(buffer.len)?;
            return Err(AllocError::from_driver(error, layout, NAME));
        }
        Ok(buffer)
    }

    /// Copies `bytes` to the buffer at `offset` and waits for the copy.
    ///
    /// The device reads from host memory of vmem's own, to which the bytes are copied in pieces of 4
    /// MiB: should a wait fail, that memory is left to the device, and `bytes` are the caller's again.
    /// For copies from pinned memory at full speed, queue them yourself, through
    /// [`Stream::with_raw`].
    ///
    /// # Errors
    /// [`INVALID_VALUE`](crate::DriverCode::INVALID_VALUE) if they do not fit;
    /// [`STREAM_CAPTURE_UNSUPPORTED`](crate::DriverCode::STREAM_CAPTURE_UNSUPPORTED) if the home stream
    /// captures; the driver's, and then some of the bytes may have been copied.
    pub fn copy_from_slice(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DriverError> {
        const CALL: &str = "DeviceBuffer::copy_from_slice";
        let Some(mut to) = self.range(CALL, offset, bytes.len() as u64)? else {
            return Ok(());
        };
        self.uses().precede_work(&self.stream)?;
        let mut staged = Vec::new();
        for piece in bytes.chunks(PIECE) {
            staged.clear();
            staged.extend_from_slice(piece);
            staged = wait_for(&self.stream, CALL, staged, |device, staged, raw| {
                // SAFETY: contract, devices 1, 2 and 5: checked range, valid stream; 4: `wait_for`
                // keeps the host's side until the copy completed.
                unsafe { device.copy_from_host(to, staged.as_ptr(), staged.len() as u64, raw) }
            })?;
            to = after(to, piece.len());
        }
        Ok(())
    }

    /// Copies from the buffer at `offset` to `bytes` and waits for the copy.
    ///
    /// The device writes to host memory of vmem's own, from which the bytes are copied in pieces of 4
    /// MiB: should a wait fail, that memory is left to the device, and `bytes` are the caller's again.
    ///
    /// # Errors
    /// [`INVALID_VALUE`](crate::DriverCode::INVALID_VALUE) if the range lies outside;
    /// [`STREAM_CAPTURE_UNSUPPORTED`](crate::DriverCode::STREAM_CAPTURE_UNSUPPORTED) if the home stream
    /// captures; the driver's, and then some of the bytes may have been copied.
    pub fn copy_to_slice(&self, offset: u64, bytes: &mut [u8]) -> Result<(), DriverError> {
        const CALL: &str = "DeviceBuffer::copy_to_slice";
        let Some(mut from) = self.range(CALL, offset, bytes.len() as u64)? else {
            return Ok(());
        };
        let mut staged = vec![0; bytes.len().min(PIECE)];
        for piece in bytes.chunks_mut(PIECE) {
            staged.truncate(piece.len());
            staged = self.read(CALL, from, staged)?;
            piece.copy_from_slice(&staged);
            from = after(from, piece.len());
        }
        Ok(())
    }

    /// A copy of the bytes on the host.
    ///
    /// # Errors
    /// As [`copy_to_slice`](Self::copy_to_slice).
    ///
    /// # Panics
    /// If the host's address space cannot hold the bytes.
    pub fn to_vec(&self) -> Result<Vec<u8>, DriverError> {
        const CALL: &str = "DeviceBuffer::to_vec";
        let len = usize::try_from(self.len).expect("the bytes fit the host's address space");
        match self.range(CALL, 0, self.len)? {
            Some(from) => self.read(CALL, from, vec![0; len]),
            None => Ok(Vec::new()),
        }
    }

    /// Fills `bytes` from as many at `from`.
    fn read(
        &self,
        call: &'static str,
        from: DevicePtr,
        bytes: Vec<u8>,
    ) -> Result<Vec<u8>, DriverError> {
        self.uses().precede_work(&self.stream)?;
        wait_for(&self.stream, call, bytes, |device, bytes, raw| {
            let count = bytes.len() as u64;
            // SAFETY: contract, devices 1, 2 and 5: the caller checked the range, valid stream; 4:
            // `wait_for` keeps the host's side until the copy completed.
            unsafe { device.copy_to_host(bytes.as_mut_ptr(), from, count, raw) }
        })
    }
}

/// Queues a copy from or to `bytes` and waits for it. Should the wait fail, the device may still use
/// the bytes: they are never freed then, and the failure is counted.
fn wait_for(
    stream: &Stream,
    call: &'static str,
    mut bytes: Vec<u8>,
    queue: impl FnOnce(&dyn Device, &mut [u8], RawStream) -> Result<(), DriverError>,
) -> Result<Vec<u8>, DriverError> {
    let mut queued = false;
    let waited = stream.with_raw_outside_capture(call, |device, raw| {
        queue(device, &mut bytes, raw)?;
        queued = true;
        // SAFETY: contract, devices 1 and 5: a valid, callable stream.
        unsafe { device.synchronize_stream(raw) }
    });
    match waited {
        Ok(()) => Ok(bytes),
        Err(error) => {
            if queued {
                std::mem::forget(bytes);
                let failures = stream.device().base().drop_failures();
                failures.record("the host's side of a copy", &error);
            }
            Err(error)
        }
    }
}

/// Where the bytes after `count` bytes are. Of use only if there are any.
fn after(at: DevicePtr, count: usize) -> DevicePtr {
    at.checked_add(count as u64).unwrap_or(at)
}
