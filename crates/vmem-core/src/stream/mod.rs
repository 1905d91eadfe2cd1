//! Streams as owned handles with identities of their own.

mod borrowed;
mod end;
mod ext;
mod inbox;
mod notes;
mod order;
mod pool;
mod thread;

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Weak};

pub use end::StreamObserver;
pub use ext::StreamExt;
use inbox::Inbox;
use notes::Notes;
pub use pool::StreamPool;
use thread::ThreadToken;

use crate::author::fork;
use crate::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard};
use crate::{Device, DeviceId, DriverCode, DriverError, Event, RawStream, StreamId};

/// The origin of a stream, and how it orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
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
    /// Created elsewhere, and destroyed without a word: driver calls name it only while the calling
    /// thread [vouches](StreamExt::vouched) for it.
    Borrowed,
}

/// A strong handle of a stream.
///
/// Users and buffers hold streams strongly, pools weakly. When the last strong handle goes, or at
/// [`retire`](Self::retire), every [`StreamObserver`] is told and given a marker that covers all
/// the stream's work; then the stream is destroyed if it is ours.
#[derive(Clone)]
pub struct Stream(Arc<Shared>);

/// A weak handle of a stream.
#[derive(Debug, Clone, Default)]
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
    /// Waits that could not be queued when they were asked for. A thread's default streams have one,
    /// because they are one to the driver: what an earlier handle left, a later one queues.
    inbox: Arc<Inbox>,
    notes: Notes,
    /// Held for reading over every driver call that names the stream; after `retire` it holds the
    /// marker that covers all the stream's work.
    retired: RwLock<Option<Event>>,
    /// What keeps a foreign stream alive. Dropped after the last call that names the stream.
    owner: Option<Arc<dyn Any + Send + Sync>>,
}

impl Stream {
    /// Creates a stream that does not synchronise with the legacy default stream. One driver call,
    /// and two for each stream that [waits to be
    /// destroyed](crate::author::DeviceBase::undestroyed_streams).
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call.
    pub fn new(device: Arc<dyn Device>) -> Result<Self, DriverError> {
        fork::refuse("Stream::new")?;
        device.base().destroy_left_streams(&*device);
        let raw = device.create_stream()?;
        Ok(Self::build(raw, StreamKind::Owned, device))
    }

    /// The device's legacy default stream. While a handle of it lives, every call returns the same
    /// stream, until it is retired.
    pub fn legacy_default(device: Arc<dyn Device>) -> Self {
        let mut cached = lock(&device.base().legacy_default);
        let found = cached.upgrade();
        if let Some(stream) = found.as_ref().filter(|stream| !stream.is_retired()) {
            return stream.clone();
        }
        let kind = StreamKind::LegacyDefault;
        let stream = Self::build(RawStream::LEGACY, kind, device.clone());
        *cached = stream.downgrade();
        // A retired stream whose last handle this is tells nobody; still, nothing ends under a lock.
        drop(cached);
        drop(found);
        stream
    }

    /// The calling thread's default stream. While a handle of it lives, every call on this thread
    /// returns the same stream.
    pub fn per_thread_default(device: Arc<dyn Device>) -> Self {
        thread::cached(device.id(), |token, inbox| {
            let (kind, raw) = (StreamKind::PerThreadDefault, RawStream::PER_THREAD);
            Self::build_with(raw, kind, device, Some(token), inbox)
        })
    }

