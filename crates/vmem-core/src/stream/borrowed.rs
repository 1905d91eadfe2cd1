//! Streams of others that may be destroyed without a word.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;

use super::{Stream, StreamKind};
use crate::sync::thread_local;
use crate::{Device, DriverCode, DriverError, RawStream, StreamId};

#[cfg(not(loom))]
thread_local! {
    /// The stream whose handle the calling thread may use just now.
    static VOUCHED: Cell<Option<StreamId>> = const { Cell::new(None) };
}

#[cfg(loom)]
thread_local! {
    static VOUCHED: Cell<Option<StreamId>> = Cell::new(None);
}

impl Stream {
    /// A handle of a stream created elsewhere that may be destroyed at any time without vmem being told.
    /// No driver call names it but on a thread that [vouches](Self::vouch) for it, while it does.
    ///
    /// What is freed on it is used again on the same `Stream` without a marker, since its work runs in
    /// order, and on others once it is [marked](Self::marker) or retired while somebody vouches, or after
    /// the device was synchronised. Whoever makes these must make one for each stream of the driver, not
    /// for each handle: handles recur.
    ///
    /// # Errors
    /// As [`foreign`](Self::foreign).
    ///
    /// # Safety
    /// The raw stream is valid during this call.
    pub unsafe fn borrowed(device: Arc<dyn Device>, raw: RawStream) -> Result<Self, DriverError> {
        let refuse =
            |code, detail| Err(DriverError::new("Stream::borrowed", code).with_detail(detail));
        if raw.is_default() {
            let detail =
                "0, 1 and 2 name default streams; use legacy_default or per_thread_default";
            return refuse(DriverCode::INVALID_HANDLE, detail);
        }
        // SAFETY: the caller promises that the stream is valid.
        if !unsafe { device.owns_stream(raw) }? {
            return refuse(DriverCode::INVALID_CONTEXT, "the stream belongs to another device");
        }
        Ok(Self::build(raw, StreamKind::Borrowed, device))
    }

    /// A borrowed stream for which nobody can vouch. What is freed on it is nobody's until the device was
    /// synchronised. For memory of whose last use nothing is known but that it has been queued. No
    /// driver call.
    pub fn nameless(device: Arc<dyn Device>) -> Self {
        Self::build(RawStream::NULL, StreamKind::Borrowed, device)
    }

    /// Lets the calling thread use the handle of a [borrowed](Self::borrowed) stream while the answer
    /// lives, in place of one that it vouched for before. Means nothing for other streams.
    ///
    /// # Safety
    /// The handle names the stream that this was made of, which is not destroyed while the answer lives.
    /// It is not a [nameless](Self::nameless) one.
    pub unsafe fn vouch(&self) -> Vouched {
        let before = VOUCHED.with(|vouched| vouched.replace(Some(self.id())));
        Vouched { before, thread: PhantomData }
    }
}

/// The calling thread may use the handle of a borrowed stream while this lives. Made by
/// [`Stream::vouch`]. Nests.
#[derive(Debug)]
#[must_use = "the handle may be used while this lives"]
pub struct Vouched {
    before: Option<StreamId>,
    thread: PhantomData<*const ()>,
}

impl Drop for Vouched {
    fn drop(&mut self) {
        VOUCHED.with(|vouched| vouched.set(self.before));
    }
}

/// Whether the calling thread vouches for a borrowed stream.
pub(super) fn is_vouched(stream: StreamId) -> bool {
    VOUCHED.with(|vouched| vouched.get() == Some(stream))
}
