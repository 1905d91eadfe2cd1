//! Two devices at once: the one that was asked for, and the next of the same driver.

use std::sync::{Arc, Barrier};
use std::thread;

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};
use vmem_cli::OpenError;
use vmem_core::{
    BoxedError, Device, DeviceVec, DriverCode, MemoryResource, PinnedBuffer, PinnedMemory, Stream,
};
use vmem_runtime::Registry;
use vmem_testkit::conformance;
use vmem_trace::Workload;

use super::cell::{self, Outcome};
use super::checks::conforms;
use super::context::{CheckContext, ROOM};
use super::evidence::Evidence;
use super::{build, leaks, workload};

/// Elements that are copied from one device to the other: 3 MiB and a little.
const ELEMENTS: usize = (3 << 18) + 5;

/// Threads that work on each device.
const THREADS: usize = 2;

/// A registry has a stack of each device, which a runtime builds where one does; threads take their device's
/// from it and run an overlay each, all at once, and every byte is compared.
pub(super) fn registry(context: &CheckContext) -> Result<Outcome, BoxedError> {
    on_both(context, |both| {
        let trace = workload::trace(Workload::OverlayCore, 500, context.seed)?;
        let stacks = [build::as_a_program(both[0])?, build::as_a_program(both[1])?];
        let registry = Registry::new();
        for stack in &stacks {
            registry.set(stack.resource.clone());
        }
        for (own, stack) in both.iter().zip(&stacks) {
            if !Arc::ptr_eq(&registry.current(&own.opened.device), &stack.resource) {
                return Err("the registry has another resource for a device than its own".into());
            }
        }
        let start = Barrier::new(2 * THREADS);
        let work = |device: &Arc<dyn Device>| -> Result<String, BoxedError> {
            start.wait();
            let resource = registry.current(device);
            let streams = [Stream::new(device.clone())?];
            let mut evidence = Evidence::new(device)?;
            workload::verified(&trace, &*resource, &streams, &mut evidence)?;
            Ok(evidence.summary())
        };
        let work = &work;
        let outcomes = thread::scope(|scope| {
            let devices = both.iter().flat_map(|own| [&own.opened.device; THREADS]);
            let threads: Vec<_> = devices.map(|device| scope.spawn(move || work(device))).collect();
            let joined = threads.into_iter().map(|thread| thread.join());
            joined
                .map(|joined| joined.unwrap_or_else(|_| Err("a thread panicked".into())))
                .collect::<Result<Vec<_>, _>>()
        });
        let found = outcomes?.join(" and ");
        for own in both {
            registry.forget(own.opened.device.id());
        }
        Ok(found)
    })
}

/// Elements get from either device to the other through pinned memory of either, waited for or dropped, and a
/// copy that names both devices at once is refused.
pub(super) fn copies(context: &CheckContext) -> Result<Outcome, BoxedError> {
    on_both(context, |both| {
        let built = [both[0].build(ROOM)?, both[1].build(ROOM)?];
        let mut rng = SplitMix64::seed_from_u64(context.seed);
        for (from, to) in [(0, 1), (1, 0)] {
            let streams = [from, to].map(|side| Stream::new(both[side].opened.device.clone()));
            let [home, abroad] = streams;
            let (home, abroad) = (home?, abroad?);
            for pinned in [from, to] {
                let expected: Vec<u32> = (0..ELEMENTS).map(|_| rng.next_u32()).collect();
                let source = DeviceVec::from_slice(built[from].resource.clone(), &expected, &home)?;
                let memory = built[to].resource.clone();
                let mut copy = DeviceVec::zeroed(memory, ELEMENTS, &abroad)?;
                let device = both[pinned].opened.device.clone();
                let own = if pinned == from { &home } else { &abroad };
                let host: Arc<dyn MemoryResource> = Arc::new(PinnedMemory::new(device)?);
                let host = PinnedBuffer::zeroed(host, ELEMENTS, own)?;
                let host =
                    source.copy_to_pinned(host, ..).map_err(|refused| refused.into_parts().1)?;
                let host = host.wait()?;
                let upload =
                    copy.copy_from_pinned(host, ..).map_err(|refused| refused.into_parts().1)?;
                // Dropped before it is complete, it keeps its memory until then.
                drop(upload);
                if copy.to_vec()? != expected {
                    return Err(
                        format!("bytes changed on the way from device {from} to {to}").into()
                    );
                }
                match copy.as_mut_slice().copy_from(source.as_slice()) {
                    Err(error) if error.code() == DriverCode::INVALID_CONTEXT => {}
                    other => return Err(format!("a copy across devices came to {other:?}").into()),
                }
            }
        }
        Ok("through pinned memory of either device, both ways".to_owned())
    })
}

