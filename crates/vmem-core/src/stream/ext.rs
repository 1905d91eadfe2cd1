//! What a stream offers to authors of resources.

use std::sync::{Arc, Weak};

use super::thread::ThreadToken;
use super::{Stream, StreamKind, StreamObserver, WeakStream, borrowed, lock, retired_error};
use crate::author::{IdleEvent, fork};
use crate::{Device, DriverError, Event, RawStream, ResourceId};

/// Methods of a [`Stream`] for authors of resources. Sealed: only streams implement it.
pub trait StreamExt: sealed::Sealed {
    /// A handle that does not keep the stream alive.
    fn downgrade(&self) -> WeakStream;

    /// Asks that `observer` be told when the stream ends. Asking again changes nothing; the list
    /// holds no more than the observers that live.
    fn observe(&self, observer: Weak<dyn StreamObserver>);

    /// The number that a resource [noted](Self::note) on the stream. A hint: it may be gone, and while
    /// others note theirs it may be another resource's. No lock.
    fn noted(&self, resource: ResourceId) -> Option<u32>;

    /// Notes a number by which the resource finds again what it knows of the stream. A few resources'
    /// latest notes are kept.
    fn note(&self, resource: ResourceId, number: u32);

    /// The event that covers all work of a retired stream.
    fn final_marker(&self) -> Option<Event>;

    /// Whether this thread may make driver calls that name the stream. It *cannot name* another
    /// thread's default stream, nor a [borrowed](crate::StreamKind::Borrowed) one unless it
    /// [vouches](Self::vouched) for it; all others any thread can.
    fn is_callable_here(&self) -> bool;

    /// Whether driver calls that name the stream can be made at some times or on some threads only:
    /// it is a thread's default stream, or a borrowed one.
    fn is_bound(&self) -> bool;

    /// A handle of a stream created elsewhere that may be destroyed at any time without vmem being
    /// told. No driver call names it but on a thread that [vouches](Self::vouched) for it, while it
    /// does.
    ///
    /// What is freed on it is used again on the same [`Stream`] without a marker, since its work runs
    /// in order, and on others once it is [marked](Stream::marker) or retired while somebody vouches,
    /// or after the device was synchronised. Whoever makes these must make one for each stream of the
    /// driver, not for each handle: handles recur.
    ///
    /// # Errors
    /// As [`Stream::foreign`].
    ///
    /// # Safety
    /// The raw stream is valid during this call.
    unsafe fn borrowed(device: Arc<dyn Device>, raw: RawStream) -> Result<Stream, DriverError>;

    /// A borrowed stream for which nobody can vouch. What is freed on it is nobody's until the device
    /// was synchronised. For memory of whose last use nothing is known but that it has been queued. Its
    /// [raw handle](Stream::raw) is 0 and must not be used. No driver call.
    fn nameless(device: Arc<dyn Device>) -> Stream;

    /// Calls `call`, during which the calling thread may use the handle of this
    /// [borrowed](Self::borrowed) stream, in place of one that it vouched for before: that one again
    /// afterwards. Means nothing for other streams.
    ///
    /// # Safety
    /// The handle names the stream that this was made of, which is not destroyed before `call` is over.
    /// It is not a [nameless](Self::nameless) one.
    unsafe fn vouched<R>(&self, call: impl FnOnce() -> R) -> R;

    /// Whether it is the default stream of a thread that has ended, so that nothing can ever be
    /// recorded on it again.
    fn is_orphaned(&self) -> bool;

    /// Calls `call` with the driver's handle while the stream cannot be retired, behind the waits
    /// in its [inbox](Self::has_pending_waits): they are queued first, or, if the stream captures
    /// and a graph would take them, waited for on the host.
    ///
    /// What `call` queues on a capturing stream becomes part of the graph.
    ///
    /// # Errors
    /// [`INVALID_HANDLE`](crate::DriverCode::INVALID_HANDLE) if it has been retired,
    /// [`NOT_PERMITTED`](crate::DriverCode::NOT_PERMITTED) if this thread [cannot
    /// name](Self::is_callable_here) it; what `call` returns.
    fn with_raw<T>(
        &self,
        name: &'static str,
        call: impl FnOnce(&dyn Device, RawStream) -> Result<T, DriverError>,
    ) -> Result<T, DriverError>;

