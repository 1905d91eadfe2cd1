//! Random programs of the safe calls of typed memory over several streams: the simulation's checker
//! finds accesses that nothing orders, and the bytes are compared with a model on the host.

use std::sync::Arc;

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};
use vmem_core::{
    AsyncMemory, DeviceMemory, DeviceVec, MemoryResource, PinnedBuffer, PinnedMemory, ResourceExt,
    Stream, Transfer,
};
use vmem_sim::SimDevice;

use crate::common::{sim, stream};

struct Rng(SplitMix64);

impl Rng {
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.0.next_u64() % end as u64).unwrap()
    }

    fn value(&mut self) -> u32 {
        // Some of equal bytes, most not.
        let value = u32::try_from(self.0.next_u64() & 0xffff_ffff).unwrap();
        if self.below(4) == 0 { (value & 0xff) * 0x0101_0101 } else { value }
    }

    /// A range inside `len`, possibly empty.
    fn range(&mut self, len: usize) -> std::ops::Range<usize> {
        let (a, b) = (self.below(len + 1), self.below(len + 1));
        a.min(b)..a.max(b)
    }

    fn values(&mut self, most: usize) -> Vec<u32> {
        (0..self.below(most + 1)).map(|_| self.value()).collect()
    }
}

/// Elements and what they must be.
struct Twin {
    there: DeviceVec<u32>,
    here: Vec<u32>,
}

/// A copy under way, and what its host's end must hold when it is complete.
struct Flight {
    transfer: Transfer<u32>,
    expected: Vec<u32>,
}

struct Program {
    rng: Rng,
    device: Arc<SimDevice>,
    memory: Arc<dyn MemoryResource>,
    pinned: Arc<dyn MemoryResource>,
    streams: Vec<Stream>,
    twins: Vec<Twin>,
    flights: Vec<Flight>,
    forgotten: u64,
}

impl Program {
    fn new(seed: u64) -> Self {
        let device = sim(seed);
        let memory = if seed.is_multiple_of(2) {
            DeviceMemory::new(device.clone()).into_dyn()
        } else {
            AsyncMemory::new(device.clone()).unwrap().into_dyn()
        };
        Self {
            rng: Rng(SplitMix64::seed_from_u64(seed)),
            memory,
            pinned: PinnedMemory::new(device.clone()).unwrap().into_dyn(),
            streams: (0..3).map(|_| stream(&device)).collect(),
            twins: Vec::new(),
            flights: Vec::new(),
            forgotten: 0,
            device,
        }
    }

    fn stream(&mut self) -> Stream {
        let choice = self.rng.below(self.streams.len());
        self.streams[choice].clone()
    }

    fn create(&mut self) {
        let (stream, memory) = (self.stream(), self.memory.clone());
        let twin = match self.rng.below(3) {
            0 => {
                let (value, len) = (self.rng.value(), self.rng.below(200));
                let there = DeviceVec::filled(memory, value, len, &stream).unwrap();
                Twin { there, here: vec![value; len] }
            }
            1 => {
                let here = self.rng.values(200);
                Twin { there: DeviceVec::from_slice(memory, &here, &stream).unwrap(), here }
            }
            _ if self.twins.is_empty() => return,
            _ => {
                let of = self.rng.below(self.twins.len());
                let twin = &self.twins[of];
                Twin { there: twin.there.try_clone(&stream).unwrap(), here: twin.here.clone() }
            }
        };
        self.twins.push(twin);
    }

    /// Changes elements without the help of others.
    fn change(&mut self, choice: usize) {
        let stream = self.stream();
        let Twin { there, here } = &mut self.twins[choice];
        match self.rng.below(6) {
            0 => {
                let (range, value) = (self.rng.range(here.len()), self.rng.value());
                there.slice_mut(range.clone()).unwrap().fill(value).unwrap();
                here[range].fill(value);
            }
            1 => {
                let values = self.rng.values(here.len());
                there.slice_mut(..values.len()).unwrap().copy_from_slice(&values).unwrap();
                here[..values.len()].copy_from_slice(&values);
            }
            2 => {
                let values = self.rng.values(40);
                there.extend_from_slice(&values).unwrap();
                here.extend_from_slice(&values);
            }
            3 => {
                let (len, value) = (self.rng.below(300), self.rng.value());
                there.resize(len, value).unwrap();
                here.resize(len, value);
            }
            4 => there.set_stream(&stream).unwrap(),
            _ => {
                let half = here.len() / 2;
                let (mut left, right) = there.split_at_mut(half).unwrap();
                left.copy_from(right.as_slice().slice(..half).unwrap()).unwrap();
                here.copy_within(half..2 * half, 0);
            }
        }
    }