/// Streams of the other device are refused, for allocating, freeing and using a buffer, and harm nothing.
pub(super) fn strange_streams(context: &CheckContext) -> Result<Outcome, BoxedError> {
    on_both(context, |both| {
        for (own, other) in [(both[0], both[1]), (both[1], both[0])] {
            let promised = |check: &&conformance::Check| check.name == STRANGE_STREAMS;
            let promise = conformance::CHECKS.iter().find(promised).ok_or("the promise is gone")?;
            if let how @ (Outcome::Failed(_) | Outcome::Skipped(_)) =
                conforms(promise, own, other.opened.device.clone())?
            {
                return Err(format!("{how:?}").into());
            }
            let built = own.build(ROOM)?;
            let stream = Stream::new(own.opened.device.clone())?;
            let strange = Stream::new(other.opened.device.clone())?;
            let elements: Vec<u32> = (0..1000).collect();
            let mut buffer = DeviceVec::from_slice(built.resource.clone(), &elements, &stream)?;
            for refused in [
                buffer.make_ready_on(&strange),
                buffer.record_use(&strange),
                buffer.set_stream(&strange),
            ] {
                match refused {
                    Err(error) if error.code() == DriverCode::INVALID_CONTEXT => {}
                    other => {
                        return Err(format!("another device's stream came to {other:?}").into());
                    }
                }
            }
            if buffer.to_vec()? != elements {
                return Err("a refused stream changed a buffer".into());
            }
        }
        Ok("in both directions".to_owned())
    })
}

/// Of the conformance suite, the promise that takes another device.
const STRANGE_STREAMS: &str = "streams_of_another_device_are_refused";

/// Every promise of the contract holds on both devices while it is tried on the other; the other is where the
/// strange streams are of.
pub(super) fn conformance(context: &CheckContext) -> Result<Outcome, BoxedError> {
    on_both(context, |both| {
        let start = Barrier::new(2);
        let try_all = |own: &CheckContext, other: &CheckContext| -> Result<String, BoxedError> {
            start.wait();
            let mut passed = 0;
            for promise in conformance::CHECKS {
                match conforms(promise, own, other.opened.device.clone())? {
                    Outcome::Passed(_) => passed += 1,
                    Outcome::Skipped(_) => {}
                    Outcome::Failed(how) => return Err(format!("{}: {how}", promise.name).into()),
                }
            }
            Ok(passed.to_string())
        };
        let try_all = &try_all;
        let [first, second] = thread::scope(|scope| {
            let [first, second] = both;
            [(first, second), (second, first)]
                .map(|(own, other)| scope.spawn(move || try_all(own, other)))
                .map(|thread| thread.join().unwrap_or_else(|_| Err("a thread panicked".into())))
        });
        Ok(format!("{} promises kept on one and {} on the other", first?, second?))
    })
}

/// Runs a check on two devices and looks at what it left on the second; the cell looks at the first.
fn on_both(
    context: &CheckContext,
    check: impl Fn([&CheckContext; 2]) -> Result<String, BoxedError>,
) -> Result<Outcome, BoxedError> {
    let target = context.target.next();
    let opened = match target.open(&CheckContext::device(context.seed)) {
        Ok(opened) => opened,
        Err(OpenError::Absent(reason)) => {
            return Ok(Outcome::Skipped(format!("there is no second device: {reason}")));
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(missing) = context.tier.missing(&*opened.device) {
        return Ok(Outcome::Skipped(format!("of the second device: {missing}")));
    }
    let drops = opened.device.base().drop_failures().count();
    let second = CheckContext { opened, target, ..context.clone() };
    let found = check([context, &second])?;
    let left = cell::complaint(&second.opened, drops).or_else(|| {
        let on_hardware = second.opened.simulated().is_err();
        on_hardware.then(|| leaks::excess(context.tier.is_managed(), second.opened.gauge.used()))?
    });
    Ok(match left {
        Some(left) => Outcome::Failed(format!("the second device: {left}")),
        None => Outcome::Passed(Some(found)),
    })
}
