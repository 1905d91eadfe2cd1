//! Everything that buffers, streams and events can do, while a stream captures and after: nothing
//! breaks a capture, joins it or is recorded into it, and no order is lost.

use std::sync::Arc;

use vmem_core::author::{IdleEvent, StreamExt};
use vmem_core::{
    AllocErrorKind, Device, DeviceBuffer, DriverCode, Event, MemoryResource, Quarantined, Stream,
};
use vmem_sim::{CallKind, Graph, Kernel, SimDevice};

use crate::common::{Told, code, is_alive, launch, scratch, stream};
use crate::quarantine::{LEAVES, device, plain, stream_ordered};

/// Which stream captures, or captured, when a step is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Home,
    /// The home stream's capture has been broken and not been ended yet.
    HomeBroken,
    Other,
    Unrelated,
    /// The home stream's capture has ended, and its graph lives.
    Ended,
    /// Its graph is gone, too.
    GraphGone,
}

impl When {
    const ALL: [Self; 6] =
        [Self::Home, Self::HomeBroken, Self::Other, Self::Unrelated, Self::Ended, Self::GraphGone];

    fn home_captures(self) -> bool {
        matches!(self, Self::Home | Self::HomeBroken)
    }
}

/// A buffer that its home stream has written and another stream is still using.
pub(crate) struct Scene {
    device: Arc<SimDevice>,
    memory: Arc<dyn MemoryResource>,
    pub(crate) home: Stream,
    other: Stream,
    /// Of the other stream.
    marker: Event,
    idle: Option<IdleEvent>,
    pub(crate) buffer: Option<DeviceBuffer>,
}

impl Scene {
    pub(crate) fn new(device: &Arc<SimDevice>, memory: &Arc<dyn MemoryResource>) -> Self {
        let (home, other) = (stream(device), stream(device));
        let mut buffer = DeviceBuffer::new(memory.clone(), 4096, &home).unwrap();
        buffer.reserve(8192).unwrap();
        buffer.fill(0..4096, 1).unwrap();
        buffer.make_ready_on(&other).unwrap();
        launch(device, &other, Kernel::add_one(buffer.ptr().unwrap(), 4096));
        buffer.record_use(&other).unwrap();
        let marker = other.marker().unwrap();
        let idle = Some(IdleEvent::new(device.clone()).unwrap());
        let (device, memory) = (device.clone(), memory.clone());
        Self { device, memory, home, other, marker, idle, buffer: Some(buffer) }
    }

    fn buffer(&mut self) -> &mut DeviceBuffer {
        self.buffer.as_mut().unwrap()
    }
}

/// What a step was refused with.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    Driver(DriverCode),
    Alloc(AllocErrorKind),
}

impl Refused {
    fn is_capture(&self) -> bool {
        let code = DriverCode::STREAM_CAPTURE_UNSUPPORTED;
        [Self::Driver(code), Self::Alloc(AllocErrorKind::Capturing)].contains(self)
    }
}

impl From<vmem_core::DriverError> for Refused {
    fn from(error: vmem_core::DriverError) -> Self {
        Self::Driver(error.code())
    }
}

impl From<vmem_core::AllocError> for Refused {
    fn from(error: vmem_core::AllocError) -> Self {
        Self::Alloc(error.kind())
    }
}

/// Something a program may do, and what a capture has to say to it.
struct Step {
    name: &'static str,
    run: fn(&mut Scene) -> Result<(), Refused>,
    /// Refused while the home stream captures.
    home: bool,
    /// Refused while the other stream captures.
    other: bool,
    /// Refused while the home stream captures, because stream-ordered memory cannot be allocated then.
    allocates: bool,
    /// How many nodes it adds to the home stream's graph.
    nodes: usize,
}

const fn step(name: &'static str, run: fn(&mut Scene) -> Result<(), Refused>) -> Step {
    Step { name, run, home: false, other: false, allocates: false, nodes: 0 }
}

const fn refused_at_home(name: &'static str, run: fn(&mut Scene) -> Result<(), Refused>) -> Step {
    Step { home: true, ..step(name, run) }
}