    /// The same for calls that must take effect now, and so must not become part of a graph. One
    /// driver call more: it asks whether the stream captures.
    ///
    /// # Errors
    /// Those of [`with_raw`](Self::with_raw);
    /// [`STREAM_CAPTURE_UNSUPPORTED`](crate::DriverCode::STREAM_CAPTURE_UNSUPPORTED), with the
    /// capture intact, if the stream captures.
    fn with_raw_outside_capture<T>(
        &self,
        name: &'static str,
        call: impl FnOnce(&dyn Device, RawStream) -> Result<T, DriverError>,
    ) -> Result<T, DriverError>;

    /// Records `event` at the stream's tail.
    ///
    /// # Errors
    /// With the event, still idle: [`INVALID_CONTEXT`](crate::DriverCode::INVALID_CONTEXT) for an
    /// event of another device;
    /// [`STREAM_CAPTURE_UNSUPPORTED`](crate::DriverCode::STREAM_CAPTURE_UNSUPPORTED) if the stream
    /// captures, because an event of a capture orders nothing outside of it; the driver's and those
    /// of [`with_raw`](Self::with_raw).
    fn record(&self, event: IdleEvent) -> Result<Event, (IdleEvent, DriverError)>;

    /// The same in an allocation or a free that names the stream, while which no capture of it begins or
    /// ends (contract, `capturing/own-streams`): one driver call less, on streams that were created here. Those
    /// who own others may not know of the clause.
    ///
    /// # Errors
    /// Those of [`record`](Self::record).
    fn record_in_call(&self, event: IdleEvent) -> Result<Event, (IdleEvent, DriverError)>;

    /// Waits on the host until all work queued so far has completed, and for nothing else: never
    /// for the whole device, which would break captures.
    ///
    /// # Errors
    /// [`STREAM_CAPTURE_UNSUPPORTED`](crate::DriverCode::STREAM_CAPTURE_UNSUPPORTED) if the stream
    /// captures; [`NOT_PERMITTED`](crate::DriverCode::NOT_PERMITTED) if this thread [cannot
    /// name](Self::is_callable_here) it; the [`DriverError`] of the driver call.
    fn synchronize_alone(&self) -> Result<(), DriverError>;

    /// [Waits](Stream::wait) for several events, with one question to the driver instead of one
    /// each. Fails at the first that fails; the waits before it are queued.
    ///
    /// # Errors
    /// Those of [`Stream::wait`].
    fn wait_all<'a>(&self, events: impl IntoIterator<Item = &'a Event>) -> Result<(), DriverError>;

    /// Notes that work queued on this stream from now on must wait for `event`, without a driver
    /// call that names the stream: the wait goes to its [inbox](Self::has_pending_waits). What is
    /// needed before memory freed on a capturing stream is used again is asked for in this way.
    ///
    /// # Errors
    /// [`INVALID_CONTEXT`](crate::DriverCode::INVALID_CONTEXT) for an event of another device;
    /// [`INVALID_HANDLE`](crate::DriverCode::INVALID_HANDLE) if the stream has been retired.
    fn wait_later(&self, event: &Event) -> Result<(), DriverError>;

    /// Whether the stream's inbox holds waits: asked for by threads that [cannot
    /// name](Self::is_callable_here) it, or while it was capturing. They are queued, or waited for on
    /// the host, by the next call that names the stream through vmem. One atomic load.
    ///
    /// Memory freed on the stream must not be used again before: see
    /// [`queue_pending_waits`](Self::queue_pending_waits).
    fn has_pending_waits(&self) -> bool;

    /// Queues the waits in the inbox. Where that is impossible, on a thread that [cannot
    /// name](Self::is_callable_here) the stream and while it captures, waits for them on the host
    /// instead. Resources call this before they reuse memory freed on the stream.
    ///
    /// # Errors
    /// The [`DriverError`] of the driver call, and those of [`with_raw`](Self::with_raw); what was
    /// not queued stays.
    fn queue_pending_waits(&self) -> Result<(), DriverError>;
}

const RECORD: &str = "Stream::record";

/// Records an event outside captures, and looks at `after` before it counts.
fn record(
    stream: &Stream,
    event: IdleEvent,
    after: impl FnOnce() -> Result<(), DriverError>,
) -> Result<Event, (IdleEvent, DriverError)> {
    let queue = || {
        stream.0.check_device(RECORD, event.device_id())?;
        stream.with_raw_outside_capture(RECORD, |device, raw| {
            // SAFETY: contract, devices/handles and devices/threads: a valid, callable stream and an
            // owned event of its device.
            unsafe { device.record_event(event.raw(), raw) }?;
            after()
        })
    };
    match queue() {
        Ok(()) => Ok(event.into_recorded()),
        Err(error) => Err((event, error)),
    }
}

