//! One stream for cust and vmem: memory of vmem's, used and freed in the order of a stream that cust
//! made.
//!
//! `cargo run -p vmem-cuda --features cust --example share_stream`

#![expect(clippy::print_stdout, reason = "examples print")]

use std::error::Error;

use cust::stream::{Stream as CustStream, StreamFlags};
use vmem_core::{Device, DeviceMemory, ResourceExt};
use vmem_cuda::CudaDevice;

fn main() -> Result<(), Box<dyn Error>> {
    let device = CudaDevice::open(0)?;
    println!("{}", device.facts().driver);

    // cust's calls want a current context: the device's primary one, which a program of cust's has
    // from `cust::quick_init`, and this one from vmem.
    let current = device.enter()?;
    let theirs = CustStream::new(StreamFlags::DEFAULT, None)?;
    // SAFETY: `theirs` is dropped after `ours`, at the end.
    let ours = unsafe { device.share_stream(&theirs) }?;

    let memory = DeviceMemory::new(device.clone());
    let mut buffer = memory.buffer(1 << 20, &ours)?;
    buffer.copy_from_slice(0, &[1; 4096])?;
    // Waits for vmem's copy, as it is on cust's stream.
    theirs.synchronize()?;
    assert_eq!(buffer.to_vec()?[..4096], [1; 4096]);
    println!("{} bytes went through cust's stream {:?}", 4096, theirs.as_inner());

    drop(buffer);
    // Ends vmem's use of the stream; cust still owns it.
    ours.retire()?;
    drop(ours);
    drop(theirs);
    drop(current);
    Ok(())
}
