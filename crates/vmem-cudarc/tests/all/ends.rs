//! In which order things may end: any.

use std::sync::Arc;

use vmem_core::{DeviceMemory, ResourceExt};
use vmem_cudarc::{SharedStream, VmemSlice};

use crate::support::{bench, control, has_control, turn};

/// What a program holds, to be dropped in some order.
type Held = Box<dyn std::any::Any>;

#[test]
fn context_device_pool_stream_and_slice_end_in_any_order() {
    // Every rotation, forwards and backwards.
    for order in 0..12 {
        let Some(_turn) = turn("") else { return };
        let context = cudarc::driver::CudaContext::new(0).unwrap();
        let device = vmem_cudarc::open(&context).unwrap();
        let memory = DeviceMemory::new(device.clone()).into_dyn();
        let theirs = context.new_stream().unwrap();
        let stream = SharedStream::new(&device, &theirs).unwrap();
        let x = VmemSlice::clone_htod(memory.clone(), &[1_u8; 100], &stream).unwrap();
        let mut held: Vec<Held> = vec![
            Box::new(context),
            Box::new(device),
            Box::new(memory),
            Box::new(theirs),
            Box::new(stream),
            Box::new(x),
        ];
        held.rotate_left(order % 6);
        if order >= 6 {
            held.reverse();
        }
        held.into_iter().for_each(drop);
        if has_control() {
            for question in ["violations", "leaks", "contexts"] {
                assert_eq!(control(question), "", "{question} in order {order}");
            }
        }
    }
}

#[test]
fn a_stream_lives_until_vmem_has_named_it_for_the_last_time() {
    let Some(bench) = bench() else { return };
    let (pool, _) = bench.pool();
    let theirs = bench.context.new_stream().unwrap();
    let stream = SharedStream::new(&bench.device, &theirs).unwrap();
    let ours = stream.vmem().clone();
    let x: VmemSlice<u8> = VmemSlice::alloc_zeros(pool.clone(), 1000, &stream).unwrap();
    let weak = Arc::downgrade(&theirs);
    drop((theirs, stream));
    drop(x);
    assert!(weak.upgrade().is_some(), "vmem still has a handle of it");
    ours.synchronize().unwrap();
    drop(ours);
    assert!(weak.upgrade().is_none(), "the pool holds the stream");
    drop(pool);
    bench.finish();
}

#[test]
fn cudarcs_context_goes_first_and_vmem_goes_on() {
    let Some(_turn) = turn("") else { return };
    let context = cudarc::driver::CudaContext::new(0).unwrap();
    let device = vmem_cudarc::open(&context).unwrap();
    drop(context);
    let stream = vmem_core::Stream::new(device.clone()).unwrap();
    let buffer = DeviceMemory::new(device).into_dyn().owned_buffer(100, &stream).unwrap();
    assert_eq!(buffer.to_vec().unwrap().len(), 100);
}
