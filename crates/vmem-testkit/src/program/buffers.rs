//! Steps with buffers that free themselves.

use vmem_core::author::StreamExt;
use vmem_core::{DeviceBuffer, MemoryResource, Stream, StreamKind};

use super::run::Run;
use crate::Finding;
use crate::finding::ensure;

/// The buffers of a program, in no order.
#[derive(Debug, Default)]
pub(super) struct Buffers<'a> {
    all: Vec<Kept<'a>>,
    fills: u8,
}

/// A buffer, and what fills it, if that is known.
#[derive(Debug)]
pub(super) struct Kept<'a> {
    pub(super) buffer: DeviceBuffer<&'a dyn MemoryResource>,
    byte: Option<u8>,
}

impl<'a> Buffers<'a> {
    pub(super) fn pick(&self, any: usize) -> Option<usize> {
        any.checked_rem(self.all.len())
    }

    pub(super) fn at(&mut self, place: usize) -> &mut Kept<'a> {
        &mut self.all[place]
    }

    /// Takes out some buffer, if there is any.
    pub(super) fn take(&mut self, any: usize) -> Option<Kept<'a>> {
        self.pick(any).map(|place| self.all.swap_remove(place))
    }

    /// How many hold memory, and how many bytes.
    pub(super) fn held(&self) -> (u64, u64) {
        let sizes = self.all.iter().map(|kept| kept.buffer.capacity()).filter(|&size| size > 0);
        sizes.fold((0, 0), |(count, bytes), size| (count + 1, bytes + size))
    }

    /// A byte that tells one filling from those around it.
    fn next_byte(&mut self) -> u8 {
        self.fills = self.fills.wrapping_add(1);
        self.fills
    }
}

impl Kept<'_> {
    /// Fills it on its home stream.
    fn fill(&mut self, byte: u8) -> Result<(), Finding> {
        self.byte = None;
        self.buffer.fill(0..self.buffer.len(), byte)?;
        self.byte = Some(byte);
        Ok(())
    }

    /// Fills it on a stream.
    fn fill_on(&mut self, user: &Stream, byte: u8) -> Result<(), Finding> {
        self.buffer.make_ready_on(user)?;
        self.byte = None;
        let (ptr, size) = (self.buffer.ptr(), self.buffer.len());
        let queued = ptr.map_or(Ok(()), |ptr| {
            user.with_raw("Program::run", |device, raw| {
                // SAFETY: contract, devices/handles, devices/ranges and devices/threads: the
                // buffer's block and a valid stream.
                unsafe { device.fill(ptr, byte, size, raw) }
            })
        });
        // If the use cannot be recorded, it must be over before the buffer ends. Even a call that
        // failed may have queued it.
        self.buffer
            .record_use(user)
            .or_else(|_| user.synchronize())
            .or_else(|_| user.device().synchronize())?;
        queued?;
        self.byte = Some(byte);
        Ok(())
    }

    /// Compares its bytes up to `len`, if they are known, and says how many there were.
    fn check(&self, len: u64) -> Result<u64, Finding> {
        let Some(byte) = self.byte else {
            return Ok(0);
        };
        let mut bytes = self.buffer.to_vec()?;
        bytes.truncate(usize::try_from(len).unwrap_or(usize::MAX));
        let wrong = bytes.iter().position(|&found| found != byte);
        ensure!(
            wrong.is_none(),
            "a buffer of {len} B holds {:#x} at byte {wrong:?}, not {byte:#x}",
            bytes[wrong.unwrap_or(0)]
        );
        Ok(len)
    }
}

impl<'a> Run<'a> {
    pub(super) fn make_buffer(&mut self, size: u64, home: &Stream) -> Result<(), Finding> {
        let fits = self.must_serve(size, false);
        match DeviceBuffer::new(self.resource(), size, home) {
            Ok(buffer) => {
                self.buffers.all.push(Kept { buffer, byte: None });
                let byte = self.buffers.next_byte();
                self.buffers.at(self.buffers.all.len() - 1).fill(byte)
            }
            Err(error) => self.may_refuse(fits, error),
        }
    }

    pub(super) fn use_buffer(&mut self, any: usize, user: &Stream) -> Result<(), Finding> {
        let byte = self.buffers.next_byte();
        match self.buffers.pick(any) {
            Some(place) => self.buffers.at(place).fill_on(user, byte),
            None => Ok(()),
        }
    }

