//! Random programs over a pool whose device holds less than they use: every byte is checked, every access
//! compared with the order of all others, and every driver call fails in turn.

use std::sync::Arc;

use vmem_adaptors::{AdaptorExt, Answer, Lease, MayRest, Spill, Spillable};
use vmem_core::{Device, DeviceBuffer, DriverCode, MemoryResource, ResourceExt, Stream};
use vmem_pool::{Pool, PoolConfig, PoolHandle, VirtualArena};
use vmem_sim::{Kernel, SimConfig, SimDevice};
use vmem_testkit::{Countdown, Fault, Pairs, sweep};

const GRANULE: u64 = 64 << 10;

type Memory = MayRest<Arc<dyn MemoryResource>>;

/// A buffer of a program, with what it holds, if that is known.
struct Entry {
    buffer: Spillable<DeviceBuffer<Memory>>,
    bytes: u64,
    holds: Option<u64>,
    /// Leases that are held; none of them beside one under which was written.
    leases: Vec<Lease<DeviceBuffer<Memory>>>,
    is_written: bool,
}

struct Program {
    sim: Arc<SimDevice>,
    countdown: Arc<Countdown>,
    memory: Memory,
    pool: PoolHandle,
    spill: Spill,
    streams: Vec<Stream>,
    entries: Vec<Entry>,
    tags: u64,
    random: u64,
}

