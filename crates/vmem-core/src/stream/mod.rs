//! Streams as owned handles with identities of their own.

mod end;
mod thread;

use std::fmt;
use std::sync::{Arc, PoisonError, Weak};

pub use end::StreamObserver;
use thread::ThreadToken;

use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard, RwLock};
use crate::{Device, DeviceId, DriverCode, DriverError, Event, IdleEvent, RawStream, StreamId};

/// Who made a stream, and how it orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub enum StreamKind {
    /// Created here; destroyed with its last handle. Does not synchronise with the legacy default
    /// stream.
    Owned,
    /// Created elsewhere; never destroyed here.
    Foreign,
    /// The legacy default stream.
    LegacyDefault,
    /// The default stream of one thread. Only that thread makes driver calls that name it.
    PerThreadDefault,
}

/// A strong handle of a stream.
///
/// Users and buffers hold streams strongly, pools weakly. When the last strong handle goes, or at
/// [`retire`](Self::retire), every [`StreamObserver`] is told and given a marker that covers all
/// the stream's work; then the stream is destroyed if it is ours.
#[derive(Clone)]
pub struct Stream(Arc<Shared>);

/// A weak handle of a stream.
#[derive(Debug, Clone)]
pub struct WeakStream(Weak<Shared>);

struct Shared {
    id: StreamId,
    raw: RawStream,
    kind: StreamKind,
    device: Arc<dyn Device>,
    /// The device's, at hand because every request is checked against it.
    device_id: DeviceId,
    /// The thread a per-thread default stream belongs to.
    thread: Option<ThreadToken>,
    observers: Mutex<Vec<Weak<dyn StreamObserver>>>,
    /// Waits that other threads asked of a per-thread default stream, for its own thread to queue.
    inbox: Mutex<Vec<Event>>,
    inbox_len: AtomicUsize,
    /// Held for reading over every driver call that names the stream; after `retire` it holds the
    /// marker that covers all the stream's work.
    retired: RwLock<Option<Event>>,
}

impl Stream {
    /// Creates a stream that does not synchronise with the legacy default stream. One driver call.
    ///
    /// # Errors
    /// The driver's.
    pub fn new(device: Arc<dyn Device>) -> Result<Self, DriverError> {
        let raw = device.create_stream()?;
        Ok(Self::build(raw, StreamKind::Owned, device, None))
    }

    /// The device's legacy default stream. While a handle of it lives, every call returns the same
    /// stream, until it is retired.
    pub fn legacy_default(device: &Arc<dyn Device>) -> Self {
        let mut cached = lock(&device.base().legacy_default);
        cached.upgrade().filter(|stream| !stream.is_retired()).unwrap_or_else(|| {
            let kind = StreamKind::LegacyDefault;
            let stream = Self::build(RawStream::LEGACY, kind, device.clone(), None);
            *cached = stream.downgrade();
            stream
        })
    }

    /// The calling thread's default stream. While a handle of it lives, every call on this thread
    /// returns the same stream.
    pub fn per_thread_default(device: &Arc<dyn Device>) -> Self {
        thread::cached(device.id(), |token| {
            let kind = StreamKind::PerThreadDefault;
            Self::build(RawStream::PER_THREAD, kind, device.clone(), Some(token))
        })
    }

    /// A handle of a stream created elsewhere.
    ///
    /// Two handles made of one raw stream are two streams to vmem: that is sound, and costs waits.
    ///
    /// # Errors
    /// [`INVALID_HANDLE`](DriverCode::INVALID_HANDLE) for the default streams' handles 0, 1 and 2,
    /// which have constructors of their own; [`INVALID_CONTEXT`](DriverCode::INVALID_CONTEXT) for a
    /// stream of another device; the driver's.
    ///
    /// # Safety
    /// The raw stream is valid and outlives this handle and its clones, or is
    /// [retired](Self::retire) before it is destroyed.
    pub unsafe fn foreign(device: Arc<dyn Device>, raw: RawStream) -> Result<Self, DriverError> {
        let refuse =
            |code, detail| Err(DriverError::new("Stream::foreign", code).with_detail(detail));
        if raw.is_default() {
            let detail =
                "0, 1 and 2 name default streams; use legacy_default or per_thread_default";
            return refuse(DriverCode::INVALID_HANDLE, detail);
        }
        // SAFETY: the caller promises that the stream is valid.
        if !unsafe { device.owns_stream(raw) }? {
            return refuse(DriverCode::INVALID_CONTEXT, "the stream belongs to another device");
        }
        Ok(Self::build(raw, StreamKind::Foreign, device, None))
    }

