//! A matrix product of cuBLAS over slices of a pool, beside the same over cudarc's own slices.
//!
//! `cargo run --release -p vmem-cudarc --example cublas`
//!
//! It needs a GPU, and cuBLAS's library where the loader finds it.

#![expect(clippy::print_stdout, reason = "examples print")]

use std::error::Error;

use cudarc::cublas::{CudaBlas, Gemm, GemmConfig, sys::cublasOperation_t};
use cudarc::driver::{CudaContext, DevicePtr, DevicePtrMut};
use vmem_core::{Device, ResourceExt};
use vmem_cuda::driver;
use vmem_cudarc::{SharedStream, VmemSlice};
use vmem_pool::{Pool, PoolConfig, VirtualArena};

const N: i32 = 512;

/// c = a·b.
fn product(
    blas: &CudaBlas,
    a: &impl DevicePtr<f32>,
    b: &impl DevicePtr<f32>,
    c: &mut impl DevicePtrMut<f32>,
) -> Result<(), Box<dyn Error>> {
    let config = GemmConfig {
        transa: cublasOperation_t::CUBLAS_OP_N,
        transb: cublasOperation_t::CUBLAS_OP_N,
        m: N,
        n: N,
        k: N,
        alpha: 1.0,
        lda: N,
        ldb: N,
        beta: 0.0,
        ldc: N,
    };
    // SAFETY: square matrices of N rows.
    unsafe { blas.gemm(config, a, b, c) }?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let context = CudaContext::new(0)?;
    let device = vmem_cudarc::open(&context)?;
    println!("{}", device.facts().driver);
    if driver()?.simulated {
        println!("skipped: cublas: the software driver runs no kernels");
        return Ok(());
    }
    let pool = Pool::new(VirtualArena::new(device.clone())?, PoolConfig::default())?.into_dyn();
    let theirs = context.new_stream()?;
    let stream = SharedStream::new(&device, &theirs)?;
    let blas = CudaBlas::new(theirs.clone())?;

    let len = usize::try_from(N * N)?;
    let host: Vec<f32> =
        (0..len).map(|i| f32::from(u16::try_from(i % 1000).unwrap_or(0))).collect();
    let (a, b) = (theirs.clone_htod(&host)?, theirs.clone_htod(&host)?);
    let mut c = theirs.alloc_zeros::<f32>(len)?;
    product(&blas, &a, &b, &mut c)?;

    let x = VmemSlice::clone_htod(pool.clone(), &host, &stream)?;
    let y = VmemSlice::clone_htod(pool.clone(), &host, &stream)?;
    let mut z: VmemSlice<f32> = VmemSlice::alloc_zeros(pool, len, &stream)?;
    product(&blas, &x, &y, &mut z)?;

    let (c, z) = (theirs.clone_dtoh(&c)?, theirs.clone_dtoh(&z)?);
    assert!(c == z, "cuBLAS answers otherwise over vmem's memory");
    println!("{N}×{N}: equal, element by element");
    Ok(())
}
