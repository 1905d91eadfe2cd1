//! What each access class changes for kernels on managed memory: a pass from front to back and one at
//! random, over pages that the host wrote, over the same once more, and after the host read them.
//!
//! `cargo run --release -p vmem-cudarc --example advice`
//!
//! It uses 128 MiB of managed memory, a buffer at a time, and never more than the device has. It needs a
//! GPU: over the software driver, which runs no kernels, it says so and skips.

#![expect(clippy::print_stdout, reason = "its answer")]

use std::error::Error;
use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaFunction, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::Ptx;
use vmem_core::DeviceMemory;
use vmem_core::{AccessClass, BlockLayout, Device, MemoryResource, Request};
use vmem_cuda::{CudaDevice, driver};
use vmem_cudarc::{SharedStream, VmemSlice};
use vmem_managed::ManagedMemory;

/// Adds up the words at (i · step) mod n, for every i below n, which is a power of two. With an odd step
/// each is read once.
const PTX: &str = r"
.version 6.5
.target sm_60
.address_size 64

.visible .entry total(.param .u64 words, .param .u32 n, .param .u32 step, .param .u64 sum)
{
    .reg .pred %p;
    .reg .b32 %r<12>;
    .reg .b64 %d<8>;

    ld.param.u64 %d1, [words];
    ld.param.u32 %r1, [n];
    ld.param.u32 %r2, [step];
    ld.param.u64 %d2, [sum];
    cvta.to.global.u64 %d1, %d1;
    cvta.to.global.u64 %d2, %d2;
    mov.u32 %r3, %ctaid.x;
    mov.u32 %r4, %ntid.x;
    mov.u32 %r5, %tid.x;
    mad.lo.s32 %r6, %r3, %r4, %r5;
    mov.u32 %r7, %nctaid.x;
    mul.lo.u32 %r7, %r7, %r4;
    sub.u32 %r8, %r1, 1;
    mov.u64 %d3, 0;
NEXT:
    setp.ge.u32 %p, %r6, %r1;
    @%p bra DONE;
    mul.lo.u32 %r9, %r6, %r2;
    and.b32 %r9, %r9, %r8;
    mul.wide.u32 %d4, %r9, 4;
    add.s64 %d4, %d1, %d4;
    ld.global.u32 %r10, [%d4];
    cvt.u64.u32 %d5, %r10;
    add.s64 %d3, %d3, %d5;
    add.u32 %r6, %r6, %r7;
    bra NEXT;
DONE:
    red.global.add.u64 [%d2], %d3;
    ret;
}
";

/// The words of a buffer: 128 MiB.
const WORDS: u32 = 1 << 25;

const PATTERNS: [(&str, u32); 2] = [("front to back", 1), ("at random", 2_654_435_761)];

const CLASSES: [AccessClass; 4] = [
    AccessClass::Unknown,
    AccessClass::Streaming,
    AccessClass::RandomReuse,
    AccessClass::WriteOnce,
];

/// Device 0 and what runs on it.
struct Lab {
    device: Arc<CudaDevice>,
    stream: SharedStream,
    total: CudaFunction,
}

impl Lab {
    /// The milliseconds that a pass takes on the device. It must find every word.
    fn pass(&self, words: u64, step: u32) -> Result<f64, Box<dyn Error>> {
        let memory = DeviceMemory::new(self.device.clone());
        let mut sum: VmemSlice<u64, _> = VmemSlice::alloc_zeros(memory, 1, &self.stream)?;
        let config =
            LaunchConfig { grid_dim: (1056, 1, 1), block_dim: (256, 1, 1), shared_mem_bytes: 0 };
        let start = self.stream.vmem().record_timed()?;
        let mut launch = self.stream.cudarc().launch_builder(&self.total);
        launch.arg(&words).arg(&WORDS).arg(&step).arg(&mut sum);
        // SAFETY: the arguments are the kernel's, and it stays inside the words.
        unsafe { launch.launch(config) }?;
        let end = self.stream.vmem().record_timed()?;
        let found = self.stream.cudarc().clone_dtoh(&sum)?;
        self.stream.vmem().synchronize()?;
        assert_eq!(found[0], u64::from(WORDS) * u64::from(WORDS - 1) / 2, "a word is missing");
        Ok(end.elapsed_since(&start)?.as_secs_f64() * 1e3)
    }

    /// The milliseconds of each pass over a buffer of one class, and of the host's reading between.
    fn row(&self, access: AccessClass, step: u32) -> Result<[f64; 4], Box<dyn Error>> {
        let memory = ManagedMemory::new(self.device.clone())?;
        let stream = self.stream.vmem();
        let layout = BlockLayout::new(u64::from(WORDS) * 4)?;
        let request = Request::new(layout, stream).with_access(access);
        let mut block = memory.allocate(&request)?;
        // SAFETY: no work was queued on the block, and the view ends here.
        let bytes = unsafe { memory.host_view_mut(&mut block, stream) }?;
        for (word, bytes) in (0_u32..).zip(bytes.as_chunks_mut().0) {
            *bytes = word.to_ne_bytes();
        }
        let ptr = block.ptr().get();
        let (first, again) = (self.pass(ptr, step)?, self.pass(ptr, step)?);
        let start = std::time::Instant::now();
        // SAFETY: every pass was waited for, and the view ends here.
        let bytes = unsafe { memory.host_view(&block, stream) }?;
        let sum: u64 =
            bytes.as_chunks().0.iter().map(|&word| u64::from(u32::from_ne_bytes(word))).sum();
        let host = start.elapsed().as_secs_f64() * 1e3;
        assert_eq!(sum, u64::from(WORDS) * u64::from(WORDS - 1) / 2, "the host misses a word");
        let after = self.pass(ptr, step)?;
        let counts = memory.handle().hints().unwrap_or_default();
        assert_eq!(counts.refused, 0, "the driver refused advice");
        // SAFETY: contract, freeing/completion-order: every pass was waited for.
        unsafe { memory.deallocate(block, stream) }?;
        Ok([first, again, host, after])
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let context = CudaContext::new(0)?;
    let device = vmem_cudarc::open(&context)?;
    println!("{}, {}", device.facts().name, device.facts().driver);
    if driver()?.simulated {
        println!("skipped: advice: the software driver runs no kernels");
        return Ok(());
    }
    let total = context.load_module(Ptx::from_src(PTX))?.load_function("total")?;
    let theirs = context.new_stream()?;
    let stream = SharedStream::new(&device, &theirs)?;
    let lab = Lab { device, stream, total };
    println!("{} MiB a buffer; milliseconds, the median of five", (u64::from(WORDS) * 4) >> 20);
    println!(
        "{:<14} {:<13} {:>10} {:>10} {:>10} {:>10}",
        "pattern", "class", "first pass", "again", "host reads", "pass after"
    );
    for (pattern, step) in PATTERNS {
        for access in CLASSES {
            lab.row(access, step)?;
            let mut rows = Vec::new();
            for _ in 0..5 {
                rows.push(lab.row(access, step)?);
            }
            let median = |column: usize| {
                let mut times: Vec<f64> = rows.iter().map(|row| row[column]).collect();
                times.sort_by(f64::total_cmp);
                times[times.len() / 2]
            };
            let class = format!("{access:?}");
            print!("{pattern:<14} {class:<13}");
            (0..4).for_each(|column| print!(" {:>10.3}", median(column)));
            println!();
        }
    }
    Ok(())
}
