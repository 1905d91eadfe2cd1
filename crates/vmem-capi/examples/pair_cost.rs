//! What a pair of allocate and free costs through the C ABI, beside the same through the stack it is over.
//!
//! `cargo xtask driver cargo run --release -p vmem-capi --example pair_cost [PAIRS] [LIVE]`, or under
//! callgrind with `--toggle-collect` of one of the functions below, for instructions.
#![allow(clippy::print_stdout, reason = "its answer")]

use std::ffi::{c_int, c_uint, c_void};
use std::hint::black_box;
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::time::Instant;

use vmem::{
    vmem_allocate, vmem_close, vmem_forget_stream, vmem_free, vmem_hold_stream, vmem_open,
    vmem_status, vmem_stream,
};
use vmem_core::{Block, BlockLayout};
use vmem_core::{BoxedError, Device, MemoryResource, Request, Stream};
use vmem_cuda::CudaDevice;
use vmem_runtime::{Recovery, RuntimeConfig, Stack, Tier};

const SIZES: [u64; 4] = [256, 4096, 70_000, 1 << 20];

fn main() -> Result<(), BoxedError> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let pairs = arguments.next().transpose()?.unwrap_or(1_000_000);
    let live = arguments.next().transpose()?.unwrap_or(1000);

    let cuda = CudaDevice::open(0)?;
    // As a program's that uses the runtime of CUDA.
    let current = cuda.enter()?;
    let device: Arc<dyn Device> = cuda.clone();
    let stream = Stream::new(device.clone())?;
    let raw = std::ptr::with_exposed_provenance_mut(usize::try_from(stream.raw().0)?);
    {
        let config = RuntimeConfig::default();
        let stack = Stack::build(Tier::A, device.clone(), &config, &Recovery::default())?;
        let memory = &*stack.resource;
        let held: Vec<Block> = (0..live).map(|i| allocate(memory, SIZES[i % 4], &stream)).collect();
        through_the_stack(memory, &stream, 1000);
        report("stack", pairs, || through_the_stack(memory, &stream, pairs));
        held.into_iter().for_each(|block| free(memory, block, &stream));
        stack.synchronize()?;
    }
    // SAFETY: no options.
    assert_eq!(unsafe { vmem_open(0, null()) }, vmem_status::VMEM_OK);
    let held: Vec<*mut c_void> = (0..live).map(|i| abi_allocate(SIZES[i % 4], LEGACY)).collect();
    through_the_abi(LEGACY, 1000);
    report("ABI, legacy default stream", pairs, || on_the_legacy_stream(pairs));
    through_the_abi(raw, 1000);
    report("ABI, stream of others", pairs, || on_a_stream_of_others(raw, pairs));
    report("  of that, the driver's answers", pairs, || driver_calls(raw, pairs));
    // SAFETY: the stream lives until the end.
    assert_eq!(unsafe { vmem_hold_stream(0, raw) }, vmem_status::VMEM_OK);
    through_the_abi(raw, 1000);
    report("ABI, held stream", pairs, || on_a_held_stream(raw, pairs));
    held.into_iter().for_each(|block| abi_free(block, LEGACY));
    // SAFETY: as above.
    assert_eq!(unsafe { vmem_forget_stream(0, raw) }, vmem_status::VMEM_OK);
    assert_eq!(vmem_close(0), vmem_status::VMEM_OK);
    drop(current);
    Ok(())
}

const LEGACY: vmem_stream = null_mut();

fn report(what: &str, pairs: usize, run: impl FnOnce()) {
    let start = Instant::now();
    run();
    let each = start.elapsed().as_nanos() as f64 / pairs as f64;
    println!("{what:<34} {each:>7.1} ns a pair");
}

#[inline(never)]
fn through_the_stack(memory: &dyn MemoryResource, stream: &Stream, pairs: usize) {
    for i in 0..pairs {
        let block = allocate(memory, SIZES[i % 4], stream);
        free(memory, black_box(block), stream);
    }
}

#[inline(never)]
fn on_the_legacy_stream(pairs: usize) {
    through_the_abi(LEGACY, pairs);
}

#[inline(never)]
fn on_a_stream_of_others(stream: vmem_stream, pairs: usize) {
    through_the_abi(stream, pairs);
}

#[inline(never)]
fn on_a_held_stream(stream: vmem_stream, pairs: usize) {
    // Otherwise it is the same function as the one before.
    black_box("held");
    through_the_abi(stream, pairs);
}

fn through_the_abi(stream: vmem_stream, pairs: usize) {
    for i in 0..pairs {
        let block = abi_allocate(SIZES[i % 4], stream);
        abi_free(black_box(block), stream);
    }
}

/// The questions that an allocation on a stream of others asks, over the driver alone.
#[inline(never)]
fn driver_calls(stream: vmem_stream, pairs: usize) {
    type Ask = unsafe extern "C" fn(*mut c_void, *mut c_int) -> c_uint;
    type Id = unsafe extern "C" fn(*mut c_void, *mut u64) -> c_uint;
    type Current = unsafe extern "C" fn(*mut *mut c_void) -> c_uint;
    let driver = vmem_cuda::driver().expect("a driver");
    let find = |name| driver.symbol(name).expect("the driver's function").as_ptr();
    // SAFETY: the prototype of this function.
    let current: Current = unsafe { std::mem::transmute(find(c"cuCtxGetCurrent")) };
    // SAFETY: as above.
    let ask: Ask = unsafe { std::mem::transmute(find(c"cuStreamIsCapturing")) };
    // SAFETY: as above.
    let id: Id = unsafe { std::mem::transmute(find(c"cuStreamGetId")) };
    let (mut context, mut status, mut number) = (null_mut(), 0, 0);
    for _ in 0..pairs {
        // SAFETY: the driver writes to a local.
        black_box(unsafe { current(&raw mut context) });
        // SAFETY: a live stream, and a local.
        black_box(unsafe { ask(stream, &raw mut status) });
        // SAFETY: as above.
        black_box(unsafe { id(stream, &raw mut number) });
    }
}

fn allocate(memory: &dyn MemoryResource, size: u64, stream: &Stream) -> Block {
    let layout = BlockLayout::new(size).expect("a size");
    memory.allocate(&Request::new(layout, stream)).expect("memory")
}

fn free(memory: &dyn MemoryResource, block: Block, stream: &Stream) {
    // SAFETY: contract, freeing: nothing uses the block.
    unsafe { memory.deallocate(block, stream) }.expect("a free");
}

fn abi_allocate(size: u64, stream: vmem_stream) -> *mut c_void {
    let mut block = null_mut();
    // SAFETY: a live stream, and a place for the answer.
    let status = unsafe { vmem_allocate(size, 0, 0, stream, null(), &raw mut block) };
    assert_eq!(status, vmem_status::VMEM_OK);
    block
}

fn abi_free(block: *mut c_void, stream: vmem_stream) {
    // SAFETY: nothing uses the block.
    assert_eq!(unsafe { vmem_free(block, stream) }, vmem_status::VMEM_OK);
}
