//! The countdown fails each call it says, and sweeps end.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use vmem_core::author::HostAccess;
use vmem_core::{
    Advice, AllocErrorKind, AsyncMemory, Device, DeviceMemory, DriverCode, DriverError, Location,
    MemoryResource, PhysicalHandle, PinnedMemory, RawStream, ResourceExt, Stream,
};
use vmem_sim::{Parts, SimConfig, SimDevice};
use vmem_testkit::{Countdown, FAULT_CODES, Fault, Pairs, sweep};

/// The name of a method that makes a driver call, and one call of it with arguments that would be
/// misuse if they reached a device.
type Call = (&'static str, fn(&dyn Device) -> Result<(), DriverError>);

macro_rules! calls {
    ($($part:literal $device:ident $target:expr; { $($name:ident($($arg:expr),*))* } unsafe { $($uname:ident($($uarg:expr),*))* })*) => {
        &[$(
            $((
                concat!($part, "::", stringify!($name)),
                |$device| $target.$name($($arg),*).map(drop),
            ),)*
            $((
                concat!($part, "::", stringify!($uname)),
                // SAFETY: contract, devices: the call fails before it reaches a device.
                |$device| unsafe { $target.$uname($($uarg),*) }.map(drop),
            ),)*
        )*]
    };
}

fn ptr() -> vmem_core::DevicePtr {
    vmem_core::DevicePtr::new(4096).unwrap()
}

fn event() -> vmem_core::RawEvent {
    vmem_core::RawEvent(std::num::NonZeroU64::MAX)
}

const STREAM: RawStream = RawStream(77);
const HANDLE: PhysicalHandle = PhysicalHandle(77);

const CALLS: &[Call] = calls! {
    "Device" device device; {
        memory_info() allocate(1) create_stream() synchronize() create_event() create_timed_event()
        check_host_access(ptr(), 1, HostAccess::Read)
    } unsafe {
        free(ptr()) destroy_stream(STREAM) owns_stream(STREAM) query_stream(STREAM)
        synchronize_stream(STREAM) is_capturing(STREAM) destroy_event(event())
        record_event(event(), STREAM) query_event(event()) synchronize_event(event())
        wait_event(STREAM, event()) copy_from_host(ptr(), [0].as_ptr(), 1, STREAM)
        copy_to_host([0].as_mut_ptr(), ptr(), 1, STREAM) copy_within(ptr(), ptr(), 1, STREAM)
        elapsed_ns(event(), event()) fill(ptr(), 0, 1, STREAM) fill_u16(ptr(), 0, 1, STREAM)
        fill_u32(ptr(), 0, 1, STREAM)
    }
    "VirtualMemory" device device.virtual_memory().unwrap(); {
        reserve(1) create(1) create_on_host(1)
    } unsafe {
        free_range(ptr(), 1) release(HANDLE) map(ptr(), 1, HANDLE) set_access(ptr(), 1)
        unmap(ptr(), 1)
    }
    "Managed" device device.managed().unwrap(); {
        allocate(1)
    } unsafe {
        free(ptr()) advise(ptr(), 1, Advice::ReadMostly)
        prefetch(ptr(), 1, Location::Host, STREAM) last_prefetch(ptr(), 1)
    }
    "Pinned" device device.pinned().unwrap(); {
        allocate(1)
    } unsafe {
        free(ptr())
    }
    "AsyncPool" device device.async_pool().unwrap(); {
        trim_to(0) set_release_threshold(0) release_threshold() reserved()
    } unsafe {
        allocate(1, STREAM) free(ptr(), STREAM)
    }
};

/// The names of the methods that the countdown counts, as its source lists them: those whose line ends
/// with a semicolon, under the name of their part, and those that it names in full.
fn counted() -> BTreeSet<String> {
    let mut part = "";
    let mut names = BTreeSet::new();
    for line in include_str!("../../src/countdown/forward.rs").lines().map(str::trim) {
        if let Some((name, _)) = line.strip_prefix('"').and_then(|line| line.split_once('"')) {
            part = name;
        } else if let Some((name, _)) = line.strip_prefix("fn ").and_then(|fn_| fn_.split_once('('))
            && line.ends_with(';')
        {
            assert!(names.insert(format!("{part}::{name}")));
        } else if let Some(line) = line.strip_prefix("const CALL: &str = \"")
            && let Some((name, _)) = line.split_once('"')
        {
            assert!(names.insert(name.to_owned()));
        }
    }
    names
}

#[test]
fn every_call_that_the_countdown_counts_is_among_those_that_are_tried() {
    let tried: BTreeSet<String> = CALLS.iter().map(|(name, _)| String::from(*name)).collect();
    assert_eq!(tried, counted());
}

#[test]
fn every_driver_call_can_be_the_one_that_fails() {
    let device = SimDevice::new(1 << 20);
    let countdown = Countdown::new(device.clone());
    for (name, call) in CALLS {
        let (reached, counted) = (device.calls(), countdown.calls());
        countdown.arm(1, DriverCode(12345));
        assert_eq!(countdown.fired(), None);
        let error = call(&*countdown).unwrap_err();
        assert_eq!((error.call(), error.code()), (*name, DriverCode(12345)));
        assert_eq!(countdown.fired(), Some(*name));
        assert_eq!(countdown.calls(), counted + 1, "{name}");
        assert_eq!(device.calls(), reached, "{name} reached the device");
    }
    device.assert_clean();
}

#[test]
fn calls_pass_to_the_device_until_the_chosen_one() {
    let device = SimDevice::new(1 << 20);
    let countdown = Countdown::new(device.clone());
    countdown.arm(3, DriverCode::OUT_OF_MEMORY);
    let reached = device.calls();
    let results: Vec<bool> = (0..5).map(|_| countdown.memory_info().is_ok()).collect();
    assert_eq!(results, [true, true, false, true, true]);
    assert_eq!((device.calls() - reached).total(), 4);
    assert_eq!(countdown.calls(), 5);
}

#[test]
fn a_second_call_fails_as_many_calls_after_the_first() {
    let device = SimDevice::new(1 << 20);
    let countdown = Countdown::new(device.clone());
    countdown.arm(2, DriverCode::OUT_OF_MEMORY);
    countdown.arm_next(3, DriverCode::UNKNOWN);
    let answers: Vec<u32> = (0..6)
        .map(|_| countdown.memory_info().map_or_else(|error| error.code().0, |_| 0))
        .collect();
    assert_eq!(answers, [0, 2, 0, 0, 999, 0]);
    assert_eq!(countdown.failed(), ["Device::memory_info"; 2]);
    assert_eq!(countdown.calls_since().len(), 4);
    countdown.disarm();
    assert!(countdown.create_event().is_ok());
    assert_eq!(countdown.calls_since().len(), 4, "nothing is watched any more");
    countdown.arm(1, DriverCode::UNKNOWN);
    assert!(countdown.failed().is_empty() && countdown.calls_since().is_empty());
}

#[test]
fn disarming_lets_calls_pass_and_remembers_what_fired() {
    let countdown = Countdown::new(SimDevice::new(1 << 20));
    countdown.arm(1, DriverCode::UNKNOWN);
    countdown.disarm();
    assert!(countdown.memory_info().is_ok());
    assert_eq!(countdown.fired(), None);
    countdown.arm(1, DriverCode::UNKNOWN);
    assert!(countdown.memory_info().is_err());
    countdown.disarm();
    assert_eq!(countdown.fired(), Some("Device::memory_info"));
}

#[test]
fn what_is_no_failure_cannot_be_armed() {
    let countdown = Countdown::new(SimDevice::new(1 << 20));
    let arm = |n, code| catch_unwind(AssertUnwindSafe(|| countdown.arm(n, code)));
    assert!(arm(0, DriverCode::UNKNOWN).is_err());
    assert!(arm(1, DriverCode(0)).is_err());
    assert!(arm(1, DriverCode::NOT_READY).is_err());
    let next = |n, code| catch_unwind(AssertUnwindSafe(|| countdown.arm_next(n, code)));
    assert!(next(0, DriverCode::UNKNOWN).is_err());
    assert!(next(1, DriverCode(0)).is_err());
    assert!(arm(1, DriverCode::UNKNOWN).is_ok());
}

#[test]
fn it_has_the_identity_and_the_parts_of_its_device() {
    for parts in [Parts::empty(), Parts::PINNED, Parts::all()] {
        let config = SimConfig { parts, ..SimConfig::default() };
        let device = SimDevice::with_config(config).unwrap();
        let countdown = Countdown::new(device.clone());
        assert_eq!(countdown.id(), device.id());
        assert_eq!(countdown.facts(), device.facts());
        let found = |device: &dyn Device| {
            [
                device.virtual_memory().is_some(),
                device.managed().is_some(),
                device.pinned().is_some(),
                device.async_pool().is_some(),
            ]
        };
        assert_eq!(found(&*countdown), found(&*device));
    }
}

fn use_and_free(memory: &dyn MemoryResource, stream: &Stream) -> Result<(), AllocErrorKind> {
    let mut buffer = memory.buffer(4096, stream).map_err(|error| error.kind())?;
    buffer
        .copy_from_slice(0, &[7; 4096])
        .and_then(|()| buffer.to_vec().map(drop))
        .map_err(|_| AllocErrorKind::DeviceFault)
}

/// Fails each driver call of a leaf's life in turn: allocations report it, frees give the block
/// back, and the leaf works afterwards.
fn leaf_survives(make: fn(Arc<dyn Device>) -> Box<dyn MemoryResource>) {
    let faults = sweep(&FAULT_CODES, 100, |fault: Fault| {
        let device = SimDevice::new(1 << 20);
        let countdown = Countdown::new(device.clone());
        let stream = Stream::new(countdown.clone()).unwrap();
        let memory = make(countdown.clone());

        fault.arm(&countdown);
        let first = use_and_free(&*memory, &stream);
        countdown.disarm();
        match (countdown.fired(), first) {
            (Some(call), Err(kind)) if call.ends_with("::allocate") => {
                let exhausted = fault.code == DriverCode::OUT_OF_MEMORY;
                assert_eq!(kind == AllocErrorKind::OutOfMemory, exhausted);
            }
            // A request's first question, or a copy's.
            (Some("Device::is_capturing"), Err(AllocErrorKind::OutOfMemory)) => {
                assert_eq!(fault.code, DriverCode::OUT_OF_MEMORY);
            }
            (Some(_), Err(kind)) => assert_eq!(kind, AllocErrorKind::DeviceFault),
            // The buffer's drop failed: counted where it can be read.
            (Some(_), Ok(())) => assert_eq!(device.base().drop_failures().count(), 1),
            (None, result) => assert_eq!(result, Ok(())),
        }

        assert_eq!(use_and_free(&*memory, &stream), Ok(()));
        device.assert_clean();
        countdown
    });
    assert!(faults >= 15, "only {faults} faults were reached");
}

/// Fails pairs of driver calls of two lives: nothing leaks unsaid, no rule is broken, and the leaf
/// works afterwards.
fn leaf_survives_pairs(make: fn(Arc<dyn Device>) -> Box<dyn MemoryResource>) {
    let pairs = Pairs::default().sweep(|fault: Fault| {
        let device = SimDevice::new(1 << 20);
        let countdown = Countdown::new(device.clone());
        let stream = Stream::new(countdown.clone()).unwrap();
        let memory = make(countdown.clone());

        fault.arm(&countdown);
        let lives = [(); 2].map(|()| use_and_free(&*memory, &stream));
        countdown.disarm();
        let (failed, said) = (countdown.failed(), device.base().drop_failures().count());
        let noticed = lives.iter().filter(|life| life.is_err()).count() as u64 + said;
        assert!(failed.is_empty() == (noticed == 0), "{failed:?}: {lives:?}, {said} drops");

        assert_eq!(use_and_free(&*memory, &stream), Ok(()), "after {failed:?}");
        device.assert_clean();
        let leaks = device.leaks();
        let memory = leaks.plain.count + leaks.pinned.count + leaks.stream_ordered.count;
        assert!(memory <= said, "after {failed:?}: {leaks}");
        countdown
    });
    assert!(pairs >= 30, "only {pairs} pairs were reached");
}

#[test]
fn device_memory_survives_every_fault() {
    leaf_survives(|device| Box::new(DeviceMemory::new(device)));
}

#[test]
fn pinned_memory_survives_every_fault() {
    leaf_survives(|device| Box::new(PinnedMemory::new(device).unwrap()));
}

#[test]
fn async_memory_survives_every_fault() {
    leaf_survives(|device| Box::new(AsyncMemory::new(device).unwrap()));
}

#[test]
fn device_memory_survives_every_pair_of_faults() {
    leaf_survives_pairs(|device| Box::new(DeviceMemory::new(device)));
}

#[test]
fn pinned_memory_survives_every_pair_of_faults() {
    leaf_survives_pairs(|device| Box::new(PinnedMemory::new(device).unwrap()));
}

#[test]
fn async_memory_survives_every_pair_of_faults() {
    leaf_survives_pairs(|device| Box::new(AsyncMemory::new(device).unwrap()));
}

#[test]
fn a_sweep_visits_every_call_with_every_code() {
    let mut seen = Vec::new();
    let faults = sweep(&[DriverCode::UNKNOWN, DriverCode(12345)], 10, |fault| {
        let countdown = Countdown::new(SimDevice::new(1 << 20));
        fault.arm(&countdown);
        let failed = (0..3).position(|_| countdown.memory_info().is_err());
        seen.push((fault.code.0, failed));
        countdown
    });
    assert_eq!(faults, 6);
    let with = |code| [Some(0), Some(1), Some(2), None].map(|at| (code, at));
    assert_eq!(seen, [with(999), with(12345)].concat());
}

#[test]
fn a_sweep_that_shows_nothing_or_never_ends_fails() {
    let silent =
        catch_unwind(|| sweep(&FAULT_CODES, 10, |_| Countdown::new(SimDevice::new(1 << 20))));
    assert!(silent.is_err());
    let endless = catch_unwind(|| {
        sweep(&FAULT_CODES, 10, |fault| {
            let countdown = Countdown::new(SimDevice::new(1 << 20));
            fault.arm(&countdown);
            while countdown.memory_info().is_ok() {}
            countdown
        })
    });
    assert!(endless.is_err());
}

/// Calls alternately one thing and another, `calls` in all.
fn alternate(calls: u64, fault: Fault) -> Arc<Countdown> {
    let countdown = Countdown::new(SimDevice::new(1 << 20));
    fault.arm(&countdown);
    for i in 0..calls {
        if i % 2 == 0 {
            let _ = countdown.memory_info();
        } else {
            let _ = countdown.synchronize();
        }
    }
    countdown
}

/// The pairs of calls that a sweep failed, by their numbers from one.
fn pairs_of(pairs: &Pairs, calls: u64) -> Vec<(u64, u64)> {
    let mut seen = Vec::new();
    pairs.sweep(|fault| {
        seen.extend(fault.then.map(|(later, _)| (fault.n, fault.n + later)));
        alternate(calls, fault)
    });
    seen
}

const ONE: [DriverCode; 2] = [DriverCode::UNKNOWN, DriverCode(12345)];

#[test]
fn all_pairs_fail_if_they_are_few() {
    let pairs = Pairs { codes: vec![ONE], most: 15, ..Pairs::default() };
    let mut seen = pairs_of(&pairs, 6);
    seen.sort_unstable();
    let all: Vec<_> = (1..=6).flat_map(|n| (n + 1..=6).map(move |m| (n, m))).collect();
    assert_eq!(seen, all);
    let three = Pairs { codes: vec![ONE; 3], ..pairs };
    assert_eq!(three.sweep(|fault| alternate(6, fault)), 45);
}

#[test]
fn of_many_pairs_those_that_undo_come_first_and_the_seed_chooses_the_rest() {
    let of = |most, seed| {
        let pairs = Pairs { codes: vec![ONE], most, seed, ..Pairs::default() };
        let mut seen = pairs_of(&pairs, 12);
        seen.sort_unstable();
        seen
    };
    assert_eq!(of(11, 0), (1..12).map(|n| (n, n + 1)).collect::<Vec<_>>());
    let followed_by_its_name = (1..11).map(|n| (n, n + 2));
    assert!(followed_by_its_name.clone().all(|pair| of(21, 0).contains(&pair)));
    assert_eq!(of(30, 1), of(30, 1));
    assert_ne!(of(30, 1), of(30, 2));
}

#[test]
fn a_sweep_of_pairs_that_shows_nothing_or_never_ends_fails() {
    let silent = catch_unwind(|| Pairs::default().sweep(|fault| alternate(1, fault)));
    assert!(silent.is_err());
    let pairs = Pairs { cap: 10, ..Pairs::default() };
    assert!(catch_unwind(|| pairs.sweep(|fault| alternate(20, fault))).is_err());
}
