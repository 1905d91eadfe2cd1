//! State that vmem keeps for every device, embedded by each backend.

use std::fmt;

use crate::author::fork;
use crate::stream::WeakStream;
use crate::sync::{Mutex, MutexGuard};
use crate::{Device, DeviceId, DriverError, RawStream};

/// Something that failed where no caller could be told: in a `Drop`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DropFailure {
    /// The kind of thing that was being dropped.
    pub what: &'static str,
    /// The error, as text.
    pub reason: String,
}

impl fmt::Display for DropFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dropping {}: {}", self.what, self.reason)
    }
}

/// Failed drops on one device: counted, the first one kept and logged.
pub struct DropFailures {
    log: fn(&DropFailure),
    state: Mutex<(u64, Option<DropFailure>)>,
}

impl DropFailures {
    /// Counts a failure, and logs it if it is the first. In a forked child, where everything of the
    /// parent's is left alone, it does nothing.
    pub fn record(&self, what: &'static str, reason: &dyn fmt::Display) {
        if fork::is_child() {
            return;
        }
        let failure = DropFailure { what, reason: reason.to_string() };
        let first = {
            let mut state = self.lock();
            state.0 += 1;
            let first = state.0 == 1;
            if first {
                state.1 = Some(failure.clone());
            }
            first
        };
        if first {
            (self.log)(&failure);
        }
    }

    /// Records the error of a `Result` in a drop, if there is one.
    pub(crate) fn check(&self, what: &'static str, result: Result<(), DriverError>) {
        if let Err(error) = result {
            self.record(what, &error);
        }
    }

    /// The number of drops that have failed. Ends a [forked](fork) child.
    pub fn count(&self) -> u64 {
        self.lock().0
    }

    /// The first failure; `None` in a [forked](fork) child.
    pub fn first(&self) -> Option<DropFailure> {
        if fork::is_child() {
            return None;
        }
        self.lock().1.clone()
    }

    fn lock(&self) -> MutexGuard<'_, (u64, Option<DropFailure>)> {
        fork::locked(|| self.state.lock())
    }
}

/// A device's identity, its failed drops, and its legacy default stream's handle.
///
/// A backend keeps one in each device and returns it from [`Device::base`](crate::Device::base).
pub struct DeviceBase {
    id: DeviceId,
    drop_failures: DropFailures,
    pub(crate) legacy_default: Mutex<WeakStream>,
    /// Streams of vmem's own that captured when their last handle went.
    undestroyed: Mutex<Vec<RawStream>>,
}

impl DeviceBase {
    /// State for a new device. `log` is called with the first failed drop, once.
    pub fn new(log: fn(&DropFailure)) -> Self {
        fork::watch();
        Self {
            id: DeviceId::new(),
            drop_failures: DropFailures { log, state: Mutex::default() },
            legacy_default: Mutex::new(WeakStream::new()),
            undestroyed: Mutex::default(),
        }
    }

    /// The number of streams that were capturing when their last handle was dropped, and still
    /// are: the driver's streams are destroyed when another stream is created after the capture's
    /// end.
    pub fn undestroyed_streams(&self) -> usize {
        self.undestroyed().len()
    }

    /// Keeps a capturing stream that nobody has a handle of any more.
    pub(crate) fn destroy_later(&self, stream: RawStream) {
        self.undestroyed().push(stream);
    }

    /// Destroys the streams that were kept for their captures and capture no more.
    pub(crate) fn destroy_left_streams(&self, device: &dyn Device) {
        let left = std::mem::take(&mut *self.undestroyed());
        for stream in left {
            // SAFETY: contract, devices/handles: nobody else names the stream, which is not
            // destroyed yet.
            if let Ok(false) = unsafe { device.is_capturing(stream) } {
                // SAFETY: as above, and nothing names it after this.
                let result = unsafe { device.destroy_stream(stream) };
                self.drop_failures.check("a stream", result);
            } else {
                self.destroy_later(stream);
            }
        }
    }

    fn undestroyed(&self) -> MutexGuard<'_, Vec<RawStream>> {
        fork::locked(|| self.undestroyed.lock())
    }

    /// The device's identity.
    pub fn id(&self) -> DeviceId {
        self.id
    }

    /// The failures of drops, which no caller could be told.
    pub fn drop_failures(&self) -> &DropFailures {
        &self.drop_failures
    }
}

impl fmt::Debug for DropFailures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("DropFailures");
        out.field("count", &self.count()).field("first", &self.first()).finish()
    }
}

impl fmt::Debug for DeviceBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("DeviceBase");
        out.field("id", &self.id).field("drop_failures", &self.drop_failures);
        out.field("undestroyed_streams", &self.undestroyed_streams()).finish()
    }
}
