use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::thread;

use vmem_core::{
    BlockLayout, DeviceMemory, DevicePtr, EventKind, EventSink, Label, MemoryEvent, MemoryResource,
    ResourceExt, ResourceId, Stream, StreamId,
};
use vmem_sim::{Checker, SimDevice};
use vmem_testkit::conformance::{self, Subject};
use vmem_trace::{Event, Origin, Record, Recorder, ReplayOptions, Workload, read, replay};

use crate::support::{device, generate, plain, stack_of};

/// A writer whose bytes can be looked at.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_recorded_replay_reads_back_as_the_trace_that_was_replayed() {
    for workload in [Workload::Overlay, Workload::OverlayTwoStreams] {
        let trace = generate(workload, "500");
        let written = Shared::default();
        let recorder = Arc::new(Recorder::new(written.clone()).unwrap());
        let device = device(4 << 30, Checker::Off);
        let sink = recorder.clone();
        let stack = stack_of(&device, |memory| Arc::new(Record::new(memory, sink)));
        assert!(replay(&trace, &stack, &ReplayOptions::default()).unwrap().passed());
        assert_eq!(recorder.finish().unwrap(), 2 * trace.allocations());

        // All is as it was but for the host thread, which is one, and the marks.
        let on_one_thread = |origin: Origin| Origin::stream(origin.stream);
        let expected: Vec<_> = trace
            .events()
            .iter()
            .filter_map(|event| match *event {
                Event::Allocate { slot, size, origin, label } => {
                    Some(Event::Allocate { slot, size, origin: on_one_thread(origin), label })
                }
                Event::Free { slot, origin } => {
                    Some(Event::Free { slot, origin: on_one_thread(origin) })
                }
                _ => None,
            })
            .collect();
        let back = read("recorded", &written.bytes()).unwrap();
        assert_eq!(back.events(), expected);
    }
}

#[test]
fn threads_and_refused_requests_are_recorded_and_refused_frees_are_not() {
    let written = Shared::default();
    let recorder = Arc::new(Recorder::new(written.clone()).unwrap());
    let device = device(1 << 20, Checker::Off);
    let memory = Record::new(DeviceMemory::new(device.clone()), recorder.clone());
    let other = DeviceMemory::new(device.clone());
    let stream = Stream::new(device.clone()).unwrap();
    let layout = BlockLayout::new(1000).unwrap();
    let block = memory.alloc(layout, &stream).unwrap();
    let foreign = other.alloc(layout, &stream).unwrap();
    // SAFETY: no work was queued on the block.
    let refused = unsafe { memory.deallocate(foreign, &stream) }.unwrap_err();
    // SAFETY: as above.
    unsafe { other.deallocate(refused.into_block(), &stream) }.unwrap();
    assert!(memory.alloc(BlockLayout::new(2 << 20).unwrap(), &stream).is_err());
    thread::scope(|scope| {
        scope.spawn(|| {
            // SAFETY: as above.
            unsafe { memory.deallocate(block, &stream) }.unwrap();
        });
    });
    assert_eq!(recorder.finish().unwrap(), 3);
    let trace = read("recorded", &written.bytes()).unwrap();
    assert_eq!((trace.streams(), trace.threads()), (1, 2));
    assert!(matches!(trace.events()[1], Event::Failure { size: 0x20_0000, .. }));
    assert!(matches!(trace.events()[2], Event::Free { slot: 0, .. }));
}

fn event(
    kind: impl FnOnce(DevicePtr, BlockLayout) -> EventKind,
    at: u64,
    size: u64,
) -> MemoryEvent {
    let kind = kind(DevicePtr::new(at).unwrap(), BlockLayout::new(size).unwrap());
    MemoryEvent::new(kind, ResourceId::new()).on(StreamId::new())
}

fn allocate(ptr: DevicePtr, layout: BlockLayout) -> EventKind {
    EventKind::Allocate { ptr, layout }
}

fn free(ptr: DevicePtr, layout: BlockLayout) -> EventKind {
    EventKind::Free { ptr, layout }
}

/// A recording of these events.
fn recorded(events: &[MemoryEvent]) -> Vec<u8> {
    let written = Shared::default();
    let recorder = Recorder::new(written.clone()).unwrap();
    events.iter().for_each(|event| recorder.event(event));
    drop(recorder);
    written.bytes()
}

/// A resource is free to hand out an address as soon as it was freed, which can be before the
/// thread that freed it has told the sink.
#[test]
fn a_free_that_is_noted_after_its_address_was_handed_out_again_takes_effect_in_time() {
    let trace = read(
        "late",
        &recorded(&[
            event(allocate, 256, 1000),
            event(allocate, 256, 500),
            event(free, 256, 1000),
            event(free, 256, 500),
        ]),
    )
    .unwrap();
    assert_eq!((trace.peak_live(), trace.slots()), (1000, 1));
    assert_eq!(trace.events().len(), 4);
}