    /// Copies elements between two of the buffers.
    fn copy(&mut self, to: usize, from: usize) {
        if to == from {
            return self.twins[to].there.shrink_to_fit().unwrap();
        }
        let [to, from] = self.twins.get_disjoint_mut([to, from]).unwrap();
        let range = self.rng.range(from.here.len().min(to.here.len()));
        let part = from.there.slice(range.clone()).unwrap();
        if self.rng.below(3) == 0 {
            to.there.extend_from(part).unwrap();
            to.here.extend_from_slice(&from.here[range]);
        } else {
            to.there.slice_mut(range.clone()).unwrap().copy_from(part).unwrap();
            to.here[range.clone()].copy_from_slice(&from.here[range]);
        }
    }

    /// Starts a copy that nothing waits for.
    fn start(&mut self, choice: usize) {
        let (stream, pinned) = (self.stream(), self.pinned.clone());
        let Twin { there, here } = &mut self.twins[choice];
        let range = self.rng.range(here.len());
        let mut expected: Vec<u32> = (0..here.len()).map(|_| self.rng.value()).collect();
        let host = PinnedBuffer::from_slice(pinned, &expected, &stream).unwrap();
        let transfer = if self.rng.below(2) == 0 {
            here[range.clone()].copy_from_slice(&expected[range.clone()]);
            there.slice_mut(range.clone()).unwrap().copy_from_pinned(host, range)
        } else {
            expected[range.clone()].copy_from_slice(&here[range.clone()]);
            there.slice(range.clone()).unwrap().copy_to_pinned(host, range)
        };
        self.flights.push(Flight { transfer: transfer.unwrap(), expected });
    }

    fn end(&mut self, choice: usize) {
        let Flight { transfer, expected } = self.flights.swap_remove(choice);
        match self.rng.below(8) {
            0 => {
                self.forgotten += u64::from(!expected.is_empty());
                std::mem::forget(transfer);
            }
            1 => drop(transfer),
            _ => {
                let mut host = transfer.wait().unwrap();
                assert_eq!(*host, expected);
                // The host's now: this must change nothing on the device.
                host.fill(0xdead_beef);
            }
        }
    }

    fn step(&mut self) {
        if self.twins.is_empty() {
            return self.create();
        }
        let choice = self.rng.below(self.twins.len());
        match self.rng.below(20) {
            0..4 => self.create(),
            4 => drop(self.twins.swap_remove(choice)),
            5 => {
                let Twin { there, here } = &self.twins[choice];
                assert_eq!(there.to_vec().unwrap(), *here);
            }
            6..12 => self.change(choice),
            12..15 => {
                let from = self.rng.below(self.twins.len());
                self.copy(choice, from);
            }
            15..18 => self.start(choice),
            18 if !self.flights.is_empty() => {
                let choice = self.rng.below(self.flights.len());
                self.end(choice);
            }
            _ => {
                // The last other handles are the buffers'.
                let (choice, new) = (self.rng.below(self.streams.len()), stream(&self.device));
                self.streams[choice] = new;
            }
        }
    }

    fn finish(mut self) {
        while !self.flights.is_empty() {
            self.end(0);
        }
        for Twin { there, here } in self.twins.drain(..) {
            assert_eq!(there.to_vec().unwrap(), here);
        }
        self.device.assert_clean();
        let leaks = self.device.leaks();
        assert_eq!((leaks.plain.count, leaks.pinned.count), (0, self.forgotten));
        let device: &dyn vmem_core::Device = &*self.device;
        assert_eq!(device.base().drop_failures().count(), 0);
    }
}

#[test]
fn no_program_of_safe_calls_gets_an_order_wrong() {
    for seed in 0..300 {
        let mut program = Program::new(seed);
        for _ in 0..80 {
            program.step();
        }
        program.finish();
    }
}
