//! Pinned buffers, and copies from and to them that nothing waits for.

use std::sync::Arc;

use vmem_core::{
    AllocErrorKind, DeviceMemory, DeviceVec, DriverCode, DriverError, MemoryResource, PinnedBuffer,
    PinnedMemory, ResourceExt, Stream, Transfer, TransferError,
};
use vmem_sim::{CallKind, SimDevice};

use crate::common::{sim, stream};

type Memory = Arc<dyn MemoryResource>;

struct Setup {
    device: Arc<SimDevice>,
    stream: Stream,
    memory: Memory,
    pinned: Memory,
}

fn setup(seed: u64) -> Setup {
    let device = sim(seed);
    let stream = stream(&device);
    let memory = DeviceMemory::new(device.clone()).into_dyn();
    let pinned = PinnedMemory::new(device.clone()).unwrap().into_dyn();
    Setup { device, stream, memory, pinned }
}

impl Setup {
    fn staging(&self, elements: &[u32]) -> PinnedBuffer<u32> {
        PinnedBuffer::from_slice(self.pinned.clone(), elements, &stream(&self.device)).unwrap()
    }

    fn numbers(&self, elements: &[u32]) -> DeviceVec<u32> {
        DeviceVec::from_slice(self.memory.clone(), elements, &self.stream).unwrap()
    }

    fn waits(&self) -> u64 {
        let calls = self.device.calls();
        calls.of(CallKind::SynchronizeStream) + calls.of(CallKind::SynchronizeEvent)
    }

    fn drop_failures(&self) -> u64 {
        self.stream.device().base().drop_failures().count()
    }
}

fn numbers(count: u32) -> Vec<u32> {
    (0..count).map(|n| n.wrapping_mul(2_654_435_761)).collect()
}

#[track_caller]
fn failure<T>(
    result: Result<Transfer<T>, TransferError<T>>,
) -> (Option<PinnedBuffer<T>>, DriverError)
where
    T: std::fmt::Debug,
{
    result.unwrap_err().into_parts()
}

#[test]
fn copies_from_and_to_pinned_memory_wait_only_when_they_are_asked_to() {
    for seed in 0..16 {
        let this = setup(seed);
        let staging = this.staging(&numbers(10_000));
        let mut there = DeviceVec::uninit(this.memory.clone(), 10_000, &this.stream).unwrap();
        let result = this.staging(&[0; 10_002]);
        let before = this.waits();
        let upload = there.copy_from_pinned(staging, ..).unwrap();
        there.slice_mut(5..7).unwrap().fill(1).unwrap();
        let download = there.copy_to_pinned(result, 1..10_001).unwrap();
        assert_eq!(this.waits(), before);
        let result = download.wait().unwrap();
        assert!(upload.is_complete().unwrap(), "it was queued before");
        let mut staging = upload.wait().unwrap();
        staging.fill(9);
        let mut expected = numbers(10_000);
        expected[5..7].fill(1);
        assert_eq!((result[0], &result[1..10_001], result[10_001]), (0, &*expected, 0));
        drop((staging, result, there));
        this.device.assert_clean();
        assert_eq!(this.device.leaks().pinned.count, 0);
    }
}

#[test]
fn the_state_of_a_transfer_can_be_asked_for() {
    let this = setup(1);
    let mut there = this.numbers(&[0; 100]);
    let upload = there.copy_from_pinned(this.staging(&numbers(100)), ..).unwrap();
    while !upload.is_complete().unwrap() {}
    assert_eq!(*upload.wait().unwrap(), numbers(100));
}

#[test]
fn a_dropped_transfer_frees_its_memory_behind_the_copy() {
    for seed in 0..32 {
        let this = setup(seed);
        let mut there = this.numbers(&[0; 1000]);
        drop(there.copy_from_pinned(this.staging(&numbers(1000)), ..).unwrap());
        assert_eq!(there.to_vec().unwrap(), numbers(1000));
        drop(there.copy_to_pinned(this.staging(&[0; 1000]), ..).unwrap());
        drop(there);
        this.device.assert_clean();
        assert_eq!(this.device.leaks().pinned.count, 0);
        assert_eq!(this.drop_failures(), 0);
    }
}

#[test]
fn a_forgotten_transfer_leaks_the_hosts_end_and_nothing_dangles() {
    for seed in 0..32 {
        let this = setup(seed);
        let mut there = this.numbers(&[0; 1000]);
        std::mem::forget(there.copy_from_pinned(this.staging(&numbers(1000)), ..).unwrap());
        std::mem::forget(there.copy_to_pinned(this.staging(&[0; 1000]), ..).unwrap());
        assert_eq!(there.to_vec().unwrap(), numbers(1000));
        drop(there);
        this.device.assert_clean();
        assert_eq!(this.device.leaks().pinned.count, 2);
        assert_eq!(this.device.leaks().plain.count, 0);
    }
}

#[test]
fn the_devices_end_may_go_before_the_copy_is_complete() {
    for seed in 0..32 {
        let this = setup(seed);
        let there = this.numbers(&numbers(1000));
        let download = there.copy_to_pinned(this.staging(&[0; 1000]), ..).unwrap();
        drop(there);
        let this = Setup { stream: stream(&this.device), ..this };
        assert_eq!(*download.wait().unwrap(), numbers(1000));
        this.device.assert_clean();
    }
}

