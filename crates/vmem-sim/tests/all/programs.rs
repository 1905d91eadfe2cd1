//! Random programs: the checker and the schedules must agree on what is ordered.

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};
use vmem_core::{DevicePtr, RawEvent, RawStream};
use vmem_sim::{Kernel, Schedule, SimConfig, ViolationKind};

use crate::common::{Driver, MIB, at};

#[derive(Debug, Clone, Copy)]
enum Step {
    Fill { stream: usize, buffer: usize, value: u8 },
    Copy { stream: usize, to: usize, from: usize },
    AddOne { stream: usize, buffer: usize },
    Record { stream: usize, event: usize },
    Wait { stream: usize, event: usize },
    Synchronize { stream: usize },
}

struct Dice(SplitMix64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        usize::try_from(self.0.next_u64() % sides as u64).unwrap()
    }
}

const STREAMS: usize = 4;
const BUFFERS: usize = 3;
const EVENTS: usize = 3;
const BYTES: u64 = 64;

fn program(seed: u64, steps: usize) -> Vec<Step> {
    let mut dice = Dice(SplitMix64::seed_from_u64(seed));
    let mut step = || {
        let stream = dice.roll(STREAMS);
        let (buffer, event) = (dice.roll(BUFFERS), dice.roll(EVENTS));
        match dice.roll(24) {
            0 => Step::Fill { stream, buffer, value: u8::try_from(dice.roll(250)).unwrap() },
            1 => Step::Copy { stream, to: buffer, from: (buffer + 1) % BUFFERS },
            2 => Step::AddOne { stream, buffer },
            3..=11 => Step::Record { stream, event },
            12..=20 => Step::Wait { stream, event },
            _ => Step::Synchronize { stream },
        }
    };
    (0..steps).map(|_| step()).collect()
}

/// Runs a program; returns what the buffers hold at last, and how many races were reported.
fn run(program: &[Step], schedule: Schedule, seed: u64) -> (Vec<u8>, usize) {
    let driver = Driver::new(SimConfig { capacity: MIB, schedule, seed, ..SimConfig::default() });
    // Two non-blocking streams, a blocking one, and the legacy default stream.
    let blocking = driver.create_blocking_stream().unwrap();
    let streams = [driver.stream(), driver.stream(), blocking, RawStream::LEGACY];
    let events: [RawEvent; EVENTS] = std::array::from_fn(|_| driver.event());
    let memory = driver.alloc(BYTES * BUFFERS as u64);
    let buffer = |index: usize| -> DevicePtr { at(memory, BYTES * index as u64) };
    driver.fill(memory, 0, BYTES * BUFFERS as u64, streams[0]).unwrap();
    driver.sync().unwrap();
    for &step in program {
        match step {
            Step::Fill { stream, buffer: b, value } => {
                driver.fill(buffer(b), value, BYTES, streams[stream])
            }
            Step::Copy { stream, to, from } => {
                driver.copy(buffer(to), buffer(from), BYTES, streams[stream])
            }
            Step::AddOne { stream, buffer: b } => {
                driver.kernel(streams[stream], Kernel::add_one(buffer(b), BYTES))
            }
            Step::Record { stream, event } => driver.record(events[event], streams[stream]),
            Step::Wait { stream, event } => driver.wait(streams[stream], events[event]),
            Step::Synchronize { stream } => driver.sync_stream(streams[stream]),
        }
        .unwrap();
    }
    let violations = driver.violations();
    assert!(violations.iter().all(|v| v.kind == ViolationKind::Race), "{violations:?}");
    let bytes = driver.bytes(memory, usize::try_from(BYTES).unwrap() * BUFFERS);
    (bytes, violations.len())
}

/// The checker misses nothing: where it is silent, no schedule changes a byte. And it is not silent
/// for nothing: where it reports, some schedule of some program does.
#[test]
fn programs_without_a_reported_race_are_the_same_under_every_schedule() {
    let (mut clean, mut racy, mut changed) = (0, 0, 0);
    for seed in 0..400 {
        let program = program(seed, 16 + usize::try_from(seed % 48).unwrap());
        let (expected, races) = run(&program, Schedule::Eager, 0);
        for schedule in 0..6 {
            let (got, reported) = run(&program, Schedule::Late, schedule);
            assert_eq!(reported, races, "order does not depend on the schedule: {program:?}");
            assert!(races != 0 || got == expected, "silent, and yet: {program:?}");
            changed += u32::from(got != expected);
        }
        if races == 0 { clean += 1 } else { racy += 1 }
    }
    assert!(clean > 20 && racy > 20 && changed > 20, "{clean} {racy} {changed}");
}

/// The same program with every step on other streams ordered behind one event chain is clean.
#[test]
fn ordering_every_step_silences_the_checker() {
    for seed in 0..100 {
        let steps = program(seed, 20).into_iter().filter(|step| {
            matches!(step, Step::Fill { .. } | Step::Copy { .. } | Step::AddOne { .. })
        });
        let ordered: Vec<Step> = steps
            .flat_map(|step| {
                let (Step::Fill { stream, .. }
                | Step::Copy { stream, .. }
                | Step::AddOne { stream, .. }) = step
                else {
                    return vec![];
                };
                vec![Step::Wait { stream, event: 0 }, step, Step::Record { stream, event: 0 }]
            })
            .collect();
        let (expected, races) = run(&ordered, Schedule::Eager, 0);
        assert_eq!(races, 0, "{ordered:?}");
        for schedule in 0..4 {
            assert_eq!(run(&ordered, Schedule::Late, schedule), (expected.clone(), 0));
        }
    }
}

#[test]
fn threads_share_a_device() {
    let driver = Driver::with_seed(5);
    std::thread::scope(|scope| {
        for tag in 0..4 {
            let driver = &driver;
            scope.spawn(move || {
                let stream = RawStream::PER_THREAD;
                for round in 0..200 {
                    let ptr = driver.alloc(256 << (round % 4));
                    driver.kernel(stream, Kernel::write_pattern(ptr, 256, tag)).unwrap();
                    driver.kernel(stream, Kernel::check_pattern(ptr, 256, tag)).unwrap();
                    driver.sync_stream(stream).unwrap();
                    driver.free(ptr).unwrap();
                }
            });
        }
    });
    driver.assert_clean();
    assert!(driver.leaks().is_empty());
}