    pub(super) fn clone_buffer(&mut self, any: usize, home: &Stream) -> Result<(), Finding> {
        let Some(place) = self.buffers.pick(any) else {
            return Ok(());
        };
        let size = self.buffers.at(place).buffer.len();
        let (fits, before) = (self.must_serve(size, false), self.faults());
        let source = self.buffers.at(place);
        // A copy needs work on both streams.
        let retired = source.buffer.stream().is_retired();
        match source.buffer.try_clone(home) {
            Ok(buffer) => {
                let byte = source.byte;
                self.buffers.all.push(Kept { buffer, byte });
                Ok(())
            }
            Err(error) => {
                self.note_lost(before, 1, size);
                if retired { Ok(()) } else { self.may_refuse(fits, error) }
            }
        }
    }

    pub(super) fn rehome_buffer(&mut self, any: usize, home: &Stream) -> Result<(), Finding> {
        match self.buffers.pick(any) {
            Some(place) => Ok(self.buffers.at(place).buffer.set_stream(home)?),
            None => Ok(()),
        }
    }

    pub(super) fn grow_buffer(&mut self, any: usize) -> Result<(), Finding> {
        let Some(place) = self.buffers.pick(any) else {
            return Ok(());
        };
        self.open_home(place)?;
        let (old, most) = (self.buffers.at(place).buffer.len(), self.subject.budget / 4);
        let new = (2 * old).min(most.max(old));
        // It holds two blocks while it moves.
        let (fits, before) = (self.must_serve(new, false), self.faults());
        if let Err(error) = self.buffers.at(place).buffer.resize(new) {
            self.note_lost(before, 1, new);
            return self.may_refuse(fits, error);
        }
        self.note_lost(before, 1, old);
        let checked = self.buffers.at(place).check(old);
        let byte = self.buffers.next_byte();
        // Whatever came of that, the new bytes are anything until they are filled.
        self.buffers.at(place).byte = None;
        self.note_verified(checked?);
        self.buffers.at(place).fill(byte)
    }

    pub(super) fn check_buffer(&mut self, any: usize) -> Result<(), Finding> {
        let Some(place) = self.buffers.pick(any) else {
            return Ok(());
        };
        self.open_home(place)?;
        let len = self.buffers.at(place).buffer.len();
        let verified = self.buffers.at(place).check(len)?;
        self.note_verified(verified);
        Ok(())
    }

    pub(super) fn drop_buffer(&mut self, any: usize) {
        if let Some(kept) = self.buffers.take(any) {
            let (before, most) = (self.faults(), kept.buffer.capacity());
            drop(kept);
            self.note_lost(before, 1, most);
        }
    }

    /// A home stream that has ended takes no work: the buffer gets another.
    fn open_home(&mut self, place: usize) -> Result<(), Finding> {
        if self.buffers.at(place).buffer.stream().is_retired() {
            let home = self.stream(place);
            self.buffers.at(place).buffer.set_stream(&home)?;
        }
        Ok(())
    }

    /// Notes what may have been lost if a call was failed since there were `before`.
    pub(super) fn note_lost(&mut self, before: usize, blocks: u64, bytes: u64) {
        if self.faults() != before {
            self.note_leak(blocks, bytes);
        }
    }

    /// Drops a buffer while a stream captures.
    pub(super) fn drop_in_capture(
        &mut self,
        any: usize,
        capturing: &Stream,
        asker: &Stream,
        size: u64,
    ) -> Result<(), Finding> {
        if capturing.kind() == StreamKind::LegacyDefault {
            return Ok(());
        }
        let Some(kept) = self.buffers.take(any) else {
            return Ok(());
        };
        let (before, most) = (self.faults(), kept.buffer.capacity());
        // Work on the legacy default stream breaks a capture of a stream that orders with it.
        let legacy = asker.kind() == StreamKind::LegacyDefault
            && capturing.kind() == StreamKind::PerThreadDefault;
        let asks = asker != capturing && !legacy;
        let done = self.ask_in_capture(kept, capturing, asks.then_some((asker, size)));
        self.note_lost(before, 1, most);
        done?;
        ensure!(!asker.is_capturing()?, "{asker:?} was drawn into the capture of {capturing:?}");
        Ok(())
    }
}
