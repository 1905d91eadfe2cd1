//! Streams of others that may be destroyed without a word.

use std::cell::Cell;
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

/// # Safety
/// The raw stream is valid during this call.
pub(super) unsafe fn borrow(
    device: Arc<dyn Device>,
    raw: RawStream,
) -> Result<Stream, DriverError> {
    let refuse = |code, detail| Err(DriverError::new("Stream::borrowed", code).with_detail(detail));
    if raw.is_default() {
        let detail = "0, 1 and 2 name default streams; use legacy_default or per_thread_default";
        return refuse(DriverCode::INVALID_HANDLE, detail);
    }
    // SAFETY: contract, devices/handles: the caller promises that the stream is valid.
    if !unsafe { device.owns_stream(raw) }? {
        return refuse(DriverCode::INVALID_CONTEXT, "the stream belongs to another device");
    }
    Ok(Stream::build(raw, StreamKind::Borrowed, device))
}

pub(super) fn nameless(device: Arc<dyn Device>) -> Stream {
    Stream::build(RawStream::NULL, StreamKind::Borrowed, device)
}

/// Calls `call` while this thread may use the handle of a stream. Scopes end in the opposite order of their
/// beginning, so that nothing is vouched for after its own has ended.
pub(super) fn vouched<R>(stream: StreamId, call: impl FnOnce() -> R) -> R {
    let _scope = Vouched(VOUCHED.with(|vouched| vouched.replace(Some(stream))));
    call()
}

/// What the thread vouched for before, and does again when this is dropped.
struct Vouched(Option<StreamId>);

impl Drop for Vouched {
    fn drop(&mut self) {
        VOUCHED.with(|vouched| vouched.set(self.0));
    }
}

/// Whether the calling thread vouches for a borrowed stream.
pub(super) fn is_vouched(stream: StreamId) -> bool {
    VOUCHED.with(|vouched| vouched.get() == Some(stream))
}
