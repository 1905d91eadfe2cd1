//! Two streams of cudarc's with slices of one pool, which cudarc's event tracking orders.
//!
//! `cargo run -p vmem-cudarc --example streams`

#![expect(clippy::print_stdout, reason = "examples print")]

use std::error::Error;

use cudarc::driver::CudaContext;
use vmem_core::{Device, ResourceExt};
use vmem_cudarc::{SharedStream, VmemSlice};
use vmem_pool::{Pool, PoolConfig, VirtualArena};

fn main() -> Result<(), Box<dyn Error>> {
    const LEN: usize = 1 << 20;

    let context = CudaContext::new(0)?;
    let device = vmem_cudarc::open(&context)?;
    println!("{}", device.facts().driver);
    let pool = Pool::new(VirtualArena::new(device.clone())?, PoolConfig::default())?;
    let handle = pool.handle();
    let pool = pool.into_dyn();
    let (first, second) = (context.new_stream()?, context.new_stream()?);
    let home = SharedStream::new(&device, &first)?;

    let host: Vec<u8> = (0..=255).cycle().take(LEN).collect();
    for round in 0..4 {
        let x = VmemSlice::clone_htod(pool.clone(), &host, &home)?;
        let mut y: VmemSlice<u8> = VmemSlice::alloc_zeros(pool.clone(), LEN, &home)?;
        // On the other stream: cudarc makes it wait for the upload and for the fill.
        second.memcpy_dtod(&x.slice(..LEN / 2), &mut y.slice_mut(LEN / 2..))?;
        // Back to the pool: the first stream waits for the copy, and the next round may have the memory.
        drop(x);
        let back = second.clone_dtoh(&y)?;
        assert!(
            back[LEN / 2..] == host[..LEN / 2] && back[..LEN / 2].iter().all(|&byte| byte == 0)
        );
        println!("round {round}: {} B are as they should be", back.len());
    }
    drop((home, first, second));
    let counters = handle.counters().ok_or("the pool is gone")?;
    println!("the pool holds {} MiB and lent {} B", counters.reserved >> 20, counters.live);
    Ok(())
}
