//! A steady number of blocks of random sizes, one of which is replaced at a time.

use std::ops::RangeInclusive;

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

use super::{Held, Memory};

/// Live blocks, and the random numbers that choose among them.
pub(crate) struct Churn {
    sizes: RangeInclusive<u64>,
    live: Vec<Held>,
    random: SplitMix64,
}

impl Churn {
    /// So many live blocks, every one of which has been replaced about once.
    pub(crate) fn new(live: usize, sizes: RangeInclusive<u64>, memory: &mut Memory) -> Self {
        let mut churn = Self::empty(live, sizes);
        churn.fill(memory);
        churn
    }

    /// Room for so many live blocks.
    pub(crate) fn empty(live: usize, sizes: RangeInclusive<u64>) -> Self {
        Self { sizes, live: Vec::with_capacity(live), random: SplitMix64::seed_from_u64(0) }
    }

    /// Allocates as many blocks as there is room for, and replaces every one about once.
    pub(crate) fn fill(&mut self, memory: &mut Memory) {
        let room = self.live.capacity();
        while self.live.len() < room {
            let size = self.size();
            self.live.push(memory.allocate(size, 0));
        }
        for _ in 0..room {
            self.step(memory);
        }
    }

    /// Frees a random block and allocates one of random size.
    pub(crate) fn step(&mut self, memory: &mut Memory) {
        let len = self.live.len() as u64;
        let at = usize::try_from(self.below(len)).expect("it is an index");
        let held = self.live.swap_remove(at);
        memory.free(held, 0);
        let size = self.size();
        self.live.push(memory.allocate(size, 0));
    }

    /// Frees all.
    pub(crate) fn end(self, memory: &mut Memory) {
        for held in self.live {
            memory.free(held, 0);
        }
    }

    fn size(&mut self) -> u64 {
        let (least, most) = (*self.sizes.start(), *self.sizes.end());
        least + self.below(most - least + 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random.next_u64() % bound
    }
}
