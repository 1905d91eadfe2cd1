//! A program on cudarc whose memory is tier B's: a cache gives way when memory runs short, and a report at
//! the end says what each label needed.
//!
//! `cargo run -p vmem-cudarc --example tier`

#![expect(clippy::print_stdout, reason = "examples print")]

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::CudaContext;
use vmem_core::label;
use vmem_cudarc::{SharedStream, VmemSlice};
use vmem_runtime::{PoolLimit, Runtime, RuntimeConfig, Size};

/// Tiles that a program could compute again.
type Cache = Arc<Mutex<Vec<VmemSlice<f32>>>>;

fn main() -> Result<(), Box<dyn Error>> {
    const TILE: usize = 1 << 20; // elements, 4 MiB

    let context = CudaContext::new(0)?;
    let device = vmem_cudarc::open(&context)?;
    let variables = [("VMEM_OOM_SAFETY", "1")];
    let config = RuntimeConfig::from_vars("VMEM", variables)?
        .with_pool_limit(PoolLimit::AtMost(Size::Bytes(64 << 20)));
    let runtime = Runtime::new(config, {
        let device = device.clone();
        move || Ok(device.clone())
    });
    let memory = runtime.resource()?;
    let theirs = context.new_stream()?;
    let stream = SharedStream::new(&device, &theirs)?;

    let cache = Cache::default();
    let tiles = cache.clone();
    let _registered = runtime.reclaimers().register("tiles", move || {
        let dropped = std::mem::take(&mut *tiles.lock().unwrap_or_else(PoisonError::into_inner));
        dropped.iter().map(|tile| (tile.len() * size_of::<f32>()) as u64).sum()
    });
    {
        let _label = label("cache/tiles");
        for _ in 0..12 {
            let tile = VmemSlice::alloc_zeros(memory.clone(), TILE, &stream)?;
            cache.lock().unwrap_or_else(PoisonError::into_inner).push(tile);
        }
    }
    let large = {
        let _label = label("solver/matrix");
        // 48 of 64 MiB are the cache's: it has to go.
        VmemSlice::<f32>::alloc_zeros(memory.clone(), 10 * TILE, &stream)?
    };
    let left = cache.lock().unwrap_or_else(PoisonError::into_inner).len();
    println!("{} MiB for the solver, {left} tiles left", (large.len() * 4) >> 20);
    assert!(theirs.clone_dtoh(&large.slice(..8))?.iter().all(|&zero| zero == 0.0));
    println!("{runtime}");
    for used in runtime.ensure_ready()?.stats.labels().unwrap_or_default() {
        println!("{}: {}", used.label, used.usage);
    }
    Ok(())
}