    fn build(
        raw: RawStream,
        kind: StreamKind,
        device: Arc<dyn Device>,
        thread: Option<ThreadToken>,
    ) -> Self {
        Self(Arc::new(Shared {
            id: StreamId::new(),
            raw,
            kind,
            device_id: device.id(),
            device,
            thread,
            observers: Mutex::default(),
            inbox: Mutex::default(),
            inbox_len: AtomicUsize::new(0),
            retired: RwLock::new(None),
        }))
    }

    /// The stream's identity, never reused.
    #[inline]
    pub fn id(&self) -> StreamId {
        self.0.id
    }

    /// Who made it, and how it orders.
    #[inline]
    pub fn kind(&self) -> StreamKind {
        self.0.kind
    }

    /// The device it belongs to.
    #[inline]
    pub fn device(&self) -> &Arc<dyn Device> {
        &self.0.device
    }

    /// The identity of the device it belongs to.
    #[inline]
    pub fn device_id(&self) -> DeviceId {
        self.0.device_id
    }

    /// The driver's handle, to queue work with. It must not be used after
    /// [`retire`](Self::retire), nor, for a per-thread default stream, on another thread.
    pub fn raw(&self) -> RawStream {
        self.0.raw
    }

    /// A handle that does not keep the stream alive.
    pub fn downgrade(&self) -> WeakStream {
        WeakStream(Arc::downgrade(&self.0))
    }

    /// Whether this thread may make driver calls that name the stream: false only for another
    /// thread's default stream.
    pub fn is_callable_here(&self) -> bool {
        self.0.thread.as_ref().is_none_or(ThreadToken::is_current)
    }

    /// Whether it is the default stream of a thread that has ended, so that nothing can ever be
    /// recorded on it again.
    pub fn is_orphaned(&self) -> bool {
        self.0.thread.as_ref().is_some_and(ThreadToken::has_ended)
    }

    /// Whether it has been retired.
    pub fn is_retired(&self) -> bool {
        self.final_marker().is_some()
    }