const STEPS: &[Step] = &[
    Step {
        other: true,
        ..refused_at_home("make_ready_on", |s| {
            let other = s.other.clone();
            Ok(s.buffer().make_ready_on(&other)?)
        })
    },
    refused_at_home("make_ready_on the home stream", |s| {
        let home = s.home.clone();
        Ok(s.buffer().make_ready_on(&home)?)
    }),
    Step {
        other: true,
        ..step("record_use", |s| {
            let other = s.other.clone();
            Ok(s.buffer().record_use(&other)?)
        })
    },
    Step { nodes: 1, ..step("fill", |s| Ok(s.buffer().fill(0..4096, 3)?)) },
    refused_at_home("copy_from_slice", |s| Ok(s.buffer().copy_from_slice(0, &[5; 4096])?)),
    refused_at_home("copy_to_slice", |s| {
        let mut bytes = [0; 4096];
        s.buffer().copy_to_slice(0, &mut bytes)?;
        assert_eq!(bytes, [2; 4096]);
        Ok(())
    }),
    refused_at_home("to_vec", |s| {
        assert_eq!(s.buffer().to_vec()?, [2; 4096]);
        Ok(())
    }),
    refused_at_home("from_slice", |s| {
        let buffer = DeviceBuffer::from_slice(s.memory.clone(), &[1; 64], &s.home)?;
        assert_eq!(buffer.to_vec()?, [1; 64]);
        Ok(())
    }),
    Step {
        nodes: 1,
        allocates: true,
        ..step("try_clone", |s| {
            let home = s.home.clone();
            s.buffer().try_clone(&home).map(drop)?;
            Ok(())
        })
    },
    Step {
        other: true,
        ..refused_at_home("try_clone on another stream", |s| {
            let other = s.other.clone();
            s.buffer().try_clone(&other).map(drop)?;
            Ok(())
        })
    },
    refused_at_home("resize", |s| {
        s.buffer().resize(10_000)?;
        assert_eq!(s.buffer().to_vec()?[..4096], [2; 4096]);
        Ok(())
    }),
    refused_at_home("reserve", |s| Ok(s.buffer().reserve(10_000)?)),
    refused_at_home("shrink_to_fit", |s| {
        s.buffer().shrink_to_fit()?;
        assert_eq!(s.buffer().to_vec()?, [2; 4096]);
        Ok(())
    }),
    Step {
        allocates: true,
        ..step("growing an empty one", |s| {
            s.buffer().resize(0)?;
            Ok(s.buffer().resize(10_000)?)
        })
    },
    Step {
        other: true,
        ..refused_at_home("set_stream", |s| {
            let other = s.other.clone();
            Ok(s.buffer().set_stream(&other)?)
        })
    },
    step("into_block", |s| {
        let block = s.buffer.take().unwrap().into_block()?.unwrap();
        // SAFETY: contract, freeing: the home stream has waited for the only other use, or the host.
        unsafe { s.memory.deallocate(block, &s.home) }.unwrap();
        Ok(())
    }),
    step("drop", |s| {
        s.buffer = None;
        Ok(())
    }),
    refused_at_home("wait", |s| Ok(s.home.wait(&s.marker)?)),
    step("wait_later", |s| Ok(s.home.wait_later(&s.marker)?)),
    step("queue_pending_waits", |s| {
        s.home.wait_later(&s.marker)?;
        s.home.queue_pending_waits()?;
        assert!(!s.home.has_pending_waits());
        Ok(())
    }),
    Step {
        nodes: 1,
        ..step("with_raw behind a pending wait", |s| {
            s.home.wait_later(&s.marker)?;
            let ptr = s.buffer().ptr().unwrap();
            // SAFETY: contract, devices/ranges: the buffer's block, which is live.
            unsafe { s.device.launch(&s.home, Kernel::add_one(ptr, 4096)) }?;
            Ok(())
        })
    },
    refused_at_home("record", |s| {
        let idle = s.idle.take().unwrap();
        let recorded = s.home.record(idle).map_err(|(_, error)| error)?;
        Ok(recorded.synchronize()?)
    }),
    refused_at_home("marker", |s| Ok(s.home.marker()?.synchronize()?)),
    refused_at_home("synchronize", |s| Ok(s.home.synchronize()?)),
    refused_at_home("synchronize_alone", |s| Ok(s.home.synchronize_alone()?)),
    refused_at_home("is_complete", |s| Ok(s.home.is_complete().map(|_| ())?)),
    refused_at_home("retire", |s| Ok(s.home.retire()?)),
];

