//! The baselines by name.

mod cupy;
mod model;
mod offset;
mod rmm_pool;
mod torch;

use std::fmt;
use std::sync::Arc;

use vmem_core::{BoxedError, Device, DeviceMemory, MemoryResource};
use vmem_pool::{BinningPool, PoolConfig};

pub use cupy::cupy_pool;
pub use offset::offset_allocator;
pub use rmm_pool::{RmmSize, rmm_pool};
pub use torch::{Segments, torch_caching_allocator};

use crate::driver_calls;

/// Something that vmem's resources are compared with.
#[derive(Clone, Copy)]
pub struct Baseline {
    /// Its name in tables and on the command line.
    pub name: &'static str,
    /// What it is, in a few words.
    pub about: &'static str,
    /// Builds it on a device, all of whose memory it may use.
    pub build: Build,
}

/// Builds a baseline on a device.
pub type Build = fn(Arc<dyn Device>) -> Result<Box<dyn MemoryResource>, BoxedError>;

/// Every baseline.
///
/// ```
/// use vmem_benches::{ALL, device};
/// use vmem_core::{BlockLayout, Stream, ResourceExt};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// for baseline in ALL {
///     let device = device(1 << 30);
///     let stream = Stream::new(device.clone())?;
///     let memory = (baseline.build)(device.clone())?;
///     let block = memory.allocate_on(BlockLayout::new(3_000_000)?, &stream)?;
///     assert!(device.used() >= 3_000_000, "{}", baseline.name);
///     // SAFETY: contract, freeing: no work was queued on the block, the stream is valid.
///     unsafe { memory.deallocate(block, &stream) }?;
/// }
/// # Ok(())
/// # }
/// ```
pub const ALL: &[Baseline] = &[
    Baseline {
        name: "rmm",
        about: "model of RMM's pool that starts with nothing and grows",
        build: |device| Ok(Box::new(rmm_pool(device, RmmSize::GROWING)?)),
    },
    Baseline {
        name: "rmm-fixed",
        about: "model of RMM's pool that holds all the device has from the start",
        build: |device| {
            let bytes = device.memory_info()?.free;
            Ok(Box::new(rmm_pool(device, RmmSize::fixed(bytes))?))
        },
    },
    Baseline {
        name: "cupy",
        about: "model of CuPy's device memory pool",
        build: |device| Ok(Box::new(cupy_pool(device))),
    },
    Baseline {
        name: "torch",
        about: "model of PyTorch's caching allocator",
        build: |device| Ok(Box::new(torch_caching_allocator(device, Segments::Native)?)),
    },
    Baseline {
        name: "torch-expandable",
        about: "model of PyTorch's caching allocator with expandable_segments:True",
        build: |device| Ok(Box::new(torch_caching_allocator(device, Segments::Expandable)?)),
    },
    Baseline {
        name: "binning",
        about: "powers of two that never join, the runtime's fallback",
        build: |device| {
            let upstream = DeviceMemory::new(device.clone());
            Ok(Box::new(BinningPool::new(upstream, PoolConfig::default())?))
        },
    },
    Baseline {
        name: "driver",
        about: "one driver call per block",
        build: |device| Ok(Box::new(driver_calls(device))),
    },
    Baseline {
        name: "offset",
        about: "the crate offset-allocator over all the device has, behind a mutex",
        build: |device| {
            let bytes = device.memory_info()?.free;
            Ok(Box::new(offset_allocator(device, bytes)?))
        },
    },
];

impl fmt::Debug for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Baseline").field(&self.name).finish()
    }
}
