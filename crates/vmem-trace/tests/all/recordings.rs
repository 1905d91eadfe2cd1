use std::io::{self, Write};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use vmem_core::{
    BlockLayout, DeviceMemory, DevicePtr, Label, MemoryEvent, MemoryEventKind, MemoryObserver,
    MemoryResource, ResourceExt, ResourceId, Stream, StreamId,
};
use vmem_sim::{Checker, SimDevice};
use vmem_testkit::conformance::{self, Subject};
use vmem_testkit::in_child;
use vmem_trace::{
    Event, Irregularity, Origin, Record, Recorder, ReplayOptions, Workload, read_path, replay,
    write_recording,
};

use crate::heap;
use crate::support::{count, data, device, generate, plain, stack_of, strictly, tolerantly};

/// A writer whose bytes can be looked at.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    pub(crate) fn bytes(&self) -> Vec<u8> {
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
        let observer = recorder.clone();
        let stack = stack_of(&device, |memory| Arc::new(Record::new(memory, observer)));
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
        let back = strictly("recorded", &written.bytes()).unwrap();
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
    let block = memory.allocate_on(layout, &stream).unwrap();
    let foreign = other.allocate_on(layout, &stream).unwrap();
    // SAFETY: no work was queued on the block.
    let refused = unsafe { memory.deallocate(foreign, &stream) }.unwrap_err();
    // SAFETY: as above.
    unsafe { other.deallocate(refused.into_block(), &stream) }.unwrap();
    assert!(memory.allocate_on(BlockLayout::new(2 << 20).unwrap(), &stream).is_err());
    thread::scope(|scope| {
        scope.spawn(|| {
            // SAFETY: as above.
            unsafe { memory.deallocate(block, &stream) }.unwrap();
        });
    });
    assert_eq!(recorder.finish().unwrap(), 3);
    let trace = strictly("recorded", &written.bytes()).unwrap();
    assert_eq!((trace.streams(), trace.threads()), (1, 2));
    assert!(matches!(trace.events()[1], Event::Failure { size: 0x20_0000, .. }));
    assert!(matches!(trace.events()[2], Event::Free { slot: 0, .. }));
}

pub(crate) fn event(
    kind: impl FnOnce(DevicePtr, BlockLayout) -> MemoryEventKind,
    at: u64,
    size: u64,
) -> MemoryEvent {
    let kind = kind(DevicePtr::new(at).unwrap(), BlockLayout::new(size).unwrap());
    MemoryEvent::new(kind, ResourceId::new()).with_stream(StreamId::new())
}

pub(crate) fn allocate(ptr: DevicePtr, layout: BlockLayout) -> MemoryEventKind {
    MemoryEventKind::Allocate { ptr, layout }
}

pub(crate) fn free(ptr: DevicePtr, layout: BlockLayout) -> MemoryEventKind {
    MemoryEventKind::Free { ptr, layout }
}

/// A recording of these events.
pub(crate) fn recorded(events: &[MemoryEvent]) -> Vec<u8> {
    let written = Shared::default();
    let recorder = Recorder::new(written.clone()).unwrap();
    events.iter().for_each(|event| recorder.event(event));
    // The end is in a frame of its own.
    recorder.flush().unwrap();
    drop(recorder);
    written.bytes()
}

