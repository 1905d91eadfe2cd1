//! Typed memory on a device. The cases follow RMM's tests of `device_uvector` and `device_scalar` where
//! we have the same.

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};
use vmem_core::{
    AllocErrorKind, BlockLayout, DeviceBox, DeviceMemory, DeviceScalar, DeviceSlice, DeviceVec,
    DriverCode, MemoryResource, ResourceExt, Stream,
};
use vmem_sim::{CallKind, SimDevice};

use crate::common::{code, sim, stream};

type Memory = Arc<dyn MemoryResource>;

fn setup(seed: u64) -> (Arc<SimDevice>, Stream, Memory) {
    let device = sim(seed);
    let stream = stream(&device);
    let memory = DeviceMemory::new(device.clone()).into_dyn();
    (device, stream, memory)
}

/// A value whose bytes are neither equal nor a power of two many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
struct Colour([u8; 3]);

// SAFETY: three bytes.
unsafe impl Zeroable for Colour {}

// SAFETY: three bytes, without padding.
unsafe impl Pod for Colour {}

#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C, align(1024))]
struct Page([u8; 1024]);

// SAFETY: bytes.
unsafe impl Zeroable for Page {}

// SAFETY: as many bytes as its alignment, so without padding.
unsafe impl Pod for Page {}

#[test]
fn elements_go_there_and_back() {
    for seed in 0..8 {
        let (device, stream, memory) = setup(seed);
        let numbers: Vec<i64> = (0..5000).map(|n| n * n - 7).collect();
        let mut there = DeviceBox::from_slice(memory, &numbers, &stream).unwrap();
        assert_eq!((there.len(), there.is_empty()), (5000, false));
        assert_eq!(there.to_vec().unwrap(), numbers);
        there.slice_mut(10..=11).unwrap().copy_from_slice(&[1, 2]).unwrap();
        let mut part = [0; 4];
        there.slice(9..13).unwrap().copy_to_slice(&mut part).unwrap();
        assert_eq!(part, [numbers[9], 1, 2, numbers[12]]);
        device.assert_clean();
    }
}

fn assert_fills<T: Pod + PartialEq + std::fmt::Debug>(value: T) {
    let (device, stream, memory) = setup(1);
    for len in [1, 2, 3, 7, 64, 1000] {
        let filled = DeviceBox::filled(memory.clone(), value, len, &stream).unwrap();
        assert_eq!(filled.to_vec().unwrap(), vec![value; len]);
    }
    let mut part = DeviceBox::zeroed(memory, 10, &stream).unwrap();
    part.slice_mut(3..8).unwrap().fill(value).unwrap();
    let mut model = vec![T::zeroed(); 10];
    model[3..8].fill(value);
    assert_eq!(part.to_vec().unwrap(), model);
    device.assert_clean();
}

#[test]
fn values_of_every_width_fill_and_stay_inside_the_range() {
    assert_fills(0x5a_u8);
    assert_fills(0x1234_u16);
    assert_fills(0x1234_1234_u32);
    assert_fills(-1.25_f32);
    assert_fills(0x0102_0304_0506_0708_u64);
    assert_fills(f64::NAN.to_bits());
    assert_fills(u128::MAX - 7);
    assert_fills(Colour([1, 2, 2]));
    assert_fills(Colour([9; 3]));
    assert_fills([3u32, 3, 4, 3, 3]);
}

#[test]
fn a_fill_takes_one_call_for_words_of_the_driver_and_a_logarithm_of_calls_otherwise() {
    /// Fills and copies, and nothing else, for so many elements.
    fn cost<T: Pod>(value: T, len: usize) -> (u64, u64) {
        let (device, stream, memory) = setup(0);
        let mut elements = DeviceBox::<[T]>::zeroed(memory, len, &stream).unwrap();
        let before = device.calls();
        elements.fill(value).unwrap();
        let made = device.calls() - before;
        let fills = [CallKind::Fill, CallKind::FillU16, CallKind::FillU32];
        let fills = fills.into_iter().map(|kind| made.of(kind)).sum();
        let copies = made.of(CallKind::CopyWithin);
        assert_eq!(fills + copies, made.total());
        (fills, copies)
    }
    assert_eq!(cost(7_u8, 1000), (1, 0));
    assert_eq!(cost(0x0102_u16, 1000), (1, 0));
    assert_eq!(cost(1.5_f32, 1000), (1, 0));
    assert_eq!(cost(0x0102_0304_0102_0304_u64, 1000), (1, 0));
    assert_eq!(cost(0_u128, 1000), (1, 0));
    assert_eq!(cost(1.5_f64, 1 << 10), (2, 10));
    assert_eq!(cost(Colour([1, 2, 3]), 1 << 10), (3, 10));
    assert_eq!(cost(Colour([9; 3]), 1000), (1, 0));
    assert_eq!(cost([1_u16, 2, 3], 100), (3, 7));
}

