//! Parts of buffers: what is done with bytes, whoever owns them.

use std::ops::Range;

use crate::author::{StreamExt, fork};
use crate::sync::{Mutex, MutexGuard};
use crate::uses::{Marked, Uses, queue_marked, wait_or_leave};
use crate::{Device, DevicePtr, DriverCode, DriverError, Event, RawStream, Stream};

/// Bytes of a live buffer, borrowed from it: where they are, and what orders work on them.
///
/// Whoever has a part for writing has borrowed these bytes of the buffer exclusively.
#[derive(Clone, Copy)]
pub(crate) struct Part<'a> {
    /// `None` if there are no bytes.
    at: Option<DevicePtr>,
    len: u64,
    home: &'a Stream,
    uses: &'a Mutex<Uses>,
}

impl<'a> Part<'a> {
    /// The first `len` bytes at `at`, of a block that lives as long as what is borrowed.
    pub(super) fn new(
        at: Option<DevicePtr>,
        len: u64,
        home: &'a Stream,
        uses: &'a Mutex<Uses>,
    ) -> Self {
        Self { at: at.filter(|_| len != 0), len, home, uses }
    }

    /// Where the bytes are.
    pub(crate) fn ptr(self) -> Option<DevicePtr> {
        self.at
    }

    /// The home stream of the buffer.
    pub(crate) fn home(self) -> &'a Stream {
        self.home
    }

    /// A part of it.
    pub(crate) fn part(self, call: &'static str, range: Range<u64>) -> Result<Self, DriverError> {
        if range.start > range.end || range.end > self.len {
            let detail = format!("bytes {}..{} of {}", range.start, range.end, self.len);
            return Err(DriverError::new(call, DriverCode::INVALID_VALUE).with_detail(detail));
        }
        let len = range.end - range.start;
        let at = self.at.and_then(|at| at.checked_add(range.start));
        Ok(Self::new(at, len, self.home, self.uses))
    }

    /// See [`DeviceBuffer::make_ready_on`](super::DeviceBuffer::make_ready_on).
    pub(crate) fn make_ready_on(self, stream: &Stream) -> Result<(), DriverError> {
        self.check_device("DeviceBuffer::make_ready_on", stream)?;
        let mut uses = self.uses();
        uses.recover()?;
        if stream == self.home {
            stream.wait_all(uses.events())?;
            uses.forget();
            return Ok(());
        }
        let marker = self.home.marker()?;
        stream.wait_all(uses.events_but(stream.id()).chain([&marker]))
    }

    /// See [`DeviceBuffer::record_use`](super::DeviceBuffer::record_use).
    pub(crate) fn record_use(self, stream: &Stream) -> Result<(), DriverError> {
        self.check_device("DeviceBuffer::record_use", stream)?;
        if stream == self.home {
            return Ok(());
        }
        // Held over the marker: see `Uses::note`.
        let mut uses = self.uses();
        let marker = match stream.marker() {
            Ok(marker) => marker,
            Err(error) if error.is_capture() => return Err(error),
            Err(error) => return stream.synchronize_alone().map_err(|_| error),
        };
        uses.note(stream.id(), marker);
        uses.limit(|oldest| wait_or_leave(self.home, oldest).or_else(|_| oldest.synchronize()));
        Ok(())
    }

    /// Queues filling the bytes with `pattern` again and again, on the home stream: one fill of the
    /// driver for what repeats a word of 1, 2 or 4 bytes; otherwise a fill for each such word of the
    /// pattern, and then copies that double what is filled.
    ///
    /// The length and the address are multiples of the pattern's length, or of the largest power of two
    /// that divides it.
    pub(crate) fn fill(self, call: &'static str, pattern: &[u8]) -> Result<(), DriverError> {
        let Some(to) = self.at else {
            return Ok(());
        };
        let pattern = shortest(pattern);
        let word = match pattern.len() {
            len if len.is_multiple_of(4) => 4,
            len if len.is_multiple_of(2) => 2,
            _ => 1,
        };
        self.precede_work()?;
        self.home.with_raw(call, |device, raw| {
            if pattern.len() == word {
                // SAFETY: contract, devices/handles, devices/ranges and devices/threads: the part,
                // valid stream.
                return unsafe { fill_word(device, to, pattern, self.len, raw) };
            }
            let mut done = 0;
            for word in pattern.chunks_exact(word) {
                let bytes = word.len() as u64;
                // SAFETY: contract, devices/handles, devices/ranges and devices/threads: inside the
                // part, valid stream.
                unsafe { fill_word(device, after(to, done), word, bytes, raw) }?;
                done += bytes;
            }
            while done < self.len {
                let count = done.min(self.len - done);
                // SAFETY: contract, devices/handles, devices/ranges and devices/threads: two ranges
                // of the part that do not overlap, valid stream.
                unsafe { device.copy_within(after(to, done), to, count, raw) }?;
                done += count;
            }
            Ok(())
        })
    }

    /// Queues a copy of as many bytes of another part, on the home stream of this one. Another home
    /// stream than this one's then waits for the copy, or, where it cannot, the other buffer does before
    /// it is written, moved or freed.
    pub(crate) fn copy_from(self, call: &'static str, other: Part<'_>) -> Result<(), DriverError> {
        if self.len != other.len {
            let detail = format!("{} B are copied to {} B", other.len, self.len);
            return Err(DriverError::new(call, DriverCode::INVALID_VALUE).with_detail(detail));
        }
        if self.home.device_id() != other.home.device_id() {
            let detail = "the buffers belong to two devices, and copies between devices go through \
                          the host";
            return Err(DriverError::new(call, DriverCode::INVALID_CONTEXT).with_detail(detail));
        }
        let (Some(to), Some(from)) = (self.at, other.at) else {
            return Ok(());
        };
        self.precede_work()?;
        let queue = |device: &dyn Device, raw| {
            // SAFETY: contract, devices/handles, devices/ranges and devices/threads: two live
            // ranges, of which one is borrowed exclusively, and a valid stream.
            unsafe { device.copy_within(to, from, self.len, raw) }
        };
        if self.home == other.home {
            other.precede_work()?;
            return self.home.with_raw(call, queue);
        }
        other.make_ready_on(self.home)?;
        // Held over the marker: see `Uses::note`. No other buffer's is held: buffers that are copied to
        // each other do not wait for each other here.
        let mut uses = other.uses();
        match queue_marked(self.home, call, queue)? {
            Marked::At(read) => {
                let home = other.home;
                // Nothing more is queued on a retired home stream.
                let ordered = !home.is_retired()
                    && wait_or_leave(home, &read).or_else(|_| read.synchronize()).is_ok();
                if !ordered {
                    uses.note(self.home.id(), read);
                    uses.limit(Event::synchronize);
                }
                Ok(())
            }
            Marked::Complete => Ok(()),
            Marked::Lost(error) => {
                uses.lose(self.home);
                Err(error)
            }
        }
    }

    /// Queues a copy from as many bytes at `from` in the host's memory, on the home stream.
    ///
    /// # Safety
    /// The contract's [host memory](crate::contract#devices) clause: until the end of the copy, which
    /// is never known of a lost one.
    pub(crate) unsafe fn upload(
        self,
        call: &'static str,
        from: *const u8,
    ) -> Result<Marked, DriverError> {
        self.transfer(call, |device, to, raw| {
            // SAFETY: contract, devices/handles, devices/ranges and devices/threads: inside the
            // part, valid stream; devices/host-memory: the caller's.
            unsafe { device.copy_from_host(to, from, self.len, raw) }
        })
    }

    /// Queues a copy to as many bytes at `to` in the host's memory, on the home stream.
    ///
    /// # Safety
    /// Those of [`upload`](Self::upload).
    pub(crate) unsafe fn download(
        self,
        call: &'static str,
        to: *mut u8,
    ) -> Result<Marked, DriverError> {
        self.transfer(call, |device, from, raw| {
            // SAFETY: contract, devices/handles, devices/ranges and devices/threads: inside the
            // part, valid stream; devices/host-memory: the caller's.
            unsafe { device.copy_to_host(to, from, self.len, raw) }
        })
    }

    fn transfer(
        self,
        call: &'static str,
        queue: impl FnOnce(&dyn Device, DevicePtr, RawStream) -> Result<(), DriverError>,
    ) -> Result<Marked, DriverError> {
        let Some(at) = self.at else {
            return Ok(Marked::Complete);
        };
        self.precede_work()?;
        queue_marked(self.home, call, |device, raw| queue(device, at, raw))
    }

    /// Notes that work of `stream` up to `end` uses the buffer. Of its own stream nothing is noted.
    pub(crate) fn note_use(self, stream: &Stream, end: Event) {
        if stream != self.home {
            self.uses().note(stream.id(), end);
        }
    }

    /// Notes that a use of the buffer by `stream` could be neither marked nor waited for.
    pub(crate) fn lose_use(self, stream: &Stream) {
        self.uses().lose(stream);
    }

    /// Forgets the uses, which the host has seen complete.
    pub(crate) fn forget_uses(self) {
        self.uses().forget();
    }

    /// Orders work that is about to be queued on the home stream after recorded uses.
    pub(super) fn precede_work(self) -> Result<(), DriverError> {
        fork::refuse("DeviceBuffer")?;
        self.uses().precede_work(self.home)
    }

    fn uses(self) -> MutexGuard<'a, Uses> {
        fork::locked(|| self.uses.lock())
    }

    /// Refuses a stream of another device.
    pub(super) fn check_device(
        self,
        call: &'static str,
        stream: &Stream,
    ) -> Result<(), DriverError> {
        fork::refuse(call)?;
        if stream.device_id() == self.home.device_id() {
            return Ok(());
        }
        let error = DriverError::new(call, DriverCode::INVALID_CONTEXT);
        Err(error.with_detail("the stream belongs to another device than the buffer"))
    }
}

