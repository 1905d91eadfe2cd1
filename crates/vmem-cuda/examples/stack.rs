//! A memory stack on CUDA: a pool over virtual memory that counts what goes through it.
//!
//! `cargo run -p vmem-cuda --example stack`

#![expect(clippy::print_stdout, reason = "examples print")]

use std::error::Error;

use vmem_adaptors::AdaptorExt;
use vmem_core::{Device, ResourceExt, Stream, label};
use vmem_cuda::CudaDevice;
use vmem_pool::{Pool, PoolConfig, VirtualArena};

fn main() -> Result<(), Box<dyn Error>> {
    let device = match CudaDevice::open(0) {
        Ok(device) => device,
        // The program starts everywhere; one that can do without a GPU would go on here.
        Err(error) => {
            println!("no device: {error}");
            return Ok(());
        }
    };
    let facts = device.facts();
    println!("{} ({} MiB), {}", facts.name, facts.total_memory >> 20, facts.driver);
    for absence in device.absences() {
        println!("{absence}");
    }

    // From the leaf outwards: the arena asks the device, the pool asks the arena, the statistics
    // count what the program asks.
    let config = PoolConfig::default().with_ceiling(512 << 20);
    let pool = Pool::new(VirtualArena::new(device.clone())?, config)?;
    let handle = pool.handle();
    let memory = pool.with_statistics();
    let stats = memory.handle();

    let stream = Stream::new(device)?;
    for pass in 0..3 {
        let _label = label("example/pass");
        let mut buffer = memory.buffer(64 << 20, &stream)?;
        buffer.copy_from_slice(0, &[pass; 4096])?;
        let mut scratch = memory.buffer(16 << 20, &stream)?;
        scratch.copy_from_slice(0, &[0; 4096])?;
        assert_eq!(buffer.to_vec()?[..4096], [pass; 4096]);
        // Both go back to the pool here, in stream order.
    }

    let stats = stats.stats().expect("the stack exists");
    println!("peak {} MiB in {} allocations", stats.bytes.peak >> 20, stats.blocks.total);
    if let Some(counters) = handle.counters() {
        println!("the pool holds {} MiB and lent {} B", counters.reserved >> 20, counters.live);
    }
    handle.trim_to(0)?;
    Ok(())
}
