//! Reports on pools, programs and refusals.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod large;
mod live;
mod refusals;

use std::sync::Arc;

use vmem_core::Stream;
use vmem_pool::{Pool, PoolConfig, VirtualArena};
use vmem_sim::SimDevice;

const MIB: u64 = 1 << 20;

/// A pool on a device of so many bytes, and a stream.
fn pool(bytes: u64) -> (Pool<VirtualArena>, Stream) {
    let device: Arc<SimDevice> = SimDevice::new(bytes);
    let stream = Stream::new(device.clone()).unwrap();
    let pool = Pool::new(VirtualArena::new(device).unwrap(), PoolConfig::default()).unwrap();
    (pool, stream)
}

/// An empty folder for a test of this name.
fn folder(name: &str) -> std::path::PathBuf {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // Left by an earlier run.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
