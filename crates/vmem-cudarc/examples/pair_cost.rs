//! What making and dropping a slice costs, beside the pool's own pair and cudarc's slice, with event
//! tracking and without.
//!
//! `cargo run --release -p vmem-cudarc --example pair_cost [PAIRS [ROW]]`: rows that start so, all without.

#![expect(clippy::print_stdout, reason = "its answer")]

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use cudarc::driver::CudaContext;
use vmem_core::{BlockLayout, Device, DeviceBuffer, MemoryResource, Request};
use vmem_cudarc::{SharedStream, VmemSlice};
use vmem_pool::{Pool, PoolConfig, VirtualArena};

fn measure(
    name: &str,
    pairs: u32,
    mut pair: impl FnMut() -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let only = std::env::args().nth(2).unwrap_or_default();
    if !name.starts_with(&only) {
        return Ok(());
    }
    for _ in 0..1000 {
        pair()?;
    }
    let start = Instant::now();
    for _ in 0..pairs {
        pair()?;
    }
    println!("{name}: {:.1} ns", start.elapsed().as_secs_f64() * 1e9 / f64::from(pairs));
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    const BYTES: usize = 4096;
    let pairs = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse())?;

    let context = CudaContext::new(0)?;
    let device = vmem_cudarc::open(&context)?;
    println!("{}", device.facts().driver);
    let pool = Pool::new(VirtualArena::new(device.clone())?, PoolConfig::default())?;
    let theirs = context.new_stream()?;
    let stream = SharedStream::new(&device, &theirs)?;
    let layout = BlockLayout::new(BYTES as u64)?;

    measure("pool's pair", pairs, || {
        let block = pool.allocate(&Request::new(layout, stream.vmem()))?;
        // SAFETY: contract, freeing: nothing used it.
        unsafe { pool.deallocate(black_box(block), stream.vmem()) }?;
        Ok(())
    })?;
    measure("vmem's buffer", pairs, || {
        drop(black_box(DeviceBuffer::new(&pool, BYTES as u64, stream.vmem())?));
        Ok(())
    })?;
    let slice = || -> Result<(), Box<dyn Error>> {
        // SAFETY: nothing reads it.
        drop(black_box(unsafe { VmemSlice::<u8, _>::alloc(&pool, BYTES, &stream) }?));
        Ok(())
    };
    let of_cudarc = || -> Result<(), Box<dyn Error>> {
        // SAFETY: nothing reads it.
        drop(black_box(unsafe { theirs.alloc::<u8>(BYTES) }?));
        Ok(())
    };
    measure("VmemSlice, tracking on", pairs / 10, slice)?;
    measure("CudaSlice, tracking on", pairs / 10, of_cudarc)?;
    // SAFETY: there is one stream.
    unsafe { context.disable_event_tracking() };
    measure("VmemSlice, tracking off", pairs, slice)?;
    measure("CudaSlice, tracking off", pairs / 10, of_cudarc)?;
    Ok(())
}
