//! Which stream a caller's handle means.
//!
//! Handles of destroyed streams come again at once, and a call of the driver that names a dead one crashes.
//! So a handle is given to the driver only in calls whose caller vouches for it, where it is asked which
//! stream it names, and for streams that the caller promised to keep. All else goes by what is known.

use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rustc_hash::FxHashMap;
use vmem_core::author::{StreamExt, fork};
use vmem_core::{Device, DriverCode, DriverError, RawStream, Stream, StreamId};
use vmem_cuda::{CudaDevice, StreamIdentity};

use crate::instance::DEVICES;
use crate::status::{Failure, vmem_status};

/// The streams of a device that callers have named.
#[derive(Debug)]
pub(crate) struct Streams {
    cuda: Arc<CudaDevice>,
    device: Arc<dyn Device>,
    legacy: Stream,
    nameless: Stream,
    /// By handle, what it meant when a caller last vouched for it.
    known: RwLock<FxHashMap<u64, Known>>,
    /// Threads' default streams, kept so that each stays one stream.
    threads: RwLock<Vec<Stream>>,
}

#[derive(Debug, Clone)]
struct Known {
    stream: Stream,
    lasts: Lasts,
}

/// For how long a handle means a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lasts {
    /// While the driver says this number.
    WhileNumbered(u64),
    /// Until it is forgotten: so the caller promised.
    UntilForgotten,
}

impl Lasts {
    /// Whether a handle of which the caller knows no more than `other` means the stream that lasts so.
    fn covers(self, other: Self) -> bool {
        self == Self::UntilForgotten || self == other
    }
}

thread_local! {
    /// Default streams that were already kept for this thread; one a device is of use.
    static KEPT: RefCell<Vec<StreamId>> = const { RefCell::new(Vec::new()) };
}

/// The form of a handle: 0 is the legacy default stream's other name.
pub(crate) const fn normal(handle: RawStream) -> RawStream {
    if handle.0 == RawStream::NULL.0 { RawStream::LEGACY } else { handle }
}

/// A stream that a caller vouched for. Calls in which the driver may be given its handle are made
/// [in its scope](Self::vouched).
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) stream: Stream,
    /// Whether it is known which stream it is: not while it captures.
    pub(crate) is_identified: bool,
}

impl Named {
    fn lasting(stream: Stream) -> Self {
        Self { stream, is_identified: true }
    }

    /// Calls `call` while the driver may be given the stream's handle.
    pub(crate) fn vouched<R>(&self, call: impl FnOnce() -> R) -> R {
        // SAFETY: who asked `Streams::name` for this promised that the handle names the stream while
        // this lives; for streams that last it means nothing.
        unsafe { self.stream.vouched(call) }
    }
}

impl Streams {
    pub(crate) fn new(cuda: Arc<CudaDevice>) -> Self {
        let device: Arc<dyn Device> = cuda.clone();
        Self {
            legacy: Stream::legacy_default(device.clone()),
            nameless: Stream::nameless(device.clone()),
            cuda,
            device,
            known: RwLock::default(),
            threads: RwLock::default(),
        }
    }

    /// The legacy default stream.
    pub(crate) fn legacy(&self) -> &Stream {
        &self.legacy
    }

    /// What is freed here is used again after a wait for the device only.
    pub(crate) fn nameless(&self) -> &Stream {
        &self.nameless
    }

    /// The calling thread's default stream.
    pub(crate) fn of_thread(&self) -> Stream {
        let stream = Stream::per_thread_default(self.device.clone());
        let id = stream.id();
        let is_kept = KEPT.try_with(|kept| kept.borrow().contains(&id)).unwrap_or(true);
        if !is_kept {
            self.keep(&stream);
            let _ = KEPT.try_with(|kept| {
                let mut kept = kept.borrow_mut();
                if kept.len() >= DEVICES {
                    kept.clear();
                }
                kept.push(id);
            });
        }
        stream
    }

    fn keep(&self, stream: &Stream) {
        let mut threads = fork::locked(|| self.threads.write());
        let over = |stream: &mut Stream| stream.is_orphaned() || stream.is_retired();
        let passed: Vec<Stream> = threads.extract_if(.., over).collect();
        if !threads.contains(stream) {
            threads.push(stream.clone());
        }
        drop(threads);
        // What ends tells its observers, without the lock.
        drop(passed);
    }

