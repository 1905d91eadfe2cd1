//! What RMM's pool got wrong for six years (rapidsai/rmm 2489): a stream takes over another's free memory, and
//! a third one is given it without waiting for the first. RMM's rule as a model, and the same calls on
//! vmem's pools.

use vmem_core::author::StreamExt;
use vmem_core::{
    Block, Device, DeviceMemory, DevicePtr, Event, MemoryResource, ResourceExt, Stream,
};
use vmem_pool::PoolConfig;
use vmem_sim::{Kernel, SimDevice, ViolationKind};

use crate::support::{
    MIB, alloc, arena, chunks, device_with_seed, finish, free, layout, lazy, tight,
};

/// The size that the donor frees and the thief asks for.
const SMALL: u64 = 2 * MIB;
/// What no list of RMM's has, so that it merges them.
const LARGE: u64 = 4 * SMALL;

/// How much of it they write.
const WRITTEN: u64 = 4096;

/// What the second stream does before the memory it asks for makes it take over the donor's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Past {
    /// Nothing: RMM has never recorded its event, and to wait for it is to wait for nothing.
    None,
    /// It frees a block: its event is of before the merge.
    Freed,
}

/// What the calls are made on.
trait Lender {
    type Loan;
    fn lend(&mut self, size: u64, stream: &Stream) -> Self::Loan;
    fn give_back(&mut self, loan: Self::Loan, stream: &Stream);
    fn at(loan: &Self::Loan) -> DevicePtr;
}

fn launch(device: &SimDevice, stream: &Stream, kernel: Kernel) {
    // SAFETY: contract, devices/handles and devices/ranges: a live stream and live memory of the device.
    unsafe { device.launch(stream, kernel) }.unwrap();
}

/// The calls: the donor writes and frees, the second stream asks for more than is free, the thief is given
/// the donor's memory and writes; then it must have the thief's bytes. Returns what both were given.
fn interleave<L: Lender>(
    device: &SimDevice,
    lender: &mut L,
    [donor, second, thief]: [&Stream; 3],
    past: Past,
) -> [DevicePtr; 2] {
    if past == Past::Freed {
        let loan = lender.lend(SMALL / 2, second);
        lender.give_back(loan, second);
    }
    let given = lender.lend(SMALL, donor);
    let first = L::at(&given);
    launch(device, donor, Kernel::write_pattern(first, WRITTEN, 1));
    lender.give_back(given, donor);
    let large = lender.lend(LARGE, second);
    let stolen = lender.lend(SMALL, thief);
    let last = L::at(&stolen);
    launch(device, thief, Kernel::write_pattern(last, WRITTEN, 2));
    thief.synchronize().unwrap();
    device.synchronize().unwrap();
    launch(device, thief, Kernel::check_pattern(last, WRITTEN, 2));
    lender.give_back(stolen, thief);
    lender.give_back(large, second);
    [first, last]
}

/// Whether a merge of lists records the event of the list that it merges into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Merge {
    /// RMM up to 26.06.
    WaitsOnly,
    /// RMM since 26.08.
    WaitsAndRecords,
}

/// RMM's `stream_ordered_memory_resource`: a list of free memory for each stream, and an event that is recorded
/// where the stream frees. Who takes from another's list waits for its event.
struct Lists {
    merge: Merge,
    lists: Vec<List>,
    /// All of the device's memory that it has, and where what no list has had yet begins.
    chunk: Block,
    fresh: u64,
}

struct List {
    stream: Stream,
    event: Option<Event>,
    free: Vec<(DevicePtr, u64)>,
}

impl List {
    /// The smallest piece that is large enough, cut to size.
    fn take(&mut self, size: u64) -> Option<DevicePtr> {
        let fits = self.free.iter().filter(|&&(_, len)| len >= size);
        let (ptr, len) = *fits.min_by_key(|&&(_, len)| len)?;
        self.free.retain(|&(other, _)| other != ptr);
        if len > size {
            self.free.push((ptr.checked_add(size).unwrap(), len - size));
        }
        Some(ptr)
    }
}

impl Lists {
    fn new(merge: Merge, upstream: &DeviceMemory, stream: &Stream) -> Self {
        let chunk = upstream.allocate_on(layout(4 * LARGE), stream).unwrap();
        Self { merge, lists: Vec::new(), chunk, fresh: 0 }
    }

    /// The number of a stream's list.
    fn list(&mut self, stream: &Stream) -> usize {
        if let Some(at) = self.lists.iter().position(|list| list.stream.id() == stream.id()) {
            return at;
        }
        self.lists.push(List { stream: stream.clone(), event: None, free: Vec::new() });
        self.lists.len() - 1
    }

    fn wait(&self, stream: &Stream, list: usize) {
        if let Some(event) = &self.lists[list].event {
            stream.wait(event).unwrap();
        }
    }

    fn merge_into(&mut self, own: usize, other: usize, stream: &Stream) {
        self.wait(stream, other);
        let merged = std::mem::take(&mut self.lists[other].free);
        self.lists[own].free.extend(merged);
        if self.merge == Merge::WaitsAndRecords {
            self.lists[own].event = Some(stream.marker().unwrap());
        }
    }
}

