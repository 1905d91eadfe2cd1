//! A block of vmem's handed to a kernel that cust launches.
//!
//! `cargo run -p vmem-cuda --features cust --example kernel`
//!
//! It needs a GPU: over the software driver, which runs no kernels, it says so and skips.

#![expect(clippy::print_stdout, reason = "examples print")]

use std::error::Error;

use cust::launch;
use cust::module::Module;
use cust::stream::{Stream as CustStream, StreamFlags};
use vmem_core::author::StreamExt;
use vmem_core::{BlockLayout, Device, DeviceMemory, MemoryResource, ResourceExt};
use vmem_cuda::{CudaDevice, device_pointer, driver};

/// Writes `index` to each of `n` words.
const PTX: &str = r"
.version 6.5
.target sm_50
.address_size 64

.visible .entry write_indices(.param .u64 to, .param .u32 n)
{
    .reg .pred %p;
    .reg .b32 %r<6>;
    .reg .b64 %rd<5>;

    ld.param.u64 %rd1, [to];
    ld.param.u32 %r1, [n];
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %ntid.x;
    mov.u32 %r4, %tid.x;
    mad.lo.s32 %r5, %r2, %r3, %r4;
    setp.ge.u32 %p, %r5, %r1;
    @%p bra DONE;
    cvta.to.global.u64 %rd2, %rd1;
    mul.wide.u32 %rd3, %r5, 4;
    add.s64 %rd4, %rd2, %rd3;
    st.global.u32 [%rd4], %r5;
DONE:
    ret;
}
";

fn main() -> Result<(), Box<dyn Error>> {
    const WORDS: u32 = 100_000;

    let device = CudaDevice::open(0)?;
    println!("{}", device.facts().driver);
    if driver()?.simulated {
        println!("skipped: kernel: the software driver runs no kernels");
        return Ok(());
    }

    let current = device.enter()?;
    let module = Module::from_ptx(PTX, &[])?;
    let write_indices = module.get_function("write_indices")?;
    let theirs = CustStream::new(StreamFlags::DEFAULT, None)?;
    // SAFETY: `theirs` is dropped after `ours`, at the end.
    let ours = unsafe { device.share_stream(&theirs) }?;

    // A block is usable by what is queued on its stream from now on.
    let memory = DeviceMemory::new(device.clone());
    let block = memory.allocate_on(BlockLayout::new(u64::from(WORDS) * 4)?, &ours)?;
    let words = device_pointer::<u32>(block.ptr());
    // SAFETY: contract, allocating/stream-order: queued on the block's stream, within the block's
    // bytes; the arguments are those of the kernel above.
    unsafe { launch!(write_indices<<<WORDS.div_ceil(256), 256, 0, theirs>>>(words, WORDS)) }?;

    let mut bytes = vec![0; block.size().try_into()?];
    ours.with_raw("kernel", |device, raw| {
        // SAFETY: contract, devices/handles, devices/ranges and devices/host-memory: the block's
        // own bytes, on its own stream; the vector outlives the wait below.
        unsafe { device.copy_to_host(bytes.as_mut_ptr(), block.ptr(), block.size(), raw) }
    })?;
    ours.synchronize()?;
    let words =
        bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    assert!(words.eq(0..WORDS), "the kernel wrote something else");
    println!("the kernel wrote {WORDS} words to {}", block.ptr());

    // SAFETY: contract, freeing/completion-order: the kernel and the copy are on this stream.
    unsafe { memory.deallocate(block, &ours) }?;
    ours.retire()?;
    drop((ours, theirs, module, current));
    Ok(())
}