/// A resource is free to hand out an address as soon as it was freed, which can be before the
/// thread that freed it has told the observer.
#[test]
fn a_free_that_is_noted_after_its_address_was_handed_out_again_takes_effect_in_time() {
    let trace = strictly(
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
fn labels_and_only_the_programs_events_are_recorded() {
    let growth = MemoryEvent::new(MemoryEventKind::Growth { bytes: 5 }, ResourceId::new());
    let long = Label::intern(&"é".repeat(5_000));
    let short = Label::intern("overlay/face-walk");
    let bytes = recorded(&[
        growth,
        event(allocate, 256, 1).with_label(short),
        event(allocate, 512, 1),
        event(allocate, 768, 1).with_label(long),
        event(allocate, 1024, 1).with_label(short),
    ]);
    let trace = strictly("r", &bytes).unwrap();
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
    let recorder = Recorder::new(Full(40)).unwrap();
    for _ in 0..10 {
        recorder.event(&event(allocate, 256, 1));
    }
    assert_eq!(recorder.flush().unwrap_err().kind(), io::ErrorKind::StorageFull);
    recorder.event(&event(allocate, 256, 1));
    assert!(recorder.flush().is_err(), "it does not go on after a gap");
}

#[test]
fn a_recorded_resource_keeps_the_contract_and_its_recording_reads_back() {
    let written = Shared::default();
    let recorder = Arc::new(Recorder::new(written.clone()).unwrap());
    let device = SimDevice::new(1 << 30);
    let memory = Record::new(DeviceMemory::new(device.clone()), recorder.clone());
    conformance::check(&Subject::new(&memory));
    device.assert_clean();
    let recorded = recorder.finish().unwrap();
    let trace = strictly("conformance", &written.bytes()).unwrap();
    assert!(trace.allocations() > 100);
    assert_eq!(trace.events().len() as u64, recorded);
}

#[test]
fn an_event_allocates_no_heap_memory() {
    let recorder = Recorder::new(io::sink()).unwrap();
    let labels = [Label::NONE, Label::intern("a"), Label::intern("b")];
    let events = labels.map(|label| event(allocate, 256, 1).with_label(label));
    events.iter().for_each(|event| recorder.event(event));
    let before = heap::allocations();
    assert_ne!(before, 0, "the counter counts");
    // Enough to write the buffer many times.
    for _ in 0..20_000 {
        events.iter().for_each(|event| recorder.event(event));
    }
    assert_eq!(heap::allocations(), before);
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

#[test]
fn a_recording_has_times_and_says_when_it_ended() {
    let written = Shared::default();
    let recorder = Recorder::new(written.clone()).unwrap();
    recorder.event(&event(allocate, 256, 8));
    thread::sleep(Duration::from_millis(2));
    recorder.event(&event(free, 256, 8));
    recorder.flush().unwrap();
    let running = tolerantly("r", &written.bytes()).unwrap();
    assert_eq!(count(&running, Irregularity::CutEnd), 1);
    assert_eq!(recorder.finish().unwrap(), 2);
    recorder.event(&event(allocate, 512, 8));
    assert_eq!(recorder.finish().unwrap(), 2, "nothing comes after the end");
    drop(recorder);
    let trace = strictly("r", &written.bytes()).unwrap();
    let times = trace.times().unwrap();
    assert_eq!((times.len(), times[0]), (2, 0));
    assert!(times[1] >= 2_000_000, "{times:?}");
    assert_eq!(running.trace.events(), trace.events());
}

#[test]
fn a_trace_written_as_a_recording_reads_back_the_same_in_a_few_bytes_an_event() {
    for workload in [Workload::Overlay, Workload::OverlayTwoStreams, Workload::OverlayPaged] {
        let trace = generate(workload, "500").repeated(2).unwrap();
        let mut written = Vec::new();
        write_recording(&trace, &mut written).unwrap();
        let back = strictly(trace.name(), &written).unwrap();
        assert_eq!(back, trace);
        assert!(written.len() < 9 * trace.events().len(), "{} B", written.len());
    }
    // Times, threads and failures.
    let log = data("refused.csv");
    let trace = tolerantly("refused", &log).unwrap().trace;
    assert!(trace.times().is_some() && trace.threads() > 1);
    let mut written = Vec::new();
    write_recording(&trace, &mut written).unwrap();
    assert_eq!(strictly("refused", &written).unwrap(), trace);
    let timed = written.len();
    let timeless = trace.without_times();
    written.clear();
    write_recording(&timeless, &mut written).unwrap();
    assert_eq!(strictly("refused", &written).unwrap(), timeless);
    assert!(written.len() < timed, "{} B and {timed} B with times", written.len());
}

#[test]
fn a_recording_that_begins_late_has_what_was_live_then() {
    let events = [event(allocate, 512, 500), event(free, 256, 1000)];
    let reading = tolerantly("r", &recorded(&events)).unwrap();
    assert_eq!(reading.trace.peak_live(), 1500);
    assert_eq!(count(&reading, Irregularity::EarlierBlock), 1);
}

#[test]
fn what_is_not_written_yet_is_always_less_than_what_is_said() {
    let written = Shared::default();
    let recorder = Recorder::new(written.clone()).unwrap();
    let on_disk = || match tolerantly("r", &written.bytes()) {
        Ok(reading) => reading.trace.allocations(),
        Err(_) => 0,
    };
    for told in 1..1_000_u64 {
        recorder.event(&event(allocate, told << 8, 8));
        assert!(
            told - on_disk() < Recorder::MOST_UNWRITTEN as u64,
            "{told}, {} written",
            on_disk()
        );
    }
    assert_eq!(recorder.flush().unwrap(), 999);
    assert_eq!(on_disk(), 999);
}

#[test]
fn a_refused_request_is_written_at_once_with_what_came_before() {
    let written = Shared::default();
    let recorder = Recorder::new(written.clone()).unwrap();
    recorder.event(&event(allocate, 256, 8));
    assert_eq!(written.bytes().len(), 17);
    recorder.event(&event(|_, layout| MemoryEventKind::Failure { layout }, 256, 1 << 40));
    let reading = tolerantly("r", &written.bytes()).unwrap();
    assert_eq!(reading.trace.events().len(), 2);
}

/// Names the file that the process that is to abort records into.
const ABORTS: &str = "VMEM_TRACE_TEST_ABORTS";

#[test]
fn a_recording_survives_the_death_of_its_process() {
    const EVENTS: usize = 199;
    if let Some(path) = std::env::var_os(ABORTS) {
        let device = device(1 << 30, Checker::Off);
        let recorder = Arc::new(Recorder::create(path).unwrap());
        let memory = Record::new(DeviceMemory::new(device.clone()), recorder);
        let stream = Stream::new(device).unwrap();
        for _ in 0..EVENTS {
            // A block that nobody frees stays allocated.
            let _block = memory.allocate_on(BlockLayout::new(1000).unwrap(), &stream).unwrap();
        }
        std::process::abort();
    }
    let name = format!("vmem-aborted-{}.trace", std::process::id());
    let path = std::env::temp_dir().join(name);
    let test = "recordings::a_recording_survives_the_death_of_its_process";
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(ABORTS, &path)
        .output()
        .unwrap();
    assert!(!output.status.success());
    let reading = read_path(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    let lost = EVENTS - reading.trace.events().len();
    assert!(lost < Recorder::MOST_UNWRITTEN, "{lost} events lost");
    assert_eq!(reading.trace.peak_live(), 1000 * reading.trace.allocations());
}

#[test]
fn a_forked_child_is_refused_what_is_recorded_and_writes_nothing() {
    let written = Shared::default();
    let recorder = Arc::new(Recorder::new(written.clone()).unwrap());
    let device = device(1 << 20, Checker::On);
    let memory = Record::new(DeviceMemory::new(device.clone()), recorder.clone());
    let stream = Stream::new(device.clone()).unwrap();
    let layout = BlockLayout::new(100).unwrap();
    let answer =
        in_child(|| memory.allocate_on(layout, &stream).is_err() && recorder.flush().is_err());
    assert_eq!(answer, Ok(true));
    assert_eq!(recorder.flush().unwrap(), 0);
}