    /// A handle of a stream created elsewhere.
    ///
    /// Two handles made of one raw stream are two streams to vmem: that is sound, and costs waits.
    ///
    /// # Errors
    /// [`INVALID_HANDLE`](DriverCode::INVALID_HANDLE) for the default streams' handles 0, 1 and 2,
    /// which have constructors of their own; [`INVALID_CONTEXT`](DriverCode::INVALID_CONTEXT) for a
    /// stream of another device; the [`DriverError`] of the driver call.
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
        Ok(Self::build(raw, StreamKind::Foreign, device))
    }

    /// The same, of a stream that lives while `owner` is held. The last handle to go lets go of the
    /// owner, after the last driver call that names the stream.
    ///
    /// # Errors
    /// Those of [`foreign`](Self::foreign).
    ///
    /// # Safety
    /// The raw stream is valid, and outlives a clone of `owner`.
    pub unsafe fn foreign_owned_by(
        device: Arc<dyn Device>,
        raw: RawStream,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Result<Self, DriverError> {
        // SAFETY: the caller's promise, with the owner held by what the handle and its clones share.
        let mut stream = unsafe { Self::foreign(device, raw) }?;
        if let Some(shared) = Arc::get_mut(&mut stream.0) {
            shared.owner = Some(owner);
        }
        Ok(stream)
    }

    fn build(raw: RawStream, kind: StreamKind, device: Arc<dyn Device>) -> Self {
        Self::build_with(raw, kind, device, None, Arc::default())
    }

    fn build_with(
        raw: RawStream,
        kind: StreamKind,
        device: Arc<dyn Device>,
        thread: Option<ThreadToken>,
        inbox: Arc<Inbox>,
    ) -> Self {
        Self(Arc::new(Shared {
            id: StreamId::new(),
            raw,
            kind,
            device_id: device.id(),
            device,
            thread,
            observers: Mutex::default(),
            inbox,
            notes: Notes::default(),
            retired: RwLock::new(None),
            owner: None,
        }))
    }

    /// The stream's identity, never reused.
    #[inline]
    pub fn id(&self) -> StreamId {
        self.0.id
    }

    /// The stream's origin, and how it orders.
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

    /// The driver's handle of the stream, to queue work with. It must not be used after
    /// [`retire`](Self::retire), nor, for a per-thread default stream, on another thread, nor, for a
    /// borrowed one, by who does not [vouch](StreamExt::vouched) for it. That of a
    /// [nameless](StreamExt::nameless) stream must never be used: it is 0, which names no stream of
    /// its own but, to CUDA, the legacy default stream.
    pub fn raw(&self) -> RawStream {
        self.0.raw
    }

    /// Returns true if it has been retired.
    pub fn is_retired(&self) -> bool {
        self.final_marker().is_some()
    }

    /// Returns true if the stream is capturing a graph, or is the legacy default stream while a
    /// stream that synchronises with it captures. One driver call, which leaves captures alone.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call; [`INVALID_HANDLE`](DriverCode::INVALID_HANDLE) and
    /// [`NOT_PERMITTED`](DriverCode::NOT_PERMITTED) as [`with_raw`](Self::with_raw).
    pub fn is_capturing(&self) -> Result<bool, DriverError> {
        let _alive = self.0.enter("Stream::is_capturing")?;
        self.0.captures()
    }
}

impl Shared {
    /// Keeps the stream from being retired, if this thread may name it.
    fn enter(&self, name: &'static str) -> Result<RwLockReadGuard<'_, Option<Event>>, DriverError> {
        fork::refuse(name)?;
        let retired = fork::locked(|| self.retired.read());
        if retired.is_some() {
            return Err(retired_error(name));
        }
        if self.is_callable_here() {
            return Ok(retired);
        }
        Err(self.not_permitted_error(name))
    }

    fn is_callable_here(&self) -> bool {
        match self.kind {
            StreamKind::Borrowed => borrowed::is_vouched(self.id),
            _ => self.thread.as_ref().is_none_or(ThreadToken::is_current),
        }
    }

    fn not_permitted_error(&self, call: &'static str) -> DriverError {
        let error = DriverError::new(call, DriverCode::NOT_PERMITTED);
        error.with_detail(match self.kind {
            StreamKind::Borrowed => "nobody vouches for the borrowed stream on this thread",
            _ => "the stream is another thread's default stream",
        })
    }

    /// Asks the driver. The caller may name the stream.
    fn captures(&self) -> Result<bool, DriverError> {
        // SAFETY: contract, devices/handles and devices/threads: the caller made sure that the
        // stream is valid and callable.
        match unsafe { self.device.is_capturing(self.raw) } {
            Err(error) if error.code() == DriverCode::STREAM_CAPTURE_IMPLICIT => Ok(true),
            answer => answer,
        }
    }

    fn refuse_capture(&self, name: &'static str) -> Result<(), DriverError> {
        if self.captures()? { Err(capturing_error(name)) } else { Ok(()) }
    }
}

impl WeakStream {
    /// A handle of no stream.
    pub const fn new() -> Self {
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
        f.debug_struct("Stream")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("is_owned_by_another", &self.owner.is_some())
            .finish()
    }
}

fn retired_error(call: &'static str) -> DriverError {
    let error = DriverError::new(call, DriverCode::INVALID_HANDLE);
    error.with_detail("the stream has been retired")
}

fn capturing_error(call: &'static str) -> DriverError {
    let error = DriverError::new(call, DriverCode::STREAM_CAPTURE_UNSUPPORTED);
    error.with_detail("the stream is capturing")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    fork::locked(|| mutex.lock())
}
