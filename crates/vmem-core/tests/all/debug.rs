//! `{:?}` of whatever this crate makes is a line or a few, however much it holds.

use std::fmt::Debug;
use std::sync::Arc;

use vmem_core::author::{BlockTable, IdleEvent, StreamExt};
use vmem_core::{
    AsyncMemory, BlockLayout, Device, DeviceBuffer, DeviceMemory, DevicePtr, DriverCode, Label,
    MemoryResource, PinnedMemory, ResourceExt, Stream,
};

use crate::common::{sim, stream};

#[track_caller]
fn is_short(value: &dyn Debug) {
    let (line, lines) = (format!("{value:?}"), format!("{value:#?}"));
    assert!(line.len() < 400, "{} bytes: {}…", line.len(), line.get(..400).unwrap_or(""));
    assert!(lines.lines().count() < 30, "{lines}");
}

#[test]
fn handles_and_resources_that_hold_much_print_little() {
    let device = sim(0);
    let shared: Arc<dyn Device> = device.clone();
    let stream = stream(&device);
    let leaves: [Arc<dyn MemoryResource>; 3] = [
        DeviceMemory::new(device.clone()).into_dyn(),
        PinnedMemory::new(device.clone()).unwrap().into_dyn(),
        AsyncMemory::new(device.clone()).unwrap().into_dyn(),
    ];
    for memory in leaves {
        let held: Vec<DeviceBuffer> =
            (0..2000).map(|_| DeviceBuffer::new(memory.clone(), 256, &stream).unwrap()).collect();
        is_short(&memory);
        is_short(&held[0]);
        is_short(&held[0].block().unwrap());
        let refused = memory.allocate_on(BlockLayout::new(BlockLayout::MAX_SIZE).unwrap(), &stream);
        is_short(&refused.unwrap_err());
        let elsewhere = stream.clone();
        is_short(&(elsewhere.downgrade(), elsewhere));
    }
    let table = BlockTable::new();
    let ptr = DevicePtr::new(4096).unwrap();
    let issue = |at: u64| table.issue(ptr, BlockLayout::new(1).unwrap(), Label::NONE, at);
    let blocks: Vec<_> = (0..2000).map(issue).collect();
    is_short(&table);
    is_short(&blocks[0]);
    let marker = stream.marker().unwrap();
    is_short(&marker);
    is_short(&IdleEvent::new(device.clone()).unwrap());
    (0..2000).for_each(|_| shared.base().drop_failures().record("a test", &"nothing"));
    is_short(shared.base());
    is_short(&Stream::per_thread_default(shared.clone()));
    is_short(&Label::intern("a label"));
}

#[test]
fn codes_of_captures_have_names() {
    for code in 900..=911 {
        let text = DriverCode(code).to_string();
        assert!(text.contains("CUDA_ERROR_"), "{text}");
    }
    assert_eq!(DriverCode(905).to_string(), "905 (CUDA_ERROR_STREAM_CAPTURE_ISOLATION)");
}
