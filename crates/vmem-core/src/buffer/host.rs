//! Copies between a buffer and the host's memory that wait for the copy.

use bytemuck::Pod;

use super::part::{Part, after};
use super::{DeviceBuffer, NAME};
use crate::author::StreamExt;
use crate::{AllocError, BlockLayout, Device, DriverError, MemoryResource, RawStream, Stream};

/// Copies are staged in pieces of at most so many bytes.
const PIECE: usize = 4 << 20;

impl<R: MemoryResource> DeviceBuffer<R> {
    /// A buffer that holds a copy of `bytes`. Waits for the copy.
    ///
    /// # Errors
    /// Those of [`MemoryResource::allocate`]; [`Capturing`](crate::AllocErrorKind::Capturing) if
    /// the stream captures; a failed copy is a device fault.
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
    /// [`DeviceSliceMut::copy_from_pinned`](crate::DeviceSliceMut::copy_from_pinned) copies at full
    /// speed and without a wait.
    ///
    /// # Errors
    /// [`INVALID_VALUE`](crate::DriverCode::INVALID_VALUE) if they do not fit;
    /// [`STREAM_CAPTURE_UNSUPPORTED`](crate::DriverCode::STREAM_CAPTURE_UNSUPPORTED) if the home stream
    /// captures; the driver's, and then some of the bytes may have been copied.
    pub fn copy_from_slice(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DriverError> {
        const CALL: &str = "DeviceBuffer::copy_from_slice";
        let end = offset.saturating_add(bytes.len() as u64);
        self.part(CALL, offset..end)?.write(CALL, bytes)
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
        let end = offset.saturating_add(bytes.len() as u64);
        self.part(CALL, offset..end)?.read_into(CALL, bytes)
    }

    /// A copy of the bytes on the host.
    ///
    /// # Errors
    /// Those of [`copy_to_slice`](Self::copy_to_slice).
    ///
    /// # Panics
    /// If the host's address space cannot hold the bytes.
    pub fn to_vec(&self) -> Result<Vec<u8>, DriverError> {
        let len = usize::try_from(self.len).expect("the bytes fit the host's address space");
        self.all().read("DeviceBuffer::to_vec", vec![0; len])
    }
}

impl Part<'_> {
    /// Copies as many `bytes` to the part and waits for the copy.
    pub(crate) fn write(self, call: &'static str, bytes: &[u8]) -> Result<(), DriverError> {
        let Some(mut to) = self.ptr() else {
            return Ok(());
        };
        self.precede_work()?;
        let mut staged = Vec::new();
        for piece in bytes.chunks(PIECE) {
            staged.clear();
            staged.extend_from_slice(piece);
            staged = wait_for(self.home(), call, staged, |device, staged, raw| {
                // SAFETY: contract, devices/handles, devices/ranges and devices/threads: inside the
                // part, valid stream; devices/host-memory: `wait_for` keeps the host's side until
                // the copy completed.
                unsafe { device.copy_from_host(to, staged.as_ptr(), staged.len() as u64, raw) }
            })?;
            to = after(to, piece.len() as u64);
        }
        Ok(())
    }

    /// Copies the part to as many `bytes` and waits for the copy.
    pub(crate) fn read_into(self, call: &'static str, bytes: &mut [u8]) -> Result<(), DriverError> {
        let mut staged = vec![0; bytes.len().min(PIECE)];
        let mut start = 0;
        for piece in bytes.chunks_mut(PIECE) {
            staged.truncate(piece.len());
            let end = start + piece.len() as u64;
            staged = self.part(call, start..end)?.read(call, staged)?;
            piece.copy_from_slice(&staged);
            start = end;
        }
        Ok(())
    }

    /// Copies the part to `host`, which has its size, and waits for the copy.
    pub(crate) fn read<T: Pod>(
        self,
        call: &'static str,
        host: Vec<T>,
    ) -> Result<Vec<T>, DriverError> {
        let Some(from) = self.ptr() else {
            return Ok(host);
        };
        self.precede_work()?;
        wait_for(self.home(), call, host, |device, host, raw| {
            let bytes = bytemuck::cast_slice_mut::<T, u8>(host);
            // SAFETY: contract, devices/handles, devices/ranges and devices/threads: inside the
            // part, valid stream; devices/host-memory: `wait_for` keeps the host's side until the
            // copy completed.
            unsafe { device.copy_to_host(bytes.as_mut_ptr(), from, bytes.len() as u64, raw) }
        })
    }
}

/// Queues a copy from or to `host` and waits for it. Should the wait fail, the device may still use the
/// memory: it is never freed then, and the failure is counted.
fn wait_for<T>(
    stream: &Stream,
    call: &'static str,
    mut host: Vec<T>,
    queue: impl FnOnce(&dyn Device, &mut [T], RawStream) -> Result<(), DriverError>,
) -> Result<Vec<T>, DriverError> {
    let mut queued = false;
    let waited = stream.with_raw_outside_capture(call, |device, raw| {
        queue(device, &mut host, raw)?;
        queued = true;
        // SAFETY: contract, devices/handles and devices/threads: a valid, callable stream.
        unsafe { device.synchronize_stream(raw) }
    });
    match waited {
        Ok(()) => Ok(host),
        Err(error) => {
            if queued {
                std::mem::forget(host);
                let failures = stream.device().base().drop_failures();
                failures.record("the host's side of a copy", &error);
            }
            Err(error)
        }
    }
}