impl StreamExt for Stream {
    fn downgrade(&self) -> WeakStream {
        WeakStream(Arc::downgrade(&self.0))
    }

    fn observe(&self, observer: Weak<dyn StreamObserver>) {
        let mut observers = lock(&self.0.observers);
        observers.retain(|known| known.strong_count() > 0 && !known.ptr_eq(&observer));
        observers.push(observer);
    }

    #[inline]
    fn noted(&self, resource: ResourceId) -> Option<u32> {
        self.0.notes.get(resource)
    }

    fn note(&self, resource: ResourceId, number: u32) {
        self.0.notes.set(resource, number);
    }

    fn final_marker(&self) -> Option<Event> {
        fork::locked(|| self.0.retired.read()).clone()
    }

    fn is_callable_here(&self) -> bool {
        self.0.is_callable_here()
    }

    fn is_bound(&self) -> bool {
        matches!(self.kind(), StreamKind::PerThreadDefault | StreamKind::Borrowed)
    }

    unsafe fn borrowed(device: Arc<dyn Device>, raw: RawStream) -> Result<Stream, DriverError> {
        // SAFETY: the caller's promise.
        unsafe { borrowed::borrow(device, raw) }
    }

    fn nameless(device: Arc<dyn Device>) -> Stream {
        borrowed::nameless(device)
    }

    unsafe fn vouched<R>(&self, call: impl FnOnce() -> R) -> R {
        if self.kind() == StreamKind::Borrowed {
            borrowed::vouched(self.id(), call)
        } else {
            call()
        }
    }

    fn is_orphaned(&self) -> bool {
        self.0.thread.as_ref().is_some_and(ThreadToken::has_ended)
    }

    fn with_raw<T>(
        &self,
        name: &'static str,
        call: impl FnOnce(&dyn Device, RawStream) -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        let _alive = self.0.enter(name)?;
        if self.has_pending_waits() {
            if self.0.captures()? {
                self.0.inbox.observe()?;
            } else {
                self.0.queue_pending_waits()?;
            }
        }
        call(&*self.0.device, self.0.raw)
    }

    fn with_raw_outside_capture<T>(
        &self,
        name: &'static str,
        call: impl FnOnce(&dyn Device, RawStream) -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        let _alive = self.0.enter(name)?;
        self.0.refuse_capture(name)?;
        self.0.queue_pending_waits()?;
        call(&*self.0.device, self.0.raw)
    }

    fn record(&self, event: IdleEvent) -> Result<Event, (IdleEvent, DriverError)> {
        // Another thread may have begun to capture this stream since it was asked. Waiting for an event
        // of that capture would draw the waiting stream into it.
        record(self, event, || self.0.refuse_capture(RECORD))
    }

    fn record_in_call(&self, event: IdleEvent) -> Result<Event, (IdleEvent, DriverError)> {
        if self.kind() != StreamKind::Owned {
            return self.record(event);
        }
        record(self, event, || Ok(()))
    }

    fn synchronize_alone(&self) -> Result<(), DriverError> {
        fork::refuse("Stream::synchronize")?;
        if let Some(marker) = self.final_marker() {
            return marker.synchronize();
        }
        self.with_raw_outside_capture("Stream::synchronize", |device, raw| {
            // SAFETY: contract, devices/handles and devices/threads: a valid, callable stream.
            unsafe { device.synchronize_stream(raw) }
        })
    }

    fn wait_all<'a>(&self, events: impl IntoIterator<Item = &'a Event>) -> Result<(), DriverError> {
        self.wait_for(&events.into_iter().collect::<Vec<_>>())
    }

    fn wait_later(&self, event: &Event) -> Result<(), DriverError> {
        fork::refuse("Stream::wait")?;
        const CALL: &str = "Stream::wait_later";
        self.0.check_device(CALL, event.device_id())?;
        // Held over the push: what comes too late for the final marker must be refused.
        let retired = fork::locked(|| self.0.retired.read());
        if retired.is_some() {
            return Err(retired_error(CALL));
        }
        if !event.was_observed() {
            self.0.inbox.push(event.clone());
        }
        Ok(())
    }

    #[inline]
    fn has_pending_waits(&self) -> bool {
        !self.0.inbox.is_empty()
    }

    fn queue_pending_waits(&self) -> Result<(), DriverError> {
        fork::refuse("Stream::wait")?;
        if !self.has_pending_waits() {
            return Ok(());
        }
        if self.is_callable_here() {
            return self.with_raw("Stream::queue_pending_waits", |_, _| Ok(()));
        }
        self.0.inbox.observe()
    }
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for super::Stream {}
}
