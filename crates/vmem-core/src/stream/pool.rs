//! A fixed number of streams for many users.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::{Stream, lock};
use crate::author::fork;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::{Device, DriverError};

/// A fixed number of streams, handed out in turn, so that independent pieces of work spread over them.
///
/// Streams are created when they are first handed out. Users of one stream are ordered with one another,
/// needlessly but harmlessly.
///
/// ```
/// use std::num::NonZeroUsize;
/// use vmem_core::StreamPool;
/// use vmem_sim::SimDevice;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let streams = StreamPool::new(SimDevice::new(1 << 20), NonZeroUsize::new(2).expect("not zero"));
/// let (first, second) = (streams.get()?, streams.get()?);
/// assert_ne!(first, second);
/// assert_eq!(streams.get()?, first);
/// # Ok(())
/// # }
/// ```
pub struct StreamPool {
    device: Arc<dyn Device>,
    streams: Vec<Mutex<Option<Stream>>>,
    /// How often one was asked for.
    asked: AtomicUsize,
}

impl StreamPool {
    /// A pool of `size` streams of `device`. No driver call.
    pub fn new(device: Arc<dyn Device>, size: NonZeroUsize) -> Self {
        let streams = (0..size.get()).map(|_| Mutex::new(None)).collect();
        Self { device, streams, asked: AtomicUsize::new(0) }
    }

    /// The next stream in turn. It is created the first time, and anew after it has been
    /// [retired](Stream::retire).
    ///
    /// # Errors
    /// Those of [`Stream::new`].
    pub fn get(&self) -> Result<Stream, DriverError> {
        fork::refuse("StreamPool::get")?;
        let turn = self.asked.fetch_add(1, Ordering::Relaxed) % self.streams.len();
        let mut slot = lock(&self.streams[turn]);
        match &*slot {
            Some(stream) if !stream.is_retired() => Ok(stream.clone()),
            _ => Ok(slot.insert(Stream::new(self.device.clone())?).clone()),
        }
    }

    /// The largest number of streams that it makes.
    pub fn size(&self) -> usize {
        self.streams.len()
    }
}

impl fmt::Debug for StreamPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("StreamPool");
        out.field("device", &self.device.id()).field("size", &self.size()).finish_non_exhaustive()
    }
}