#[test]
fn elements_without_size_and_empty_vectors_hold_no_memory_and_make_no_call() {
    let (device, stream, memory) = setup(0);
    let before = device.calls();
    let mut units = DeviceVec::from_slice(memory.clone(), &[(); 3], &stream).unwrap();
    units.extend_from_slice(&[(); 4]).unwrap();
    units.resize(10, ()).unwrap();
    assert_eq!((units.len(), units.capacity(), units.ptr()), (10, usize::MAX, None));
    assert_eq!(units.to_vec().unwrap(), [(); 10]);
    assert_eq!(units.slice(2..5).unwrap().len(), 3);
    assert_eq!(code(units.slice(2..11)), DriverCode::INVALID_VALUE);
    units.truncate(1);
    assert_eq!(units.len(), 1);
    let mut none = DeviceVec::<u32>::new(memory.clone(), &stream).unwrap();
    none.fill(7).unwrap();
    none.copy_from_slice(&[]).unwrap();
    none.extend_from_slice(&[]).unwrap();
    assert!(none.is_empty() && none.to_vec().unwrap().is_empty() && none.capacity() == 0);
    let clone = none.try_clone(&stream).unwrap();
    none.copy_from(&clone).unwrap();
    assert!(DeviceScalar::new(memory, (), &stream).unwrap().ptr().is_none());
    drop((units, none, clone));
    assert_eq!((device.calls() - before).total(), 0);
}

#[test]
fn the_alignment_of_the_element_is_honoured_wherever_it_moves() {
    let (device, stream, memory) = setup(0);
    let mut pages = DeviceVec::filled(memory.clone(), Page([1; 1024]), 3, &stream).unwrap();
    for _ in 0..4 {
        assert!(pages.ptr().unwrap().is_aligned_to(1024));
        pages.extend_from_slice(&[Page([2; 1024]); 3]).unwrap();
    }
    assert!(pages.try_clone(&stream).unwrap().ptr().unwrap().is_aligned_to(1024));
    assert_eq!(pages.to_vec().unwrap()[2..4], [Page([1; 1024]), Page([2; 1024])]);
    let bytes = DeviceVec::<u8>::uninit(memory, 1, &stream).unwrap();
    assert!(bytes.ptr().unwrap().is_aligned_to(BlockLayout::DEFAULT_ALIGNMENT));
    device.assert_clean();
}

#[test]
fn appending_copies_as_many_bytes_as_it_appends_and_allocates_a_logarithm_of_times() {
    let (device, stream, memory) = setup(0);
    let mut numbers = DeviceVec::new(memory, &stream).unwrap();
    let (mut copied, before) = (0, device.calls());
    for n in 0..2000_u32 {
        if numbers.len() == numbers.capacity() {
            copied += numbers.len();
        }
        numbers.extend_from_slice(&[n]).unwrap();
    }
    let made = device.calls() - before;
    assert_eq!((made.of(CallKind::Allocate), made.of(CallKind::CopyWithin)), (12, 11));
    assert!(copied < 2 * 2000, "{copied}");
    assert_eq!(numbers.to_vec().unwrap(), (0..2000).collect::<Vec<_>>());
    device.assert_clean();
}

#[test]
fn growth_takes_what_is_needed_where_twice_the_capacity_does_not_fit() {
    let (_device, stream, memory) = setup(0);
    let mib = 1 << 20;
    // Of 64 MiB; twice 25 MiB does not fit beside 25 MiB.
    let mut bytes = DeviceVec::filled(memory, 3_u8, 25 * mib, &stream).unwrap();
    bytes.reserve(mib).unwrap();
    assert_eq!(bytes.capacity(), 26 * mib);
    let error = bytes.reserve(40 * mib).unwrap_err();
    assert_eq!(error.kind(), AllocErrorKind::OutOfMemory);
    assert_eq!((bytes.len(), bytes.capacity()), (25 * mib, 26 * mib));
    assert_eq!(bytes.slice(25 * mib - 2..).unwrap().to_vec().unwrap(), [3, 3]);
}

