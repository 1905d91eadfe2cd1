//! Streams of others, which may be destroyed without a word.

use std::sync::Mutex;

use vmem_core::author::{StreamExt, StreamObserver};
use vmem_core::{
    Device, DeviceMemory, DriverCode, DriverError, Event, MemoryResource, RawStream, ResourceExt,
    Stream, StreamId, StreamKind,
};
use vmem_sim::{CallKind, SimDevice};

use crate::common::{code, dyn_device, sim, stream};

fn borrowed(device: &std::sync::Arc<SimDevice>, raw: RawStream) -> Stream {
    // SAFETY: the tests' streams are valid when this is called.
    unsafe { Stream::borrowed(device.clone(), raw) }.unwrap()
}

#[test]
fn no_call_names_a_borrowed_stream_unless_its_thread_vouches_for_it() {
    let device = sim(0);
    let raw = device.create_blocking_stream().unwrap();
    let one = borrowed(&device, raw);
    let before = device.calls();
    assert_eq!((one.kind(), one.is_callable_here()), (StreamKind::Borrowed, false));
    assert_eq!(code(one.marker()), DriverCode::NOT_PERMITTED);
    assert_eq!(code(one.is_capturing()), DriverCode::NOT_PERMITTED);
    assert_eq!(code(one.retire()), DriverCode::NOT_PERMITTED);
    assert!(!one.is_complete().unwrap());
    let made = device.calls() - before;
    let events = made.of(CallKind::CreateEvent) + made.of(CallKind::DestroyEvent);
    assert_eq!(made.total(), events, "what was refused named no stream");
    let event = stream(&device).marker().unwrap();
    let since = device.calls().total();
    one.wait(&event).unwrap();
    assert!(one.has_pending_waits());
    assert_eq!(device.calls().total(), since);

    let named = || {
        assert!(one.is_callable_here());
        let elsewhere = std::thread::scope(|scope| scope.spawn(|| one.is_callable_here()).join());
        assert!(!elsewhere.unwrap());
        one.marker().unwrap().synchronize().unwrap();
        assert!(!one.has_pending_waits(), "the marker comes after what the stream has to wait for");
    };
    // SAFETY: the stream is alive, and is destroyed after this.
    unsafe { one.vouched(named) };
    assert!(!one.is_callable_here());
    drop((one, event));
    // SAFETY: nobody uses it any more.
    unsafe { device.destroy_stream(raw) }.unwrap();
    device.assert_clean();
}

#[test]
fn vouching_nests_and_goes_back() {
    let device = sim(0);
    let raws = [(); 2].map(|()| device.create_blocking_stream().unwrap());
    let [one, two] = raws.map(|raw| borrowed(&device, raw));
    let other = stream(&device);
    let callable = || (one.is_callable_here(), two.is_callable_here());
    // SAFETY: the streams live until the test's end.
    let nested = || unsafe { two.vouched(callable) };
    // SAFETY: as above.
    let with_other = || unsafe { other.vouched(callable) };
    // SAFETY: as above.
    let seen = unsafe { one.vouched(|| [callable(), nested(), callable(), with_other()]) };
    assert_eq!(seen, [(true, false), (false, true), (true, false), (true, false)]);
    assert_eq!(callable(), (false, false));
}

#[test]
fn nobody_vouches_for_a_stream_any_more_once_a_panic_has_left_the_call() {
    let device = sim(0);
    let raws = [(); 2].map(|()| device.create_blocking_stream().unwrap());
    let [one, two] = raws.map(|raw| borrowed(&device, raw));
    let callable = || (one.is_callable_here(), two.is_callable_here());
    let panics = || {
        let call = std::panic::AssertUnwindSafe(|| -> () {
            // SAFETY: the streams live until the test's end.
            unsafe { two.vouched(|| panic!("planted")) }
        });
        std::panic::catch_unwind(call).unwrap_err();
        callable()
    };
    // SAFETY: as above.
    assert_eq!(unsafe { one.vouched(panics) }, (true, false));
    assert_eq!(callable(), (false, false));
}