    /// The stream that a handle names, which the caller vouches for.
    ///
    /// # Safety
    /// The handle names a stream of this process, which is not destroyed while the answer lives.
    pub(crate) unsafe fn name(&self, handle: RawStream) -> Result<Named, Failure> {
        match normal(handle) {
            RawStream::LEGACY => return Ok(Named::lasting(self.legacy.clone())),
            RawStream::PER_THREAD => return Ok(Named::lasting(self.of_thread())),
            _ => {}
        }
        let known = self.known().get(&handle.0).cloned();
        if let Some(Known { stream, lasts: Lasts::UntilForgotten }) = known {
            return Ok(Named::lasting(stream));
        }
        let new = match known {
            // A stream of another device is refused before anything else is asked about it.
            // SAFETY: the caller's promise.
            None => Some(unsafe { self.borrow(handle) }?),
            Some(_) => None,
        };
        // SAFETY: the caller's promise.
        let identity = unsafe { self.cuda.identify(handle) }?;
        let stream = match (identity, new, known) {
            (StreamIdentity::Number(number), _, Some(known))
                if known.lasts == Lasts::WhileNumbered(number) =>
            {
                known.stream
            }
            (StreamIdentity::Number(number), Some(new), _) => {
                self.remember(handle, new, Lasts::WhileNumbered(number))
            }
            (StreamIdentity::Number(number), None, _) => {
                // SAFETY: the caller's promise.
                let new = unsafe { self.borrow(handle) }?;
                self.remember(handle, new, Lasts::WhileNumbered(number))
            }
            // Nothing tells which stream it is, so that it is taken for a new one.
            (StreamIdentity::Capturing, Some(new), _) => new,
            // SAFETY: the caller's promise.
            (StreamIdentity::Capturing, None, _) => unsafe { self.borrow(handle) }?,
            _ => {
                let text = "the driver numbers no streams (CUDA 12.0 and later do), so that a stream \
                            must be held (vmem_hold_stream) before it is used";
                return Err(Failure::new(vmem_status::VMEM_ERROR_DRIVER_TOO_OLD, text));
            }
        };
        Ok(Named { stream, is_identified: identity != StreamIdentity::Capturing })
    }

    /// Remembers a stream that is new under its handle, and returns it, or what another thread made of it
    /// meanwhile: one that is held by now stays.
    #[cold]
    fn remember(&self, handle: RawStream, stream: Stream, lasts: Lasts) -> Stream {
        let mut all = self.known_mut();
        if let Some(known) = all.get(&handle.0).filter(|known| known.lasts.covers(lasts)) {
            return known.stream.clone();
        }
        let before = all.insert(handle.0, Known { stream: stream.clone(), lasts });
        drop(all);
        // The one before was destroyed. If that was its last handle, its end is told without the lock.
        drop(before);
        stream
    }

    /// # Safety
    /// As [`name`](Self::name).
    unsafe fn borrow(&self, handle: RawStream) -> Result<Stream, Failure> {
        // SAFETY: the caller's promise.
        unsafe { Stream::borrowed(self.device.clone(), handle) }.map_err(stream_failure)
    }

    /// The stream that a handle means and goes on to mean, as it is held or a default stream; without a call of
    /// the driver that names it.
    pub(crate) fn lasting(&self, handle: RawStream) -> Option<Stream> {
        match normal(handle) {
            RawStream::LEGACY => Some(self.legacy.clone()),
            RawStream::PER_THREAD => Some(self.of_thread()),
            other => {
                let known = self.known();
                let held = known.get(&other.0).filter(|known| known.lasts == Lasts::UntilForgotten);
                held.map(|known| known.stream.clone())
            }
        }
    }

    /// The stream that a handle last meant, without a call of the driver.
    pub(crate) fn remembered(&self, handle: RawStream) -> Option<Stream> {
        self.known().get(&handle.0).map(|known| known.stream.clone())
    }