#[test]
fn a_bad_recording_is_refused_with_the_place() {
    let good = recorded(&[event(allocate, 256, 1000)]);
    let refused = |bytes: &[u8]| read("r", bytes).unwrap_err().reason().to_owned();
    assert!(refused(&good[..good.len() - 1]).contains("at byte 17: the recording is cut off"));
    let unknown = [&good[..], &[9]].concat();
    assert!(refused(&unknown).contains("at byte 50: an entry of the unknown kind 9"));
    let unowned = recorded(&[event(free, 256, 1000)]);
    assert!(refused(&unowned).contains("no live block is at 0x100"));
    let wrong_size = recorded(&[event(allocate, 256, 1000), event(free, 256, 999)]);
    assert!(refused(&wrong_size).contains("frees 999 bytes of the 1000"));
    let mut undefined = good.clone();
    undefined[18] = 1;
    assert!(refused(&undefined).contains("label 1 is not defined"));
    for length in 0..good.len() {
        assert!(read("r", &good[..length]).is_err());
    }
}

#[test]
fn labels_and_only_the_programs_events_are_recorded() {
    let growth = MemoryEvent::new(EventKind::Growth { bytes: 5 }, ResourceId::new());
    let long = Label::intern(&"é".repeat(5_000));
    let short = Label::intern("overlay/face-walk");
    let bytes = recorded(&[
        growth,
        event(allocate, 256, 1).labelled(short),
        event(allocate, 512, 1),
        event(allocate, 768, 1).labelled(long),
        event(allocate, 1024, 1).labelled(short),
    ]);
    let trace = read("r", &bytes).unwrap();
    let labels = trace.events().iter().map(|event| match event {
        Event::Allocate { label, .. } => label.as_str().to_owned(),
        _ => unreachable!(),
    });
    let expected = [short.as_str(), "", &"é".repeat(2_048), short.as_str()];
    assert_eq!(labels.collect::<Vec<_>>(), expected);
}

/// Accepts so many bytes.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_first_error_of_the_writer_ends_the_recording_and_is_reported() {
    assert!(Recorder::new(Full(3)).is_err());
    let recorder = Recorder::new(Full(100)).unwrap();
    for _ in 0..10 {
        recorder.event(&event(allocate, 256, 1));
    }
    assert_eq!(recorder.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
    recorder.event(&event(allocate, 256, 1));
    assert!(recorder.finish().is_err(), "it does not go on after a gap");
}

#[test]
fn a_recorded_resource_keeps_the_contract_and_its_recording_reads_back() {
    let written = Shared::default();
    let recorder = Arc::new(Recorder::new(written.clone()).unwrap());
    let device = SimDevice::new(1 << 30);
    let memory = Record::new(DeviceMemory::new(device.clone()), recorder.clone());
    conformance::check(&Subject::new(&memory, device.clone()));
    device.assert_clean();
    let recorded = recorder.finish().unwrap();
    let trace = read("conformance", &written.bytes()).unwrap();
    assert!(trace.allocations() > 100);
    assert_eq!(trace.events().len() as u64, recorded);
}

/// Counts the heap allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

#[global_allocator]
static HEAP: Counting = Counting;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the same promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the same promises.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[test]
fn an_event_allocates_no_heap_memory() {
    let recorder = Recorder::new(io::sink()).unwrap();
    let labels = [Label::NONE, Label::intern("a"), Label::intern("b")];
    let events = labels.map(|label| event(allocate, 256, 1).labelled(label));
    events.iter().for_each(|event| recorder.event(event));
    let before = ALLOCATIONS.with(Cell::get);
    assert_ne!(before, 0, "the counter counts");
    // Enough to fill the buffer and write it out several times.
    for _ in 0..20_000 {
        events.iter().for_each(|event| recorder.event(event));
    }
    assert_eq!(ALLOCATIONS.with(Cell::get), before);
}

#[test]
fn what_a_recorder_is_told_by_a_replay_is_what_the_stack_served() {
    let trace = generate(Workload::OverlayCore, "500");
    let device = device(1 << 30, Checker::Off);
    let bare = replay(&trace, &plain(&device), &ReplayOptions::default()).unwrap();
    let recorder = Arc::new(Recorder::new(io::sink()).unwrap());
    let device = crate::support::device(1 << 30, Checker::Off);
    let stack = stack_of(&device, |memory| Arc::new(Record::new(memory, recorder)));
    let recorded = replay(&trace, &stack, &ReplayOptions::default()).unwrap();
    assert_eq!(recorded.driver_calls, bare.driver_calls, "recording calls no driver");
    assert_eq!(recorded.peak_reserved, bare.peak_reserved);
}