impl Lender for Lists {
    type Loan = (DevicePtr, u64);

    fn lend(&mut self, size: u64, stream: &Stream) -> Self::Loan {
        let own = self.list(stream);
        let others = || (0..self.lists.len()).filter(|&other| other != own).collect::<Vec<_>>();
        let others = others();
        if let Some(ptr) = self.lists[own].take(size) {
            return (ptr, size);
        }
        for &other in &others {
            if let Some(ptr) = self.lists[other].take(size) {
                self.wait(stream, other);
                return (ptr, size);
            }
        }
        for &other in &others {
            self.merge_into(own, other, stream);
            if let Some(ptr) = self.lists[own].take(size) {
                return (ptr, size);
            }
        }
        let ptr = self.chunk.ptr().checked_add(self.fresh).unwrap();
        self.fresh += size;
        assert!(self.fresh <= self.chunk.size(), "the model has no more memory");
        (ptr, size)
    }

    fn give_back(&mut self, loan: Self::Loan, stream: &Stream) {
        let own = self.list(stream);
        self.lists[own].event = Some(stream.marker().unwrap());
        self.lists[own].free.push(loan);
    }

    fn at(loan: &Self::Loan) -> DevicePtr {
        loan.0
    }
}

/// What the checker has to say of the model, and the streams: the donor, the second, the thief.
fn with_lists(merge: Merge, past: Past, seed: u64) -> (Vec<vmem_sim::Violation>, [Stream; 3]) {
    let device = device_with_seed(seed);
    let upstream = DeviceMemory::new(device.clone());
    let streams = [(); 3].map(|()| Stream::new(device.clone()).unwrap());
    let mut lists = Lists::new(merge, &upstream, &streams[0]);
    let [first, last] = interleave(&device, &mut lists, streams.each_ref(), past);
    assert_eq!(first, last, "the thief was given what the donor freed");
    device.synchronize().unwrap();
    let found = device.take_violations();
    // SAFETY: contract, freeing: the device was waited for.
    unsafe { upstream.deallocate(lists.chunk, &streams[0]) }.unwrap();
    (found, streams)
}

#[test]
fn a_merge_that_records_no_event_lets_a_third_stream_race_and_the_checker_names_both() {
    for past in [Past::None, Past::Freed] {
        let mut corrupted = 0;
        for seed in 0..64 {
            let (found, [donor, _, thief]) = with_lists(Merge::WaitsOnly, past, seed);
            let race = found.iter().find(|violation| violation.kind == ViolationKind::Race);
            let race = race.unwrap_or_else(|| panic!("{past:?}, seed {seed}: no race"));
            for stream in [donor, thief] {
                let raw = stream.with_raw("a test", |_, raw| Ok(raw.0)).unwrap();
                let name = format!("stream {raw:#x}");
                assert!(race.detail.contains(&name), "{name} is missing in: {race}");
            }
            corrupted += u32::from(found.iter().any(|v| v.kind == ViolationKind::WrongBytes));
        }
        assert!((1..64).contains(&corrupted), "{past:?}: {corrupted} of 64 schedules corrupt");
    }
}

#[test]
fn a_merge_that_records_its_event_is_in_order() {
    for (past, seed) in
        [Past::None, Past::Freed].into_iter().flat_map(|p| (0..64).map(move |s| (p, s)))
    {
        let (found, _) = with_lists(Merge::WaitsAndRecords, past, seed);
        assert!(found.is_empty(), "{past:?}, seed {seed}: {found:?}");
    }
}

/// A pool of vmem's.
struct Ours<'a>(&'a dyn MemoryResource);

impl Lender for Ours<'_> {
    type Loan = Block;

    fn lend(&mut self, size: u64, stream: &Stream) -> Block {
        alloc(self.0, size, stream)
    }

    fn give_back(&mut self, loan: Block, stream: &Stream) {
        free(self.0, loan, stream);
    }

    fn at(loan: &Block) -> DevicePtr {
        loan.ptr()
    }
}

/// The ceiling leaves the thief nothing but what the donor freed.
fn tightly(config: PoolConfig) -> PoolConfig {
    config.with_ceiling(SMALL + LARGE)
}

#[test]
fn vmem_orders_a_third_stream_behind_the_donor_whatever_the_second_took() {
    let configs =
        [Past::None, Past::Freed].map(|past| [lazy(), tight()].map(|config| (past, config)));
    for (past, config) in configs.into_iter().flatten() {
        for seed in 0..64 {
            let device = device_with_seed(seed);
            let streams = [(); 3].map(|()| Stream::new(device.clone()).unwrap());
            let pool = arena(device.clone(), tightly(config.clone()));
            interleave(&device, &mut Ours(&pool), streams.each_ref(), past);
            drop(streams);
            finish(&device, pool);

            let device = device_with_seed(seed);
            let streams = [(); 3].map(|()| Stream::new(device.clone()).unwrap());
            let pool = chunks(device.clone(), tightly(config.clone()));
            let [first, last] = interleave(&device, &mut Ours(&pool), streams.each_ref(), past);
            assert_eq!(first, last, "the thief was given what the donor freed");
            drop(streams);
            finish(&device, pool);
        }
    }
}
