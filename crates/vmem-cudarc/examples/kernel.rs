//! A matrix product as a kernel of our own, with slices of a pool as its arguments, on two streams.
//!
//! `cargo run -p vmem-cudarc --example kernel`
//!
//! It needs a GPU: over the software driver, which runs no kernels, it says so and skips. The kernel is
//! text for the driver, so that no compiler of CUDA's is needed.

#![expect(clippy::print_stdout, reason = "examples print")]

use std::error::Error;

use cudarc::driver::{CudaContext, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::Ptx;
use vmem_core::{Device, ResourceExt};
use vmem_cuda::driver;
use vmem_cudarc::{SharedStream, VmemSlice};
use vmem_pool::{Pool, PoolConfig, VirtualArena};

/// Element (row, column) of c = a·b, for square matrices of n rows, stored by rows.
const PTX: &str = r"
.version 6.5
.target sm_50
.address_size 64

.visible .entry product(.param .u64 a, .param .u64 b, .param .u64 c, .param .u32 n)
{
    .reg .pred %p<4>;
    .reg .b32 %r<16>;
    .reg .b64 %d<16>;
    .reg .f32 %f<4>;

    ld.param.u64 %d1, [a];
    ld.param.u64 %d2, [b];
    ld.param.u64 %d3, [c];
    ld.param.u32 %r1, [n];
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %ntid.x;
    mov.u32 %r4, %tid.x;
    mad.lo.s32 %r5, %r2, %r3, %r4;
    mov.u32 %r6, %ctaid.y;
    mov.u32 %r7, %ntid.y;
    mov.u32 %r8, %tid.y;
    mad.lo.s32 %r9, %r6, %r7, %r8;
    setp.ge.u32 %p1, %r5, %r1;
    setp.ge.u32 %p2, %r9, %r1;
    or.pred %p3, %p1, %p2;
    @%p3 bra DONE;
    cvta.to.global.u64 %d1, %d1;
    cvta.to.global.u64 %d2, %d2;
    cvta.to.global.u64 %d3, %d3;
    mul.lo.u32 %r10, %r9, %r1;
    mul.wide.u32 %d4, %r10, 4;
    add.s64 %d5, %d1, %d4;
    mul.wide.u32 %d6, %r5, 4;
    add.s64 %d7, %d2, %d6;
    mul.wide.u32 %d8, %r1, 4;
    mov.f32 %f1, 0f00000000;
    mov.u32 %r11, 0;
STEP:
    ld.global.f32 %f2, [%d5];
    ld.global.f32 %f3, [%d7];
    fma.rn.f32 %f1, %f2, %f3, %f1;
    add.s64 %d5, %d5, 4;
    add.s64 %d7, %d7, %d8;
    add.u32 %r11, %r11, 1;
    setp.lt.u32 %p1, %r11, %r1;
    @%p1 bra STEP;
    add.u32 %r12, %r10, %r5;
    mul.wide.u32 %d9, %r12, 4;
    add.s64 %d10, %d3, %d9;
    st.global.f32 [%d10], %f1;
DONE:
    ret;
}
";

fn main() -> Result<(), Box<dyn Error>> {
    const N: u32 = 256;
    const LEN: usize = 1 << 16;

    let context = CudaContext::new(0)?;
    let device = vmem_cudarc::open(&context)?;
    println!("{}", device.facts().driver);
    if driver()?.simulated {
        println!("skipped: kernel: the software driver runs no kernels");
        return Ok(());
    }
    let product = context.load_module(Ptx::from_src(PTX))?.load_function("product")?;
    let pool = Pool::new(VirtualArena::new(device.clone())?, PoolConfig::default())?.into_dyn();
    let (first, second) = (context.new_stream()?, context.new_stream()?);
    let home = SharedStream::new(&device, &first)?;

    // Small whole numbers, whose products and sums are exact.
    let of = |seed: u16| -> Vec<f32> {
        (0..LEN).map(|i| f32::from(u16::try_from(i % 7).unwrap_or(0) + seed)).collect()
    };
    let (a, b) = (of(1), of(3));
    let x = VmemSlice::clone_htod(pool.clone(), &a, &home)?;
    let y = VmemSlice::clone_htod(pool.clone(), &b, &home)?;
    let mut z: VmemSlice<f32> = VmemSlice::alloc_zeros(pool.clone(), LEN, &home)?;
    let grid = (N / 16, N / 16, 1);
    let config = LaunchConfig { grid_dim: grid, block_dim: (16, 16, 1), shared_mem_bytes: 0 };
    // On the other stream than the copies: cudarc has it wait for them.
    let mut launch = second.launch_builder(&product);
    launch.arg(&x).arg(&y).arg(&mut z).arg(&N);
    // SAFETY: the arguments are the kernel's, and it stays inside the matrices.
    unsafe { launch.launch(config) }?;
    // The pool may hand these out again on the first stream, behind the kernel.
    drop((x, y));
    let next: VmemSlice<f32> = VmemSlice::alloc_zeros(pool, 2 * LEN, &home)?;

    let c = first.clone_dtoh(&z)?;
    let n = usize::try_from(N)?;
    let (row, column) = (17, 99);
    let expected: f32 = (0..n).map(|k| a[row * n + k] * b[k * n + column]).sum();
    assert_eq!(c[row * n + column], expected);
    println!(
        "c[{row}][{column}] = {expected}, on two streams; the next slice has {} elements",
        next.len()
    );
    Ok(())
}