/// Makes the step, and ends the capture. Returns the graph, if it was not broken on purpose.
fn make(step: &Step, when: When, scene: &mut Scene, what: &str) -> Option<Graph> {
    let device = scene.device.clone();
    let unrelated = stream(&device);
    let capturing = match when {
        When::Other => scene.other.clone(),
        When::Unrelated => unrelated,
        _ => scene.home.clone(),
    };
    device.begin_capture(&capturing).unwrap();
    match when {
        When::HomeBroken => {
            // SAFETY: contract, devices/handles: a valid stream; the query breaks the capture on
            // purpose.
            assert!(unsafe { device.query_stream(capturing.raw()) }.is_err());
            device.take_violations();
        }
        When::Ended | When::GraphGone => {
            let graph = device.end_capture(&capturing).unwrap();
            let graph = Some(graph).filter(|_| when == When::Ended);
            assert_eq!((step.run)(scene), Ok(()), "{what}");
            return graph;
        }
        _ => {}
    }
    let done = (step.run)(scene);
    let by_home = step.home || (step.allocates && what.contains("stream-ordered"));
    if (when.home_captures() && by_home) || (when == When::Other && step.other) {
        assert!(done.as_ref().is_err_and(Refused::is_capture), "{what}: {done:?}");
    } else if when == When::HomeBroken && done.is_err() {
        // A capture that was broken takes nothing more.
        let invalidated = Refused::Driver(DriverCode::STREAM_CAPTURE_INVALIDATED);
        let refusals = [invalidated, Refused::Alloc(AllocErrorKind::DeviceFault)];
        assert!(done.as_ref().is_err_and(|refused| refusals.contains(refused)), "{what}: {done:?}");
    } else {
        assert_eq!(done, Ok(()), "{what}");
    }
    for bystander in [&scene.home, &scene.other] {
        let captures = !bystander.is_retired() && bystander.is_capturing().unwrap();
        assert_eq!(captures, *bystander == capturing, "{what}: {bystander:?} joined");
    }
    let graph = device.end_capture(&capturing);
    if when == When::HomeBroken {
        assert_eq!(code(graph), DriverCode::STREAM_CAPTURE_INVALIDATED, "{what}");
        device.take_violations();
        return None;
    }
    let graph = graph.unwrap_or_else(|error| panic!("{what}: the capture was broken: {error}"));
    let nodes = if when == When::Home && done.is_ok() { step.nodes } else { 0 };
    assert_eq!(graph.len(), nodes, "{what}");
    Some(graph)
}

#[test]
fn no_step_breaks_or_joins_a_capture_or_is_taken_by_it_unasked() {
    for (leaf, make_leaf) in LEAVES {
        for when in When::ALL {
            for (seed, step) in (0..).zip(STEPS) {
                let what = format!("{}, {when:?}, {leaf}", step.name);
                let device = device(seed);
                let (memory, quarantine) = make_leaf(&device);
                let mut scene = Scene::new(&device, &memory);
                let graph = make(step, when, &mut scene, &what);
                // The memory is used again, by the stream and by another.
                drop(scene.buffer.take());
                let again = if scene.home.is_retired() { &scene.other } else { &scene.home };
                for user in [again, &stream(&device)] {
                    let next = DeviceBuffer::new(memory.clone(), 8192, user).unwrap();
                    launch(&device, user, Kernel::write_pattern(next.ptr().unwrap(), 8192, 1));
                }
                drop((graph, scene));
                quarantine.synchronize().unwrap();
                assert_eq!(quarantine.quarantined(), Some(Quarantined::default()), "{what}");
                drop(memory);
                let failures = device.base().drop_failures();
                assert_eq!(failures.first(), None, "{what}");
                device.assert_clean();
                let leaks = device.leaks();
                assert!(leaks.events == 0 && leaks.plain.count == 0, "{what}: {leaks}");
            }
        }
    }
}

