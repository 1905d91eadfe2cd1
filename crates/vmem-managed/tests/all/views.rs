//! What the host sees.

use std::sync::Arc;

use vmem_core::{Device, DriverCode, ResourceExt, Stream};
use vmem_sim::{CallKind, Kernel};

use crate::{MIB, free, launch, layout, set_up};

#[test]
fn a_view_waits_for_the_stream_and_shows_its_bytes() {
    let (device, stream, memory) = set_up(16 * MIB);
    let block = memory.allocate_on(layout(4096), &stream).unwrap();
    let ptr = block.ptr();
    let fill = Kernel::new("fill").writes(ptr, 4096);
    launch(&device, &stream, fill.with_body(move |bytes| bytes.write(ptr, &[9; 4096])));
    // SAFETY: the kernel is on the stream that the call waits for; no other view exists.
    let view = unsafe { memory.host_view(&block, &stream) }.unwrap();
    assert_eq!(view, [9; 4096]);
    free(&memory, block, &stream);
    device.assert_clean();
}

#[test]
fn what_the_host_writes_the_device_reads() {
    let (device, stream, memory) = set_up(16 * MIB);
    let mut block = memory.allocate_on(layout(1000), &stream).unwrap();
    // SAFETY: no work was queued on the block, and this is its only view.
    let view = unsafe { memory.host_view_mut(&mut block, &stream) }.unwrap();
    assert_eq!(view.len(), 1000);
    view.fill(5);
    let mut seen = [0; 1000];
    device.read_now(block.ptr(), &mut seen).unwrap();
    assert_eq!(seen, [5; 1000]);
    launch(&device, &stream, Kernel::new("read").reads(block.ptr(), 1000));
    free(&memory, block, &stream);
    device.assert_clean();
}

#[test]
fn a_failed_wait_shows_nothing() {
    let (device, stream, memory) = set_up(16 * MIB);
    let block = memory.allocate_on(layout(1000), &stream).unwrap();
    device.fail_call(Some(CallKind::SynchronizeStream), 1, DriverCode::UNKNOWN);
    // SAFETY: no work was queued on the block, and this is its only view.
    let view = unsafe { memory.host_view(&block, &stream) };
    assert_eq!(view.unwrap_err().code(), DriverCode::UNKNOWN);
    free(&memory, block, &stream);
}

#[test]
fn a_view_on_another_threads_stream_is_refused_and_breaks_no_capture() {
    let (device, stream, memory) = set_up(16 * MIB);
    let erased: Arc<dyn Device> = device.clone();
    let block = memory.allocate_on(layout(1000), &stream).unwrap();
    let foreign = std::thread::scope(|scope| {
        scope.spawn(|| Stream::per_thread_default(erased.clone())).join().unwrap()
    });
    device.begin_capture(&stream).unwrap();
    // SAFETY: no work was queued on the block, and this is its only view.
    let view = unsafe { memory.host_view(&block, &foreign) };
    assert_eq!(view.unwrap_err().code(), DriverCode::NOT_PERMITTED);
    device.end_capture(&stream).unwrap();
    free(&memory, block, &stream);
    device.assert_clean();
}