impl Program {
    /// On a device of so many granules, and a host of as many.
    fn new(seed: u64, granules: u64) -> Self {
        let config = SimConfig {
            capacity: granules * GRANULE,
            host_capacity: granules * GRANULE,
            granularity: GRANULE,
            seed,
            ..SimConfig::default()
        };
        let sim = SimDevice::with_config(config).unwrap();
        let countdown = Countdown::new(sim.clone());
        let arena = VirtualArena::new(countdown.clone()).unwrap();
        let pool = Pool::new(arena, PoolConfig::default()).unwrap();
        let handle = pool.handle();
        let spill = Spill::new(Arc::new(handle.clone()));
        let (rung, trims) = (spill.clone(), handle.clone());
        let stack = pool.on_failure(move |failure| {
            let wanted = failure.error.layout().map_or(u64::MAX, |layout| layout.size());
            match trims.trim_to(0).unwrap_or(0) + rung.demote(wanted) {
                0 => Answer::GiveUp,
                freed => Answer::Freed(freed),
            }
        });
        let memory = MayRest::new(stack.into_dyn());
        let stream = || Stream::new(countdown.clone()).unwrap();
        let streams = vec![stream(), stream(), stream()];
        let (entries, random) = (Vec::new(), seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        Self { sim, countdown, memory, pool: handle, spill, streams, entries, tags: 0, random }
    }

    /// A number below `below`.
    fn any(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    fn any_index(&mut self, below: usize) -> usize {
        usize::try_from(self.any(below as u64)).unwrap()
    }

    fn stream(&mut self) -> Stream {
        let index = self.any_index(self.streams.len());
        self.streams[index].clone()
    }

    fn step(&mut self) {
        let stream = self.stream();
        match self.any(16) {
            0..3 if self.entries.len() < 8 => self.make(&stream),
            0..8 if !self.entries.is_empty() => {
                let at = self.any_index(self.entries.len());
                self.use_under_lease(at, &stream);
            }
            8..10 if !self.entries.is_empty() => {
                let at = self.any_index(self.entries.len());
                self.entries[at].leases.pop();
            }
            10 if !self.entries.is_empty() => {
                let at = self.any_index(self.entries.len());
                self.check_alone(at);
            }
            11 if !self.entries.is_empty() => {
                let at = self.any_index(self.entries.len());
                // Its leases are dropped behind it.
                let Entry { buffer, leases, .. } = self.entries.remove(at);
                drop(buffer);
                drop(leases);
            }
            12..14 => {
                let bytes = self.any(6 * GRANULE);
                self.spill.demote(bytes);
            }
            14 => {
                let _ = stream.synchronize();
            }
            15 => self.reopen(),
            _ => {}
        }
    }

    fn make(&mut self, stream: &Stream) {
        let bytes = self.any(5 * GRANULE) + 1;
        let Ok(buffer) = DeviceBuffer::new(self.memory.clone(), bytes, stream) else { return };
        let buffer = self.spill.adopt(buffer);
        let (leases, is_written) = (Vec::new(), false);
        self.entries.push(Entry { buffer, bytes, holds: None, leases, is_written });
    }

    /// Writes under the only lease, or reads beside others that do.
    fn use_under_lease(&mut self, at: usize, stream: &Stream) {
        let (writes, keeps) = (self.any(2) == 0, self.any(2) == 0);
        let Entry { buffer, bytes, holds, leases, is_written } = &mut self.entries[at];
        if leases.is_empty() {
            *is_written = false;
        }
        if *is_written {
            return;
        }
        let Ok(lease) = buffer.lease(stream) else { return };
        let ptr = lease.ptr().unwrap();
        let kernel = match *holds {
            Some(tag) if !writes || !leases.is_empty() => Kernel::check_pattern(ptr, *bytes, tag),
            _ if leases.is_empty() => {
                self.tags += 1;
                *holds = Some(self.tags);
                *is_written = true;
                Kernel::write_pattern(ptr, *bytes, self.tags)
            }
            _ => return,
        };
        // SAFETY: contract, devices/ranges: memory under a lease.
        if unsafe { self.sim.launch(stream, kernel) }.is_err() {
            *holds = None;
        }
        if keeps {
            leases.push(lease);
        }
    }

    /// Checks through the buffer's own methods.
    fn check_alone(&mut self, at: usize) {
        let Entry { buffer, bytes, holds, leases, .. } = &mut self.entries[at];
        let (sim, bytes) = (&self.sim, *bytes);
        let checked = buffer.with(|buffer| {
            let tag = (*holds)?;
            let kernel = Kernel::check_pattern(buffer.ptr()?, bytes, tag);
            // SAFETY: contract, devices/ranges: nobody else has the memory.
            unsafe { sim.launch(buffer.stream(), kernel) }.ok()
        });
        assert!(checked.is_err() || leases.is_empty(), "it is leased");
    }

    /// Ends a stream, which buffers and leases have as theirs, and opens another.
    fn reopen(&mut self) {
        let at = self.any_index(self.streams.len());
        let Ok(stream) = Stream::new(self.countdown.clone()) else { return };
        self.streams[at] = stream;
    }

    fn finish(mut self) -> Arc<Countdown> {
        self.countdown.disarm();
        for entry in &mut self.entries {
            entry.leases.clear();
        }
        for at in 0..self.entries.len() {
            self.check_alone(at);
        }
        self.pool.check_invariants();
        let Self { sim, countdown, memory, pool, spill, streams, entries, .. } = self;
        drop(entries);
        let counts = spill.counts();
        assert_eq!((counts.buffers, counts.host_bytes), (0, 0));
        sim.synchronize().unwrap();
        pool.synchronize().unwrap();
        drop((memory, pool, spill, streams));
        sim.assert_clean();
        let failed = countdown.failed().len();
        let leaks = sim.leaks();
        let reported = sim.base().drop_failures().count() > 0;
        assert!(leaks.is_empty() || failed > 0, "{leaks}");
        let held = leaks.handles.count + leaks.mappings.count;
        assert!(held == 0 || reported, "{leaks}");
        countdown
    }
}

fn run(seed: u64, steps: usize, fault: Option<Fault>) -> (Arc<Countdown>, u64) {
    let mut program = Program::new(seed, 8);
    if let Some(fault) = fault {
        fault.arm(&program.countdown);
    }
    for _ in 0..steps {
        program.step();
        program.pool.check_invariants();
    }
    let counts = program.spill.counts();
    (program.finish(), counts.demoted_bytes.min(counts.promoted_bytes))
}

#[test]
fn random_programs_find_every_byte_where_they_left_it() {
    let moved: u64 = (0..64).map(|seed| run(seed, 200, None).1).sum();
    assert!(moved > 64 * GRANULE, "they move next to nothing: {moved} B each way");
}

/// Short programs in which memory goes both ways.
fn seeds() -> impl Iterator<Item = u64> {
    (0..).filter(|&seed| run(seed, STEPS, None).1 > 0)
}

const STEPS: usize = 25;

#[test]
fn whichever_driver_call_fails_programs_find_every_byte() {
    for seed in seeds().take(2) {
        let codes = [DriverCode::OUT_OF_MEMORY, DriverCode::UNKNOWN];
        sweep(&codes, 5_000, |fault| run(seed, STEPS, Some(fault)).0);
    }
}

#[test]
fn whichever_two_driver_calls_fail_programs_find_every_byte() {
    let seed = seeds().nth(2).unwrap();
    let codes = vec![[DriverCode::UNKNOWN; 2]];
    let pairs = Pairs { codes, most: 100, ..Pairs::default() };
    pairs.sweep(|fault| run(seed, STEPS, Some(fault)).0);
}