#[test]
fn vectors_shrink_and_become_boxes_and_back() {
    let (device, stream, memory) = setup(0);
    let mut numbers = DeviceVec::with_capacity(memory, 100, &stream).unwrap();
    numbers.extend_from_slice(&[1_u16, 2, 3]).unwrap();
    assert_eq!((numbers.len(), numbers.capacity()), (3, 100));
    numbers.truncate(7);
    numbers.truncate(2);
    let boxed = numbers.into_boxed_slice().unwrap();
    assert_eq!(boxed.to_vec().unwrap(), [1, 2]);
    let mut numbers = DeviceVec::from(boxed);
    assert_eq!(numbers.capacity(), 2);
    numbers.clear();
    numbers.resize(3, 0x0909).unwrap();
    assert_eq!(numbers.to_vec().unwrap(), [0x0909; 3]);
    numbers.reserve_exact(10).unwrap();
    assert_eq!(numbers.capacity(), 13);
    assert_eq!(DeviceBox::from(numbers).into_buffer().len(), 6);
    device.assert_clean();
    assert_eq!(device.leaks().plain.count, 0);
}

#[test]
fn a_failed_append_leaves_the_vector_as_it_was() {
    let (device, stream, memory) = setup(0);
    let mut numbers = DeviceVec::from_slice(memory, &[1_u32, 2], &stream).unwrap();
    for call in [CallKind::Allocate, CallKind::CopyWithin, CallKind::CopyFromHost] {
        device.fail_call(Some(call), 1, DriverCode::UNKNOWN);
        let error = numbers.extend_from_slice(&[3, 4, 5]).unwrap_err();
        assert_eq!(error.kind(), AllocErrorKind::DeviceFault);
        assert_eq!(numbers.to_vec().unwrap(), [1, 2], "{call}");
    }
    numbers.extend_from_slice(&[3]).unwrap();
    assert_eq!(numbers.to_vec().unwrap(), [1, 2, 3]);
}

#[test]
fn parts_of_one_vector_are_copied_to_one_another() {
    let (device, stream, memory) = setup(3);
    let mut numbers = DeviceVec::from_slice(memory, &[1_u32, 2, 3, 4, 5], &stream).unwrap();
    let (mut left, right) = numbers.split_at_mut(3).unwrap();
    assert_eq!((left.len(), right.len()), (3, 2));
    left.slice_mut(1..).unwrap().copy_from(&right).unwrap();
    assert_eq!(numbers.to_vec().unwrap(), [1, 4, 5, 4, 5]);
    let (first, others) = numbers.as_slice().split_at(1).unwrap();
    assert_eq!((first.to_vec().unwrap(), others.len()), (vec![1], 4));
    device.assert_clean();
}

#[test]
fn copies_between_streams_order_both_of_them() {
    for seed in 0..32 {
        let (device, first, memory) = setup(seed);
        let second = stream(&device);
        let mut from = DeviceVec::filled(memory.clone(), 5_u16, 100, &first).unwrap();
        let mut to = DeviceVec::filled(memory, 1_u16, 60, &second).unwrap();
        to.slice_mut(..30).unwrap().copy_from(from.slice(70..).unwrap()).unwrap();
        from.fill(6).unwrap();
        to.extend_from(&from).unwrap();
        from.fill(7).unwrap();
        drop(from);
        let expected = [[5; 30].as_slice(), &[1; 30], &[6; 100]].concat();
        assert_eq!(to.to_vec().unwrap(), expected);
        drop(to);
        device.assert_clean();
        assert_eq!(device.leaks().plain.count, 0);
    }
}

#[test]
fn a_home_stream_can_be_changed_between_calls() {
    for seed in 0..16 {
        let (device, first, memory) = setup(seed);
        let second = stream(&device);
        let mut numbers = DeviceVec::filled(memory, 5_u32, 1000, &first).unwrap();
        numbers.set_stream(&second).unwrap();
        numbers.fill(0x0102).unwrap();
        numbers.set_stream(&first).unwrap();
        assert_eq!(numbers.to_vec().unwrap(), [0x0102; 1000]);
        device.assert_clean();
    }
}