    /// Keeps a stream that the caller promises not to destroy before it is forgotten.
    ///
    /// # Safety
    /// The handle names a stream of this process, which is not destroyed until then.
    pub(crate) unsafe fn hold(&self, handle: RawStream) -> Result<(), Failure> {
        if handle.is_default() {
            return Ok(());
        }
        if self.is_held(handle) {
            return Ok(());
        }
        // SAFETY: the caller's promise.
        let held =
            unsafe { Stream::foreign(self.device.clone(), handle) }.map_err(stream_failure)?;
        loop {
            let known = self.known().get(&handle.0).cloned();
            match known {
                // By another thread, meanwhile.
                Some(known) if known.lasts == Lasts::UntilForgotten => return Ok(()),
                // What was freed while it was not held goes to all.
                // SAFETY: the caller's promise.
                Some(known) => unsafe { self.end(handle, &known) }?,
                None => {}
            }
            let mut all = self.known_mut();
            // Another thread may have named it since it was looked at.
            if let Entry::Vacant(free) = all.entry(handle.0) {
                free.insert(Known { stream: held, lasts: Lasts::UntilForgotten });
                return Ok(());
            }
        }
    }

    fn is_held(&self, handle: RawStream) -> bool {
        self.known().get(&handle.0).is_some_and(|known| known.lasts == Lasts::UntilForgotten)
    }

    /// Marks a stream that is about to be destroyed, so that others can use what was freed on it.
    ///
    /// # Safety
    /// The handle names a stream of this process, which is not destroyed during this call.
    pub(crate) unsafe fn forget(&self, handle: RawStream) -> Result<(), Failure> {
        match normal(handle) {
            RawStream::LEGACY => return Ok(()),
            RawStream::PER_THREAD => {
                let stream = self.of_thread();
                stream.retire().map_err(stream_failure)?;
                let mut threads = fork::locked(|| self.threads.write());
                let passed: Vec<_> = threads.extract_if(.., |kept| *kept == stream).collect();
                drop(threads);
                drop(passed);
                return Ok(());
            }
            _ => {}
        }
        let known = self.known().get(&handle.0).cloned();
        // SAFETY: the caller's promise.
        known.map_or(Ok(()), |known| unsafe { self.end(handle, &known) })
    }

    /// Marks what a handle is known to mean, and knows it no more.
    ///
    /// # Safety
    /// As [`forget`](Self::forget).
    unsafe fn end(&self, handle: RawStream, known: &Known) -> Result<(), Failure> {
        let is_current = match known.lasts {
            Lasts::UntilForgotten => true,
            // SAFETY: the caller's promise.
            Lasts::WhileNumbered(number) => match unsafe { self.cuda.identify(handle) }? {
                StreamIdentity::Number(now) => now == number,
                _ => {
                    let text = "the stream captures, and cannot be marked before that ends";
                    return Err(Failure::new(vmem_status::VMEM_ERROR_CAPTURING, text));
                }
            },
        };
        // One that was destroyed before cannot be marked any more.
        if is_current {
            // SAFETY: the caller's promise.
            unsafe { known.stream.vouched(|| known.stream.retire()) }.map_err(stream_failure)?;
        }
        self.know_no_more(handle, &known.stream);
        Ok(())
    }

    /// Has a handle mean a stream no more that was retired.
    pub(crate) fn know_no_more(&self, handle: RawStream, stream: &Stream) {
        let mut all = self.known_mut();
        let same = all.get(&handle.0).is_some_and(|now| now.stream == *stream);
        let passed = if same { all.remove(&handle.0) } else { None };
        drop(all);
        // Should that be its last handle, its end is told without the lock.
        drop(passed);
    }

    fn known(&self) -> RwLockReadGuard<'_, FxHashMap<u64, Known>> {
        fork::locked(|| self.known.read())
    }

    fn known_mut(&self) -> RwLockWriteGuard<'_, FxHashMap<u64, Known>> {
        fork::locked(|| self.known.write())
    }
}

/// What it means that a stream cannot be had or marked.
fn stream_failure(error: DriverError) -> Failure {
    let is_not_ours =
        matches!(error.code(), DriverCode::INVALID_CONTEXT | DriverCode::INVALID_HANDLE);
    let mut failure = Failure::from(error);
    if is_not_ours {
        failure.status = vmem_status::VMEM_ERROR_INVALID_STREAM;
    }
    failure
}