    /// The marker that covers all work of a retired stream.
    pub fn final_marker(&self) -> Option<Event> {
        self.0.retired.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Calls `call` with the driver's handle while the stream cannot be retired, after queuing the
    /// waits that other threads have asked for.
    ///
    /// # Errors
    /// [`INVALID_HANDLE`](DriverCode::INVALID_HANDLE) if it has been retired,
    /// [`NOT_PERMITTED`](DriverCode::NOT_PERMITTED) if it is another thread's default stream;
    /// what `call` returns.
    pub fn with_raw<T>(
        &self,
        name: &'static str,
        call: impl FnOnce(&dyn Device, RawStream) -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        let retired = self.0.retired.read().unwrap_or_else(PoisonError::into_inner);
        if retired.is_some() {
            return Err(retired_error(name));
        }
        if !self.is_callable_here() {
            let error = DriverError::new(name, DriverCode::NOT_PERMITTED);
            return Err(error.with_detail("the stream is another thread's default stream"));
        }
        self.0.queue_pending_waits()?;
        call(&*self.0.device, self.0.raw)
    }

    /// Waits on the host until all work queued so far has completed.
    ///
    /// For another thread's default stream, which this thread cannot name, it waits for the whole
    /// device.
    ///
    /// # Errors
    /// The driver's.
    pub fn synchronize(&self) -> Result<(), DriverError> {
        if let Some(marker) = self.final_marker() {
            return marker.synchronize();
        }
        if !self.is_callable_here() {
            for event in self.pending_waits() {
                event.synchronize()?;
            }
            return self.0.device.synchronize();
        }
        self.with_raw("Stream::synchronize", |device, raw| {
            // SAFETY: contract, devices 1 and 5: `with_raw` hands out a valid, callable stream.
            unsafe { device.synchronize_stream(raw) }
        })
    }

    /// Whether all work queued so far is known to have completed. Never known of another thread's
    /// default stream.
    ///
    /// # Errors
    /// Any answer of the driver but success and not ready.
    pub fn is_complete(&self) -> Result<bool, DriverError> {
        if let Some(marker) = self.final_marker() {
            return marker.is_complete();
        }
        if !self.is_callable_here() || self.has_pending_waits() {
            return Ok(false);
        }
        self.with_raw("Stream::is_complete", |device, raw| {
            // SAFETY: contract, devices 1 and 5: `with_raw` hands out a valid, callable stream.
            unsafe { device.query_stream(raw) }
        })
        .map(crate::Completion::is_complete)
    }

    /// Whether the stream is capturing a graph.
    ///
    /// # Errors
    /// The driver's, and those of [`with_raw`](Self::with_raw).
    pub fn is_capturing(&self) -> Result<bool, DriverError> {
        self.with_raw("Stream::is_capturing", |device, raw| {
            // SAFETY: contract, devices 1 and 5: `with_raw` hands out a valid, callable stream.
            unsafe { device.is_capturing(raw) }
        })
    }

    /// Makes work queued on this stream from now on wait, on the device, for `event`. No driver
    /// call if the event was observed complete. A wait asked of another thread's default stream is
    /// queued by that thread before its next use of the stream through vmem.
    ///
    /// # Errors
    /// The driver's, and those of [`with_raw`](Self::with_raw).
    pub fn wait(&self, event: &Event) -> Result<(), DriverError> {
        if event.was_observed() {
            return Ok(());
        }
        if !self.is_callable_here() {
            // Held over the push: what comes too late for the final marker must be refused.
            let retired = self.0.retired.read().unwrap_or_else(PoisonError::into_inner);
            if retired.is_some() {
                return Err(retired_error("Stream::wait"));
            }
            let mut inbox = lock(&self.0.inbox);
            inbox.push(event.clone());
            self.0.inbox_len.store(inbox.len(), Ordering::Release);
            return Ok(());
        }
        self.with_raw("Stream::wait", |device, raw| {
            // SAFETY: contract, devices 1 and 5: a valid, callable stream and an owned event.
            unsafe { device.wait_event(raw, event.raw()) }
        })
    }

    /// Records `event` at the stream's tail.
    ///
    /// # Errors
    /// The driver's and those of [`with_raw`](Self::with_raw), with the event, still idle.
    pub fn record(&self, event: IdleEvent) -> Result<Event, (IdleEvent, DriverError)> {
        let recorded = self.with_raw("Stream::record", |device, raw| {
            // SAFETY: contract, devices 1 and 5: a valid, callable stream and an owned event.
            unsafe { device.record_event(event.raw(), raw) }
        });
        match recorded {
            Ok(()) => Ok(event.into_recorded()),
            Err(error) => Err((event, error)),
        }
    }

    /// An event that covers all work queued so far: newly recorded, or the final one of a retired
    /// stream.
    ///
    /// # Errors
    /// The driver's, and those of [`with_raw`](Self::with_raw).
    pub fn marker(&self) -> Result<Event, DriverError> {
        if let Some(marker) = self.final_marker() {
            return Ok(marker);
        }
        let event = IdleEvent::new(self.0.device.clone())?;
        self.record(event).map_err(|(_, error)| error)
    }

    /// Whether other threads have asked this (per-thread default) stream to wait for something
    /// that its own thread has not queued yet. One atomic load.
    #[inline]
    pub fn has_pending_waits(&self) -> bool {
        self.0.inbox_len.load(Ordering::Acquire) != 0
    }

    /// Queues the waits that other threads have asked for. On another thread than the stream's own,
    /// which cannot queue them, waits for them on the host instead. Resources call this before they
    /// reuse memory freed on the stream.
    ///
    /// # Errors
    /// The driver's and those of [`with_raw`](Self::with_raw); what was not queued stays.
    pub fn queue_pending_waits(&self) -> Result<(), DriverError> {
        if !self.has_pending_waits() {
            return Ok(());
        }
        if self.is_callable_here() {
            return self.with_raw("Stream::queue_pending_waits", |_, _| Ok(()));
        }
        for event in self.pending_waits() {
            event.synchronize()?;
        }
        let mut inbox = lock(&self.0.inbox);
        inbox.retain(|event| !event.was_observed());
        self.0.inbox_len.store(inbox.len(), Ordering::Release);
        Ok(())
    }

    fn pending_waits(&self) -> Vec<Event> {
        lock(&self.0.inbox).clone()
    }
}

impl Shared {
    /// Queues the waits in the inbox. The caller is on the stream's thread and keeps it alive.
    fn queue_pending_waits(&self) -> Result<(), DriverError> {
        if self.inbox_len.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
        let mut inbox = lock(&self.inbox);
        while let Some(event) = inbox.last() {
            // SAFETY: contract, devices 1 and 5: a valid, callable stream and an owned event.
            unsafe { self.device.wait_event(self.raw, event.raw()) }?;
            inbox.pop();
            self.inbox_len.store(inbox.len(), Ordering::Release);
        }
        Ok(())
    }
}

impl WeakStream {
    /// A handle of no stream.
    pub const fn dangling() -> Self {
        Self(Weak::new())
    }

    /// The stream, if a strong handle still lives.
    pub fn upgrade(&self) -> Option<Stream> {
        self.0.upgrade().map(Stream)
    }
}

impl PartialEq for Stream {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for Stream {}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?}, handle {:#x})", self.0.id, self.0.kind, self.0.raw.0)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("id", &self.id).field("kind", &self.kind).finish()
    }
}

fn retired_error(call: &'static str) -> DriverError {
    let error = DriverError::new(call, DriverCode::INVALID_HANDLE);
    error.with_detail("the stream has been retired")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