#[test]
fn a_copy_whose_end_cannot_be_marked_is_waited_for() {
    let this = setup(2);
    let mut there = this.numbers(&[0; 1000]);
    let staging = this.staging(&numbers(1000));
    this.device.fail_call(Some(CallKind::RecordEvent), 1, DriverCode::UNKNOWN);
    let before = this.waits();
    let upload = there.copy_from_pinned(staging, ..).unwrap();
    assert_eq!(this.waits(), before + 1);
    assert!(upload.is_complete().unwrap());
    assert_eq!(*upload.wait().unwrap(), numbers(1000));
    this.device.assert_clean();
}

#[test]
fn a_copy_that_can_be_neither_marked_nor_waited_for_keeps_its_memory() {
    let this = setup(2);
    let mut there = this.numbers(&[0; 1000]);
    let staging = this.staging(&numbers(1000));
    this.device.fail_call(Some(CallKind::RecordEvent), 1, DriverCode::UNKNOWN);
    this.device.fail_call(Some(CallKind::SynchronizeStream), 1, DriverCode::UNKNOWN);
    // For the attempt to mark it when the buffer is dropped.
    this.device.fail_call(Some(CallKind::RecordEvent), 2, DriverCode::UNKNOWN);
    let (staging, error) = failure(there.copy_from_pinned(staging, ..));
    assert!(staging.is_none());
    assert_eq!(error.code(), DriverCode::UNKNOWN);
    assert_eq!((this.device.leaks().pinned.count, this.drop_failures()), (1, 1));
    assert_eq!(there.to_vec().unwrap(), numbers(1000));
    this.device.assert_clean();
}

#[test]
fn what_fails_before_the_copy_gives_the_buffer_back() {
    let this = setup(0);
    let mut there = this.numbers(&[7; 4]);
    let mut staging = this.staging(&[1, 2, 3, 4]);
    for call in [CallKind::CreateEvent, CallKind::CopyFromHost] {
        this.device.fail_call(Some(call), 1, DriverCode::UNKNOWN);
        let (back, error) = failure(there.copy_from_pinned(staging, ..));
        assert_eq!(error.code(), DriverCode::UNKNOWN, "{call}");
        staging = back.unwrap();
    }
    #[expect(clippy::reversed_empty_ranges, reason = "it is what must be refused")]
    for range in [0..3, 1..5, 3..1] {
        let (back, error) = failure(there.copy_from_pinned(staging, range.clone()));
        assert_eq!(error.code(), DriverCode::INVALID_VALUE);
        assert!(error.detail().contains("elements"), "{error}");
        let (back, error) = failure(there.copy_to_pinned(back.unwrap(), range));
        assert_eq!(error.code(), DriverCode::INVALID_VALUE);
        staging = back.unwrap();
    }
    this.device.begin_capture(&this.stream).unwrap();
    let (back, error) = failure(there.copy_from_pinned(staging, ..));
    assert_eq!(error.code(), DriverCode::STREAM_CAPTURE_UNSUPPORTED);
    this.device.end_capture(&this.stream).unwrap();
    let error = there.copy_from_pinned(back.unwrap(), 1..).unwrap_err();
    assert!(error.to_string().contains("3 elements are copied to 4"), "{error}");
    assert_eq!(there.to_vec().unwrap(), [7; 4]);
}

#[test]
fn elements_get_from_one_device_to_another_through_pinned_memory() {
    for seed in 0..8 {
        let (here, elsewhere) = (setup(seed), setup(seed + 1));
        let from = here.numbers(&numbers(500));
        let mut to = elsewhere.numbers(&[0; 500]);
        let staging = from.copy_to_pinned(here.staging(&[0; 500]), ..).unwrap().wait().unwrap();
        drop(to.copy_from_pinned(staging, ..).unwrap());
        assert_eq!(to.to_vec().unwrap(), numbers(500));
        here.device.assert_clean();
        elsewhere.device.assert_clean();
        assert_eq!(here.device.leaks().pinned.count, 0);
    }
}

#[test]
fn memory_that_the_host_cannot_touch_is_refused() {
    let this = setup(0);
    let error = PinnedBuffer::<u32>::zeroed(this.memory.clone(), 4, &this.stream).unwrap_err();
    assert_eq!(error.kind(), AllocErrorKind::DeviceFault);
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("not pinned host memory"), "{cause}");
    assert_eq!(this.device.leaks().plain.count, 0);
}

#[test]
fn a_buffer_is_made_behind_the_work_of_its_stream_and_not_in_a_capture() {
    let this = setup(0);
    let before = this.waits();
    let zeros = PinnedBuffer::<u64>::zeroed(this.pinned.clone(), 3, &this.stream).unwrap();
    assert_eq!(this.waits(), before + 1);
    assert_eq!(*zeros, [0; 3]);
    this.device.begin_capture(&this.stream).unwrap();
    this.device.exchange_capture_mode(vmem_sim::CaptureMode::Relaxed);
    let error = PinnedBuffer::<u64>::zeroed(this.pinned.clone(), 3, &this.stream).unwrap_err();
    assert_eq!(error.kind(), AllocErrorKind::Capturing);
    this.device.end_capture(&this.stream).unwrap();
    this.device.assert_clean();
}

#[test]
fn no_elements_and_elements_without_size_need_no_memory() {
    let this = setup(0);
    let before = this.device.calls();
    let none = PinnedBuffer::<u32>::zeroed(this.pinned.clone(), 0, &this.stream).unwrap();
    let units = PinnedBuffer::from_slice(this.pinned.clone(), &[(); 5], &this.stream).unwrap();
    let mut there = DeviceVec::<u32>::new(this.memory.clone(), &this.stream).unwrap();
    let none = there.copy_from_pinned(none, ..).unwrap().wait().unwrap();
    assert!(none.is_empty() && none.ptr().is_none());
    assert_eq!(*units, [(); 5]);
    assert_eq!((this.device.calls() - before).total(), 0);
}
