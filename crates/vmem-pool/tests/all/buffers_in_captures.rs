//! Buffers over a pool, around captures and ends of streams.

use std::sync::Arc;

use vmem_core::{DeviceBuffer, DriverCode, ResourceExt, Stream};
use vmem_pool::{Pool, PoolConfig, VirtualArena};
use vmem_sim::{CallKind, Kernel, SimConfig, SimDevice};

const MIB: u64 = 1 << 20;

fn device(seed: u64) -> Arc<SimDevice> {
    let config = SimConfig { capacity: 64 * MIB, seed, ..SimConfig::default() };
    SimDevice::with_config(config).unwrap()
}

fn arena(device: &Arc<SimDevice>) -> Pool<VirtualArena> {
    Pool::new(VirtualArena::new(device.clone()).unwrap(), PoolConfig::default()).unwrap()
}

fn launch(device: &SimDevice, stream: &Stream, kernel: Kernel) {
    // SAFETY: contract, devices/ranges: the buffers that these tests name live, and are freed
    // behind the kernels.
    unsafe { device.launch(stream, kernel) }.unwrap();
}

#[test]
fn a_buffer_whose_use_was_noted_in_a_capture_is_freed_in_the_end() {
    let device = device(0);
    let pool = arena(&device);
    let handle = pool.handle();
    let memory = pool.into_dyn();
    let home = Stream::new(device.clone()).unwrap();
    let capturing = Stream::new(device.clone()).unwrap();
    let mut shared = DeviceBuffer::new(memory.clone(), MIB, &home).unwrap();
    device.begin_capture(&capturing).unwrap();
    let refused = shared.record_use(&capturing).unwrap_err();
    assert_eq!(refused.code(), DriverCode::STREAM_CAPTURE_UNSUPPORTED);
    drop(device.end_capture(&capturing).unwrap());
    drop(shared);
    assert_eq!(handle.counters().unwrap().live, 0);
    device.assert_clean();
}

#[test]
fn a_used_buffer_dropped_in_a_capture_is_reused_behind_its_use_and_the_capture_lives() {
    for seed in 0..16 {
        let device = device(seed);
        let memory = arena(&device).into_dyn();
        let home = Stream::new(device.clone()).unwrap();
        let user = Stream::new(device.clone()).unwrap();
        let mut shared = DeviceBuffer::new(memory.clone(), MIB, &home).unwrap();
        shared.make_ready_on(&user).unwrap();
        launch(&device, &user, Kernel::write_pattern(shared.ptr().unwrap(), MIB, 1));
        shared.record_use(&user).unwrap();
        device.begin_capture(&home).unwrap();
        drop(shared);
        // At hand, once the use has completed.
        let next = DeviceBuffer::new(memory.clone(), MIB, &home).unwrap();
        launch(&device, &home, Kernel::write_pattern(next.ptr().unwrap(), MIB, 2));
        assert!(!user.is_capturing().unwrap());
        let graph = device.end_capture(&home).unwrap();
        assert_eq!(graph.len(), 1);
        // SAFETY: contract, devices/ranges: the buffer that the graph writes is live.
        unsafe { device.launch_graph(&home, &graph) }.unwrap();
        drop(next);
        device.assert_clean();
        assert_eq!(vmem_core::Device::base(&*device).drop_failures().count(), 0);
    }
}

#[test]
fn a_clone_across_streams_protects_its_source_whatever_fails() {
    for seed in 0..16 {
        for retired in [false, true] {
            let device = device(seed);
            let memory = arena(&device).into_dyn();
            let home = Stream::new(device.clone()).unwrap();
            let other = Stream::new(device.clone()).unwrap();
            let source = DeviceBuffer::new(memory.clone(), MIB, &home).unwrap();
            launch(&device, &home, Kernel::write_pattern(source.ptr().unwrap(), MIB, 1));
            if retired {
                home.retire().unwrap();
            } else {
                device.fail_call(Some(CallKind::RecordEvent), 2, DriverCode::UNKNOWN);
            }
            let clone = source.try_clone(&other).unwrap();
            device.clear_failures();
            drop(source);
            let third = Stream::new(device.clone()).unwrap();
            let next = DeviceBuffer::new(memory.clone(), MIB, &third).unwrap();
            launch(&device, &third, Kernel::write_pattern(next.ptr().unwrap(), MIB, 2));
            launch(&device, &other, Kernel::check_pattern(clone.ptr().unwrap(), MIB, 1));
            device.assert_clean();
        }
    }
}