#[test]
fn default_handles_and_streams_of_other_devices_are_not_borrowed() {
    let (device, other) = (sim(0), sim(0));
    for raw in [RawStream::NULL, RawStream::LEGACY, RawStream::PER_THREAD] {
        // SAFETY: the default streams are valid; they are refused all the same.
        let refused = unsafe { Stream::borrowed(device.clone(), raw) };
        assert_eq!(code(refused), DriverCode::INVALID_HANDLE);
    }
    let theirs = stream(&other);
    // SAFETY: the stream is valid during the call.
    let refused = unsafe { Stream::borrowed(device.clone(), theirs.raw()) };
    assert_eq!(code(refused), DriverCode::INVALID_CONTEXT);
}

#[derive(Debug, Default)]
struct Told(Mutex<Vec<bool>>);

impl StreamObserver for Told {
    fn retiring(&self, _stream: StreamId, marker: Option<&Event>) {
        self.0.lock().unwrap().push(marker.is_some());
    }
}

#[test]
fn a_borrowed_stream_ends_with_a_marker_only_if_somebody_vouches_for_it() -> Result<(), DriverError>
{
    let device = sim(0);
    let told = std::sync::Arc::new(Told::default());
    for vouches in [false, true] {
        let raw = device.create_blocking_stream()?;
        let one = borrowed(&device, raw);
        let observer: std::sync::Arc<dyn StreamObserver> = told.clone();
        one.observe(std::sync::Arc::downgrade(&observer));
        if vouches {
            // SAFETY: the stream is destroyed after this.
            unsafe { one.vouched(|| one.retire()) }?;
            assert!(one.is_retired());
        }
        // SAFETY: it is used no more.
        unsafe { device.destroy_stream(raw) }?;
        drop(one);
    }
    assert_eq!(*told.0.lock().unwrap(), [false, true]);
    device.assert_clean();
    Ok(())
}

#[test]
fn a_leaf_sets_aside_what_is_freed_on_a_dead_borrowed_stream() {
    let device = sim(0);
    let memory = DeviceMemory::new(device.clone());
    let quarantine = memory.handle();
    let raw = device.create_blocking_stream().unwrap();
    let one = borrowed(&device, raw);
    let block = memory.allocate_on(vmem_core::BlockLayout::new(4096).unwrap(), &one).unwrap();
    // SAFETY: the stream is alive; the range is the block's.
    unsafe { device.fill(block.ptr(), 1, 4096, raw) }.unwrap();
    // SAFETY: nobody names it after this.
    unsafe { device.destroy_stream(raw) }.unwrap();
    // SAFETY: contract, freeing: the fill is before the stream's tail; a borrowed stream need not exist.
    unsafe { memory.deallocate(block, &one) }.unwrap();
    assert_eq!(quarantine.quarantined().unwrap().blocks, 1);
    quarantine.synchronize().unwrap();
    assert_eq!(quarantine.quarantined().unwrap().blocks, 0);
    drop((memory, one));
    device.assert_clean();
}

#[test]
fn what_is_freed_on_a_nameless_stream_waits_for_the_device() {
    let device = sim(0);
    let memory = DeviceMemory::new(device.clone());
    let quarantine = memory.handle();
    let nameless = Stream::nameless(dyn_device(&device));
    let home = stream(&device);
    let block = memory.allocate_on(vmem_core::BlockLayout::new(4096).unwrap(), &home).unwrap();
    // SAFETY: contract, freeing: nothing uses the block.
    unsafe { memory.deallocate(block, &nameless) }.unwrap();
    assert_eq!(quarantine.quarantined().unwrap().bytes, 4096);
    quarantine.synchronize().unwrap();
    drop((memory, nameless, home));
    device.assert_clean();
}