#[test]
fn a_use_that_a_capture_keeps_from_being_noted_does_not_keep_the_block() {
    let device = device(0);
    let (memory, quarantine) = plain(&device);
    let (home, capturing) = (stream(&device), stream(&device));
    let mut buffer = DeviceBuffer::new(memory.clone(), 4096, &home).unwrap();
    device.begin_capture(&capturing).unwrap();
    let refused = buffer.record_use(&capturing).unwrap_err();
    assert_eq!(refused.code(), DriverCode::STREAM_CAPTURE_UNSUPPORTED);
    drop(device.end_capture(&capturing).unwrap());
    drop(buffer);
    assert_eq!(quarantine.quarantined(), Some(Quarantined::default()));
    assert_eq!(device.leaks().plain.count, 0);
    device.assert_clean();
}

#[test]
fn a_stream_dropped_while_it_captures_is_destroyed_after_the_capture() {
    let device = device(0);
    let origin = stream(&device);
    let raw = origin.raw();
    let told = Told::watch(&origin);
    device.begin_capture(&origin).unwrap();
    drop(origin);
    assert!(told.once().1.is_none());
    drop(stream(&device));
    assert_eq!(device.base().undestroyed_streams(), 1);
    // SAFETY: contract, devices/handles: the driver's stream lives as long as it captures.
    let graph = unsafe { device.end_capture_raw(raw) };
    assert!(graph.unwrap().is_empty());
    let next = stream(&device);
    assert_eq!(device.base().undestroyed_streams(), 0);
    assert!(next.raw() == raw || !is_alive(&device, raw));
    drop(next);
    assert!(device.leaks().is_empty(), "{}", device.leaks());
    device.assert_clean();
}

#[test]
fn stream_ordered_memory_is_not_asked_for_in_a_capture() {
    let device = device(0);
    let (memory, _) = stream_ordered(&device);
    let home = stream(&device);
    let kept = DeviceBuffer::new(memory.clone(), 64, &home).unwrap();
    device.begin_capture(&home).unwrap();
    let before = device.calls();
    let refused = DeviceBuffer::new(memory, 64, &home).unwrap_err();
    assert_eq!(refused.kind(), AllocErrorKind::Capturing);
    drop(kept);
    let made = device.calls() - before;
    assert_eq!(made.of(CallKind::AsyncAllocate) + made.of(CallKind::AsyncFree), 0);
    assert_eq!(made.total(), made.of(CallKind::IsCapturing), "{made}");
    assert!(device.end_capture(&home).unwrap().is_empty());
    device.assert_clean();
}

#[test]
fn a_legacy_default_stream_that_cannot_be_asked_counts_as_capturing() {
    let device = device(0);
    let shared: Arc<dyn Device> = device.clone();
    let legacy = Stream::legacy_default(shared.clone());
    let raw = device.create_blocking_stream().unwrap();
    // SAFETY: the stream outlives the handle.
    let blocking = unsafe { Stream::foreign(device.clone(), raw) }.unwrap();
    let (memory, quarantine) = plain(&device);
    let buffer = DeviceBuffer::new(memory.clone(), 64, &legacy).unwrap();
    device.begin_capture(&blocking).unwrap();
    let implicit = DriverCode::STREAM_CAPTURE_IMPLICIT;
    device.fail_call(Some(CallKind::IsCapturing), 1, implicit);
    assert!(legacy.is_capturing().unwrap());
    device.fail_call(Some(CallKind::IsCapturing), 1, implicit);
    assert_eq!(code(legacy.marker()), DriverCode::STREAM_CAPTURE_UNSUPPORTED);
    device.fail_call(Some(CallKind::IsCapturing), 1, implicit);
    drop(buffer);
    assert_eq!(quarantine.quarantined().unwrap().blocks, 1);
    assert!(device.end_capture(&blocking).unwrap().is_empty());
    quarantine.synchronize().unwrap();
    assert_eq!(quarantine.quarantined().unwrap().blocks, 0);
    device.assert_clean();
}

#[test]
fn a_wait_left_to_a_capturing_stream_is_queued_after_the_capture() {
    for seed in 0..8 {
        let device = device(seed);
        let (producer, home, ptr) = (stream(&device), stream(&device), scratch(&device));
        launch(&device, &producer, Kernel::write_pattern(ptr, 4096, 1));
        device.begin_capture(&home).unwrap();
        home.wait_later(&producer.marker().unwrap()).unwrap();
        assert!(home.has_pending_waits());
        assert!(device.end_capture(&home).unwrap().is_empty());
        launch(&device, &home, Kernel::check_pattern(ptr, 4096, 1));
        assert!(!home.has_pending_waits());
        device.assert_clean();
    }
}
