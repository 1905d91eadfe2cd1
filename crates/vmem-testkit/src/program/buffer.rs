//! Steps with buffers that free themselves.

use vmem_core::{DeviceBuffer, MemoryResource, Stream};

use super::run::Run;
use crate::Finding;
use crate::finding::ensure;

impl Run<'_> {
    /// Makes a buffer, uses it, and drops it under that use.
    pub(super) fn buffer(
        &mut self,
        size: u64,
        home: &Stream,
        user: &Stream,
    ) -> Result<(), Finding> {
        self.with_buffer(size, home, |_, buffer| use_buffer(buffer, user))
    }

    /// Makes a buffer, uses it, lets it move to twice the room, and compares its bytes.
    pub(super) fn grow_buffer(
        &mut self,
        size: u64,
        home: &Stream,
        user: &Stream,
    ) -> Result<(), Finding> {
        self.with_buffer(size, home, |run, buffer| {
            use_buffer(buffer, user)?;
            let fits = run.must_serve(3 * size, false);
            if let Err(error) = buffer.resize(2 * size) {
                return run.may_refuse(fits, error);
            }
            buffer.fill(size..2 * size, 0xcc)?;
            let bytes = buffer.to_vec()?;
            run.note_verified(2 * size);
            let (old, new) = bytes.split_at(bytes.len() / 2);
            ensure!(
                old.iter().all(|&byte| byte == 0xbb) && new.iter().all(|&byte| byte == 0xcc),
                "a buffer of {size} B lost bytes when it grew"
            );
            Ok(())
        })
    }

    fn with_buffer(
        &mut self,
        size: u64,
        home: &Stream,
        work: impl FnOnce(&mut Self, &mut DeviceBuffer<&dyn MemoryResource>) -> Result<(), Finding>,
    ) -> Result<(), Finding> {
        let fits = self.must_serve(size, false);
        let mut buffer = match DeviceBuffer::new(self.resource(), size, home) {
            Ok(buffer) => buffer,
            Err(error) => return self.may_refuse(fits, error),
        };
        let before = self.faults();
        let done = work(self, &mut buffer);
        // It may hold two blocks while it moves.
        let most = buffer.capacity() + size;
        drop(buffer);
        if self.faults() != before {
            self.note_leak(2, most);
        }
        done
    }
}

/// Queues work of the home stream and of `user` on a buffer, ordered as its rules ask: in the end
/// it holds 0xbb.
fn use_buffer(
    buffer: &mut DeviceBuffer<&dyn MemoryResource>,
    user: &Stream,
) -> Result<(), Finding> {
    let size = buffer.len();
    buffer.fill(0..size, 0xaa)?;
    buffer.wait_on(user)?;
    if let Some(ptr) = buffer.ptr() {
        user.with_raw("Program::run", |device, raw| {
            // SAFETY: contract, devices 1, 2 and 5: the buffer's block and a valid stream.
            unsafe { device.fill(ptr, 0xbb, size, raw) }
        })?;
    }
    // The use is queued: if it cannot be recorded, it must be over before the buffer ends.
    buffer
        .record_use(user)
        .or_else(|_| user.synchronize())
        .or_else(|_| user.device().synchronize())?;
    Ok(())
}