/// Where the bytes after `count` bytes are. Of use only if there are any.
pub(super) fn after(at: DevicePtr, count: u64) -> DevicePtr {
    at.checked_add(count).unwrap_or(at)
}

/// The shortest pattern that repeats to `pattern`, of those that halving or equal bytes lead to.
fn shortest(mut pattern: &[u8]) -> &[u8] {
    if pattern.windows(2).all(|pair| pair[0] == pair[1]) {
        return &pattern[..1];
    }
    while pattern.len().is_multiple_of(2) {
        let (left, right) = pattern.split_at(pattern.len() / 2);
        if left != right {
            break;
        }
        pattern = left;
    }
    pattern
}

/// Queues a fill of `bytes` bytes with a word of 1, 2 or 4 bytes.
///
/// # Safety
/// Stream and range are [valid](crate::contract#devices), and of whole words.
unsafe fn fill_word(
    device: &dyn Device,
    to: DevicePtr,
    word: &[u8],
    bytes: u64,
    stream: RawStream,
) -> Result<(), DriverError> {
    match *word {
        [a, b, c, d] => {
            let value = u32::from_ne_bytes([a, b, c, d]);
            // SAFETY: contract, devices/handles and devices/ranges: the caller's promise.
            unsafe { device.fill_u32(to, value, bytes / 4, stream) }
        }
        [a, b] => {
            let value = u16::from_ne_bytes([a, b]);
            // SAFETY: contract, devices/handles and devices/ranges: the caller's promise.
            unsafe { device.fill_u16(to, value, bytes / 2, stream) }
        }
        // SAFETY: contract, devices/handles and devices/ranges: the caller's promise.
        _ => unsafe { device.fill(to, word[0], bytes, stream) },
    }
}