#[test]
fn lengths_ranges_and_devices_that_do_not_match_are_refused_with_words() {
    let (_device, stream_a, memory) = setup(0);
    let mut four = DeviceVec::from_slice(memory.clone(), &[1_u32, 2, 3, 4], &stream_a).unwrap();
    let three = DeviceVec::<u32>::zeroed(memory.clone(), 3, &stream_a).unwrap();
    #[expect(clippy::reversed_empty_ranges, reason = "it is what must be refused")]
    let reversed = 3..1;
    for error in [
        four.copy_from(&three).unwrap_err(),
        four.copy_from_slice(&[0; 5]).unwrap_err(),
        four.copy_to_slice(&mut [0; 3]).unwrap_err(),
        four.slice(reversed.clone()).unwrap_err(),
        four.slice(2..5).unwrap_err(),
        four.slice(..=usize::MAX).unwrap_err(),
        four.slice_mut(reversed).unwrap_err(),
        four.slice_mut(5..).unwrap_err(),
        four.split_at_mut(5).unwrap_err(),
    ] {
        assert_eq!(error.code(), DriverCode::INVALID_VALUE);
        assert!(error.detail().contains("elements"), "{error}");
    }
    let (_other, stream_b, memory_b) = setup(0);
    let elsewhere = DeviceVec::<u32>::zeroed(memory_b, 4, &stream_b).unwrap();
    let error = four.copy_from(&elsewhere).unwrap_err();
    assert_eq!(error.code(), DriverCode::INVALID_CONTEXT);
    assert!(error.detail().contains("through the host"), "{error}");
    assert_eq!(code(four.set_stream(&stream_b)), DriverCode::INVALID_CONTEXT);
    assert_eq!(four.try_clone(&stream_b).unwrap_err().kind(), AllocErrorKind::InvalidStream);
    let huge = DeviceVec::<u64>::uninit(memory, usize::MAX, &stream_a).unwrap_err();
    assert_eq!(huge.kind(), AllocErrorKind::InvalidLayout);
    assert_eq!(four.reserve(usize::MAX).unwrap_err().kind(), AllocErrorKind::InvalidLayout);
    assert_eq!(four.to_vec().unwrap(), [1, 2, 3, 4]);
}

#[test]
fn a_scalar_is_set_without_a_wait_and_read_with_one() {
    let (device, stream, memory) = setup(4);
    let before = device.calls();
    let mut scalar = DeviceScalar::new(memory.clone(), 0x0102_0304_u32, &stream).unwrap();
    scalar.set_value(0xffff_0000).unwrap();
    assert_eq!((device.calls() - before).of(CallKind::SynchronizeStream), 0);
    assert_eq!(scalar.value().unwrap(), 0xffff_0000);
    let mut copy = DeviceScalar::zeroed(memory, &stream).unwrap();
    assert_eq!(copy.value().unwrap(), 0);
    copy.as_mut_slice().copy_from(&scalar).unwrap();
    assert_eq!(copy.value().unwrap(), 0xffff_0000);
    device.assert_clean();
}

#[test]
fn single_elements_are_set_and_read() {
    let (device, stream, memory) = setup(5);
    let mut numbers = DeviceVec::from_slice(memory, &[1.5_f64, 2.5, 3.5], &stream).unwrap();
    numbers.set_element(1, -0.25).unwrap();
    assert_eq!((numbers.element(1).unwrap(), numbers.element(2).unwrap()), (-0.25, 3.5));
    for outside in [3, usize::MAX] {
        assert_eq!(code(numbers.element(outside)), DriverCode::INVALID_VALUE);
        assert_eq!(code(numbers.set_element(outside, 0.0)), DriverCode::INVALID_VALUE);
    }
    device.assert_clean();
}

#[test]
fn a_stack_behind_an_arc_gives_buffers_that_a_field_can_hold() {
    struct Column {
        data: vmem_core::DeviceBuffer,
    }
    let (_device, stream, memory) = setup(0);
    let column = Column { data: memory.owned_buffer(16, &stream).unwrap() };
    drop(memory);
    assert_eq!(column.data.len(), 16);
}

#[test]
fn in_a_capture_fills_and_copies_on_one_stream_are_recorded_and_the_rest_is_refused() {
    let (device, home, memory) = setup(0);
    let other = stream(&device);
    let mut a = DeviceVec::filled(memory.clone(), 1_u32, 8, &home).unwrap();
    let mut b = DeviceVec::filled(memory.clone(), 2_u32, 8, &home).unwrap();
    let mut c = DeviceVec::filled(memory, 3_u32, 8, &other).unwrap();
    device.begin_capture(&home).unwrap();
    let refused = DriverCode::STREAM_CAPTURE_UNSUPPORTED;
    assert_eq!(code(a.to_vec()), refused);
    assert_eq!(code(a.copy_from_slice(&[0; 8])), refused);
    assert_eq!(code(c.copy_from(&a)), refused);
    assert_eq!(code(a.copy_from(&c)), refused);
    let grown = a.extend_from(DeviceSlice::from(&b)).unwrap_err();
    assert_eq!(grown.kind(), AllocErrorKind::Capturing);
    a.fill(0x0403_0201).unwrap();
    b.copy_from(&a).unwrap();
    let graph = device.end_capture(&home).unwrap();
    assert_eq!(b.to_vec().unwrap(), [2; 8], "nothing has run");
    // SAFETY: contract, devices/ranges: what the graph names lives.
    unsafe { device.launch_graph(&home, &graph) }.unwrap();
    assert_eq!(b.to_vec().unwrap(), [0x0403_0201; 8]);
    device.assert_clean();
}
