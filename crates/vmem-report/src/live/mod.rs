//! Looking at a program while it runs: snapshots and recordings when they are asked for.

#[cfg(feature = "openmetrics")]
mod metrics;
#[cfg(all(unix, feature = "signals"))]
mod signals;
mod tap;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

#[cfg(all(unix, feature = "signals"))]
pub use signals::{Listener, Signals};
use vmem_core::MemoryObserver;
use vmem_core::author::fork;
use vmem_pool::PoolHandle;

use crate::Report;
use tap::Tap;

/// Writes pages about a program's pools, and records what it allocates, whenever it is asked to: by a
/// call, or with feature `signals` by a signal.
///
/// ```
/// use std::sync::Arc;
/// use vmem_core::{ResourceExt, Stream, label};
/// use vmem_pool::{Pool, PoolConfig, VirtualArena};
/// use vmem_report::Live;
/// use vmem_sim::SimDevice;
/// use vmem_trace::Record;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = std::env::temp_dir().join(format!("vmem-live-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// let device = SimDevice::new(1 << 30);
/// let stream = Stream::new(device.clone())?;
/// let pool = Pool::new(VirtualArena::new(device)?, PoolConfig::default())?;
/// let live = Live::new(&folder);
/// live.add_pool("pool", pool.handle());
/// // What is to be recorded goes through here; it costs a load while nothing is recorded.
/// let memory = Record::new(pool, live.observer());
///
/// let _label = label("edges");
/// let early = memory.buffer(1000, &stream)?;
/// live.start_recording()?;
/// drop(memory.buffer(500, &stream)?);
/// let pages = live.snapshot()?;
/// let recording = live.stop_recording()?.expect("one was under way");
///
/// // What was live when the recording began is in it.
/// let trace = vmem_trace::read_path(&recording)?.trace;
/// assert_eq!((trace.allocations(), trace.peak_live()), (2, 1500));
/// assert!(std::fs::read_to_string(&pages[0])?.contains("edges"));
/// # drop(early);
/// # std::fs::remove_dir_all(folder)?;
/// # Ok(())
/// # }
/// ```
pub struct Live {
    folder: PathBuf,
    pools: Mutex<Vec<(String, PoolHandle)>>,
    tap: Arc<Tap>,
    /// The next file's number.
    next: AtomicU32,
}

impl Live {
    /// Writes into `folder`, which has to exist when something is written. Files are named after the
    /// process, and numbered.
    pub fn new(folder: impl Into<PathBuf>) -> Arc<Self> {
        Arc::new(Self {
            folder: folder.into(),
            pools: Mutex::default(),
            tap: Arc::default(),
            next: AtomicU32::new(1),
        })
    }

    /// Adds a pool to look into, under a name.
    pub fn add_pool(&self, name: impl Into<String>, pool: PoolHandle) {
        self.lock().push((name.into(), pool));
    }

    /// What a recording is made from: to be handed to a [`Record`](vmem_trace::Record), or to a pool's
    /// configuration. Told of an event while nothing is recorded, it looks at one atomic value.
    pub fn observer(&self) -> Arc<dyn MemoryObserver> {
        self.tap.clone()
    }

    /// Writes a page about each pool that still exists. Returns where they are.
    ///
    /// # Errors
    /// If a page cannot be written; those before it are.
    pub fn snapshot(&self) -> io::Result<Vec<PathBuf>> {
        let mut written = Vec::new();
        for (name, pool) in self.pools() {
            let Some(report) = Report::of_pool(&name, &pool) else { continue };
            let mut page = Vec::new();
            report.write_html(&mut page)?;
            let path = self.path("html");
            fs::write(&path, page)?;
            written.push(path);
        }
        Ok(written)
    }

    /// Begins to record, into a new file, with what is live in the pools; one recording that is under way
    /// ends. Returns where it is.
    ///
    /// Other threads may go on meanwhile. What they allocate or free while the recording begins may be in
    /// it twice, or as a free of something unknown; reading gets over both.
    ///
    /// # Errors
    /// If the file cannot be created or written, or the recording before could not be ended.
    pub fn start_recording(&self) -> io::Result<PathBuf> {
        self.tap.stop()?;
        let path = self.path("trace");
        self.tap.start(&path, &self.pools())?;
        Ok(path)
    }

    /// Ends the recording that is under way. Returns where it is; `None` if there is none.
    ///
    /// # Errors
    /// The first error of writing it; what it has until then stays.
    pub fn stop_recording(&self) -> io::Result<Option<PathBuf>> {
        self.tap.stop()
    }

    /// Returns true while a recording is under way.
    pub fn is_recording(&self) -> bool {
        self.tap.is_on()
    }

    /// The counters of all pools in the text format of OpenMetrics, with the pool's name as the label
    /// `pool`.
    #[cfg(feature = "openmetrics")]
    pub fn openmetrics(&self) -> String {
        metrics::text(&self.pools())
    }

    /// The pools, so that none is looked into under the lock.
    fn pools(&self) -> Vec<(String, PoolHandle)> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(String, PoolHandle)>> {
        fork::locked(|| self.pools.lock())
    }

    fn path(&self, extension: &str) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.folder.join(format!("vmem-{}-{number}.{extension}", std::process::id()))
    }

    /// Where files are written.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live")
            .field("folder", &self.folder)
            .field("pools", &self.lock().len())
            .field("recording", &self.is_recording())
            .finish_non_exhaustive()
    }
}
